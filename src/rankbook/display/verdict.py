"""A diagnosis as text and as HTML: the verdict, and below it what every rank does."""

from __future__ import annotations

import re
from html import escape

from rankbook import ranks as rank_selection
from rankbook.display import html
from rankbook.models import Diagnosis

__all__ = ["Verdict", "to_html", "to_text"]

_HEAD = ("rank", "part", "what it does")

# The words name a rank's part in the verdict; shape and colour only repeat them.
_MARKS = {"cause": "◆", "cause, stuck": "◆", "stuck": "■"}

_MANY = 8
"""With more ranks than these, those that do the same share a line."""

_AGE = re.compile(r"\bfor [\d.]+ s\b")
"""How long a rank has done it; this differs a little between ranks that do the same."""

_CELL = "padding: 3px 10px; line-height: 1.4; vertical-align: top"


class Verdict:
    """A diagnosis that shows itself as text, and as HTML where there is a rich front end."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis

    def __repr__(self) -> str:
        return to_text(self.diagnosis)

    def _repr_html_(self) -> str:
        return to_html(self.diagnosis)


def to_text(diagnosis: Diagnosis) -> str:
    """The verdict for a terminal, nbconvert's text, or a screen reader."""
    rows = [_HEAD, *_rows(diagnosis)]
    if len(rows) == 1:
        return diagnosis.summary
    first, second, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = [f"{rank.rjust(first)}  {part.ljust(second)}  {does}" for rank, part, does in rows]
    return "\n".join([diagnosis.summary, *lines])


def to_html(diagnosis: Diagnosis) -> str:
    """The verdict as HTML; every style is inline, so that it survives in a saved notebook."""
    rows = _rows(diagnosis)
    if not rows:
        return html.heading(diagnosis.summary)
    head = [(name, f"text-align: {_align(name)}; {_CELL}") for name in _HEAD]
    return html.table(diagnosis.summary, head, "".join(map(_row, rows)))


def _row(row: tuple[str, str, str]) -> str:
    rank, part, does = map(escape, row)
    if part:
        part = f"{html.mark(_MARKS[part])} {part}"
    return (
        f'<tr><td style="text-align: right; {_CELL}; font-variant-numeric: tabular-nums">{rank}'
        f'</td><td style="text-align: left; {_CELL}; white-space: nowrap">{part}</td>'
        f'<td style="text-align: left; {_CELL}">{does}</td></tr>'
    )


def _rows(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    """Of each rank, or of many: its number, its part in the verdict, what it does."""

    def part_of(rank: int) -> str:
        parts = {"cause": diagnosis.ranks, "stuck": diagnosis.stuck}
        return ", ".join(name for name, ranks in parts.items() if rank in ranks)

    per_rank = sorted(diagnosis.per_rank.items())
    if len(per_rank) <= _MANY:
        return [(str(rank), part_of(rank), does) for rank, does in per_rank]
    alike: dict[tuple[str, str], list[int]] = {}
    for rank, does in per_rank:
        alike.setdefault((part_of(rank), _AGE.sub("", does)), []).append(rank)
    return [
        (rank_selection.label(ranks), part, diagnosis.per_rank[ranks[0]])
        for (part, _), ranks in alike.items()
    ]


def _align(name: str) -> str:
    return "right" if name == "rank" else "left"
