"""The prompt at which this rank asks the notebook, and waits for the answer.

The question is an event of the running cell. The answer comes to the control thread, because the
main thread waits for it.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING

from rankbook.models.events import Asks

if TYPE_CHECKING:
    from rankbook.engine.cells.outbox import Outbox

__all__ = ["CannotAskError", "Prompt"]

_LONG = 1.0
"""Seconds for which a thread that got an answer keeps the prompt without asking."""

_POLL = 0.1
"""Seconds between two checks, in a thread that signals do not reach, whether the cell must end."""


class CannotAskError(RuntimeError):
    """Asking is not possible: no cell runs, or this is not the rank's own process."""


class Prompt:
    """Asks one question at a time, from any thread of the rank.

    Attributes:
        asks: The question to which no answer has come; None if there is none.
        since: When it was asked, by ``time.monotonic``.
    """

    def __init__(self, outbox: Callable[[], Outbox | None]) -> None:
        """Make a prompt.

        Args:
            outbox: Returns the outbox of the running cell; None if none runs.
        """
        self.asks: Asks | None = None
        self.since = 0.0
        self._outbox = outbox
        self._process = os.getpid()
        self._turn = threading.Condition()
        self._holders: list[int] = []
        """Threads that have the prompt, the present one last; the others wait for it to end."""
        self._answered = 0.0
        self._numbers = count(1)
        self._answers: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self._is_over = self._was_told = False

    def begin(self) -> None:
        """Answer questions from now on: a cell begins."""
        self._is_over = self._was_told = False

    def end(self) -> None:
        """Let the open question, and each further one, end its thread: the cell must end."""
        self._is_over = True

    def ask(self, of: str, text: str = "", place: str = "") -> str:
        """Ask, and wait for the answer.

        Args:
            of: The kind of question; see :class:`~rankbook.models.events.Asks`.
            text: The prompt of :func:`input`.
            place: The place of the debugger.

        Returns:
            The line, without its end.

        Raises:
            CannotAskError: Asking is not possible.
            KeyboardInterrupt: The cell must end. In a thread, it is ``SystemExit``, which ends the
                thread and prints nothing.
            EOFError: The cell must end, but asked for input again after an interrupt.
        """
        if self._was_told and of != "debugger":
            # A loop that reads commands, as that of code.interact(), goes on after an interrupt.
            raise EOFError("The cell was interrupted: it cannot ask for more input.")
        self.refuse()
        with self.held():
            outbox = self._outbox()
            if outbox is None:
                raise CannotAskError("No cell is running, so nobody can be asked.")
            question = Asks(next(self._numbers), of, text, place)
            self.since = time.monotonic()
            self.asks = question
            try:
                outbox.put(question)
                return self._wait(question.number)
            finally:
                self.asks, self._answered = None, time.monotonic()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the prompt for this thread, so that its output and answers do not mix with others'.

        A thread that evaluates an answer for long without asking gives it up meanwhile: it may wait
        for a thread that has to ask.
        """
        own = threading.get_ident()
        with self._turn:
            while not self._is_free_for(own):
                self._leave_at_end()
                self._turn.wait(_POLL)
            self._holders.append(own)
            self._answered = time.monotonic()
        try:
            yield
        finally:
            with self._turn:
                self._holders.reverse()
                self._holders.remove(own)
                self._holders.reverse()
                self._turn.notify_all()

    def _is_free_for(self, thread: int) -> bool:
        if not self._holders or self._holders[-1] == thread:
            return True
        return self.asks is None and time.monotonic() - self._answered > _LONG

    def refuse(self) -> None:
        """Raise where asking is not possible.

        Raises:
            CannotAskError: This process was forked from the rank's.
            KeyboardInterrupt: The cell must end; in a thread, ``SystemExit``.
        """
        if os.getpid() != self._process:
            raise CannotAskError(
                f"Process {os.getpid()} is a child of this rank, and only the rank itself can ask: "
                "stop in the rank's own code (DataLoader: num_workers=0)."
            )
        self._leave_at_end()

    def _wait(self, number: int) -> str:
        while True:
            self._leave_at_end()
            with suppress(queue.Empty):  # no answer yet
                answered, text = self._answers.get(timeout=_POLL)
                if answered == number:
                    return text

    def _leave_at_end(self) -> None:
        if not self._is_over:
            return
        if threading.current_thread() is threading.main_thread():
            self._was_told = True
            raise KeyboardInterrupt
        raise SystemExit

    def answer(self, number: int, text: str) -> bool:
        """Answer a question; from another thread than the one that asks.

        Returns:
            Whether it waited for the answer.
        """
        asks = self.asks
        if asks is None or asks.number != number:
            return False
        self._answers.put((number, text))
        return True
