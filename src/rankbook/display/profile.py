"""Where the time of a profiled cell went, as text and as HTML."""

from __future__ import annotations

from html import escape

from rankbook.display import html
from rankbook.display.bench import in_seconds
from rankbook.models.profiles import Profile, Share
from rankbook.words import plural

__all__ = ["to_html", "to_text"]

_HEAD = ("rank", "cell", "computing", "communicating", "waiting for others", "recording")
_CELL = "text-align: right; padding: 3px 10px; font-variant-numeric: tabular-nums"
_LINE = "font-size: 13px; padding: 1px 0"


def to_text(found: Profile) -> str:
    """The table for a terminal, nbconvert's text, or a screen reader."""
    table = [_HEAD, *(_cells(rank, share) for rank, share in sorted(found.shares.items()))]
    widths = [max(len(row[i]) for row in table) for i in range(len(_HEAD))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (table if found.shares else [])
    ]
    return "\n".join([*lines, *_below(found)])


def to_html(found: Profile) -> str:
    """The same as HTML; every style is inline."""
    rows = "".join(
        f"<tr>{''.join(f'<td style={_CELL!r}>{escape(c)}</td>' for c in _cells(rank, share))}</tr>"
        for rank, share in sorted(found.shares.items())
    )
    head = [(name, _CELL) for name in _HEAD]
    table = html.table("Where the time went", head, rows) if rows else ""
    below = "".join(f'<div style="{_LINE}">{escape(line)}</div>' for line in _below(found))
    return table + below


def _cells(rank: int, share: Share) -> tuple[str, ...]:
    def part(seconds: float) -> str:
        percent = 100 * seconds / share.cell if share.cell else 0.0
        return f"{in_seconds(seconds)} ({percent:.0f} %)"

    parts = part(share.computing), part(share.communicating), part(share.waiting)
    return (str(rank), in_seconds(share.cell), *parts, f"≈ {part(share.overhead)}")


def _below(found: Profile) -> list[str]:
    lines = [
        f"{in_seconds(one.seconds)}: rank {one.rank} waited for rank {one.last}"
        f"{'' if one.came else ', which never came,'} in {one.op} #{one.number} ({one.line})"
        for one in found.worst
    ]
    if lines:
        lines.insert(0, "The longest waits for others:")
    if found.path:
        clocks = f", clocks within {in_seconds(found.clock_error)}" if found.clock_error else ""
        lines.append(
            f"{found.path}: {plural(found.events, 'event')} of {plural(len(found.shares), 'rank')}"
            f"{clocks}. Open it in https://ui.perfetto.dev"
        )
    return [*lines, *found.notes]
