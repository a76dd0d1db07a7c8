"""Where this rank asks the notebook, and waits for the answer.

The question is an event of the cell that runs. The answer comes to the control thread, as the main
thread is the one that waits.
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
"""Seconds for which a thread that was told something keeps the prompt without asking."""

_POLL = 0.1
"""Seconds after which a thread that no signal reaches looks whether the cell is to end."""


class CannotAskError(RuntimeError):
    """There is nobody to ask: no cell runs, or this is not the rank's own process."""


class Prompt:
    """Asks one question at a time, from any thread of the rank.

    Attributes:
        asks: The question to which no answer has come; None if there is none.
        since: When it was asked, by ``time.monotonic``.
    """

    def __init__(self, outbox: Callable[[], Outbox | None]) -> None:
        """Make a prompt.

        Args:
            outbox: Tells where the output of the cell goes that runs; None if none runs.
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
        """A cell begins: questions are answered."""
        self._is_over = self._was_told = False

    def end(self) -> None:
        """The cell is to end: the question that waits, and each further one, ends its thread."""
        self._is_over = True

    def ask(self, of: str, text: str = "", place: str = "") -> str:
        """Ask, and wait for the answer.

        Args:
            of: Who asks; see :class:`~rankbook.models.events.Asks`.
            text: What :func:`input` was given.
            place: Where the debugger stands.

        Returns:
            The line, without its end.

        Raises:
            CannotAskError: There is nobody to ask.
            KeyboardInterrupt: The cell is to end. In a thread, it is ``SystemExit``: that ends
                the thread and prints nothing.
            EOFError: The cell is to end, and goes on asking for input although it was told.
        """
        if self._was_told and of != "debugger":
            # A loop that reads commands, as that of code.interact(), goes on after an interrupt.
            raise EOFError("The cell was interrupted: nothing more is asked.")
        self.refuse()
        with self.held():
            outbox = self._outbox()
            if outbox is None:
                raise CannotAskError("No cell runs any more, so nobody can be asked.")
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
        """Have the prompt to this thread: what it shows and is told is not mixed with others'.

        A thread that does not ask, but evaluates for long what it was told, gives it up meanwhile:
        it may wait for the thread that is to ask.
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
        """Raise where nobody is to be asked.

        Raises:
            CannotAskError: This is a process that was forked from the rank's.
            KeyboardInterrupt: The cell is to end; in a thread, ``SystemExit``.
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
            with suppress(queue.Empty):
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
