"""What a person sees of forecasts, reasons and ablations: each function takes the JSON that `--json` prints.

Texts of entries and news are never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.seals import sentences

if TYPE_CHECKING:
    from rich.console import Console

Json = Mapping[str, Any]
FILLS_SHOWN = 3


def _table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)


def _signed(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:+.{digits}f}"


def _interval(interval: Sequence[float] | None, digits: int = 4) -> str:
    return "-" if interval is None else " to ".join(_signed(end, digits) for end in interval)


def render_forecasts(report: Json, console: Console) -> None:
    """Scores by source and claim, then how often told chances came true for all of them together."""
    _table(
        console,
        ("forecasts", "of", "n", "log score", "Brier", "over climatology", "95 %"),
        [
            (
                row["source"],
                row["agent"],
                f"{row['n']:,}",
                _signed(row["log_score"]),
                "-" if row["brier"] is None else f"{row['brier']:.4f}",
                _signed(row["difference"]),
                _interval(row["interval"]),
            )
            for row in report["rows"]
        ],
    )
    from agents.forecasts import WHOLE

    whole: list[dict[str, Any]] = next(
        (row["reliability"] for row in report["rows"] if row["source"] == WHOLE), []
    )
    if whole:
        console.print()
        _table(
            console,
            ("told by all together", "n", "mean told", "came"),
            [
                (
                    f"{each['from']:.1f} to {each['to']:.1f}",
                    f"{each['n']:,}",
                    f"{each['told']:.3f}",
                    f"{each['came']:.3f}",
                )
                for each in whole
            ],
        )
    seal = (
        "every seal follows from the records"
        if report["sealed"]
        else f"the seal of {report['first_broken']} does not follow from the records"
    )
    _say(
        console,
        f"{report['questions']:,} forecasts answered, {report['open']:,} still open; {seal}.",
    )


def render_verification(report: Json, console: Console) -> None:
    """The answer of `runs verify`, a line a file."""
    if report["ok"]:
        forecasts = ", forecasts sealed" if report["forecasts_sealed"] else ""
        _say(console, f"{report['run_dir']}: as recorded{forecasts}.")
    render_integrity(report, console)


def render_repeat(report: Json, console: Console) -> None:
    """The answer of `runs repeat`."""
    if report["identical"]:
        _say(console, f"{report['run_dir']}: made again, every byte of the records agrees.")
    else:
        first = report["first_difference"]
        _say(
            console,
            f"{report['run_dir']}: made again, and the records differ from line {first['line']:,} on "
            f"({first['as_of']}).",
        )
    for each in report["differences"]:
        _say(
            console,
            f"Different: {each['what']} was {_brief(each['then'])}, and is {_brief(each['now'])}.",
        )
    _say(console, f"The new run lies in {report['repeated_dir']}.")


def _brief(value: object) -> str:
    text = _printable(str(value))
    return text if len(text) <= 60 else f"{text[:56]} ..."


def render_integrity(report: Json, console: Console) -> None:
    """What of a run's folder is not as it was recorded; nothing when all is."""
    for sentence in sentences(report):
        _say(console, _printable(sentence))


def render_why(report: Json, console: Console) -> None:
    """The chain in a dozen lines."""
    from agents.reasons import told_chances
    from agents.why import RECALLED_SHOWN

    order = report["order"]
    if order is None:
        _say(console, f"{report['symbol']} at {report['as_of']}: no order. {report['why_not']}")
    else:
        size = (
            f"to {order['value_usd']:,.2f} USD"
            if order["quantity"] is None
            else f"{order['quantity']:,.6g} shares"
        )
        _say(
            console,
            f"{order['id']}: {order['side']} {report['symbol']} {size}, {order['type']}, decided at "
            f"{report['as_of']}",
        )
        _say(console, f"because     {_printable(report['reason'])}")
    if report["target"] is not None:
        _say(
            console, f"target      {_percent(report['target'])} of {report['equity_usd']:,.2f} USD"
        )
    for limit in report["limits"]:
        _say(
            console,
            f"limit       wanted {_percent(limit['wanted_frac'])}, {limit['reason']} gave "
            f"{_percent(limit['allowed_frac'])}",
        )
    for view in report["views"]:
        _say(
            console,
            f"view        {view['agent']}: {100.0 * view['expected_return_frac']:+.2f} % expected, "
            f"confidence {view['confidence_frac']:.2f}",
        )
    chances = told_chances(report["forecasts"])
    if chances is not None:
        sources = ", ".join(name for name in report["forecasts"] if name != "strategy")
        _say(
            console,
            f"forecast    fall {_percent(chances[0])}, rise {_percent(chances[1])} (from {sources})",
        )
    wrote = {(each["entry"], each["version"]): each for each in report["operations"]}
    for each in report["recalled"][:RECALLED_SHOWN]:
        operation = wrote.get((each["id"], each["version"]))
        by = "" if operation is None else f", {operation['kind']} {operation['id']}"
        _say(
            console,
            f"recalled    {each['id']} v{each['version']}, weight {each['weight']:.2f}{by}: "
            f"{_printable(each.get('text', '-'))[:90]}",
        )
    more = len(report["recalled"]) - RECALLED_SHOWN
    if more > 0:
        _say(console, f"            and {more} more entries")
    if order is not None:
        _outcome(report, console)


