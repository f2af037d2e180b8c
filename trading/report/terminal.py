"""What a person sees in the terminal of a finished command.

Owns tables and their words. Each `render_*` takes the JSON object that `--json` would print, so that both
say the same. Refuses to compute figures. Output is ASCII but for the chart and the rules of tables, which
give way when the console's encoding is not Unicode; texts of the user are never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from trading.report import words
from trading.report.chart import text_chart
from trading.report.curves import LOG_RATIO, symbol_list

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.text import Text

Json = Mapping[str, Any]
Kind = Literal["text", "number", "whole"]
Column = tuple[str, Kind]

CHART_ROWS = 9
NARROWEST = 6
"""Columns of text may be folded down to this width."""

WIDE = 100
"""From this width on, round trips are shown with their prices."""

MOST_COLUMNS = 100
"""Charts do not grow wider than this, however wide the terminal is."""

MOST_POSITIONS = 10
"""How many open positions a summary shows."""

STYLE = {"run": "bold blue", "benchmark": "yellow", "none": ""}
STATE_STYLE = {"real": "green", "mock": "bold red", "off": "dim"}


def render_backtest(summary: Json, console: Console, every_position: bool = False) -> None:
    """The summary of a run: `backtest`, `paper-trade` and `runs show`."""
    _headline(summary, console)
    _chart(summary, console)
    figures = words.metric_rows(summary)
    columns: list[Column] = [("", "whole"), ("this run", "number")]
    _table(
        console, [*columns, (summary["benchmark"]["name"], "number")], figures, styles={0: "bold"}
    )
    costs = words.cost_rows(summary)
    _table(
        console,
        [("Costs", "whole"), ("amount", "number"), ("bps of value traded", "number")],
        costs,
        styles={len(costs) - 1: "bold"},
    )
    _line(
        console,
        f"{summary['orders']:,} orders, {summary['fills']:,} fills, "
        f"{summary['trades']:,} closed round trips",
    )
    if unfilled := words.unfilled_text(summary):
        _line(console, f"Orders not filled whole: {unfilled}")
    if still_open := words.open_orders_text(summary):
        _line(console, f"Open at the end, not filled: {still_open}")
    _positions(summary, console, None if every_position else MOST_POSITIONS)
    _drawdowns(summary, console)
    console.print()
    _limits(summary, console)
    _notes(summary.get("notes", ()), console)
    seconds = summary.get("seconds")
    took = "" if seconds is None else f" in {seconds:,.1f} s"
    _line(
        console,
        f"{summary['data']['steps']:,} steps{took}, seed {summary['seed']}, "
        f"config {str(summary['config_hash'])[:12]}",
    )
    _line(console, f"Run folder: {summary['run_dir']}", "bold", whole=True)


def _headline(summary: Json, console: Console) -> None:
    data = summary["data"]
    _mock_banner(data["mock"], console)
    status = " (interrupted)" if summary.get("status") == "interrupted" else ""
    _line(console, f"{summary['mode']}{status}: {symbol_list(data['symbols'])}", "bold")
    source = "mock data" if data["mock"] else f"data {data['name']}"
    _line(console, f"{words.day(data['start'])} to {words.day(data['end'])}, {source}")
    cut = words.limits_sentence(summary.get("limits") or {})
    if cut is not None:
        _line(console, f"{cut[0].upper()}{cut[1:]}", "bold yellow")


def _chart(summary: Json, console: Console) -> None:
    """Equity of run and benchmark over time, with the scale at the left."""
    from rich.text import Text

    curve = summary.get("curve")
    if not curve or len(curve["equity_usd"]) < 2:
        return
    run, benchmark = curve["equity_usd"], curve["benchmark_usd"]
    low, high = min(*run, *benchmark), max(*run, *benchmark)
    log = 0.0 < low < high / LOG_RATIO
    currency = summary["data"]["currency"]
    middle = (low * high) ** 0.5 if log else (low + high) / 2.0
    labels = {
        0: words.dollars(high, currency)[:-3],
        CHART_ROWS // 2: words.dollars(middle, currency)[:-3],
        CHART_ROWS - 1: words.dollars(low, currency)[:-3],
    }
    margin = max(len(label) for label in labels.values()) + 1
    columns = max(10, min(console.width, MOST_COLUMNS) - margin - 1)
    lines = text_chart(
        run, benchmark, columns=columns, rows=CHART_ROWS, log=log, unicode=_unicode(console)
    )
    console.print()
    for row, cells in enumerate(lines):
        text = Text(f"{labels.get(row, ''):>{margin - 1}} ", style="dim")
        for glyph, owner in cells:
            text.append(glyph, STYLE[owner])
        console.print(text, no_wrap=True, overflow="crop", soft_wrap=False)
    first, last = words.day(curve["times"][0]), words.day(curve["times"][-1])
    console.print(
        Text(" " * margin + first + f"{last:>{max(columns - len(first), 1)}}", style="dim")
    )
    key = Text(" " * margin)
    dot = "\u00b7" if _unicode(console) else "."
    line = "\u2809\u2809\u2809" if _unicode(console) else "***"
    key.append(f"{line} this run", STYLE["run"])
    key.append(f"   {dot * 3} {_plain(summary['benchmark']['name'], console)}", STYLE["benchmark"])
    key.append("   log scale" if log else "", "dim")
    console.print(key, overflow="fold")


def _positions(summary: Json, console: Console, most: int | None) -> None:
    """What is held at the end; on a narrow terminal without prices."""
    rows = words.position_rows(summary)
    if not rows:
        return
    shown = rows if most is None else rows[:most]
    kept = range(len(words.POSITION_HEADS)) if console.width >= WIDE else (0, 1, 2, 5, 6)
    number: Kind = "number"
    kinds: tuple[Kind, ...] = ("text", "whole", number, number, number, number, number)
    _table(
        console,
        [(words.POSITION_HEADS[each], kinds[each]) for each in kept],
        [tuple(row[each] for each in kept) for row in shown],
    )
    if len(shown) < len(rows):
        _line(console, f"and {len(rows) - len(shown):,} more (runs show --trades lists all)")


def _drawdowns(summary: Json, console: Console) -> None:
    rows = words.drawdown_rows(summary)
    if not rows:
        _line(console, "No drawdown: equity never stood below an earlier high.")
        return
    _table(
        console,
        [
            ("Worst drawdowns", "number"),
            ("peak", "whole"),
            ("trough", "whole"),
            ("recovered", "whole"),
            ("days", "number"),
        ],
        rows,
    )


def _limits(summary: Json, console: Console) -> None:
    reasons = words.limit_reasons(summary)
    if reasons:
        bound = ", ".join(f"{reason} {times:,}" for reason, times in reasons.items())
        _line(console, f"Verdicts by limit: {bound}")


def render_decide(report: Json, console: Console) -> None:
    """`decide`: what would be ordered now, with the reasons. Nothing is placed."""
    data = report.get("data") or {}
    _mock_banner(bool(report.get("mock", data.get("mock", False))), console)
    _line(console, f"As of {report['as_of']} (UTC). Nothing was placed.", "bold")
    if "equity_usd" in report:
        currency = data.get("currency", "USD")
        equity, cash = (
            words.dollars(report.get(key), currency) for key in ("equity_usd", "cash_usd")
        )
        _line(console, f"Equity {equity}, cash {cash}")
    _decisions(report["decisions"], console)
    _orders(report["orders"], console)
    _views(report["views"], console)
    if report.get("limits_in_force", True):
        _verdicts(report["limits"], console)
    else:
        _line(console, "Limits: not in force.")
    _notes(report.get("notes", ()), console)


def _orders(orders: Sequence[Json], console: Console) -> None:
    if not orders:
        _line(console, "No orders.")
        return
    rows = [
        (
            order["side"],
            order["symbol"],
            order.get("type", "market"),
            _number(order.get("quantity", None) or order.get("estimated_quantity")),
            words.dollars(order.get("value_usd")),
            _number(order.get("limit_price")),
            _number(order.get("stop_price")),
            order.get("tag") or "",
        )
        for order in orders
    ]
    columns: list[Column] = [
        ("Order", "whole"),
        ("symbol", "text"),
        ("type", "whole"),
        ("quantity", "number"),
        ("to hold", "number"),
        ("limit", "number"),
        ("stop", "number"),
        ("tag", "text"),
    ]
    _table(console, columns, rows)
    if any(order.get("quantity") is None for order in orders):
        _line(
            console,
            "A market order's quantity is fixed at its fill, from the value to hold; shown is what it comes "
            "to at the last close.",
        )


def _decisions(decisions: Sequence[Json], console: Console) -> None:
    """What is bought, sold or kept, from where to where; then why, a line each. What is neither held nor
    wanted is counted only."""
    shown = [
        each
        for each in decisions
        if each["action"] != "hold" or each["present_quantity"] or each["target_weight"]
    ]
    rows = [
        (
            each["action"],
            each["symbol"],
            _number(each["quantity"]) if each["quantity"] else words.NONE,
            words.percent(each["present_weight"]),
            words.percent(each["target_weight"]),
            words.dollars(each["estimated_cost_usd"]) if each["quantity"] else words.NONE,
        )
        for each in shown
    ]
    columns: list[Column] = [
        ("Decision", "whole"),
        ("symbol", "text"),
        ("shares", "number"),
        ("now", "number"),
        ("target", "number"),
        ("estimated costs", "number"),
    ]
    if rows:
        _table(console, columns, rows)
        for each in shown:
            _line(console, f"{each['action']} {each['symbol']}: {each['reason']}")
    else:
        _line(console, "Nothing is held and nothing is wanted: all cash.")
    rest = [each["symbol"] for each in decisions if each not in shown]
    if rest:
        some = ", ".join(rest[:10]) + (", ..." if len(rest) > 10 else "")
        _line(console, f"Neither held nor wanted: {len(rest):,} ({some})")


def _views(views: Sequence[Json] | Mapping[str, Json], console: Console) -> None:
    """Views as rows, or as the columns of a record."""
    rows = [
        (agent, symbol, words.signed_percent(expected), words.percent(confidence, 0))
        for agent, symbol, expected, confidence in _view_rows(views)
    ]
    if not rows:
        _line(console, "Views: every agent abstains.")
        return
    columns: list[Column] = [
        ("View of", "text"),
        ("symbol", "text"),
        ("expected return", "number"),
        ("confidence", "number"),
    ]
    _table(console, columns, rows)


def _view_rows(
    views: Sequence[Json] | Mapping[str, Json],
) -> Iterable[tuple[str, str, float | None, float | None]]:
    if isinstance(views, Mapping):
        for agent, columns in views.items():
            for symbol, expected, confidence in zip(
                columns["symbols"],
                columns["expected_return_frac"],
                columns["confidence_frac"],
                strict=True,
            ):
                yield agent, symbol, expected, confidence
        return
    for view in views:
        yield (
            str(view.get("agent", "")),
            str(view.get("symbol", "")),
            view.get("expected_return_frac"),
            view.get("confidence_frac", view.get("confidence")),
        )


def _verdicts(limits: Sequence[Json], console: Console) -> None:
    if not limits:
        _line(console, "Limits: none bound.")
        return
    rows = [
        (
            verdict["symbol"],
            words.percent(verdict["wanted_frac"]),
            words.percent(verdict["allowed_frac"]),
            ", ".join(_listed(verdict.get("reasons", verdict.get("reason", ())))),
        )
        for verdict in limits
    ]
    columns: list[Column] = [
        ("Limit on", "text"),
        ("wanted", "number"),
        ("allowed", "number"),
        ("reasons", "text"),
    ]
    _table(console, columns, rows)


def render_dry_run(report: Json, console: Console) -> None:
    """`dry-run`: what is real, what is mock, what is off."""
    parts = report["parts"]
    _table(
        console,
        [("Part", "whole"), ("state", "whole"), ("detail", "text")],
        [(part["name"], part["state"], part["detail"]) for part in parts],
        styles={index: STATE_STYLE.get(part["state"], "") for index, part in enumerate(parts)},
    )
    console.print()
    _notes(report.get("notes", ()), console)
    verdict = "Everything was built and one cycle ran." if report["ok"] else "The dry run failed."
    _line(console, verdict, "bold green" if report["ok"] else "bold red")
    if not any("paper-trade" in note for note in report.get("notes", ())):
        _line(console, "A dry run sends no orders. `athena paper-trade` trades a simulated book.")


def render_runs(runs: Sequence[Json], console: Console) -> None:
    """`runs list`, in the order given. When a run started stands in its name."""
    if not runs:
        _line(console, "No runs yet. `athena backtest` makes one.")
        return
    rows = []
    for run in runs:
        status = run.get("status")
        remarks = [str(status)] if status not in (None, "done") else []
        remarks += ["mock"] if run.get("mock") else []
        rows.append(
            (
                _folder_name(run["run_dir"]),
                run["mode"] or words.NONE,
                run.get("decided_by") or words.NONE,
                words.amount(run["final_equity_usd"]),
                ", ".join(remarks),
            )
        )
    columns: list[Column] = [
        ("Run", "whole"),
        ("mode", "whole"),
        ("decided by", "text"),
        ("final equity", "number"),
        ("notes", "text"),
    ]
    _table(console, columns, rows)


def render_trades(
    trades: pd.DataFrame | Sequence[Json], console: Console, most: int | None = None
) -> None:
    """`runs show --trades`: round trips in the order of time; with `most`, only the last ones.

    Prices stand in `trades.csv` and need a terminal of `WIDE` columns here.
    """
    rows: list[Any] = list(trades) if isinstance(trades, Sequence) else trades.to_dict("records")
    if not rows:
        _line(console, "No closed round trips.")
        return
    _mock_banner(any(row.get("mock") for row in rows), console)
    shown = rows if most is None else rows[-most:]
    if len(shown) < len(rows):
        _line(console, f"The last {len(shown):,} of {len(rows):,} round trips:")
    wide = console.width >= WIDE
    prices: list[Column] = [("in at", "number"), ("out at", "number")] if wide else []
    columns: list[Column] = [
        ("Symbol", "text"),
        ("entry", "whole"),
        ("exit", "whole"),
        ("quantity", "number"),
        *prices,
        ("P&L", "number"),
        ("costs", "number"),
        ("tag", "text"),
    ]
    cells = [
        (
            row["symbol"],
            words.day(str(row["entry_time"])),
            words.day(str(row["exit_time"])),
            _number(row["quantity"]),
            *((_number(row["entry_price"]), _number(row["exit_price"])) if wide else ()),
            f"{row['pnl_usd']:,.2f}",
            f"{row['costs_usd']:,.2f}",
            row["tag"] if isinstance(row.get("tag"), str) else "",
        )
        for row in shown
    ]
    _table(console, columns, cells)
    total, costs = sum(row["pnl_usd"] for row in rows), sum(row["costs_usd"] for row in rows)
    won = sum(1 for row in rows if row["pnl_usd"] > 0.0)
    _line(
        console,
        f"{len(rows):,} round trips, {won:,} won, P&L {total:,.2f} after costs of {costs:,.2f}",
    )


def render_data_check(report: Json, console: Console) -> None:
    """`data check`: what was found, and every fault with its cure."""
    _mock_banner(bool(report.get("mock", False)), console)
    symbols = report["symbols"]
    many = isinstance(symbols, list | tuple)
    facts = [
        ("Rows", words.count(report["rows"])),
        ("Symbols", f"{len(symbols)}: {symbol_list(symbols)}" if many else words.count(symbols)),
        ("From", words.minute(report["start"])),
        ("To", words.minute(report["end"])),
        ("Interval", report["interval"] or words.NONE),
        ("Ignored columns", ", ".join(map(str, report.get("ignored", ()))) or "none"),
    ]
    _table(console, [("", "whole"), ("", "text")], facts, header=False)
    console.print()
    _gaps(report.get("gaps", ()), report.get("calendar"), console)
    faults = report.get("faults", ())
    for fault in faults:
        where = [str(fault["file"])] if fault.get("file") else []
        where += [f"row {fault['row']}"] if fault.get("row") is not None else []
        where += [str(fault["symbol"])] if fault.get("symbol") else []
        place = f" ({', '.join(where)})" if where else ""
        _line(console, f"Fault: {fault['kind']}{place}: {fault['found']}", "red")
        _line(console, f"  {fault['cure']}")
    _price_warnings(report.get("warnings", ()), console)
    _notes(report.get("notes", ()), console)
    if report["ok"]:
        doubtful = len(report.get("warnings", ()))
        also = f" {doubtful} warning{'s' if doubtful != 1 else ''}." if doubtful else ""
        _line(console, f"No faults.{also}", "bold yellow" if doubtful else "bold green")
    else:
        _line(console, f"{len(faults)} fault{'s' if len(faults) != 1 else ''}.", "bold red")


GAPS_SHOWN = 5
"""More gaps than this are summed up by year; `--json` has all."""


def _gaps(gaps: Sequence[Json], calendar: object, console: Console) -> None:
    """Missing sessions: one by one where they are few, else by calendar and year (of a gap's beginning)."""
    if len(gaps) <= GAPS_SHOWN:
        for gap in gaps:
            _line(console, f"Gap: {_sentence(gap)}", "yellow")
        return
    years: dict[str, int] = {}
    for gap in gaps:
        years[str(gap["start"])[:4]] = years.get(str(gap["start"])[:4], 0) + int(gap["sessions"])
    symbols = len({gap["symbol"] for gap in gaps})
    told = ", ".join(f"{year}: {count:,}" for year, count in sorted(years.items()))
    _line(
        console,
        f"Gaps: {sum(years.values()):,} sessions of {calendar or 'the calendar'} without a bar, in"
        f" {len(gaps):,} stretches of {symbols:,} symbol{'s' if symbols != 1 else ''}. By year: {told}",
        "yellow",
    )


WARNINGS_SHOWN = 3
"""How many warnings of a kind and symbol are shown with their values; `--json` has all."""


def _price_warnings(warnings: Sequence[Json], console: Console) -> None:
    """What is doubtful in the prices: the first rows of each kind and symbol, then cause and cure."""
    groups: dict[tuple[str, str], list[Json]] = {}
    for warning in warnings:
        groups.setdefault((warning["kind"], warning["symbol"]), []).append(warning)
    for (kind, symbol), group in groups.items():
        shown = group[:WARNINGS_SHOWN]
        places = "; ".join(f"row {one['row']}, {one['time']}: {one['found']}" for one in shown)
        more = f"; and {len(group) - len(shown)} more" if len(group) > len(shown) else ""
        _line(console, f"Warning: {kind} ({symbol}, {places}{more})", "yellow")
        _line(console, f"  Likely {shown[0]['cause']}; {shown[0]['cure']}")


def render_dataset(dataset: Json, console: Console) -> None:
    """`data import` and `data fetch`: the dataset, and what there is to say about it."""
    render_datasets([dataset], console)
    _notes(dataset.get("notes", ()), console)


def render_datasets(datasets: Sequence[Json], console: Console) -> None:
    """`data list`."""
    if not datasets:
        _line(console, "No data sets yet. `athena data import FILE` makes one.")
        return
    rows = []
    for each in datasets:
        symbols = each.get("symbols")
        rows.append(
            (
                each.get("name", words.NONE),
                words.count(each.get("rows")),
                words.count(len(symbols) if isinstance(symbols, list | tuple) else symbols),
                words.day(each.get("start")),
                words.day(each.get("end")),
                each.get("path", ""),
            )
        )
    columns: list[Column] = [
        ("Name", "text"),
        ("rows", "number"),
        ("symbols", "number"),
        ("from", "whole"),
        ("to", "whole"),
        ("file", "text"),
    ]
    _table(console, columns, rows)


def _table(
    console: Console,
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    styles: Mapping[int, str] | None = None,
    header: bool = True,
) -> None:
    """Print a table after an empty line. `styles` are those of rows, by index.

    A `number` or `whole` column keeps its width while the rest fits; else cells fold: a cut number is
    a wrong one, and an ellipsis is no ASCII.
    """
    from rich import box
    from rich.table import Table

    cells = [_cells(console, *row) for row in rows]
    heads = _cells(console, *(name for name, _ in columns))
    widths = [max(each.cell_len for each in column) for column in zip(heads, *cells, strict=True)]
    stiff = [kind != "text" for _, kind in columns]
    needed = sum(
        width if keeps else min(width, NARROWEST)
        for width, keeps in zip(widths, stiff, strict=True)
    )
    fits = needed + 3 * (len(columns) - 1) <= console.width
    table = Table(
        box=box.SIMPLE_HEAD if _unicode(console) else None,
        show_header=header,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        header_style="bold",
    )
    for head, (_, kind), keeps in zip(heads, columns, stiff, strict=True):
        table.add_column(
            head,
            justify="right" if kind == "number" else "left",
            overflow="fold",
            no_wrap=keeps and fits,
        )
    for index, row in enumerate(cells):
        table.add_row(*row, style=(styles or {}).get(index))
    console.print()
    console.print(table)


def _cells(console: Console, *values: object) -> list[Text]:
    from rich.text import Text

    return [Text(_plain(value, console), overflow="fold") for value in values]


def _line(console: Console, text: str, style: str = "", whole: bool = False) -> None:
    """A line, folded at words; a `whole` one is left to the terminal, so that a path can be copied."""
    console.print(
        _plain(text, console), style=style or None, markup=False, highlight=False, soft_wrap=whole
    )


def _notes(notes: Iterable[object], console: Console) -> None:
    for note in notes:
        _line(console, f"Note: {note}", "yellow")


def _mock_banner(mock: bool, console: Console) -> None:
    if mock:
        _line(console, "MOCK DATA: seeded random walks (mock), not a market.", "bold red")


def _unicode(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")


def _plain(value: object, console: Console) -> str:
    """Text that the console's encoding can print; control characters of foreign texts are shown as ?."""
    text = "".join(
        letter if letter.isprintable() or letter == "\n" else "?" for letter in str(value)
    )
    return text.encode(console.encoding, "replace").decode(console.encoding)


def _number(value: float | None) -> str:
    if value is None:
        return words.NONE
    if value == 0.0 or abs(value) >= 1.0:
        return f"{value:,.2f}"
    return f"{value:.4g}"


def _folder_name(run_dir: object) -> str:
    return str(run_dir).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def _listed(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]


def _sentence(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items() if each is not None)
    return str(value)
