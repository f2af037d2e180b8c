"""Small line charts as SVG text, for a page that needs no script and no network.

Owns axes, ticks and paths. Refuses to know what is drawn. All text is made here from numbers and dates,
so that nothing a user wrote reaches the markup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
TimeArray = npt.NDArray[np.datetime64]

LEFT, RIGHT, TOP, BOTTOM = 74.0, 12.0, 10.0, 24.0


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One series, [P]. `style` is a class of the page's style sheet; `filled` shades down to zero."""

    values: FloatArray
    style: str
    filled: bool = False


def line_chart(
    times: TimeArray,
    lines: Sequence[Line],
    label: Callable[[float], str],
    *,
    height: float = 260.0,
    width: float = 1_000.0,
    log: bool = False,
    include_zero: bool = False,
) -> str:
    """An <svg> element. Shapes: `times` and every line [P]; nothing is drawn for no points."""
    if len(times) == 0:
        return ""
    values = np.concatenate([line.values for line in lines])
    values = values[np.isfinite(values)]
    low, high = float(np.min(values)), float(np.max(values))
    if include_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high <= low:
        pad = abs(high) * 0.01 or 0.01
        low, high = low - (0.0 if include_zero and low == 0.0 else pad), high + pad
    measure = math.log10 if log else float
    bottom, top = measure(low), measure(high)
    if not include_zero:
        bottom, top = bottom - 0.03 * (top - bottom), top + 0.03 * (top - bottom)
    inner_width, inner_height = width - LEFT - RIGHT, height - TOP - BOTTOM
    seconds = times.astype("datetime64[s]").astype(np.float64)
    span = float(seconds[-1] - seconds[0]) or 1.0
    xs = LEFT + (seconds - seconds[0]) / span * inner_width

    def y_of(value: float) -> float:
        return TOP + (top - measure(value)) / (top - bottom) * inner_height

    parts = [f'<svg viewBox="0 0 {width:g} {height:g}" role="img">']
    for value in log_ticks(low, high) if log else ticks(low, high):
        y = y_of(value)
        parts.append(
            f'<line class="grid" x1="{LEFT:g}" x2="{width - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(
            f'<text class="tick end" x="{LEFT - 6:g}" y="{y + 4:.1f}">{label(value)}</text>'
        )
    for moment, text in time_ticks(times):
        x = LEFT + (moment - seconds[0]) / span * inner_width
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP:g}" y2="{height - BOTTOM:g}"/>'
        )
        parts.append(f'<text class="tick mid" x="{x:.1f}" y="{height - 7:g}">{text}</text>')
    for line in lines:
        raised = np.log10(line.values) if log else line.values
        ys = TOP + (top - raised) / (top - bottom) * inner_height
        path = _path(xs, ys)
        if line.filled:
            zero = y_of(0.0)
            area = f"{path}L{xs[-1]:.1f} {zero:.1f}L{xs[0]:.1f} {zero:.1f}Z"
            parts.append(f'<path class="area {line.style}" d="{area}"/>')
        parts.append(f'<path class="line {line.style}" d="{path}"/>')
    parts.append("</svg>")
    return "".join(parts)


def _path(xs: FloatArray, ys: FloatArray) -> str:
    points = [f"{x:.1f} {y:.1f}" for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]
    # Neighbours that fall on the same tenth of a pixel add bytes and no ink.
    kept = [point for index, point in enumerate(points) if index == 0 or point != points[index - 1]]
    return "M" + "L".join(kept) if len(kept) > 1 else f"M{kept[0]}h0.1"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round values (1, 2, 2.5 or 5 times a power of ten apart) inside [low, high]."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten inside [low, high]; powers alone when there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    multiples = (1.0, 2.0, 5.0) if len(powers) <= 5 else (1.0,)
    return [m * 10.0**p for p in powers for m in multiples if low <= m * 10.0**p <= high]


def time_ticks(times: TimeArray, most: int = 14) -> list[tuple[float, str]]:
    """(seconds since 1970, label) at starts of years, months, days or hours, at most about `most`."""
    first, last = times[0].astype("datetime64[s]"), times[-1].astype("datetime64[s]")
    for unit, cut in (("h", 16), ("D", 10), ("M", 7), ("Y", 4)):
        start = first.astype(f"datetime64[{unit}]")
        count = int((last.astype(f"datetime64[{unit}]") - start).astype(int))
        if count <= most or unit == "Y":
            step = -(-count // most) or 1
            moments = start + np.arange(0, count + 1, step)
            return [
                (
                    float(moment.astype("datetime64[s]").astype(np.int64)),
                    str(moment.astype("datetime64[m]"))[:cut],
                )
                for moment in moments
                if first <= moment.astype("datetime64[s]") <= last
            ]
    return []
