"""The ranks of a dashboard as HTML: a row for each of a few, a tile for each of many.

Classes only: the style is in ``widgets/page/dashboard.css``. The HTML includes what a row or tile
shows only when it is open, so that no click needs the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from rankbook.display import times
from rankbook.display.dashboard import rankparts as parts
from rankbook.display.dashboard import tiles
from rankbook.display.facts import gpu_memory, rank_name, short, word
from rankbook.display.times import Times
from rankbook.models import Look
from rankbook.models.meshes import NamedMesh

__all__ = ["ROWS", "to_html"]

ROWS = 16
"""The most engines that are shown as rows."""

_Column = tuple[str, Callable[[Look], str]]


def to_html(
    states: Sequence[Look], mesh: NamedMesh | None = None, spent: Times | None = None
) -> str:
    """Render every rank and every spare engine.

    Args:
        states: As a snapshot has them.
        mesh: The mesh of the ranks, if its dimensions have names.
        spent: How each rank spent the time of the last cell.
    """
    if not states:
        return ""
    spent = spent or Times()
    if len(states) > ROWS:
        return tiles.to_html(states, mesh, spent.by_rank)
    return _rows(states, mesh, spent)


def _rows(states: Sequence[Look], mesh: NamedMesh | None, spent: Times) -> str:
    columns = _columns(states, mesh, spent)
    head = "".join(f'<th scope="col" class="{_class(name)}">{name}</th>' for name, _ in columns)
    body = "".join(_row(state, columns) for state in states)
    return (
        '<div class="rb-scroll" tabindex="0" role="region" aria-label="Each rank">'
        f'<table class="rb-rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _row(state: Look, columns: Sequence[_Column]) -> str:
    cells = "".join(
        f'<th scope="row" class="rb-rank">{cell(state)}</th>'
        if name == "rank"
        else f'<td class="{_class(name)}">{cell(state)}</td>'
        for name, cell in columns
    )
    return f'<tr class="rb-row {parts.state_class(state)}">{cells}</tr>'


def _columns(states: Sequence[Look], mesh: NamedMesh | None, spent: Times) -> list[_Column]:
    """What changes; the details of a row show what never does."""
    columns: list[_Column] = [("rank", lambda s: escape(rank_name(s)))]
    if mesh:
        columns.append(("place", lambda s: parts.place(s, mesh)))
    columns.append(("state", _state))
    if spent.by_rank:
        columns.append((f"time in {escape(spent.cell)}", lambda s: _time(s, spent)))
    columns.append(("memory", parts.memory))
    if any(gpu_memory(state) is not None for state in states):
        columns.append(("GPU", parts.gpu))
    if len({state.host for state in states if state.host}) > 1:
        columns.append(("host", _host))
    return [*columns, ("details", _details)]


def _class(column: str) -> str:
    return f"rb-{column.lower().partition(' ')[0]}"


def _state(state: Look) -> str:
    pill = f'<span class="rb-pill">{parts.mark(state)} {escape(word(state))}</span>'
    call, line = parts.activity(state)
    return f"{pill}{parts.call(call)}{parts.line(line)}{_error(state)}"


def _error(state: Look) -> str:
    """The error in a line; a longer one opens."""
    line = escape(short(state.last_error))
    if short(state.last_error) == state.last_error:
        return f'<span class="rb-error">{line}</span>' if line else ""
    return (
        f'<details class="rb-error"><summary><span>{line}</span></summary>'
        f"{parts.whole_error(state)}</details>"
    )


def _time(state: Look, spent: Times) -> str:
    return times.to_html(spent.by_rank.get(state.info.rank)) if state.info else ""


def _host(state: Look) -> str:
    """Its host; the style sheet cuts the name, which is long in clouds."""
    name = escape(state.host)
    return f'<span class="rb-name" title="{name}">{name}</span>' if name else ""


def _details(state: Look) -> str:
    """The details of a rank; they open in the browser, without the kernel."""
    name = f"pid {state.pid}" if state.pid else f"engine {state.engine}"
    return f'<details class="rb-facts-of"><summary>{name}</summary>{parts.details(state)}</details>'
