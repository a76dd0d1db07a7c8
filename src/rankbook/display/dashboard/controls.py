"""The dashboard's buttons and the form of a new group as HTML. Pure.

A button says with ``data-do`` what it asks for; the page tells the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from rankbook.models import Snapshot

__all__ = ["CONTROLS", "Control", "to_html"]


@dataclass(frozen=True)
class Control:
    """A button of the dashboard."""

    do: str
    """What it asks for."""
    label: str
    help: str
    icon: str
    """What is drawn in it: the path of an SVG of 16 by 16."""


CONTROLS = (
    Control(
        "initialise",
        "Initialise",
        "Create a process group with this backend, number of ranks and timeout; what runs is "
        "interrupted, variables stay",
        "M4 2.5v11l9-5.5z",
    ),
    Control(
        "interrupt",
        "Interrupt",
        "Free the ranks, whatever they do; variables stay",
        "M3 3h10v10H3z",
    ),
    Control(
        "why",
        "Why?",
        "What the ranks do or wait for, and why",
        "M5 5.5a3 3 0 1 1 4.4 2.6c-.6.4-.7.6-.7 1.4H7.2c0-1.5.3-2 1.3-2.7A1.4 1.4 0 1 0 6.6 5.5z"
        "M7.1 11h1.8v1.9H7.1z",
    ),
    Control(
        "stacks",
        "Stacks",
        "Where the Python code of every rank is",
        "M2 3h12v2H2zM2 7h8v2H2zM2 11h10v2H2z",
    ),
    Control(
        "reset",
        "Reset",
        "destroy_global_state on every rank, then a new generation; what runs is interrupted, "
        "variables stay",
        "M8 3a5 5 0 1 0 4.9 6h-2A3 3 0 1 1 8 5v2.2L12 4 8 .8z",
    ),
    Control(
        "restart",
        "Restart ended ranks",
        "New processes for ranks that have ended; the others keep their variables",
        "M7 2h2v5h5v2H9v5H7V9H2V7h5z",
    ),
    Control(
        "shutdown",
        "Shut down",
        "Stop the engines of this session; their variables are lost",
        "M7 1h2v7H7zM4.6 3.4 6 4.8a4 4 0 1 0 4 0l1.4-1.4a6 6 0 1 1-6.8 0z",
    ),
)

_BESIDE = Control(
    "beside",
    "Keep in view",
    "Show the dashboard in a panel of its own, which stays when the notebook scrolls",
    "M2 3h12v10H2zM3.5 4.5v7H8v-7zM9.5 4.5v7h3v-7z",
)
"""Offered by the page alone, in JupyterLab: a kernel cannot open a panel."""

_AT_REST = frozenset({"idle", "gone", "left"})
"""States of ranks on which there is nothing to interrupt."""


def to_html(
    snapshot: Snapshot, backends: Sequence[str], timeout_minutes: float, *, closed: bool
) -> str:
    """Render them; a button with nothing to do is off.

    Args:
        snapshot: The session.
        backends: The choices.
        timeout_minutes: Of the present group.
        closed: Whether the session is shut down, which turns all of them off.
    """
    idle = _idle(snapshot)
    initialise, *others = CONTROLS
    buttons = [_button(control, closed=closed, why_off=idle.get(control.do)) for control in others]
    return (
        '<div class="rb-controls"><div class="rb-buttons" role="group" aria-label="Group">'
        f"{''.join(buttons)}{_button(_BESIDE, closed=False)}</div>"
        '<details class="rb-setup"><summary>New group…</summary>'
        f"{_form(snapshot, backends, timeout_minutes, initialise, closed=closed)}</details></div>"
    )


def _idle(snapshot: Snapshot) -> dict[str, str]:
    """Why there is nothing to do, by action."""
    ranks = [state for state in snapshot.states if state.info]
    off = {}
    if not snapshot.doing and all(state.state in _AT_REST for state in ranks):
        off["interrupt"] = "nothing runs"
    if not any(state.state == "gone" for state in ranks):
        off["restart"] = "no rank has ended; the details of a rank restart that one"
    return off


def _form(
    snapshot: Snapshot,
    backends: Sequence[str],
    timeout_minutes: float,
    initialise: Control,
    *,
    closed: bool,
) -> str:
    off = " disabled" if closed else ""
    options = "".join(
        f"<option{' selected' if name == snapshot.backend else ''}>{escape(name)}</option>"
        for name in sorted({*backends, snapshot.backend or "gloo"})
    )
    return (
        '<div class="rb-form" role="group" aria-label="New group">'
        f'<label>Backend <select name="backend"{off}>{options}</select></label>'
        f'<label>Ranks <input name="nproc" type="number" min="1" max="4096" step="1" '
        f'value="{snapshot.world_size or max(1, len(snapshot.states))}"{off}></label>'
        f'<label>Timeout <input name="timeout" type="number" min="0.01" step="any" '
        f'value="{timeout_minutes:g}"{off}> <span class="rb-small">min</span></label>'
        f"{_button(initialise, closed=closed)}</div>"
    )


def _button(control: Control, *, closed: bool, why_off: str | None = None) -> str:
    """A button that is off for now keeps the focus: it says so, and the page ignores its clicks."""
    off = " disabled" if closed else ' aria-disabled="true"' if why_off else ""
    title = f"{control.help} ({why_off})" if why_off else control.help
    return (
        f'<button type="button" class="rb-button rb-do-{control.do}" data-do="{control.do}" '
        f'title="{escape(title)}"{off}><svg viewBox="0 0 16 16" aria-hidden="true">'
        f'<path d="{control.icon}"/></svg>{escape(control.label)}</button>'
    )
