"""The collectives of all ranks side by side, as a picture that stays: SVG, and as text. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rankbook.display.images import GRID, document, image
from rankbook.errors import InputError
from rankbook.models import CellSpan
from rankbook.timeline import Bar
from rankbook.words import plural

__all__ = ["Chart", "to_html", "to_svg", "to_text"]

_MOST = 4_000
"""How many bars, the longest ones, are drawn."""

_WIDTH, _LEFT, _RIGHT = 900, 64, 12
_TOP, _HIGH, _LOW = 34, 24, 6
"""Pixels above the lanes, and of a lane among few and among very many."""

_ALL_LANES = 400
"""Height of the lanes of many ranks together, pixels, unless one would be lower than ``_LOW``."""

_LETTER = 6.6
"""Pixels of a letter in a bar's label."""

_COLOURS = ("#3b82f6", "#10b981", "#d97706", "#8b5cf6", "#06b6d4", "#db2777", "#84cc16", "#64748b")
_FAILED = "#dc2626"
_PATTERN = (
    '<defs><pattern id="rankbook-waits" width="5" height="5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="5" height="5" fill="#fff" fill-opacity=".55"/>'
    '<rect width="2" height="5" fill="#fff" fill-opacity=".25"/></pattern></defs>'
)
"""The pattern over the time in which a rank waited for others."""

_STEPS = (1, 2, 5, 10)
_TICKS = 8


@dataclass(frozen=True, repr=False)
class Chart:
    """Collectives of a session's ranks, by the notebook's clock.

    It shows itself in a notebook, and stays when that is saved.

    Attributes:
        bars: What was called; times in seconds since the epoch.
        cells: The cells of that time.
        world_size: Number of ranks.
        note: What is not shown; empty if all is.
    """

    bars: tuple[Bar, ...]
    cells: tuple[CellSpan, ...]
    world_size: int
    note: str = ""

    def save(self, path: str | Path) -> None:
        """Write the picture as a file that every browser shows.

        Args:
            path: The file's path, ending in ``.svg``.

        Raises:
            InputError: The name has another ending.
            OSError: The file cannot be written.
        """
        file = Path(path)
        if file.suffix.lower() not in {"", ".svg"}:
            raise InputError(
                f"The picture is SVG: {file.with_suffix('.svg').name}, not {file.name}."
            )
        file.write_text(to_svg(self), encoding="utf-8")

    def _repr_html_(self) -> str:
        return to_html(self)

    def __repr__(self) -> str:
        return to_text(self)


def to_html(chart: Chart) -> str:
    """The picture as an image, which stays where SVG is removed from HTML."""
    return image(to_svg(chart), to_text(chart))


def to_svg(chart: Chart) -> str:
    """Draw a lane for each rank: hatched while it waited for others, full while data went."""
    bars, note = _drawn(chart)
    scale = _Scale(bars)
    lane = _lane(chart.world_size)
    height = round(_TOP + lane * chart.world_size) + 24 + (16 if note else 0)
    parts = [*_axis(scale, chart.world_size), *_lanes(chart.world_size), *_cells(chart, scale)]
    parts += _rectangles(bars, scale, lane)
    parts += _legend(bars, height - (16 if note else 0))
    if note:
        parts.append(f'<text x="{_LEFT}" y="{height - 5}">{escape(note)}</text>')
    return document(
        f"{_PATTERN}{''.join(parts)}",
        _WIDTH,
        height,
        title="timeline of collectives",
        description=to_text(chart),
        size=11,
    )


def to_text(chart: Chart) -> str:
    """Say in a line for each rank how many collectives it called, and how long it waited."""
    if not chart.bars:
        return "No collective was called."
    waits = _waits(chart.bars)
    lines = []
    for rank in range(chart.world_size):
        own = [bar for bar in chart.bars if bar.rank == rank]
        waited = sum(waits[bar] for bar in own)
        lines.append(
            f"rank {rank}: {plural(len(own), 'collective')}, waited {_time(waited)} for others"
        )
    return "\n".join([*lines, *filter(None, [chart.note])])


def _drawn(chart: Chart) -> tuple[list[Bar], str]:
    """The bars that fit, in order, and a note about the others."""
    bars, note = list(chart.bars), chart.note
    if len(bars) > _MOST:
        note = f"{note} The longest {_MOST:,} of {len(bars):,} calls are drawn.".strip()
        bars = sorted(bars, key=lambda bar: -_length(bar))[:_MOST]
    return sorted(bars, key=lambda bar: bar.start), note


def _length(bar: Bar) -> float:
    return 0.0 if math.isnan(bar.duration) else bar.duration


def _waits(bars: Sequence[Bar]) -> dict[Bar, float]:
    """By bar, how long its rank waited in it for the last rank, or for one that never came."""
    last: dict[tuple[int, str, int], float] = {}
    for bar in bars:
        late = 0.0 if math.isnan(bar.lateness) else bar.lateness
        last[bar.key] = max(late, last.get(bar.key, 0.0))

    def waited(bar: Bar) -> float:
        if bar.failed:
            return _length(bar)
        if math.isnan(bar.lateness):
            return 0.0
        return min(max(0.0, last[bar.key] - bar.lateness), _length(bar))

    return {bar: waited(bar) for bar in bars}


