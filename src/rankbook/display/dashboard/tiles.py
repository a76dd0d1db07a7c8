"""The tiles of many ranks as HTML: they open in the browser, without the kernel. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from rankbook.display.dashboard import rankparts as parts
from rankbook.display.facts import device, doing, rank_name, short, word
from rankbook.display.facts import memory as memory_of
from rankbook.display.times import in_words
from rankbook.models import Look
from rankbook.models.meshes import NamedMesh

if TYPE_CHECKING:
    from rankbook.timeline.shares import Share

__all__ = ["to_html"]

_DENSE = 128
"""With more ranks, a tile is only a number and a mark until it is opened."""


def to_html(states: Sequence[Look], mesh: NamedMesh | None, shares: Mapping[int, Share]) -> str:
    """Render a tile for each; see :func:`rankbook.display.dashboard.ranks.to_html`."""
    tile, kind = (_dense_tile, " rb-dense") if len(states) > _DENSE else (_tile, "")
    tiles = "".join(tile(state, mesh, _share(state, shares)) for state in states)
    return f'<ul class="rb-tiles{kind}">{tiles}</ul>'


def _share(state: Look, shares: Mapping[int, Share]) -> Share | None:
    return shares.get(state.info.rank) if state.info else None


def _tile(state: Look, mesh: NamedMesh | None, share: Share | None) -> str:
    call, line = parts.activity(state)
    place = parts.place(state, mesh)
    at = f"{device(state)} {state.host}".strip()
    does = short(state.last_error) or call or line or place or at
    inside = (
        f'<span class="rb-does">{escape(does)}</span>'
        f"{parts.bar(state.memory, state.memory_total)}{parts.gpu_bar(state)}"
    )
    more = "".join(
        part
        for text, part in (
            (state.last_error, parts.whole_error(state)),
            (call, parts.call(call)),
            (line, parts.line(line)),
        )
        if text != does
    )
    facts = {
        "place": place,
        "memory": parts.memory(state),
        "GPU": parts.gpu(state),
        "time": in_words(share) if share else "",
    }
    return _opens(state, inside, f"{more}{parts.details(state, facts)}")


def _dense_tile(state: Look, mesh: NamedMesh | None, share: Share | None) -> str:
    """The same in a tenth of the HTML: there are hundreds of them, and they change every second."""
    info = state.info
    facts = [
        doing(state),
        parts.place(state, mesh),
        in_words(share) if share else "",
        f"{device(state)}, {info.backend}, local rank {info.local_rank}, "
        f"world size {info.world_size}, main: {parts.yes_or_no(info.is_main)}"
        if info
        else "",
        f"engine {state.engine}",
        f"{state.host}, pid {state.pid}" if state.pid else "",
        memory_of(state),
        parts.model(state.gpu.name) if state.gpu else "",
    ]
    more = f"<p>{escape(' · '.join(filter(None, facts)))}</p>"
    return _opens(state, "", f"{parts.whole_error(state)}{more}")


def _opens(state: Look, inside: str, more: str) -> str:
    """A tile that opens: the browser does it, without the kernel."""
    failed = "" if inside or not state.last_error else '<span class="rb-flag">!</span> '
    shown = f'{failed}{parts.mark(state)} <span class="rb-word">{escape(word(state))}</span>'
    return (
        f'<li class="rb-tile {parts.state_class(state)}"><details><summary>'
        f'<span class="rb-rank">{rank_name(state)}</span> <span class="rb-pill">{shown}</span>'
        f"{inside}</summary>{more}</details></li>"
    )
