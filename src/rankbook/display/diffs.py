"""A comparison across ranks: one sentence, then a table of what differs."""

from __future__ import annotations

from html import escape

from rankbook.display import html
from rankbook.display.text import in_columns
from rankbook.models.diffs import Diff
from rankbook.ranks import label
from rankbook.words import in_words

__all__ = ["DiffView", "to_html", "to_text"]

_HEAD = ("where", "ranks", "", "how it departs")

_MOST = 50
"""How many leaves the table shows."""

_CELL = "padding: 3px 10px; line-height: 1.4; text-align: left; vertical-align: top"


class DiffView:
    """Shows a comparison as text, and as HTML where there is a rich front end."""

    def __init__(self, diff: Diff) -> None:
        self.diff = diff

    def __repr__(self) -> str:
        return to_text(self.diff)

    def _repr_html_(self) -> str:
        return to_html(self.diff)


def to_text(diff: Diff) -> str:
    """The comparison for a terminal, nbconvert's text, or a screen reader."""
    rows = _rows(diff)
    if not rows:
        return diff.summary
    return "\n".join([diff.summary, *in_columns([_HEAD, *rows])])


def to_html(diff: Diff) -> str:
    """The comparison as HTML; every style is inline, so that it survives in a saved notebook."""
    rows = _rows(diff)
    if not rows:
        return html.heading(diff.summary)
    cell = f'<td style="{_CELL}">{{}}</td>'
    body = "".join(f"<tr>{''.join(cell.format(_cell(text)) for text in row)}</tr>" for row in rows)
    return html.table(diff.summary, [(name, _CELL) for name in _HEAD], body)


def _cell(text: str) -> str:
    return f"{html.mark('◆')} departs" if text == "departs" else escape(text)


def _rows(diff: Diff) -> list[tuple[str, ...]]:
    leaves = [leaf for leaf in diff.leaves if leaf.departures or leaf.nans or leaf.why]
    rows: list[tuple[str, ...]] = []
    for leaf in leaves[:_MOST]:
        where = leaf.path or diff.expression
        name = f"{where} ({leaf.part})" if leaf.part else where
        notes = [leaf.why] if leaf.why else []
        alike: dict[int, list[int]] = {}
        for rank, count in leaf.nans:
            alike.setdefault(count, []).append(rank)
        notes += [
            f"{count} NaN or infinite on {in_words(same, diff.mesh)}"
            for count, same in alike.items()
        ]
        rows.append((name, label(leaf.agree, diff.mesh), "", "; ".join(notes)))
        rows += [
            ("", label(away.ranks, diff.mesh), "departs", away.why) for away in leaf.departures
        ]
    if len(leaves) > _MOST:
        rows.append((f"… and {len(leaves) - _MOST} more", "", "", ""))
    return rows
