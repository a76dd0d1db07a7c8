"""A diagnosis as text and as HTML: the verdict, and below it what every rank does."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from rankbook import ranks as rank_selection
from rankbook.diagnosis import rows
from rankbook.display import html, standings
from rankbook.models import Diagnosis
from rankbook.models.frames import Standing
from rankbook.models.meshes import NamedMesh

__all__ = ["MARKS", "Closely", "Verdict", "to_html", "to_text"]

_HEAD = ("ranks", "part", "what they do")

# The words name a rank's part in the verdict; shape and colour only repeat them.
MARKS = {"cause": "◆", "cause, stuck": "◆", "stuck": "■"}

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
    above = [diagnosis.summary, *([diagnosis.hint] if diagnosis.hint else [])]
    table = _rows(diagnosis)
    if not table:
        return "\n".join(above)
    first, second, _ = (max(map(len, column)) for column in zip(_HEAD, *table, strict=True))
    lines = [
        f"{ranks.rjust(first)}  {part.ljust(second)}  {does}"
        for ranks, part, does in (_HEAD, *table)
    ]
    return "\n".join([*above, *lines])


def to_html(diagnosis: Diagnosis) -> str:
    """The verdict as HTML; every style is inline, so that it survives in a saved notebook."""
    title, below = diagnosis.summary, diagnosis.hint
    shape = MARKS["cause"] if diagnosis.ranks else ""
    table = _rows(diagnosis)
    if not table:
        return html.heading(title, shape=shape, below=below)
    head = [(name, f"text-align: {_align(name)}; {_CELL}") for name in _HEAD]
    return html.table(title, head, "".join(map(_row, table)), shape=shape, below=below)


def _row(row: tuple[str, str, str]) -> str:
    ranks, part, does = map(escape, row)
    weight = "; font-weight: 600" if "cause" in part else ""
    if part:
        part = f"{html.mark(MARKS[part])} {part}"
    return (
        f'<tr><td style="text-align: right; {_CELL}; font-variant-numeric: tabular-nums">{ranks}'
        f'</td><td style="text-align: left; {_CELL}; white-space: nowrap">{part}</td>'
        f'<td style="text-align: left; {_CELL}{weight}">{does}</td></tr>'
    )


def _rows(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    """A row for ranks that do the same: their numbers, part in the verdict, and what they do."""
    return [
        (rank_selection.label(row.ranks, diagnosis.mesh), row.part, row.does)
        for row in rows(diagnosis)
    ]


def _align(name: str) -> str:
    return "right" if name == "ranks" else "left"


class Closely:
    """A diagnosis with the place of every rank, shown as text and as HTML."""

    def __init__(
        self, diagnosis: Diagnosis, seen: Mapping[int, Standing], mesh: NamedMesh | None
    ) -> None:
        self.diagnosis = diagnosis
        self.standings = seen
        self.mesh = mesh

    def __repr__(self) -> str:
        return f"{to_text(self.diagnosis)}\n\n{standings.to_text(self.standings, self.mesh)}"

    def _repr_html_(self) -> str:
        return f"{to_html(self.diagnosis)}{standings.to_html(self.standings, self.mesh)}"
