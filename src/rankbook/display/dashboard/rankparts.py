"""What rows and tiles of ranks are made of: parts of a rank as HTML. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from rankbook.display.facts import (
    MARKS,
    call_of,
    device,
    doing,
    gpu_memory,
    rank_name,
    sharing,
    size,
    whole,
    word,
)
from rankbook.models import Look
from rankbook.models.meshes import NamedMesh

__all__ = [
    "activity",
    "bar",
    "call",
    "details",
    "gpu",
    "gpu_bar",
    "line",
    "mark",
    "memory",
    "model",
    "place",
    "state_class",
    "whole_error",
    "yes_or_no",
]

_SEEN = 10
"""The percentage from which a bar says more than its figure."""


def place(state: Look, mesh: NamedMesh | None) -> str:
    """Its place in the mesh: ``dp=1 tp=0``."""
    return escape(mesh.place(state.info.rank)) if mesh and state.info else ""


def call(name: str) -> str:
    """The collective it is in."""
    return f' <span class="rb-does">{escape(name)}</span>' if name else ""


def line(text: str) -> str:
    """The line of the cell where it is."""
    return f'<code class="rb-line" title="{escape(text)}">{escape(text)}</code>' if text else ""


def whole_error(state: Look) -> str:
    """The whole text of its last error."""
    return f'<p class="rb-whole">{escape(whole(state.last_error))}</p>' if state.last_error else ""


def details(state: Look, changing: Mapping[str, str] | None = None) -> str:
    """What never changes while a rank lives, and a button that gives it a new process.

    Args:
        state: The rank.
        changing: By name, as HTML, what is shown before that.
    """
    info = state.info
    facts = {
        **(changing or {}),
        "host": escape(state.host),
        "pid": str(state.pid or ""),
        "engine": str(state.engine),
    }
    if info:
        facts |= {
            "device": escape(device(state)),
            "local rank": str(info.local_rank),
            "main": yes_or_no(info.is_main),
            "backend": escape(info.backend) if state.in_group else "",
            "world size": str(info.world_size),
        }
    shown = "".join(
        f"<div><dt>{name}</dt><dd{_class(name)}>{value}</dd></div>"
        for name, value in facts.items()
        if value
    )
    return f"<dl>{shown}</dl>{_restart(state)}"


def _class(fact: str) -> str:
    """The class of the fact that is needed to debug a process."""
    return ' class="rb-pid"' if fact == "pid" else ""


def _restart(state: Look) -> str:
    """The button for a new process, also for a live rank that does not let go."""
    if state.info is None or state.state == "left":
        return ""
    return (
        f'<button type="button" class="rb-button" data-do="restart" data-rank="{state.info.rank}" '
        'title="A new process for this rank: its variables are lost, those of the others stay">'
        f"Restart rank {rank_name(state)}</button>"
    )


def activity(state: Look) -> tuple[str, str]:
    """What it does, in two parts: the collective with its age, and the line of the cell."""
    if state.state != "waiting" or not state.line:
        return ("", doing(state)) if state.state == "running" else (doing(state), "")
    age = f", {state.since:.0f} s" if state.since >= 1 else ""
    return f"{call_of(state)}{age}", state.line


def memory(state: Look) -> str:
    """Its memory on the host, out of how much, and as a bar where one would be visible."""
    if not state.memory:
        return ""
    of = f" of {size(state.memory_total)}" if state.memory_total else ""
    return _amount(size(state.memory), of, bar(state.memory, state.memory_total))


def gpu(state: Look) -> str:
    """The memory and load of its GPU."""
    used = gpu_memory(state)
    if used is None:
        return ""
    if state.gpu is None:
        return _amount(size(used), "", "")
    busy = "" if state.gpu.utilization is None else f"{state.gpu.utilization} % busy, "
    name = escape(state.gpu.name)
    if sharing(state) > 1:
        busy += f"{size(state.gpu.used)} by all {sharing(state)} ranks, "
    return (
        _amount(size(used), f" of {size(state.gpu.total)}", gpu_bar(state))
        + f'<span class="rb-small rb-below" title="{name}">{busy}{model(name)}</span>'
    )


def model(gpu: str) -> str:
    """The name of a GPU without its maker."""
    return gpu.removeprefix("NVIDIA ")


def _amount(value: str, of: str, bar: str) -> str:
    return f'<span class="rb-amount">{value}<span class="rb-small">{of}</span></span>{bar}'


def gpu_bar(state: Look) -> str:
    """How much of its GPU's memory is used."""
    return bar(state.gpu.used, state.gpu.total, "rb-gpu") if state.gpu else ""


def bar(part: int, total: int, kind: str = "rb-host") -> str:
    """How much of something is used; the words beside it say the same."""
    if not total:
        return ""
    percent = min(100.0, 100 * part / total)
    if percent < _SEEN:
        return ""
    full = " rb-full" if percent > 90 else ""  # noqa: PLR2004 - nearly used up
    return (
        f'<span class="rb-bar {kind}{full}" aria-hidden="true">'
        f'<span style="width: {percent:.1f}%"></span></span>'
    )


def mark(state: Look) -> str:
    """The shape of its state."""
    return f'<span class="rb-mark" aria-hidden="true">{MARKS.get(word(state), "·")}</span>'


def state_class(state: Look) -> str:
    """``rb-is-idle``; the word comes from our own engines, but a class must stay a class."""
    known = word(state) if word(state) in MARKS else "unknown"
    failed = " rb-failed" if state.last_error else ""
    return f"rb-is-{known.replace(' ', '-')}{failed}"


def yes_or_no(value: bool) -> str:  # noqa: FBT001
    """Say a fact in a word."""
    return "yes" if value else "no"
