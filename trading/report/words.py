"""Figures as people read them: one wording for the terminal, the page and the notebook.

Owns the order, names and formats of figures. Plain ASCII, so that any terminal can print them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

NONE = "-"


def percent(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """`12.34 %` of a fraction; without decimals from 1,000 % on."""
    if value is None:
        return NONE
    size = value * 100.0
    places = 0 if abs(size) >= 1_000.0 else digits
    text = f"{size:{'+' if signed else ''},.{places}f} %"
    # A rounded zero has no sign.
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")


def signed_percent(value: float | None) -> str:
    return percent(value, signed=True)


def ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:,.2f}"


def days(value: float | None) -> str:
    if value is None:
        return NONE
    whole = value >= 10.0 or value == int(value)
    return f"{value:,.0f}" if whole else f"{value:,.1f}"


def times_per_year(value: float | None) -> str:
    return NONE if value is None else f"{value:,.2f} x"


def dollars(value: float | None, currency: str = "USD") -> str:
    """`$1,234.56`; another currency by its code."""
    if value is None:
        return NONE
    unit = "$" if currency == "USD" else f"{currency} "
    text = f"{abs(value):,.2f}"
    return f"{'-' if value < 0.0 and text.strip('0.,') else ''}{unit}{text}"


WHOLE_FROM = 1_000.0


def amount(value: float | None, currency: str = "USD") -> str:
    """What a run came to: whole dollars from 1,000 on, `$282,634`. The last bits of linear algebra differ
    between kinds of machine, and over thousands of steps the cents with them; JSON has every digit."""
    if value is None or abs(value) < WHOLE_FROM:
        return dollars(value, currency)
    return dollars(round(value), currency)[:-3]


def quantity(value: float) -> str:
    """A number of shares: six digits at least, and every digit before the point; JSON has all."""
    whole = len(str(int(abs(value))))
    text = f"{value:,.{max(0, 6 - whole)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def bps(value: float | None) -> str:
    return NONE if value is None else f"{value:,.2f}"


def count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def day(moment: str | None) -> str:
    """The date of an ISO time."""
    return NONE if not moment else moment[:10]


def minute(moment: object) -> str:
    """Date and time of an ISO time, to the minute, without the zone (UTC)."""
    return NONE if not moment else str(moment)[:16].replace("T", " ")


METRICS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("total_return_frac", "Total return", signed_percent),
    ("annual_return_frac", "Annual return", signed_percent),
    ("volatility_frac", "Volatility, annual", percent),
    ("sharpe", "Sharpe", ratio),
    ("sortino", "Sortino", ratio),
    ("calmar", "Calmar", ratio),
    ("max_drawdown_frac", "Deepest drawdown", percent),
    ("max_drawdown_days", "Longest drawdown, days", days),
    ("var_95_frac", "95 % value at risk, one bar", percent),
    ("expected_shortfall_95_frac", "95 % expected shortfall", percent),
    ("turnover_frac_per_year", "Turnover per year, one way", times_per_year),
    ("exposure_frac", "Mean gross exposure", percent),
    ("hit_rate_frac", "Round trips that won", percent),
    ("profit_factor", "Profit factor", ratio),
)

COSTS = (
    ("commission", "Commission"),
    ("spread", "Half spread"),
    ("impact", "Market impact"),
    ("borrow", "Borrowing"),
    ("total", "Total"),
)


def metric_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, this run, benchmark) of final equity and every metric."""
    ours, theirs = summary["metrics"], summary["benchmark"]["metrics"]
    currency = summary["data"]["currency"]
    first = (
        "Final equity",
        amount(summary["final_equity_usd"], currency),
        amount(summary["benchmark"]["final_equity_usd"], currency),
    )
    return [first] + [(name, show(ours[key]), show(theirs[key])) for key, name, show in METRICS]


def cost_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, amount, basis points of the value traded) of every kind of cost, the total last."""
    costs, currency = summary["costs"], summary["data"]["currency"]
    return [
        (name, amount(costs[f"{key}_usd"], currency), bps(costs.get(f"{key}_bps")))
        for key, name in COSTS
    ]


POSITION_HEADS = ("Open position", "since", "quantity", "entry", "mark", "value", "unrealised")


def position_rows(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What is held at the last record, the largest first, by `POSITION_HEADS`. A stale mark says the day
    that it is of."""
    currency = summary["data"]["currency"]
    held = sorted(summary.get("open_positions", ()), key=lambda each: -abs(each["value_usd"]))
    return [
        (
            each["symbol"],
            day(each["entry_time"]) if each["entry_time"] else NONE,
            quantity(each["quantity"]),
            price(each["entry_price_usd"]),
            price(each["mark_usd"])
            + (f" of {each['last_bar'][:10]}" if each["missed_bars"] else ""),
            amount(each["value_usd"], currency),
            amount(each["unrealised_usd"], currency),
        )
        for each in held
    ]


def price(value: float) -> str:
    """A price with two digits, or four significant ones below 1."""
    return f"{value:,.4g}" if abs(value) < 1.0 else f"{value:,.2f}"


def unfilled_text(summary: Mapping[str, Any]) -> str:
    """`1 open, 3 participation`: how many orders ended without being filled whole, by reason; or empty."""
    counts = summary.get("orders_unfilled") or {}
    return ", ".join(f"{number:,} {reason}" for reason, number in counts.items())


def open_orders_text(summary: Mapping[str, Any], most: int = 5) -> str:
    """`sell END (o2)`: the first orders that still worked when the run ended; or empty."""
    orders = summary.get("open_orders") or ()
    told = [f"{each['side']} {each['symbol']} ({each['order_id']})" for each in orders[:most]]
    more = [f"{len(orders) - most:,} more"] if len(orders) > most else []
    return ", ".join([*told, *more])


def drawdown_rows(summary: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """(depth, peak, trough, recovery, days) of the worst drawdowns."""
    return [
        (
            percent(each["depth_frac"]),
            day(each["peak"]),
            day(each["trough"]),
            day(each["recovery"]) if each["recovery"] else "not yet",
            days(each["days"]),
        )
        for each in summary.get("drawdowns", ())
    ]


def limits_sentence(limits: Mapping[str, Any]) -> str | None:
    """`limits cut 575 of 596 decisions: exposure 48 % instead of 100 %`; None where nothing was cut."""
    if not limits.get("cut"):
        return None
    held, wanted = limits["exposure_frac"], limits["wanted_exposure_frac"]
    return (
        f"limits cut {count(limits['cut'])} of {count(limits['decisions'])} decisions: "
        f"exposure {percent(held, 0)} instead of {percent(wanted, 0)}"
    )


def limit_reasons(summary: Mapping[str, Any]) -> Mapping[str, int]:
    """How often each reason code stood in a verdict; a run of an earlier version has nothing else there."""
    limits: Mapping[str, Any] = summary.get("limits") or {}
    reasons: Mapping[str, int] = limits.get("reasons", {}) if "decisions" in limits else limits
    return reasons
