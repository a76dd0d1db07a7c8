"""The dashboard as HTML: health, facts, controls, their outcome, and the ranks.

A pure function of a :class:`Panel`. Classes only: the style is in ``widgets/page/dashboard.css``. A
button says with ``data-do`` what it asks for; the page tells the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from rankbook.display import grid, html, verdict
from rankbook.display.dashboard import controls, ranks
from rankbook.display.facts import failed, health, limit_in_words, short
from rankbook.display.times import Times
from rankbook.models import Snapshot

__all__ = ["Answer", "Message", "Panel", "to_html"]


@dataclass(frozen=True)
class Message:
    """The progress or outcome of the last action."""

    text: str
    kind: str = "done"
    """``busy``, ``done`` or ``error``."""
    since: float = field(default=0.0, compare=False)
    """When it was said, seconds since the epoch; the page says how old it is. 0: it says not."""


@dataclass(frozen=True)
class Answer:
    """The answer to *Why?* or *Stacks*; it stays until it is closed."""

    title: str
    html: str
    since: float = field(default=0.0, compare=False)
    """As :attr:`Message.since`."""


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
    times: Times = field(default_factory=Times)
    """How each rank spent the time of the last cell."""


def to_html(panel: Panel) -> str:
    """Render the dashboard."""
    parts = (
        _header(panel),
        _announcement(panel),
        controls.to_html(
            panel.snapshot, panel.backends, panel.timeout_minutes, closed=panel.closed
        ),
        _limit(panel.snapshot),
        _message(panel.message),
        _verdict(panel.snapshot),
        _answer(panel.answer, closed=panel.closed),
        grid.to_html(panel.snapshot.states, panel.snapshot.mesh),
        ranks.to_html(panel.snapshot.states, panel.snapshot.mesh, _times(panel)),
    )
    return f'<div class="rb-panel rb-{_level(panel)}">{"".join(parts)}</div>'


def _times(panel: Panel) -> Times:
    """The times of the last cell; none in a hang, where the lines of this cell need the room."""
    return Times() if panel.snapshot.hangs else panel.times


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
    """The health for a screen reader: only what justifies an interruption."""
    level, verdict = _level(panel), panel.snapshot.verdict
    if level == "busy":
        words = "busy"
    elif level == "stuck" and verdict is not None:
        words = f"stuck: {verdict.summary}"
    else:
        words = _words(panel.snapshot)
    return f'<p class="rb-announcement" aria-live="polite">{escape(words)}</p>'


def _limit(snapshot: Snapshot) -> str:
    """The time that a job has left, red in its last minutes and after; empty without a job."""
    if not (words := limit_in_words(snapshot)):
        return ""
    kind = "rb-error" if snapshot.ended or snapshot.ends_in <= _SOON else "rb-limit"
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
    """Words as HTML that breaks lines between phrases."""
    return f"<span>{escape(words).replace(' · ', ' ·</span> <span>')}</span>"


# -- their outcome ------------------------------------------------------------------------------


def _message(message: Message | None) -> str:
    kind = f" rb-{message.kind}" if message else ""
    text = html.sentence(message.text) if message else ""
    age = _age(message.since) if message and message.kind != "busy" else ""
    return f'<div class="rb-said"><p class="rb-message{kind}" role="status">{text}</p>{age}</div>'


def _age(since: float) -> str:
    """Where the page says how long ago that was; screen readers do not read its changes."""
    return f'<span class="rb-age" data-since="{since:.1f}"></span>' if since else ""


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
    return _section("rb-answer", short(answer.title), answer.html, _age(answer.since) + button)


def _section(kind: str, title: str, content: str, button: str) -> str:
    return (
        f'<div class="{kind}" role="region" aria-label="{escape(title)}"><div class="rb-title">'
        f"<strong>{escape(title)}</strong>{button}</div>"
        f'<div class="rb-scroll" tabindex="0" role="group" aria-label="{escape(title)}, details">'
        f"{content}</div></div>"
    )
