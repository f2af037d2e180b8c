"""The equity-and-drawdown picture of a run.

Owns how it looks. Refuses global state: matplotlib's objects are used directly, never pyplot, so that
nothing opens a window and notebooks keep their own settings.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from trading.report.curves import Curves, DrawnCurves, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b2733"
QUIET = "#5f6b76"
GRID = "#e3e7eb"
RUN = "#0b5cad"
BENCHMARK = "#d9822b"
LOSS = "#b3261e"

WIDTH_INCHES, HEIGHT_INCHES, DPI = 14.0, 9.0, 100


def equity_figure(
    curves: Curves, width_inches: float = WIDTH_INCHES, height_inches: float = HEIGHT_INCHES
) -> Figure:
    """Equity of run and benchmark above, their losses from the peak below.

    The scale is logarithmic when equity spans a wide range, and says so. Mock data are marked across
    the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """A figure that a notebook shows by itself, without pyplot or a magic."""

        def _repr_png_(self) -> bytes:
            return png_bytes(self)

    figure = NotebookFigure(figsize=(width_inches, height_inches), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": (2.6, 1.0), "hspace": 0.07}
    )
    figure.subplots_adjust(left=0.075, right=0.875, top=0.885, bottom=0.06)
    _head(figure, curves)
    for axes in (upper, lower):
        _plain(axes)
    if len(curves.times) == 0:
        upper.text(0.5, 0.5, "no steps were recorded", transform=upper.transAxes, ha="center")
        return figure
    points = drawn(curves)
    _equity(upper, curves, points)
    _losses(lower, points)
    _dates(lower, points)
    if curves.mock:
        upper.text(
            0.5, 0.5, "MOCK DATA", transform=upper.transAxes, ha="center", va="center",
            fontsize=84, fontweight="bold", color=LOSS, alpha=0.16, rotation=12, zorder=5,
        )  # fmt: skip
    return figure


def equity_png(curves: Curves) -> bytes:
    """The picture as a PNG of 1400 x 900 pixels."""
    return png_bytes(equity_figure(curves))


def png_bytes(figure: Figure) -> bytes:
    """A figure as PNG; letters that the font lacks become boxes without a warning."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _head(figure: Figure, curves: Curves) -> None:
    words: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}
    figure.text(0.03, 0.977, curves.title, fontsize=17, fontweight="bold", color=INK, **words)
    figure.text(0.03, 0.938, curves.subtitle, fontsize=11.5, color=QUIET, **words)
    if curves.mock:
        figure.text(
            0.97,
            0.977,
            "MOCK DATA",
            ha="right",
            va="top",
            fontsize=20,
            fontweight="bold",
            color=LOSS,
        )


def _plain(axes: Axes) -> None:
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(QUIET)
    axes.tick_params(colors=QUIET, labelsize=10.5, length=0)
    axes.tick_params(axis="x", which="major", length=4)


def _equity(axes: Axes, curves: Curves, points: DrawnCurves) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    # One record makes no line, so it is drawn as a dot.
    style: dict[str, Any] = {"marker": "o"} if len(points.times) == 1 else {}
    axes.plot(points.times, points.benchmark_usd, color=BENCHMARK, lw=1.3, zorder=2, **style)
    axes.plot(points.times, points.equity_usd, color=RUN, lw=1.8, zorder=3, **style)
    if curves.log_scale:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(10.0, subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]))
    exact = _needs_exact(axes)
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: money(value, curves.currency, exact))
    )
    scale = "log scale" if curves.log_scale else "linear scale"
    axes.text(0.0, 1.012, f"Equity, {scale}", transform=axes.transAxes, fontsize=10.5, color=QUIET)
    _end_labels(axes, curves)


def _end_labels(axes: Axes, curves: Curves) -> None:
    """Name and last value of each line at its right end, kept apart when the ends lie close."""
    low, high = axes.get_ylim()
    exact = _needs_exact(axes)
    ends = {
        "run": (float(curves.equity_usd[-1]), RUN, "this run"),
        "benchmark": (float(curves.benchmark_usd[-1]), BENCHMARK, curves.benchmark_name),
    }
    measure = np.log if curves.log_scale else float
    place = {
        name: float((measure(value) - measure(low)) / (measure(high) - measure(low)))
        for name, (value, _, _) in ends.items()
    }
    room = 0.045 + 0.015 * sum(_folded(label).count("\n") + 1 for _, _, label in ends.values())
    gap = place["run"] - place["benchmark"]
    if abs(gap) < room:
        push = (room - abs(gap)) / 2.0 * (1.0 if gap >= 0.0 else -1.0)
        place["run"] += push
        place["benchmark"] -= push
    for name, (value, colour, label) in ends.items():
        axes.annotate(
            f"{_folded(label)}\n{money(value, curves.currency, exact)}",
            xy=(1.008, place[name]), xycoords="axes fraction", va="center", ha="left",
            fontsize=10.5, color=colour, fontweight="bold" if name == "run" else "normal",
            annotation_clip=False, parse_math=False,
        )  # fmt: skip


def _losses(axes: Axes, points: DrawnCurves) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.fill_between(points.times, points.drawdown_frac, 0.0, color=LOSS, alpha=0.28, lw=0)
    axes.plot(points.times, points.drawdown_frac, color=LOSS, lw=0.9)
    axes.plot(points.times, points.benchmark_drawdown_frac, color=BENCHMARK, lw=0.9, alpha=0.8)
    # A range of at least 1 %, so that noise does not look like a fall.
    axes.set_ylim(bottom=min(-0.01, axes.get_ylim()[0]), top=0.0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.text(0.0, 1.03, "Loss from the peak", transform=axes.transAxes, fontsize=10.5, color=QUIET)
    worst = int(np.argmin(points.drawdown_frac))
    depth = float(points.drawdown_frac[worst])
    late = worst > len(points.times) * 0.85
    if depth < 0.0:
        axes.plot(points.times[worst], depth, marker="o", color=LOSS, ms=5, zorder=6)
        axes.annotate(
            f"{depth * 100.0:.1f} %", xy=(points.times[worst], depth),
            xytext=(-9 if late else 9, 2), textcoords="offset points", ha="right" if late else "left",
            fontsize=10.5, color=LOSS, fontweight="bold", zorder=6,
            bbox={"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )  # fmt: skip


def _dates(axes: Axes, points: DrawnCurves) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=5, maxticks=16)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz="UTC")  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    if len(points.times) > 1:
        axes.set_xlim(points.times[0], points.times[-1])


def _folded(label: str, width: int = 17) -> str:
    """The label over at most two lines."""
    return "\n".join(textwrap.wrap(label, width, max_lines=2, placeholder="..."))


def _needs_exact(axes: Axes) -> bool:
    """Whether three digits would give neighbouring ticks of the value axis the same label."""
    low, high = axes.get_ylim()
    return high - low < 0.05 * max(abs(low), abs(high))


def money(value: float, currency: str = "USD", exact: bool = False) -> str:
    """A short amount: `$1.25M`, `$100k`, `$950`; another currency by its code.

    With `exact`, all digits down to the cent: `$100,010.50`.
    """
    sign = "-" if value < 0.0 else ""
    unit = "$" if currency == "USD" else f"{currency} "
    size = abs(value)
    if exact:
        digits = 0 if float(size).is_integer() else 2
        return f"{sign}{unit}{size:,.{digits}f}"
    # Rounded first, so that 999,999 becomes 1M, never 1000k.
    rounded = float(f"{size:.3g}")
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if rounded >= limit:
            return f"{sign}{unit}{rounded / limit:g}{suffix}"
    return f"{sign}{unit}{rounded:g}"
