"""The actions of the dashboard's buttons, each in its own thread so that none waits for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rankbook.display import stacks, verdict
from rankbook.display.dashboard.controls import CONTROLS
from rankbook.display.dashboard.panel import Answer, Message
from rankbook.errors import InputError, RankbookError
from rankbook.widgets.clicks import Click, why_stale
from rankbook.words import plural, ranks_do

if TYPE_CHECKING:
    from rankbook.models import Diagnosis
    from rankbook.sessions.session import Session

__all__ = ["Actions"]

_LABELS = {control.do: control.label for control in CONTROLS}

_CHANGES = frozenset({"initialise", "reset", "restart"})
"""Actions that create another process group: one at a time."""

_MEANT_FOR = frozenset({*_CHANGES, "interrupt", "shutdown"})
"""Actions that are meant for what the session is busy with when they are clicked."""


_NEWS = 60.0
"""Seconds after which the outcome of an action that went well is no news."""


class Actions:
    """The actions of one dashboard, and the outcome of the last one.

    Attributes:
        message: The progress or outcome of the last action; None before the first.
        answer: What *Why?* or *Stacks* has found, until it is closed; None if there is nothing.
    """

    def __init__(
        self, session: Session, on_change: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        """Wait for clicks.

        Args:
            session: The session that the actions act on.
            on_change: Called, from any thread, when ``message`` or ``answer`` has changed; clicks
                wait until it returns.
            on_end: Called in an action's own thread when it has ended, one way or another.
        """
        self.message: Message | None = None
        self.answer: Answer | None = None
        self._session = session
        self._on_change = on_change
        self._on_end = on_end
        self._changing = threading.Lock()
        self._changes_by = ""
        self._latest: Click | None = None
        self._message_since = self._answer_since = (0, 0.0)
        """The turn of the session in which each was set, and the time."""
        self._found: Diagnosis | None = None
        self._actions: dict[str, Callable[[Click], str]] = {
            "initialise": self._initialise,
            "reset": self._reset,
            "interrupt": self._interrupt,
            "why": self._why,
            "stacks": self._stacks,
            "restart": self._restart,
            "shutdown": self._shutdown,
        }

    def take(self, click: Click) -> threading.Thread | None:
        """Carry out a click in a thread; return the thread, None if the click is refused."""
        if click.do == "close":
            self.answer = None
            if self.message is not None and self.message.kind != "busy":
                self.message = None
            self._on_change()
        if click.do not in self._actions:
            return None
        session = self._session
        busy_with = session.turn if session.doing else 0
        if click.do == "interrupt" and click.during not in (0, busy_with):  # nothing left to do
            self._say("Interrupt: the cell had ended already.")
            return None
        seen = click if click.do in _MEANT_FOR else replace(click, during=0)
        if why := why_stale(seen, busy_with):
            self._say(f"{_LABELS[click.do]}: not done, {why}. Click again.", "error")
            return None
        thread = threading.Thread(
            target=self._act, args=(click,), name=f"rankbook-{click.do}", daemon=True
        )
        thread.start()
        return thread

    def _act(self, click: Click) -> None:
        if click.do not in _CHANGES:
            self._try(click)
        elif self._changing.acquire(blocking=False):
            self._changes_by = _LABELS[click.do]
            try:
                self._try(click)
            finally:
                self._changing.release()
        else:
            self._say(
                f"{_LABELS[click.do]}: not done, {self._changes_by} is under way. Wait for it.",
                "error",
            )

    def _try(self, click: Click) -> None:
        name = _LABELS[click.do]
        self._latest = click
        self._say(name, "busy")
        begun = time.monotonic()
        try:
            outcome = self._actions[click.do](click)
        except RankbookError as error:
            self._say(f"{name}: {error}", "error")
        except Exception as error:
            self._say(f"{name}: {type(error).__name__}: {error}", "error")
            raise
        else:
            # The outcome of a change is always shown; of the others, only that of the latest.
            if self._latest is click or click.do in _MEANT_FOR:
                self._say(f"{outcome} ({time.monotonic() - begun:.2f} s)")
            else:
                self._on_change()
        finally:
            self._on_end()

    def say(self, text: str, kind: str = "done") -> Message:
        """Set the message without calling ``on_change``."""
        self.message, self._message_since = Message(text, kind, time.time()), self._now()
        return self.message

    def let_go(self) -> None:
        """Drop a message and an answer of an earlier turn, after some time to read them.

        Also drop a verdict that the dashboard shows by itself and keeps up to date.
        """
        turn, now = self._now()
        time_to_read = self._session.timing.read

        def is_over(when: tuple[int, float]) -> bool:
            return when[0] < turn and now - when[1] > time_to_read

        message = self.message
        if message is not None and message.kind != "busy":
            is_old = message.kind == "done" and now - self._message_since[1] > _NEWS
            if is_old or is_over(self._message_since):
                self.message = None
        found, shown = self._found, self._session.verdict
        is_twice = found and shown and (found.kind, found.ranks) == (shown.kind, shown.ranks)
        if is_over(self._answer_since) or is_twice:
            self.answer = None

    def _now(self) -> tuple[int, float]:
        return self._session.turn, time.monotonic()

    def _say(self, text: str, kind: str = "done") -> None:
        self.say(text, kind)
        self._on_change()

    # -- each of them ------------------------------------------------------------------------

    def _initialise(self, click: Click) -> str:
        backend = str(click.form.get("backend") or "") or None
        nproc = _number(click.form.get("nproc"), int, "Ranks")
        timeout = _number(click.form.get("timeout"), float, "Timeout")
        self.answer = None
        self._session.initialize(backend, nproc, timeout, interrupt=True)
        return f"Initialise: {self._group()}"

    def _reset(self, _: Click) -> str:
        self.answer = None
        self._session.reset(interrupt=True)
        return f"Reset: {self._group()}"

    def _restart(self, click: Click) -> str:
        """Restart the rank whose details were open, else those that have ended."""
        one = _number(click.form.get("rank"), int, "Rank")
        ranks = sorted(self._session.dead_ranks) if one is None else [one]
        if not ranks:
            return "Restart ended ranks: no rank has ended."
        self.answer = None
        self._session.restart_ranks(None if one is None else ranks, interrupt=True)
        renewed = ranks_do(ranks, "has a new process", "have new processes")
        return f"{_LABELS['restart'] if one is None else 'Restart'}: {renewed}; {self._group()}"

    def _interrupt(self, click: Click) -> str:
        if not self._session.interrupt(turn=click.during or None):
            return "Interrupt: nothing runs on any rank."
        return "Interrupt: the ranks are free, their variables in place."

    def _why(self, _: Click) -> str:
        generation = self._session.generation
        found = self._session.diagnose()
        self._keep(Answer("Why?", verdict.to_html(found), time.time()), generation, found)
        return f"Why? {found.summary}"

    def _stacks(self, _: Click) -> str:
        generation = self._session.generation
        found = self._session.stacks()
        if not found:
            return "Stacks: no rank answers."
        self._keep(Answer("Stacks", stacks.to_html(found), time.time()), generation)
        where = f"Stacks: where {ranks_do(found, 'stands', 'stand')}"
        silent = sorted(set(range(self._session.world_size)) - set(found))
        if not silent:
            return f"{where}."
        return f"{where}; {ranks_do(silent, 'does not', 'do not')} answer."

    def _shutdown(self, _: Click) -> str:
        self.answer = None
        self._session.shutdown()
        return "Shut down: run %dist_init for new ranks."

    def _keep(self, answer: Answer, generation: int, found: Diagnosis | None = None) -> None:
        """Show an answer, unless its group is gone by now."""
        if self._session.generation == generation:
            self.answer, self._answer_since, self._found = answer, self._now(), found
            self.let_go()

    def _group(self) -> str:
        session = self._session
        return (
            f"{session.backend}, {plural(session.world_size, 'rank')}, "
            f"generation {session.generation}."
        )


def _number(text: Any, kind: Callable[[str], Any], name: str) -> Any:
    if text is None or text == "":
        return None
    try:
        return kind(str(text))
    except ValueError:
        whole = "whole " if kind is int else ""
        raise InputError(f"{name}: {text!r} is not a {whole}number.") from None
