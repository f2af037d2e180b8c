"""A user's own strategy: loading it, what it may return, and every fault told by file and line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.execution import ExecutionAgent
from agents.risk_manager import RiskManager
from agents.user_strategy import StrategyAgents, check_strategy, load_strategy
from core.config import ExecutionConfig, RiskConfig, TradingConfig
from core.errors import AthenaError, LookAhead, StrategyError, UsageError
from core.protocols import History, State
from core.types import Decision, Target
from tests.fakes import FREE, flat, make_panel, random_bars, records, run_lines
from trading.panel import NEVER, Panel, build_panel

Answer = Mapping[str, Any] | None
SHORT = FREE.model_copy(update={"allow_short": True})
UP = [flat(price) for price in (100.0, 110.0, 120.0, 130.0)]


class Says:
    """Returns what a function says of (history, state)."""

    def __init__(self, say: Callable[[Any, Any], Any]) -> None:
        self._say = say

    def decide(self, history: History, state: State) -> Any:
        return self._say(history, state)


def run(
    say: Callable[[Any, Any], Any] | Any,
    panel: Panel | None = None,
    trading: TradingConfig = FREE,
    risk: RiskManager | None = None,
) -> list[dict[str, Any]]:
    strategy = Says(say) if callable(say) else say
    panel = panel or make_panel({"A": UP, "B": UP})
    deciders = StrategyAgents(
        strategy,
        ExecutionAgent(ExecutionConfig()),
        risk,
        allow_short=trading.allow_short,
        one_symbol=len(panel.symbols) == 1 and int(panel.leaves_at[0]) == NEVER,
    )
    return records(run_lines(panel, deciders, trading)[1])


def fault(say: Callable[[Any, Any], Any], panel: Panel | None = None) -> AthenaError:
    with pytest.raises(AthenaError) as caught:
        run(say, panel)
    return caught.value


def write(folder: Path, text: str, name: str = "mine.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


# --- loading


MINE = """
class Mine:
    warmup = 3
    def __init__(self, weight=0.5, names=("A",)):
        self.weight, self.names = weight, names
    def decide(self, history, state):
        return {name: self.weight for name in self.names}
