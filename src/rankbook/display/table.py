"""One table of all ranks, as text and as HTML that needs nothing but a browser."""

from __future__ import annotations

from html import escape

from rankbook.display.facts import MARKS, doing, headline, memory, rank_name, short
from rankbook.models import RankState, Snapshot

__all__ = ["Table", "to_html", "to_text"]

_COLUMNS = (
    "rank",
    "local rank",
    "device",
    "backend",
    "world size",
    "main",
    "engine",
    "host",
    "pid",
    "state",
    "memory",
)

_NUMBERS = frozenset({"rank", "local rank", "world size", "engine", "pid", "memory"})

_COLOURS = {
    "idle": "#16a34a",
    "running": "#2563eb",
    "collective": "#7c3aed",
    "no answer": "#b45309",
    "gone": "#dc2626",
}

_GREY = "var(--jp-ui-font-color2, #6b7280)"
_LINE = "var(--jp-border-color2, #d1d5db)"


class Table:
    """A snapshot that shows itself as text, and as HTML where there is a rich front end."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def __repr__(self) -> str:
        return to_text(self.snapshot)

    def _repr_html_(self) -> str:
        return to_html(self.snapshot)


def to_text(snapshot: Snapshot) -> str:
    """The table for a terminal, nbconvert's text, or a screen reader."""
    if not snapshot.states:
        return headline(snapshot)
    rows = [_COLUMNS, *(_cells(state) for state in snapshot.states)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = [
        "  ".join(
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    errors = [f"[{rank_name(s)}] {short(s.last_error)}" for s in snapshot.states if s.last_error]
    return "\n".join([headline(snapshot), *lines, *errors])


def to_html(snapshot: Snapshot) -> str:
    """The table as HTML; every style is inline, so that it survives in a saved notebook."""
    if not snapshot.states:
        return f'<div style="font-weight: 600; padding: 4px 0">{escape(headline(snapshot))}</div>'
    head = "".join(
        f'<th scope="col" style="{_style(name, head=True)}">{name}</th>' for name in _COLUMNS
    )
    body = "".join(_row(state) for state in snapshot.states)
    return (
        f'<table style="border-collapse: collapse; font-size: 13px; margin: 4px 0">'
        f'<caption style="text-align: left; caption-side: top; padding: 2px 0 6px; '
        f'font-weight: 600; color: inherit">{escape(headline(snapshot))}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _row(state: RankState) -> str:
    cells = []
    for name, text in zip(_COLUMNS, _cells(state), strict=True):
        if name == "state":
            colour = _COLOURS.get(state.state, "inherit")
            does = f' <span style="color: {_GREY}">{escape(doing(state))}</span>'
            inner = (
                f'<span style="color: {colour}" aria-hidden="true">{MARKS.get(state.state, "·")}'
                f"</span> {escape(state.state)}{does if doing(state) else ''}"
            )
        else:
            inner = escape(text)
        cells.append(f'<td style="{_style(name)}">{inner}</td>')
    error = ""
    if state.last_error:
        error = (
            f'<tr><td></td><td colspan="{len(_COLUMNS) - 1}" style="text-align: left; '
            f'padding: 0 10px 4px; line-height: 1.4; color: #dc2626" '
            f'title="{escape(state.last_error)}">'
            f"{escape(short(state.last_error))}</td></tr>"
        )
    return f"<tr>{''.join(cells)}</tr>{error}"


def _style(name: str, *, head: bool = False) -> str:
    align = "right" if name in _NUMBERS else "left"
    style = f"text-align: {align}; padding: 3px 10px; white-space: nowrap; line-height: 1.4"
    if name == "state":
        style += "; white-space: normal; min-width: 14em"
    if head:
        return f"{style}; color: {_GREY}; font-weight: 500; border-bottom: 1px solid {_LINE}"
    if name in _NUMBERS:
        style += "; font-variant-numeric: tabular-nums"
    return style


def _cells(state: RankState) -> tuple[str, ...]:
    info = state.info
    does = doing(state)
    return (
        rank_name(state),
        str(info.local_rank) if info else "",
        info.device if info else "",
        info.backend if info else "",
        str(info.world_size) if info else "",
        ("yes" if info.is_main else "no") if info else "",
        str(state.engine),
        state.host,
        str(state.pid) if state.pid else "",
        f"{state.state}: {does}" if does else state.state,
        memory(state),
    )