def _outcome(report: Json, console: Console) -> None:
    """What became of an order: fills, costs, the round trip, and what was not filled."""
    fills = report["fills"]
    for fill in fills[:FILLS_SHOWN]:
        _say(
            console,
            f"filled      {fill['quantity']:+,.6g} at {fill['price']:,.6g}, in the bar of {fill['as_of']}",
        )
    if len(fills) > FILLS_SHOWN:
        _say(console, f"            and {len(fills) - FILLS_SHOWN} more fills")
    if fills:
        costs = report["costs"]
        _say(
            console,
            f"costs       {costs['total_usd']:,.2f} USD: commission {costs['commission_usd']:,.2f}, spread "
            f"{costs['spread_usd']:,.2f}, impact {costs['impact_usd']:,.2f}",
        )
    for each in report["unfilled"]:
        left = "all of it" if each["quantity"] is None else f"{each['quantity']:,.6g} shares"
        _say(console, f"not filled  {left}: {each['reason']}, at {each['as_of']}")
    if not fills and not report["unfilled"]:
        waits = report.get("open_at_end")
        cause = "it still waits where the records end" if waits else "the records have no cause"
        _say(console, f"not filled  {cause}")
    trade = report["trade"]
    if trade is not None and trade["status"] == "closed":
        _say(
            console,
            f"trade       {trade['quantity']:+,.6g} from {trade['entry_time']} at "
            f"{trade['entry_price']:,.6g} to {trade['exit_time']} at {trade['exit_price']:,.6g}: "
            f"{trade['pnl_usd']:+,.2f} USD after costs",
        )
    elif trade is not None:
        _say(
            console,
            f"trade       open since {trade['entry_time']}: {trade['quantity']:+,.6g} at "
            f"{trade['average_price']:,.6g} on average when the records end",
        )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def render_ablation(report: Json, console: Console) -> None:
    """Every arm, every difference, and what the memory was worth."""
    _table(
        console,
        ("arm", "log score", "forecasts", "total return", "Sharpe", "deepest loss"),
        [
            (
                arm["name"],
                _signed(arm["log_score"]),
                f"{arm['forecasts']:,}",
                _signed_percent(arm["metrics"]["total_return_frac"]),
                _signed(arm["metrics"]["sharpe"], 2),
                _percent(arm["metrics"]["max_drawdown_frac"]),
            )
            for arm in report["arms"]
        ],
    )
    console.print()
    _table(
        console,
        ("difference", "figure", "mean", "95 %"),
        [
            (
                f"{each['arm']} - {each['baseline']}",
                "log score" if nats else "bp a day",
                _signed(each["difference"] * (1.0 if nats else 1e4), 4 if nats else 2),
                _interval(
                    [end * (1.0 if nats else 1e4) for end in each["interval"]], 4 if nats else 2
                ),
            )
            for each in report["differences"]
            for nats in (each["figure"] == "log_score",)
        ],
    )
    for note in report["notes"]:
        _say(console, f"Note: {note}")
    _say(console, f"World {report['world']} ({report['data']}), seed {report['seed']}.")
    _say(console, report["verdict"])


def _signed_percent(frac: float | None) -> str:
    return "-" if frac is None else f"{100.0 * frac:+.2f} %"


def _percent(frac: float | None) -> str:
    """A loss or a share, which has no sign of its own."""
    return "-" if frac is None else f"{100.0 * frac:.2f} %"


def render_facts(summary: Json, console: Console) -> None:
    """What a run that is no backtest (a training) came to: every figure of its summary by name."""
    _table(console, ("figure", "value"), list(_facts(summary)))


def _facts(tree: Json, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _facts(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            for at, each in enumerate(value):
                yield from _facts(each, f"{prefix}{name}[{at}].")
        else:
            yield f"{prefix}{name}", _fact(value)


def _fact(value: object) -> str:
    """A figure in few digits; a count stays whole."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:,.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(_fact(each) for each in value)
    return str(value)