"""


def test_a_class_is_made_with_its_params_read_as_yaml(tmp_path: Path) -> None:
    spec = write(tmp_path, MINE) + ":Mine"
    made: Any = load_strategy(spec, [("weight", "0.25"), ("names", "[A, B]")])
    assert made.weight == 0.25
    assert made.names == ["A", "B"]
    assert made.warmup == 3


def test_a_file_saved_twice_within_a_second_is_read_anew_and_leaves_nothing_beside_it(
    tmp_path: Path,
) -> None:
    for weight in ("0.5", "0.7"):
        spec = write(tmp_path, MINE.replace("0.5", weight)) + ":Mine"
        made: Any = load_strategy(spec)
        assert made.weight == float(weight)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_strategy_may_import_from_its_own_folder_and_define_dataclasses(tmp_path: Path) -> None:
    write(tmp_path, "HALF = 0.5\n", "nearby_weights.py")
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from nearby_weights import HALF\n@dataclass\nclass Mine:\n    weight: float = HALF\n"
        "    def decide(self, history, state):\n        return {'A': self.weight}\n"
    )
    made: Any = load_strategy(write(tmp_path, text) + ":Mine")
    assert made.weight == 0.5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine.py", "--strategy mine.py does not name a class."),
        ("mine.py:", "--strategy mine.py: does not name a class."),
        ("mine.py:1x", "--strategy mine.py:1x does not name a class."),
        ("mine.txt:Mine", "--strategy mine.txt:Mine does not name a class."),
        ("absent.py:Mine", "--strategy absent.py:Mine: there is no file absent.py."),
    ],
)
def test_a_spec_that_names_no_class_says_how_to_write_one(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_strategy(spec)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ([("speed", "3")], "got an unexpected keyword argument 'speed'"),
        ([("weight", "[1")], "--param weight=[1 is no YAML value"),
    ],
)
def test_a_param_that_does_not_fit_names_what_the_class_takes(
    tmp_path: Path, params: list[tuple[str, str]], part: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_strategy(write(tmp_path, MINE) + ":Mine", params)
    assert part in str(caught.value)
    if params[0][0] == "speed":
        assert caught.value.cure == "It is made as Mine(weight=0.5, names=('A',))."


def test_a_missing_required_param_is_told_before_the_class_is_made(tmp_path: Path) -> None:
    spec = write(tmp_path, MINE.replace("weight=0.5", "weight")) + ":Mine"
    with pytest.raises(UsageError, match="missing a required argument: 'weight'"):
        load_strategy(spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Mine:\n    def decide(self, history, state)\n", "line 2: expected ':'."),
        ("import math\nx = math.nothing\n", "line 2: `x = math.nothing`: importing mine.py raised"),
        ("import absent_module\n", "line 1: `import absent_module`: importing mine.py raised Modu"),
        ("x = 1\nraise SystemExit(0)\n", "line 2: `raise SystemExit(0)`: importing mine.py raised"),
        ("class Other:\n    def decide(self, h, s): ...\n", "has no class Mine."),
        (
            "class Mine:\n    def __init__(self):\n        self.x = 1 / 0\n",
            "line 3: `self.x = 1 / 0`: Mine(...) raised ZeroDivisionError: division by zero.",
        ),
        (
            "\nclass Mine:\n    pass\n",
            "line 2: Mine has no method `decide(self, history, state)`.",
        ),
        (
            "class Mine:\n    async def decide(self, history, state): ...\n",
            "line 2: Mine.decide is async.",
        ),
        (
            "class Mine:\n    def decide(self, history): ...\n",
            "line 2: Mine.decide does not take (history, state): too many positional arguments.",
        ),
        (
            "class Mine:\n    warmup = -1\n    def decide(self, h, s): ...\n",
            "line 1: Mine.warmup is -1.",
        ),
        (
            "class Mine:\n    warmup = 2.5\n    def decide(self, h, s): ...\n",
            "line 1: Mine.warmup is 2.5.",
        ),
        (
            "class Mine:\n    warmup = True\n    def decide(self, h, s): ...\n",
            "line 1: Mine.warmup is True.",
        ),
    ],
)
def test_a_fault_in_the_file_is_told_with_file_and_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(StrategyError) as caught:
        load_strategy(path + ":Mine")
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    if "line" in message:
        assert caught.value.message.startswith(path)


def test_the_classes_of_a_file_are_named_when_the_wanted_one_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StrategyError) as caught:
        load_strategy(write(tmp_path, MINE) + ":Mein")
    assert caught.value.cure == "Classes with `decide` there: Mine."


def test_a_class_in_the_place_of_an_object_is_told() -> None:
    with pytest.raises(StrategyError) as caught:
        check_strategy(Says)
    assert caught.value.cure == "Give an object of it: Says()."


# --- what it may return


def test_a_symbol_left_out_is_sold_and_a_value_none_holds() -> None:
    answers: list[Answer] = [{"A": 0.4, "B": 0.4}, {"A": None}, None, {}]
    steps = run(lambda history, state: answers[history.row])
    # Step 1 leaves B out: sold at bar 2's open. A, with None, stays until {} sells it.
    assert [order["symbol"] for order in steps[1]["orders"]] == ["B"]
    assert steps[1]["targets"] == {}
    assert list(steps[2]["positions"]) == ["A"]
    assert steps[2]["orders"] == []
    assert [(o["symbol"], o["value_usd"]) for o in steps[3]["orders"]] == [("A", 0.0)]


def test_weights_are_of_the_marked_equity_and_fill_at_the_next_open() -> None:
    steps = run(lambda history, state: {"A": 0.5})
    # 50,000 of 100,000 at the next open, 110: 454.54545455 shares. Then 50,000 + 454.545... x 120
    # = 104,545.4546 of equity, 52.17 % in A, so half of it is 52,272.7273 to hold.
    assert steps[0]["orders"][0]["value_usd"] == 50_000.0
    assert steps[1]["fills"][0]["quantity"] == pytest.approx(50_000 / 110, abs=1e-8)
    assert steps[2]["orders"][0]["value_usd"] == pytest.approx(52_272.7273, abs=1e-4)


@pytest.mark.parametrize(
    ("target", "kind", "limit", "stop"),
    [
        (Target(0.5, limit_price=95.0), "limit", 95.0, None),
        (Target(0.5, stop_price=105.0), "stop", None, 105.0),
        (Target(0.5, 107.0, 105.0), "stop_limit", 107.0, 105.0),
        (Target(0.5, tag="why"), "market", None, None),
    ],
)
def test_a_target_makes_the_order_of_its_prices(
    target: Target, kind: str, limit: float | None, stop: float | None
) -> None:
    order = run(lambda history, state: {"A": target} if history.row == 0 else None)[0]["orders"][0]
    assert (order["type"], order["limit_price"], order["stop_price"]) == (kind, limit, stop)
    assert order["tag"] == target.tag
    if kind == "market":
        assert (order["value_usd"], order["quantity"]) == (50_000.0, None)
    else:
        # Fixed at the close: 0.5 x 100,000 / 100.
        assert (order["value_usd"], order["quantity"]) == (None, 500.0)


def test_a_gtc_target_works_on_while_the_strategy_holds_and_a_day_target_does_not() -> None:
    dip = [flat(100.0), flat(100.0), (99.0, 99.0, 90.0, 95.0, math.nan), flat(95.0)]
    for tif, filled in (("gtc", [0, 0, 1, 0]), ("day", [0, 0, 0, 0])):
        wish = Target(0.5, limit_price=92.0, tif=tif)  # type: ignore[arg-type]
        steps = run(
            lambda history, state, wish=wish: {"A": wish} if history.row == 0 else {"A": None},
            make_panel({"A": dip, "B": UP}),
        )
        assert [len(step["fills"]) for step in steps] == filled


def test_a_short_is_refused_with_a_reason_unless_the_account_allows_it() -> None:
    refused = run(lambda history, state: {"A": -0.5, "B": 0.5})
    assert refused[0]["verdict"] == [
        {"symbol": "A", "wanted_frac": -0.5, "allowed_frac": 0.0, "reasons": ["short_not_allowed"]}
    ]
    assert list(refused[1]["positions"]) == ["B"]
    allowed = run(lambda history, state: {"A": -0.5, "B": 0.5}, trading=SHORT)
    assert allowed[0]["verdict"] == []
    # 50,000 sold short at the next open, 110.
    assert allowed[1]["positions"]["A"] == pytest.approx(-50_000 / 110, abs=1e-8)


@pytest.mark.parametrize("symbols", [("A",), ("A", "B")])
def test_numpy_pandas_and_whole_numbers_are_weights(symbols: tuple[str, ...]) -> None:
    panel = make_panel(dict.fromkeys(symbols, UP))
    plain = run(lambda history, state: {"A": 1.0}, panel)
    for say in (
        lambda history, state: {"A": 1},
        lambda history, state: {"A": np.float32(1.0)},
        lambda history, state: {np.str_("A"): np.int64(1)},
        lambda history, state: pd.Series({"A": 1.0}),
        lambda history, state: {"A": Target(1)},
    ):
        assert run(say, panel) == plain


# --- wrong returns


@pytest.mark.parametrize("symbols", [("A",), ("A", "B")])
@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (0.5, "there is 0.5, a float."),
        ([("A", 0.5)], "there is [('A', 0.5)], a list."),
        (np.zeros(2), "there is array([0., 0.]), a ndarray."),
        ({"C": 0.5}, "there is the symbol 'C', which is not listed at this bar."),
        ({"A": "half"}, "the weight of A is 'half'."),
        ({"A": True}, "the weight of A is True."),
        ({"A": math.nan}, "the weight of A is nan."),
        ({"A": -math.inf}, "the weight of A is -inf."),
        ({"A": [0.5]}, "the weight of A is [0.5]."),
        ({"A": 5e7}, "the weight of A is 50000000.0."),
        ({"A": Target("half")}, "the weight of A's Target is 'half'."),  # type: ignore[arg-type]
        ({"A": Target(None, stop_price=9.0)}, "A's Target has no weight, and an order's terms."),
        ({"A": Target(0.5, reason=7)}, "A has the reason 7."),  # type: ignore[arg-type]
        ({"A": Target(0.5, reason="x" * 501)}, "A has the reason 'xxx"),
        ({"A": Target(0.5, reason="two\nlines")}, "A has the reason 'two"),
        ({"A": Target(0.5, reason=" ")}, "A has the reason ' ', of 1 "),
        ({"A": Target(math.nan)}, "the weight of A is nan."),
        ({"A": Target(0.5, limit_price=0.0)}, "A has the limit 0.0 and the stop None."),
        ({"A": Target(0.5, stop_price=math.nan)}, "A has the limit None and the stop nan."),
        ({"A": Target(0.5, limit_price="9")}, "A has the limit '9' and the stop None."),  # type: ignore[arg-type]
        ({"A": Target(0.5, tif="ioc")}, "A has tif 'ioc'."),  # type: ignore[arg-type]
        ({"A": Target(0.5, tag=7)}, "A has the tag 7."),  # type: ignore[arg-type]
        (pd.DataFrame({"A": [0.5] * 99}), "the weight of A is {0: 0.5, 1: 0.5"),
    ],
)
def test_a_wrong_return_names_the_value_and_where_decide_stands(
    symbols: tuple[str, ...], answer: Any, part: str
) -> None:
    error = fault(lambda history, state: answer, make_panel(dict.fromkeys(symbols, UP)))
    assert isinstance(error, StrategyError)
    place = f"{Path(__file__)}, line {Says.decide.__code__.co_firstlineno}"
    assert error.message.startswith(f"{place}: in what Says.decide returned, {part[:40]}")
    assert part in error.message
    assert "\n" not in error.message
    assert len(error.message) < 400


@pytest.mark.parametrize("wrong", [np.array([0.0, 0.0]), True, "0"])
def test_a_wrong_return_is_told_also_after_a_steady_weight(wrong: Any) -> None:
    def say(history: Any, state: Any) -> Any:
        return {"A": 0.0 if history.row < 2 else wrong}

    assert "the weight of A is" in fault(say, make_panel({"A": UP})).message


@pytest.mark.parametrize("number", [10**400, 1e300])
def test_a_weight_without_bounds_is_told(number: Any) -> None:
    assert "the weight of A is" in fault(lambda history, state: {"A": number}).message


# --- faults while it decides


def line_of(code: str) -> str:
    """`FILE, line N` of the one line of this file that ends with a comment `code`."""
    lines = Path(__file__).read_text().splitlines()
    [number] = [at for at, line in enumerate(lines, 1) if line.endswith(f"# {code}")]
    return f"{Path(__file__)}, line {number}"


def test_an_error_in_decide_names_the_users_line_and_not_ours() -> None:
    def say(history: Any, state: Any) -> Any:
        return {"A": np.linalg.inv(np.zeros((2, 2)))}  # singular

    error = fault(say)
    assert isinstance(error, StrategyError)
    assert error.message.startswith(line_of("singular"))
    assert "Says.decide raised LinAlgError: Singular matrix." in error.message


def test_an_error_of_several_lines_is_told_in_one() -> None:
    def say(history: Any, state: Any) -> Any:
        raise RuntimeError("first\n   second " + "x" * 500)

    message = fault(say).message
    assert "raised RuntimeError: first second xxx" in message
    assert "\n" not in message
    assert len(message) < 400


def test_leaving_the_interpreter_in_decide_is_told() -> None:
    def say(history: Any, state: Any) -> Any:
        raise SystemExit(0)

    assert "Says.decide raised SystemExit: 0." in fault(say).message


def _past_the_end(history: Any) -> Any:
    return history.close[len(history)]  # rows


def _past_the_end_of_times(history: Any) -> Any:
    return history.times[history.row + 1]  # times


def _past_the_end_of_a_cell(history: Any) -> Any:
    return history.raw_close[len(history), 0]  # cell


def _past_the_end_turned(history: Any) -> Any:
    return history.open.T[0, len(history)]  # turned


def _past_the_end_by_upto(history: Any) -> Any:
    return history.upto(history.row + 1)  # upto


@pytest.mark.parametrize(
    ("look", "code"),
    [
        (_past_the_end, "rows"),
        (_past_the_end_of_times, "times"),
        (_past_the_end_of_a_cell, "cell"),
        (_past_the_end_turned, "turned"),
        (_past_the_end_by_upto, "upto"),
    ],
)
def test_reaching_past_the_present_is_a_lookahead_with_the_line_that_did_it(
    look: Callable[[Any], Any], code: str
) -> None:
    error = fault(lambda history, state: {"A": float(np.sum(look(history)))})
    assert isinstance(error, LookAhead)
    assert error.message.startswith(line_of(code))
    assert "1 was asked for" in error.message


@pytest.mark.parametrize(
    "look",
    [
        lambda history: history.close[-5],
        lambda history: history.close[0, 2],
        lambda history: list(history.symbols)[3],
    ],
)
def test_any_other_wrong_index_is_a_plain_fault(look: Callable[[Any], Any]) -> None:
    error = fault(lambda history, state: look(history))
    assert isinstance(error, StrategyError)
    assert "IndexError" in error.message


def test_nothing_behind_the_visible_arrays_holds_a_later_bar_or_can_be_written() -> None:
    later = {110.0, 120.0, 130.0}

    def look(history: Any, state: Any) -> Answer:
        for name in ("open", "close", "raw_close", "mark"):
            array = getattr(history, name)
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1.0
            while isinstance(array, np.ndarray):
                hidden = set(np.unique(array[~np.isnan(array)]).tolist())
                assert not hidden & {each for each in later if each > history.close[-1, 0]}
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.flags.writeable = True
                array = array.base
        return None

    run(look)


# --- warm-up, leaving, and the two paths


class Warm:
    warmup = 3

    def decide(self, history: History, state: State) -> dict[str, float]:
        return {"A": 1.0}


def test_a_symbol_that_left_the_universe_is_sold_even_when_the_strategy_only_holds() -> None:
    for symbols in (("A",), ("A", "B")):
        panel = make_panel(dict.fromkeys(symbols, [flat(100.0)] * 6))
        panel.leaves_at[0] = 3
        for later in (None, {"A": None}, {"A": 1.0}):
            steps = run(
                lambda history, state, later=later: {"A": 1.0} if history.row == 0 else later,
                panel,
            )
            assert steps[3]["verdict"] == [
                {
                    "symbol": "A",
                    "wanted_frac": 1.0,
                    "allowed_frac": 0.0,
                    "reasons": ["not_tradable"],
                }
            ], (symbols, later)
            assert steps[4]["positions"] == {}
            assert steps[5]["orders"] == []
    assert panel.leaves_at[-1] == NEVER


class ArrayRisk(RiskManager):
    """A risk manager that never takes the scalar path."""

    def review(self, wanted_frac: Any, history: History, state: State) -> Any:
        return self.review_many(wanted_frac, history, state.weight_array, state.equity_usd)


class ArrayAgents(StrategyAgents):
    """Never takes the scalar path of a single symbol."""

    def _decide_one(self, answer: object, symbol: str, history: History, state: State) -> Decision:
        return self._decide_many(answer, (symbol,), history, state)


class Moody:
    """All that a strategy may say of one symbol, in an order of its own."""

    def __init__(self, seed: int, symbol: str) -> None:
        self._draw = np.random.default_rng(seed)
        self._symbol = symbol
        self._last: Answer = None

    def decide(self, history: History, state: State) -> Answer:
        choice, weight = self._draw.random(), round(float(self._draw.uniform(-0.6, 1.4)), 3)
        close = float(history.mark[-1, 0])
        if choice < 0.3:
            return self._last
        says: list[Answer] = [
            None,
            {},
            {self._symbol: None},
            {self._symbol: weight},
            {self._symbol: np.float64(weight)},
            {self._symbol: Target(weight, tag="tag")},
            {self._symbol: Target(weight, limit_price=close * 0.99, tif="gtc")},
            {self._symbol: Target(weight, stop_price=close * 1.01)},
            {self._symbol: state.weights[self._symbol]},
            {self._symbol: 1.0},
        ]
        self._last = says[int(self._draw.integers(len(says)))]
        return self._last


@pytest.mark.parametrize("allow_short", [False, True])
@pytest.mark.parametrize("with_risk", [False, True])
def test_the_scalar_path_of_one_symbol_gives_the_bytes_of_the_array_path(
    allow_short: bool, with_risk: bool
) -> None:
    trading = TradingConfig(allow_short=allow_short, warmup_bars=0, participation_frac=0.1)
    limits = RiskConfig(min_lookback_bars=20, lookback_bars=40, max_position_frac=0.8)
    for seed in range(4):
        bars = random_bars(seed, 2, 160, volume=2e5)
        bars.pop("Z0")
        if seed % 2:
            panel = build_panel(
                bars, name="test", members={"Y1": (None, np.datetime64("2020-05-01", "ns"))}
            )
        else:
            panel = build_panel(bars, name="test")
        lines = []
        for agents_class, risk_class in ((StrategyAgents, RiskManager), (ArrayAgents, ArrayRisk)):
            risk = risk_class(limits, allow_short) if with_risk else None
            deciders = agents_class(
                Moody(seed, "Y1"),
                ExecutionAgent(ExecutionConfig()),
                risk,
                allow_short=allow_short,
                one_symbol=agents_class is StrategyAgents and not seed % 2,
            )
            lines.append(run_lines(panel, deciders, trading)[1])
        assert lines[0] == lines[1]
        steps = records(lines[0])
        assert sum(len(step["fills"]) for step in steps) > 20
        assert not with_risk or any(step["verdict"] for step in steps)


def test_a_strategy_cannot_change_the_book_that_the_risk_manager_reads() -> None:
    def forge(history: Any, state: Any) -> Answer:
        with pytest.raises(AttributeError):
            state.equity_usd = 1e9
        with pytest.raises((TypeError, ValueError)):
            state.marks[0] = 1e9
        with pytest.raises(AttributeError):
            history.row = 0
        state.weights["A"] = 0.9
        return {"A": 0.5}

    for panel in (make_panel({"A": UP}), make_panel({"A": UP, "B": UP})):
        assert run(forge, panel)[0]["orders"][0]["value_usd"] == 50_000.0
