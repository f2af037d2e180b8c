"""`report.html`: a run on one page that needs no network, no script and no other file.

Owns what stands on the page; `report.html.j2` beside it owns how it looks. Every text passes autoescape;
only the charts, made of numbers by `trading/report/svg.py`, are inserted as markup.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.version import VERSION
from trading.metrics import monthly_returns, yearly_returns
from trading.portfolio import RoundTrip
from trading.report import words
from trading.report.curves import Curves, drawn, symbol_list
from trading.report.picture import equity_figure, money, png_bytes
from trading.report.svg import Line, line_chart

if TYPE_CHECKING:
    from jinja2 import Environment, Template

CHART_POINTS = 1_500
"""Points of a chart on the page: about one and a half per unit of its width."""

BIGGEST = 10
"""How many of the best and of the worst round trips are listed."""

SHOWN_SYMBOLS = 60


def report_html(
    summary: Mapping[str, Any],
    curves: Curves,
    round_trips: Sequence[RoundTrip],
    warnings: Sequence[str] = (),
) -> str:
    """The page. `summary` is what `trading.result.summarise` gives for the same run; `warnings` stand above
    everything: why its figures may not be believed."""
    data = summary["data"]
    currency = data["currency"]
    ranked = sorted(round_trips, key=lambda trip: trip.pnl_usd)
    won = [trip for trip in ranked[::-1] if trip.pnl_usd > 0.0][:BIGGEST]
    lost = [trip for trip in ranked if trip.pnl_usd < 0.0][:BIGGEST]
    return _template("report.html.j2").render(
        title=curves.title,
        subtitle=curves.subtitle,
        version=VERSION,
        summary=summary,
        data=data,
        mock=data["mock"],
        warnings=warnings,
        notes=summary.get("notes", ()),
        symbols=symbol_list(data["symbols"], SHOWN_SYMBOLS),
        charts=_charts(curves),
        log_scale=curves.log_scale,
        benchmark_name=curves.benchmark_name,
        metric_rows=words.metric_rows(summary),
        cost_rows=words.cost_rows(summary),
        traded=words.amount(summary["costs"]["traded_usd"], currency),
        benchmark_costs=words.amount(summary["benchmark"]["costs_usd"], currency),
        position_rows=words.position_rows(summary),
        unfilled=words.unfilled_text(summary),
        open_orders=words.open_orders_text(summary),
        drawdown_rows=words.drawdown_rows(summary),
        calendar=_calendar(curves),
        trade_groups=[
            (name, [_trade_row(trip, currency) for trip in trips])
            for name, trips in (("Best", won), ("Worst", lost))
            if trips
        ],
        limits=words.limit_reasons(summary),
        limits_sentence=words.limits_sentence(summary.get("limits") or {}),
        words=words,
    )


def notebook_html(summary: Mapping[str, Any], curves: Curves, warnings: Sequence[str] = ()) -> str:
    """A short table and a small picture, for a notebook's output cell; `warnings` as in `report_html`."""
    picture = base64.b64encode(png_bytes(equity_figure(curves, 9.0, 5.4))).decode("ascii")
    return _template("notebook.html.j2").render(
        title=curves.title,
        subtitle=curves.subtitle,
        mock=summary["data"]["mock"],
        warnings=warnings,
        benchmark_name=curves.benchmark_name,
        metric_rows=words.metric_rows(summary),
        limits_sentence=words.limits_sentence(summary.get("limits") or {}),
        picture=picture,
    )


def _charts(curves: Curves) -> dict[str, str]:
    points = drawn(curves, CHART_POINTS)

    def percent(value: float) -> str:
        return words.percent(value, 1 if 0.0 < abs(value) < 0.1 else 0)

    def amount(value: float) -> str:
        return money(value, curves.currency, exact)

    low, high = (
        float(min(points.equity_usd, default=0.0)),
        float(max(points.equity_usd, default=0.0)),
    )
    exact = high - low < 0.05 * max(abs(low), abs(high))
    return {
        "equity": line_chart(
            points.times,
            [Line(points.benchmark_usd, "benchmark"), Line(points.equity_usd, "run")],
            amount,
            height=330.0,
            log=curves.log_scale,
        ),
        "drawdown": line_chart(
            points.times,
            [
                Line(points.drawdown_frac, "loss", filled=True),
                Line(points.benchmark_drawdown_frac, "benchmark"),
            ],
            percent,
            height=180.0,
            include_zero=True,
        ),
        "exposure": line_chart(
            points.times,
            [Line(points.exposure_frac, "run", filled=True)],
            percent,
            height=150.0,
            include_zero=True,
        ),
    }


def _calendar(curves: Curves) -> list[dict[str, Any]]:
    """One row a year: returns by month, of the year, and of the benchmark; newest year last."""
    months = monthly_returns(curves.equity_usd, curves.times)
    theirs = yearly_returns(curves.benchmark_usd, curves.times)
    return [
        {
            "year": year,
            "months": [_cell(months.get((year, month))) for month in range(1, 13)],
            "total": _cell(total),
            "benchmark": _cell(theirs[year]),
        }
        for year, total in yearly_returns(curves.equity_usd, curves.times).items()
    ]


def _cell(value: float | None) -> dict[str, str]:
    """Text and shade (a class from `l4` to `g4`, losses to gains) of a return."""
    if value is None:
        return {"text": "", "shade": ""}
    step = min(4, round(abs(value) * 40.0))
    shade = f"{'g' if value > 0.0 else 'l'}{step}" if step else ""
    return {"text": f"{value * 100.0:.1f}", "shade": shade}


def _trade_row(trip: RoundTrip, currency: str) -> tuple[str, ...]:
    return (
        trip.symbol,
        words.minute(trip.entry_time),
        words.minute(trip.exit_time),
        f"{trip.quantity:,.2f}",
        f"{trip.entry_price:,.4g}" if abs(trip.entry_price) < 1.0 else f"{trip.entry_price:,.2f}",
        f"{trip.exit_price:,.4g}" if abs(trip.exit_price) < 1.0 else f"{trip.exit_price:,.2f}",
        words.dollars(trip.pnl_usd, currency),
        words.dollars(trip.costs_usd, currency),
        trip.tag or "",
    )


def _template(name: str) -> Template:
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
