"""The ranks of a dashboard as HTML: a row for each of a few, a tile for each of many.

Classes only: the style is in ``widgets/page/dashboard.css``. The HTML has everything, also what a
tile shows only when it is open, so that no click needs the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from rankbook.display.facts import (
    MARKS,
    call_of,
    doing,
    gpu_memory,
    memory,
    rank_name,
    short,
    size,
    whole,
    word,
)
from rankbook.models import Look
from rankbook.models.meshes import NamedMesh

__all__ = ["ROWS", "to_html"]

ROWS = 16
"""Up to so many engines are shown as rows."""

_DENSE = 128
"""Beyond so many a tile is only a number and a mark, until it is opened."""

_Column = tuple[str, Callable[[Look], str]]


def to_html(states: Sequence[Look], mesh: NamedMesh | None = None) -> str:
    """Render every rank and every spare engine.

    Args:
        states: As a snapshot has them.
        mesh: Where the ranks stand, if their dimensions have names.
    """
    if not states:
        return ""
    return _rows(states, mesh) if len(states) <= ROWS else _tiles(states, mesh)


# -- rows ------------------------------------------------------------------------------------


def _rows(states: Sequence[Look], mesh: NamedMesh | None) -> str:
    columns = _columns(states, mesh)
    head = "".join(f'<th scope="col" class="{_name(name)}">{name}</th>' for name, _ in columns)
    body = "".join(_row(state, columns) for state in states)
    return (
        '<div class="rb-scroll" tabindex="0" role="region" aria-label="Each rank">'
        f'<table class="rb-rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _row(state: Look, columns: Sequence[_Column]) -> str:
    cells = "".join(
        f'<th scope="row" class="rb-rank">{cell(state)}</th>'
        if name == "rank"
        else f'<td class="{_name(name)}">{cell(state)}</td>'
        for name, cell in columns
    )
    return f'<tr class="rb-row {_state_class(state)}">{cells}</tr>'


def _columns(states: Sequence[Look], mesh: NamedMesh | None) -> list[_Column]:
    """What differs from rank to rank first: the last columns may be out of sight."""
    on_gpus = any(gpu_memory(state) is not None for state in states)
    gpus: list[_Column] = [("GPU", _gpu)] if on_gpus else []
    places: list[_Column] = [("place", lambda s: _place(s, mesh))] if mesh else []
    return [
        ("rank", lambda s: escape(rank_name(s))),
        *places,
        ("state", _state),
        ("memory", _memory),
        *gpus,
        ("device", lambda s: escape(s.info.device) if s.info else ""),
        ("host", _host),
        ("pid", lambda s: str(s.pid) if s.pid else ""),
        ("local rank", lambda s: str(s.info.local_rank) if s.info else ""),
        ("engine", lambda s: str(s.engine)),
        ("main", lambda s: _yes_or_no(s.info.is_main) if s.info else ""),
        ("backend", lambda s: escape(s.info.backend) if s.info and s.in_group else ""),
        ("world size", lambda s: str(s.info.world_size) if s.info else ""),
    ]


def _place(state: Look, mesh: NamedMesh | None) -> str:
    """Where it stands in the mesh: ``dp=1 tp=0``."""
    return escape(mesh.place(state.info.rank)) if mesh and state.info else ""


def _state(state: Look) -> str:
    pill = f'<span class="rb-pill">{_mark(state)} {escape(word(state))}</span>'
    call, line = _activity(state)
    return f"{pill}{_call(call)}{_line(line)}{_error(state)}"


def _call(call: str) -> str:
    return f' <span class="rb-does">{escape(call)}</span>' if call else ""


def _line(line: str) -> str:
    return f'<code class="rb-line" title="{escape(line)}">{escape(line)}</code>' if line else ""


def _error(state: Look) -> str:
    """The error in a line; where that is not all of it, it opens."""
    line = escape(short(state.last_error))
    if short(state.last_error) == state.last_error:
        return f'<span class="rb-error">{line}</span>' if line else ""
    return (
        f'<details class="rb-error"><summary><span>{line}</span></summary>'
        f"{_whole_error(state)}</details>"
    )


def _whole_error(state: Look) -> str:
    return f'<p class="rb-whole">{escape(whole(state.last_error))}</p>' if state.last_error else ""


# -- tiles -----------------------------------------------------------------------------------


def _tiles(states: Sequence[Look], mesh: NamedMesh | None) -> str:
    tile, kind = (_dense_tile, " rb-dense") if len(states) > _DENSE else (_tile, "")
    tiles = "".join(tile(state, mesh) for state in states)
    return f'<ul class="rb-tiles{kind}">{tiles}</ul>'


def _tile(state: Look, mesh: NamedMesh | None) -> str:
    call, line = _activity(state)
    place = _place(state, mesh) or f"{state.info.device if state.info else ''} {state.host}".strip()
    does = short(state.last_error) or call or line or place
    inside = (
        f'<span class="rb-does">{escape(does)}</span>'
        f"{_bar(state.memory, state.memory_total)}{_gpu_bar(state)}"
    )
    parts = ((state.last_error, _whole_error(state)), (call, _call(call)), (line, _line(line)))
    more = "".join(part for text, part in parts if text != does)
    facts = "".join(
        f"<div><dt>{name}</dt><dd>{shown}</dd></div>"
        for name, cell in _columns([state], mesh)
        if name not in {"rank", "state"} and (shown := cell(state))
    )
    return _opens(state, inside, f"{more}<dl>{facts}</dl>")


def _dense_tile(state: Look, mesh: NamedMesh | None) -> str:
    """The same in a tenth of the HTML: there are hundreds of them, and they change every second."""
    info = state.info
    facts = [
        doing(state),
        _place(state, mesh),
        f"{info.device}, {info.backend}, local rank {info.local_rank}, "
        f"world size {info.world_size}, main: {_yes_or_no(info.is_main)}"
        if info
        else "",
        f"engine {state.engine}",
        f"{state.host}, pid {state.pid}" if state.pid else "",
        memory(state),
        _model(state.gpu.name) if state.gpu else "",
    ]
    more = f"<p>{escape(' · '.join(filter(None, facts)))}</p>"
    return _opens(state, "", f"{_whole_error(state)}{more}")


def _opens(state: Look, inside: str, more: str) -> str:
    """A tile that opens: the browser does it, without the kernel."""
    failed = "" if inside or not state.last_error else '<span class="rb-flag">!</span> '
    shown = f'{failed}{_mark(state)} <span class="rb-word">{escape(word(state))}</span>'
    return (
        f'<li class="rb-tile {_state_class(state)}"><details><summary>'
        f'<span class="rb-rank">{rank_name(state)}</span> <span class="rb-pill">{shown}</span>'
        f"{inside}</summary>{more}</details></li>"
    )


# -- parts of both ---------------------------------------------------------------------------


def _activity(state: Look) -> tuple[str, str]:
    """What it does, in two parts: the collective with its age, and the line of the cell."""
    if state.state != "waiting" or not state.line:
        return ("", doing(state)) if state.state == "running" else (doing(state), "")
    age = f", {state.since:.0f} s" if state.since >= 1 else ""
    return f"{call_of(state)}{age}", state.line


def _memory(state: Look) -> str:
    if not state.memory:
        return ""
    of = f" of {size(state.memory_total)}" if state.memory_total else ""
    return _amount(size(state.memory), of, _bar(state.memory, state.memory_total))


def _gpu(state: Look) -> str:
    used = gpu_memory(state)
    if used is None:
        return ""
    if state.gpu is None:
        return _amount(size(used), "", "")
    busy = "" if state.gpu.utilization is None else f"{state.gpu.utilization} % busy, "
    name = escape(state.gpu.name)
    return (
        _amount(size(used), f" of {size(state.gpu.total)}", _gpu_bar(state))
        + f'<span class="rb-small rb-below" title="{name}">{busy}{_model(name)}</span>'
    )


def _model(gpu: str) -> str:
    """The name of a GPU without its maker."""
    return gpu.removeprefix("NVIDIA ")


def _host(state: Look) -> str:
    """Its host, whose name the style sheet cuts: those of clouds are long."""
    name = escape(state.host)
    return f'<span class="rb-name" title="{name}">{name}</span>' if name else ""


def _amount(value: str, of: str, bar: str) -> str:
    return f'<span class="rb-amount">{value}<span class="rb-small">{of}</span></span>{bar}'


def _gpu_bar(state: Look) -> str:
    return _bar(state.gpu.used, state.gpu.total, "rb-gpu") if state.gpu else ""


def _bar(part: int, whole: int, kind: str = "rb-host") -> str:
    """How much of something is used; the words beside it say the same."""
    if not whole:
        return ""
    percent = min(100.0, 100 * part / whole)
    full = " rb-full" if percent > 90 else ""  # noqa: PLR2004 - nearly used up
    return (
        f'<span class="rb-bar {kind}{full}" aria-hidden="true">'
        f'<span style="width: {percent:.1f}%"></span></span>'
    )


def _mark(state: Look) -> str:
    return f'<span class="rb-mark" aria-hidden="true">{MARKS.get(word(state), "·")}</span>'


def _state_class(state: Look) -> str:
    """``rb-is-idle``; the word comes from our own engines, but a class must stay a class."""
    known = word(state) if word(state) in MARKS else "unknown"
    failed = " rb-failed" if state.last_error else ""
    return f"rb-is-{known.replace(' ', '-')}{failed}"


def _name(column: str) -> str:
    return f"rb-{column.lower().replace(' ', '-')}"


def _yes_or_no(value: bool) -> str:  # noqa: FBT001
    return "yes" if value else "no"
