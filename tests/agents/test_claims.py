"""What agents claim of the next bar, and whether it came."""

from __future__ import annotations

import numpy as np
import pytest

from agents.claims import ClaimBook, FillClaim, TailClaim
from agents.execution import ExecutionAgent
from agents.risk_manager import RiskManager
from core.config import ExecutionConfig, RiskConfig
from core.types import OrderIntent
from tests.agents.books import HOLD, array, at, book, closing
from tests.fakes import make_panel

RISK = RiskConfig(max_var_frac=0.5, lookback_bars=20, min_lookback_bars=10, var_tail_frac=0.1)
RETURNS = [-0.08, 0.01, -0.06, *([0.01] * 17)]


def fallen(last: float) -> list[list[float]]:
    """A moves by RETURNS and then by `last`; B stands still."""
    prices = 100.0 * np.cumprod([1.0, *(1.0 + move for move in [*RETURNS, last])])
    return [prices.tolist(), [10.0] * len(prices)]


def test_the_risk_manager_claims_a_loss_beyond_its_var_at_its_own_level() -> None:
    """20 returns, tail 10 %: the second worst day, -6 %, of half of the equity; 2 of 21 are that bad."""
    panel = closing(fallen(-0.07))
    history = at(panel, 20)
    claim = RiskManager(RISK, False).claim(array(0.5, HOLD), array(0.1, 0.2), history)
    assert claim is not None
    assert claim.loss_frac == pytest.approx(0.03, abs=1e-6)
    assert claim.chance == round(2 / 21, 4)
    assert claim.weights.tolist() == [0.5, 0.2]  # what is held counts as it is
    assert claim.came(at(panel), 21)  # -7 % x 0.5 is beyond
    assert not claim.came(at(closing(fallen(-0.05))), 21)


@pytest.mark.parametrize(
    ("config", "weights", "row"),
    [
        (RISK, (0.0, 0.0), 20),
        (RISK, (0.5, 0.0), 9),
        (RISK.model_copy(update={"max_var_frac": None, "max_expected_shortfall_frac": None}), (0.5, 0.0), 20),
    ],
)  # fmt: skip
def test_without_holdings_history_or_a_limit_nothing_is_claimed(
    config: RiskConfig, weights: tuple[float, float], row: int
) -> None:
    history = at(closing(fallen(0.0)), row)
    assert RiskManager(config, False).claim(array(*weights), array(0.0, 0.0), history) is None


def volumes(*each: float, low: float = 9.0) -> list[tuple[float, float, float, float, float]]:
    return [(10.0, 11.0, low, 10.0, volume) for volume in each]


MARKET = [OrderIntent(0, "A", "buy", "market", 50.0)]
"""50 USD at 10: 5 shares, which needs a volume of 50 under a cap of a tenth."""


def test_execution_claims_what_the_cap_lets_through_as_often_as_it_would_have() -> None:
    """Four of the last five bars traded 50 shares: (4 + 1) / (5 + 2)."""
    agent = ExecutionAgent(ExecutionConfig(slice_volume_bars=5), 0.1)
    panel = make_panel({"A": volumes(1.0, 100.0, 100.0, 10.0, 50.0, 100.0, 49.0)})
    history = at(panel, 5)
    (claim,) = agent.claims(MARKET, history, book(history, [0.0]))
    assert (claim.quantity, claim.volume, claim.chance) == (5.0, 50.0, round(5 / 7, 4))
    assert not claim.came(at(panel), 6)
    richer = make_panel({"A": volumes(1.0, 100.0, 100.0, 10.0, 50.0, 100.0, 50.0)})
    assert claim.came(at(richer), 6)


def test_a_limit_price_must_be_reached_too() -> None:
    """The lows are 10 % under the close before: 5 % is reached by all but the last, 15 % by none."""
    agent = ExecutionAgent(ExecutionConfig(style="limit", slice_volume_bars=3))
    panel = make_panel({"A": [*volumes(*([9.0] * 4)), *volumes(9.0, low=9.8)]})
    history = at(panel, 3)
    intent = OrderIntent(0, "A", "buy", "limit", quantity=5.0, limit_price=9.5)
    (near,) = agent.claims([intent], history, book(history, [0.0]))
    far = OrderIntent(0, "A", "buy", "limit", quantity=5.0, limit_price=8.5)
    (below,) = agent.claims([far], history, book(history, [0.0]))
    assert (near.chance, below.chance) == (4 / 5, 1 / 5)
    assert not near.came(at(panel), 4)
    selling = FillClaim("execution", 0.5, "A", 0, -5.0, 0.0, 10.5)
    assert selling.came(at(panel), 4)  # the high is 11


def test_nothing_is_claimed_where_nothing_can_stop_an_order() -> None:
    history = at(make_panel({"A": volumes(1.0, 1.0)}))
    assert ExecutionAgent(ExecutionConfig()).claims(MARKET, history, book(history, [0.0])) == []


def test_claims_are_answered_once_by_the_bar_after() -> None:
    panel = closing([[100.0, 100.0, 90.0, 200.0], [1.0] * 4])
    claims = ClaimBook()
    claim = TailClaim("risk_manager", 0.05, 0.04, array(0.5, 0.0))
    told = {"agent": "risk_manager", "event": "loss_beyond_var", "symbol": None}
    assert claims.add([claim], "t1", 1) == [{**told, "chance": 0.05, "loss_frac": 0.04}]
    assert claims.answer(at(panel, 1)) == []  # its bar is not there yet
    # Answered late, it is still by the bar that followed: -10 % x 0.5 is beyond 4 %.
    assert claims.answer(at(panel, 3)) == [{**told, "made_at": "t1", "came": True}]
    assert claims.answer(at(panel, 3)) == []
