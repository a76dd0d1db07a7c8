"""Plots with two logarithmic axes as SVG, for light and dark themes; pure, without matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from rankbook.display.images import GRID, document, image

__all__ = ["Plot", "side_by_side"]

_WIDTH, _HEIGHT = 380, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 14, 26, 40
_TICKS = 7
"""The most labels of an axis."""

_POINTS, _CURVE = "#3b82f6", "#d97706"

_Pair = tuple[float, float]


@dataclass(frozen=True)
class Plot:
    """One panel."""

    title: str
    points: Sequence[_Pair]
    """All positive."""
    curve: Sequence[_Pair]
    """A line through these, without marks; empty for none."""
    x_label: Callable[[float], str]
    y_label: Callable[[float], str]
    x_base: int = 4
    """The base whose powers are the ticks of that axis."""
    across: str = "size"
    """What it shows."""
    low: Sequence[float] = ()
    """The lower end of each point's spread, which may be negative; empty to draw none."""
    high: Sequence[float] = ()


def side_by_side(plots: Sequence[Plot], description: str) -> str:
    """Draw panels in a row, as an image in HTML.

    Args:
        plots: The panels.
        description: What they show, in words.
    """
    panels = "".join(
        f'<g transform="translate({i * _WIDTH} 0)">{"".join(_panel(plot))}</g>'
        for i, plot in enumerate(plots)
    )
    title = plots[0].title
    drawn = document(panels, len(plots) * _WIDTH, _HEIGHT, title=title, description=description)
    return f'<div style="padding: 4px 0 8px">{image(drawn, description)}</div>'


@dataclass(frozen=True)
class _Axis:
    """From values to pixels, by their logarithms."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return self.begin + share * (self.end - self.begin)


def _axis(values: Sequence[float], begin: float, end: float) -> _Axis:
    low, high = min(values), max(values)
    if low == high:
        low, high = low / 2, high * 2
    margin = (high / low) ** 0.04
    return _Axis(low / margin, high * margin, begin, end)


def _ticks(axis: _Axis, base: int) -> list[float]:
    """Powers of a base within an axis, as many as there is room for; else its ends."""
    first = math.ceil(math.log(axis.low, base) - 1e-9)
    last = math.floor(math.log(axis.high, base) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / _TICKS))
    found = [float(base) ** n for n in range(first, last + 1, step)]
    return found if len(found) > 1 else [axis.low, axis.high]


def _panel(plot: Plot) -> Iterator[str]:
    every = [*plot.points, *plot.curve]
    x = _axis([p[0] for p in every], _LEFT, _WIDTH - _RIGHT)
    # A spread wider than its value would reach down to zero, which has no logarithm.
    floor = min(p[1] for p in every) / 2
    lows = [max(low, floor) for low in plot.low]
    y = _axis([*(p[1] for p in every), *lows, *plot.high], _HEIGHT - _BOTTOM, _TOP)
    yield f'<text x="{_LEFT}" y="14" font-weight="600">{escape(plot.title)}</text>'
    for tick in _ticks(x, plot.x_base):
        yield _line(x(tick), _TOP, x(tick), _HEIGHT - _BOTTOM, GRID)
        yield _text(x(tick), _HEIGHT - _BOTTOM + 16, plot.x_label(tick), "middle")
    for tick in _ticks(y, 10):
        yield _line(_LEFT, y(tick), _WIDTH - _RIGHT, y(tick), GRID)
        yield _text(_LEFT - 6, y(tick) + 4, plot.y_label(tick), "end")
    yield _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, plot.across, "middle")
    if plot.curve:
        drawn = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in plot.curve)
        yield (
            f'<polyline points="{drawn}" fill="none" stroke="{_CURVE}" stroke-width="1.5" '
            'stroke-dasharray="5 3"/>'
        )
    for (at, _), low, high in zip(plot.points, lows, plot.high, strict=False):
        yield _line(x(at), y(low), x(at), y(high), _POINTS)
    for at, value in plot.points:
        label = f"{plot.x_label(at)}: {plot.y_label(value)}"
        yield (
            f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="4" fill="{_POINTS}">'
            f"<title>{escape(label)}</title></circle>"
        )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