class _Scale:
    """From seconds since the epoch to pixels."""

    def __init__(self, bars: Sequence[Bar]) -> None:
        self.begin = min((bar.start for bar in bars), default=0.0)
        end = max((bar.start + _length(bar) for bar in bars), default=1.0)
        self.seconds = max(end - self.begin, 1e-6)

    def __call__(self, moment: float) -> float:
        share = (moment - self.begin) / self.seconds
        return _LEFT + min(1.0, max(0.0, share)) * (_WIDTH - _LEFT - _RIGHT)


def _lane(world_size: int) -> float:
    """Height of a lane, pixels."""
    return max(_LOW, min(_HIGH, _ALL_LANES / max(1, world_size)))


def _axis(scale: _Scale, world_size: int) -> Iterator[str]:
    power = 10.0 ** math.floor(math.log10(scale.seconds / _TICKS))
    step = next(s * power for s in _STEPS if s * power * _TICKS >= scale.seconds * 0.999)
    bottom = _TOP + _lane(world_size) * world_size
    for number in range(int(scale.seconds / step) + 1):
        x = scale(scale.begin + number * step)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}" stroke="{GRID}"/>'
        text = _time(number * step)
        anchor = "middle"
        if x + len(text) * _LETTER / 2 > _WIDTH:  # it would be cut at the edge of the picture
            x, anchor = _WIDTH, "end"
        yield f'<text x="{x:.1f}" y="{_TOP - 10}" text-anchor="{anchor}">{text}</text>'


def _lanes(world_size: int) -> Iterator[str]:
    lane = _lane(world_size)
    for rank in range(0, world_size, math.ceil(14 / lane)):  # a name needs 14 pixels
        y = _TOP + lane * rank + lane / 2 + 4
        yield f'<text x="{_LEFT - 8}" y="{y:.1f}" text-anchor="end">rank {rank}</text>'


def _cells(chart: Chart, scale: _Scale) -> Iterator[str]:
    """Where cells began, named where there is room."""
    right = -math.inf
    for cell in chart.cells:
        if not cell.number or not scale.begin <= cell.started <= scale.begin + scale.seconds:
            continue
        x, name = scale(cell.started), f"In [{cell.number}]"
        bottom = _TOP + _lane(chart.world_size) * chart.world_size
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 22}" y2="{bottom}" '
            'stroke="currentColor" stroke-dasharray="2 3" stroke-opacity=".5"/>'
        )
        width = len(name) * _LETTER
        if x > right and x + 3 + width <= _WIDTH:
            yield f'<text x="{x + 3:.1f}" y="{_TOP - 22}">{name}</text>'
            right = x + 10 + width


def _colours(bars: Sequence[Bar]) -> Mapping[str, str]:
    ops = dict.fromkeys(bar.op for bar in bars)
    return {op: _COLOURS[i % len(_COLOURS)] for i, op in enumerate(ops)}


def _rectangles(bars: Sequence[Bar], scale: _Scale, lane: float) -> Iterator[str]:
    high = lane * 3 / 4
    colours, waits = _colours(bars), _waits(bars)
    for bar in bars:
        x, y = scale(bar.start), _TOP + lane * bar.rank + (lane - high) / 2
        width = max(1.0, scale(bar.start + _length(bar)) - x)
        waited = min(width, scale(bar.start + waits[bar]) - x)
        edge = f' stroke="{_FAILED}" stroke-width="2"' if bar.failed else ""
        yield f"<g><title>{escape(_tooltip(bar, waits[bar]))}</title>"
        yield (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{high:.1f}" rx="2" '
            f'fill="{colours[bar.op]}"{edge}/>'
        )
        if waited > 1:
            yield (
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{waited:.1f}" height="{high:.1f}" rx="2" '
                'fill="url(#rankbook-waits)"/>'
            )
        label = f"{bar.op} #{bar.seq}{', did not complete' if bar.failed else ''}"
        if len(label) * _LETTER < width - 4 and high >= 14:  # noqa: PLR2004 - as a line of text
            yield f'<text x="{x + 4:.1f}" y="{y + 13:.1f}" fill="#111827">{escape(label)}</text>'
        yield "</g>"


def _legend(bars: Sequence[Bar], height: float) -> Iterator[str]:
    x = float(_LEFT)
    for op, colour in _colours(bars).items():
        yield f'<rect x="{x:.0f}" y="{height - 17}" width="11" height="11" fill="{colour}"/>'
        yield f'<text x="{x + 15:.0f}" y="{height - 7}">{escape(op)}</text>'
        x += 30 + len(op) * _LETTER
    if any(_waits(bars).values()):
        y = height - 17
        for fill in (_COLOURS[0], "url(#rankbook-waits)"):
            yield f'<rect x="{x:.0f}" y="{y}" width="18" height="11" fill="{fill}"/>'
        yield f'<text x="{x + 22:.0f}" y="{height - 7}">waits for the last rank</text>'


def _tooltip(bar: Bar, waited: float) -> str:
    words = [f"rank {bar.rank}: {bar.op} #{bar.seq}", _time(_length(bar))]
    if waited:
        words.append(f"{_time(waited)} of them waiting for others")
    if bar.nbytes:
        words.append(f"{bar.nbytes:,.0f} bytes")
    if bar.failed:
        words.append("did not complete")
    return ", ".join(words)


def _time(seconds: float) -> str:
    """``1.5 s``, ``20 ms``, ``3 µs``."""
    if seconds >= 1 or not seconds:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"  # noqa: PLR2004
