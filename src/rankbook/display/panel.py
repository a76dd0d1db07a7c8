"""The dashboard as HTML: health, facts, controls, their outcome, and the ranks.

A pure function of a :class:`Panel`. Classes only: the style is in ``widgets/page/dashboard.css``. A
button says with ``data-do`` what it asks for; the page tells the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from rankbook.display import ranks, verdict
from rankbook.display.facts import failed, health, short
from rankbook.models import Snapshot
from rankbook.words import in_minutes

__all__ = ["CONTROLS", "Answer", "Control", "Message", "Panel", "to_html"]


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
        "reset",
        "Reset",
        "destroy_global_state on every rank, then a new generation; what runs is interrupted, "
        "variables stay",
        "M8 3a5 5 0 1 0 4.9 6h-2A3 3 0 1 1 8 5v2.2L12 4 8 .8z",
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
        "restart",
        "Restart dead ranks",
        "New processes for ranks that have died; the others keep their variables",
        "M7 2h2v5h5v2H9v5H7V9H2V7h5z",
    ),
    Control(
        "shutdown",
        "Shut down",
        "Stop the engines of this session; their variables are lost",
        "M7 1h2v7H7zM4.6 3.4 6 4.8a4 4 0 1 0 4 0l1.4-1.4a6 6 0 1 1-6.8 0z",
    ),
)


@dataclass(frozen=True)
class Message:
    """The progress or outcome of the last action."""

    text: str
    kind: str = "done"
    """``busy``, ``done`` or ``error``."""


@dataclass(frozen=True)
class Answer:
    """What *Why?* or *Stacks* has found; it stays until it is closed."""

    title: str
    html: str


@dataclass(frozen=True)
class Panel:
    """Everything the dashboard shows."""

    snapshot: Snapshot
    backends: tuple[str, ...] = ("gloo", "nccl")
    timeout_minutes: float = 1
    message: Message | None = None
    answer: Answer | None = None
    closed: bool = False
    """Whether the session is shut down: its buttons are disabled then."""


def to_html(panel: Panel) -> str:
    """Render the dashboard."""
    parts = (
        _header(panel),
        _announcement(panel),
        _controls(panel),
        _limit(panel.snapshot),
        _message(panel.message),
        _verdict(panel.snapshot),
        _answer(panel.answer, closed=panel.closed),
        ranks.to_html(panel.snapshot.states, panel.snapshot.mesh),
    )
    return f'<div class="rb-panel rb-{_level(panel)}">{"".join(parts)}</div>'


# -- the header ------------------------------------------------------------------------------

_SOON = 600.0
"""Seconds before the end of a job at which it is shown as a warning."""

_LEVEL_MARKS = {"off": "○", "ok": "●", "failed": "!", "busy": "▶", "stuck": "■", "bad": "✕"}


def _level(panel: Panel) -> str:
    """The level at a glance, which has a colour in the style sheet."""
    snapshot = panel.snapshot
    states = {state.state for state in snapshot.states if state.info}
    if panel.closed or not snapshot.world_size:
        return "off"
    if "gone" in states:
        return "bad"
    if snapshot.hangs:
        return "stuck"
    if "no answer" in states:
        return "stuck"
    if snapshot.doing or states - {"idle"}:
        return "busy"
    return "failed" if failed(snapshot) else "ok"


def _words(snapshot: Snapshot) -> str:
    words = health(snapshot) if snapshot.world_size or snapshot.doing else "no process group"
    return f"stuck · {words}" if snapshot.hangs else words


def _announcement(panel: Panel) -> str:
    """The health for a screen reader: only what is worth an interruption."""
    level, verdict = _level(panel), panel.snapshot.verdict
    if level == "busy":
        words = "busy"
    elif level == "stuck" and verdict is not None:
        words = f"stuck: {verdict.summary}"
    else:
        words = _words(panel.snapshot)
    return f'<p class="rb-announcement" aria-live="polite">{escape(words)}</p>'


def _limit(snapshot: Snapshot) -> str:
    """The time that is left of a job, in red for its last minutes; nothing where none ends."""
    if not snapshot.ends:
        return ""
    kind = "rb-error" if snapshot.ends_in <= _SOON else "rb-limit"
    words = f"{snapshot.ends} ends in {in_minutes(snapshot.ends_in)}"
    return f'<p class="rb-message {kind}">{escape(words)}</p>'


def _header(panel: Panel) -> str:
    level, snapshot = _level(panel), panel.snapshot
    hosts = {state.host for state in snapshot.states if state.host}
    facts = [
        ("backend", snapshot.backend),
        ("world size", str(snapshot.world_size or "")),
        ("generation", str(snapshot.generation or "")),
        ("hosts", str(len(hosts) or "")),
        ("mesh", str(snapshot.mesh or "")),
        ("cluster", snapshot.cluster),
    ]
    shown = "".join(
        f'<div class="rb-{name.replace(" ", "-")}"><dt>{name}</dt><dd>{escape(value)}</dd></div>'
        for name, value in facts
        if value
    )
    return (
        '<div class="rb-head"><p class="rb-health">'
        f'<span class="rb-mark" aria-hidden="true">{_LEVEL_MARKS[level]}</span> '
        f'<span class="rb-words">{_phrases(_words(snapshot))}</span></p>'
        f'<dl class="rb-facts">{shown}</dl></div>'
    )


def _phrases(words: str) -> str:
    """Words as HTML whose lines break between phrases."""
    return f"<span>{escape(words).replace(' · ', ' ·</span> <span>')}</span>"


# -- the controls ----------------------------------------------------------------------------


def _controls(panel: Panel) -> str:
    off = " disabled" if panel.closed else ""
    snapshot = panel.snapshot
    options = "".join(
        f"<option{' selected' if name == snapshot.backend else ''}>{escape(name)}</option>"
        for name in sorted({*panel.backends, snapshot.backend or "gloo"})
    )
    buttons = [_button(control, off) for control in CONTROLS]
    return (
        '<div class="rb-controls"><div class="rb-form" role="group" aria-label="Initialise">'
        f'<label>Backend <select name="backend"{off}>{options}</select></label>'
        f'<label>Ranks <input name="nproc" type="number" min="1" max="4096" step="1" '
        f'value="{snapshot.world_size or max(1, len(snapshot.states))}"{off}></label>'
        f'<label>Timeout <input name="timeout" type="number" min="0.01" step="any" '
        f'value="{panel.timeout_minutes:g}"{off}> <span class="rb-small">min</span></label>'
        f'{buttons[0]}</div><div class="rb-buttons" role="group" aria-label="Group">'
        f"{''.join(buttons[1:])}</div></div>"
    )


def _button(control: Control, off: str) -> str:
    return (
        f'<button type="button" class="rb-button rb-do-{control.do}" data-do="{control.do}" '
        f'title="{escape(control.help)}"{off}><svg viewBox="0 0 16 16" aria-hidden="true">'
        f'<path d="{control.icon}"/></svg>{escape(control.label)}</button>'
    )


# -- their outcome ------------------------------------------------------------------------------


def _message(message: Message | None) -> str:
    kind = f" rb-{message.kind}" if message else ""
    text = escape(message.text) if message else ""
    return f'<p class="rb-message{kind}" role="status">{text}</p>'


def _verdict(snapshot: Snapshot) -> str:
    found = snapshot.verdict
    if found is None:
        return ""
    if snapshot.hangs:
        title = "This cell cannot end"
    else:
        title = f"Why the last cell {'could not end' if found.stuck else 'failed'}"
    return _section("rb-verdict", title, verdict.to_html(found), "")


def _answer(answer: Answer | None, *, closed: bool) -> str:
    if answer is None:
        return ""
    button = (
        "" if closed else '<button type="button" class="rb-close" data-do="close">Close</button>'
    )
    return _section("rb-answer", short(answer.title), answer.html, button)


def _section(kind: str, title: str, html: str, button: str) -> str:
    return (
        f'<div class="{kind}" role="region" aria-label="{escape(title)}"><div class="rb-title">'
        f"<strong>{escape(title)}</strong>{button}</div>"
        f'<div class="rb-scroll" tabindex="0" role="group" aria-label="{escape(title)}, details">'
        f"{html}</div></div>"
    )
