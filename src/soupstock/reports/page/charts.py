"""The report's charts as inline SVG. Knows numbers and labels, not what they mean.

Colours and patterns are the style sheet's, by class: `kept`, `dropped`, `plain`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from soupstock.reports.svg import line, rect, text

_WIDTH, _HEIGHT = 360, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 8, 20, 22
_FLOOR = _HEIGHT - _BOTTOM
_LABELS = 4
_TICKS = 4


@dataclass(frozen=True)
class Column:
    """One column of a histogram: its lower end, its range in words, and its two parts."""

    low: float
    label: str
    kept: int
    dropped: int


def bar(parts: Sequence[tuple[str, int]], whole: int) -> Markup:
    """Draw a bar of parts, each with its class; `whole` is the full width.

    Screen readers skip it, because the numbers are beside it.
    """
    pieces, start = [], 0.0
    for name, rows in parts:
        share = 100 * rows / whole if whole else 0.0
        if rows:
            pieces.append(rect(name, f"{start:.2f}%", 0, f"{share:.2f}%", "100%"))
        start += share
    return Markup('<svg class="bar" aria-hidden="true" focusable="false">{}</svg>').format(
        Markup("").join(pieces)
    )


def histogram(
    columns: Sequence[Column],
    label: str,
    show: Callable[[float], str],
    limits: Sequence[tuple[str, float]] = (),
) -> Markup:
    """Draw columns of equal width, the kept part below; `limits` are marked where they fall."""
    step = columns[1].low - columns[0].low if len(columns) > 1 else 1.0
    width = (_WIDTH - _LEFT - _RIGHT) / len(columns)
    ticks = _ticks(max(column.kept + column.dropped for column in columns))
    scale = (_FLOOR - _TOP) / ticks[-1]
    pieces = [
        *_grid(ticks, scale),
        *(
            piece
            for n, column in enumerate(columns)
            for piece in _stack(column, _LEFT + n * width, width, scale)
        ),
        *_labels(columns, step, width, show),
    ]
    start, end = columns[0].low, columns[0].low + step * len(columns)
    for name, value in limits:
        if start <= value <= end:
            x = _LEFT + (value - start) / step * width
            pieces += _mark(x, f"{name} {show(value)}")
    return Markup(
        '<svg class="histogram" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, label, Markup("").join(pieces))


def _ticks(highest: int) -> list[int]:
    """Divide the range from 0 to at least `highest` at round whole numbers."""
    rough = max(1.0, highest / _TICKS)
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
    return [step * n for n in range(math.ceil(max(1, highest) / step) + 1)]


def _grid(ticks: Sequence[int], scale: float) -> Iterator[Markup]:
    for tick in ticks:
        y = _FLOOR - tick * scale
        name = "line" if tick else "floor"
        yield line(name, (_LEFT, _WIDTH - _RIGHT), (y, y))
        yield text(_LEFT - 6, y + 4, f"{tick:,}", "end")


def _stack(column: Column, x: float, width: float, scale: float) -> Iterator[Markup]:
    if not column.kept + column.dropped:
        return
    pieces, y = [], float(_FLOOR)
    for name, rows in (("kept", column.kept), ("dropped", column.dropped)):
        height = rows * scale
        y -= height
        if rows:
            pieces.append(rect(name, x + 1, y, max(1, width - 2), height))
    title = f"{column.label}: {column.kept:,} kept, {column.dropped:,} dropped"
    yield Markup("<g><title>{}</title>{}</g>").format(title, Markup("").join(pieces))


def _labels(
    columns: Sequence[Column], step: float, width: float, show: Callable[[float], str]
) -> Iterator[Markup]:
    """Label some of the columns' lower ends, and the upper end of the last."""
    every = math.ceil(len(columns) / _LABELS)
    for n in range(0, len(columns) + 1, every):
        anchor = "end" if n == len(columns) else "middle"
        value = columns[0].low + n * step
        x = _LEFT + n * width + (_RIGHT if anchor == "end" else 0)
        yield text(x, _FLOOR + 16, show(value), anchor)


def _mark(x: float, label: str) -> Iterator[Markup]:
    yield line("limit", (x, x), (_TOP - 6, _FLOOR))
    is_right = x > _WIDTH / 2
    yield text(x + (-4 if is_right else 4), 12, label, "end" if is_right else "start")
