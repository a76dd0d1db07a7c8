"""One table of all ranks, as text and as standalone HTML."""

from __future__ import annotations

from html import escape

from rankbook.display import html
from rankbook.display.facts import MARKS, device, doing, headline, memory, rank_name, short, word
from rankbook.models import Look, Snapshot
from rankbook.models.meshes import NamedMesh

__all__ = ["Table", "to_html", "to_text"]

_COLUMNS = (
    "rank",
    "state",
    "memory",
    "device",
    "engine",
    "host",
    "pid",
    "local rank",
    "backend",
    "world size",
    "main",
)
"""In a narrow window the last are out of sight: those that never change."""

_NUMBERS = frozenset({"rank", "local rank", "world size", "engine", "pid", "memory"})


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
    columns = _columns(snapshot)
    cells = [_cells(state, snapshot.mesh) for state in snapshot.states]
    rows = [columns, *([found[name] for name in columns] for found in cells)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    lines = [
        "  ".join(
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    errors = [f"[{rank_name(s)}] {short(s.last_error)}" for s in snapshot.states if s.last_error]
    return "\n".join([headline(snapshot), *lines, *errors])


def to_html(snapshot: Snapshot) -> str:
    """The table as HTML; every style is inline, so that it survives in a saved notebook."""
    if not snapshot.states:
        return html.heading(headline(snapshot))
    columns = _columns(snapshot)
    head = [(name, _style(name)) for name in columns]
    rows = "".join(_row(state, columns, snapshot.mesh) for state in snapshot.states)
    return html.table(headline(snapshot), head, rows)


def _columns(snapshot: Snapshot) -> tuple[str, ...]:
    return _COLUMNS if snapshot.mesh is None else (_COLUMNS[0], snapshot.mesh.name, *_COLUMNS[1:])


def _row(state: Look, columns: tuple[str, ...], mesh: NamedMesh | None) -> str:
    cells, texts = [], _cells(state, mesh)
    for name in columns:
        if name == "state":
            does = f' <span style="color: {html.QUIET}">{escape(doing(state))}</span>'
            inner = (
                f"{html.mark(MARKS.get(word(state), '·'))} {escape(word(state))}"
                f"{does if doing(state) else ''}"
            )
        else:
            inner = escape(texts[name])
        cells.append(f'<td style="{_style(name)}">{inner}</td>')
    error = ""
    if state.last_error:
        error = (
            f'<tr><td></td><td colspan="{len(columns) - 1}" style="text-align: left; '
            f'padding: 0 10px 4px; line-height: 1.4; color: {html.ERROR}" '
            f'title="{escape(state.last_error)}">'
            f"{escape(short(state.last_error))}</td></tr>"
        )
    return f"<tr>{''.join(cells)}</tr>{error}"


def _style(name: str) -> str:
    align = "right" if name in _NUMBERS else "left"
    style = f"text-align: {align}; padding: 3px 10px; white-space: nowrap; line-height: 1.4"
    if name == "state":
        style += "; white-space: normal; min-width: 14em"
    if name in _NUMBERS:
        style += "; font-variant-numeric: tabular-nums"
    return style


def _cells(state: Look, mesh: NamedMesh | None) -> dict[str, str]:
    info = state.info
    does = doing(state)
    place = {} if mesh is None else {mesh.name: mesh.place(info.rank) if info else ""}
    return place | {
        "rank": rank_name(state),
        "state": f"{word(state)}: {does}" if does else word(state),
        "memory": memory(state),
        "device": device(state),
        # That of a rank which ended before this session came is not known.
        "engine": "" if state.engine is None or state.engine < 0 else str(state.engine),
        "host": state.host,
        "pid": str(state.pid) if state.pid else "",
        "local rank": str(info.local_rank) if info else "",
        "backend": info.backend if info and state.in_group else "",
        "world size": str(info.world_size) if info else "",
        "main": ("yes" if info.is_main else "no") if info else "",
    }
