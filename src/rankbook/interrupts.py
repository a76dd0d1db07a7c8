"""Ctrl-C: ignored or delayed by work that must be completed; and asking the user during work."""

from __future__ import annotations

import contextvars
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

__all__ = ["delay_ctrl_c", "delaying_ctrl_c", "ignore_ctrl_c", "read_beside"]


@contextmanager
def ignore_ctrl_c(patience: float = math.inf) -> Iterator[None]:
    """Ignore Ctrl-C within the block: it is already being handled.

    Python delivers signals to the main thread only; in another thread this does nothing.

    Args:
        patience: Seconds after which Ctrl-C works again, even within the block.
    """
    before: Any = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    until = time.monotonic() + patience

    def on_signal(signum: int, frame: Any) -> None:
        if time.monotonic() < until:
            return
        obey = before if callable(before) else signal.default_int_handler
        if before != signal.SIG_IGN:
            obey(signum, frame)

    signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Delay:
    """A block in which Ctrl-C is delayed. It can be entered again and again, at next to no cost.

    Args:
        handler: What Ctrl-C does outside of the block.
    """

    def __init__(self, handler: Callable[[int, Any], Any]) -> None:
        self._handler = handler
        self._is_within = False
        self._came: tuple[int, Any] | None = None

    def on_signal(self, signum: int, frame: Any) -> None:
        """Handle Ctrl-C now, or at the end of the block."""
        if self._is_within:
            self._came = signum, frame
        else:
            self._handler(signum, frame)

    def __enter__(self) -> None:
        self._is_within = True

    def __exit__(self, *error: object) -> None:
        self._is_within = False
        came, self._came = self._came, None
        if came is not None:
            self._handler(*came)


@contextmanager
def delaying_ctrl_c() -> Iterator[AbstractContextManager[None]]:
    """Within the block, Ctrl-C can be delayed: by a block with what is yielded.

    To change the handler of a signal costs more than to show a line of output.

    Python delivers signals to the main thread only; in another thread this does nothing.
    """
    before: Any = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield nullcontext()
        return
    delay = _Delay(before)
    signal.signal(signal.SIGINT, delay.on_signal)
    try:
        yield delay
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def delay_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C take effect at the end of the block, whose work is soon done, and as a whole."""
    with delaying_ctrl_c() as delayed, delayed:
        yield


class _Unwanted(BaseException):
    """Ends :func:`input`: the answer is no longer wanted."""


def read_beside(read: Callable[[], str], work: Callable[[Callable[[], bool]], None]) -> str | None:
    """Ask the user in this thread, and work in another thread until the answer comes.

    Args:
        read: Asks, and blocks. In the main thread, a signal ends it.
        work: Takes a function that says whether the answer has come, and returns soon after it
            has. If it returns earlier, the answer is no longer wanted.

    Returns:
        The answer; None if it is no longer wanted.

    Raises:
        KeyboardInterrupt: The user has pressed Ctrl-C instead.
        Exception: The exception of ``work``.
    """
    asked = _Asked()
    context = contextvars.copy_context()  # output of the thread belongs to this cell
    thread = threading.Thread(
        target=lambda: context.run(asked.work, work), name="rankbook-beside", daemon=True
    )
    with asked.listening():
        try:
            try:
                thread.start()
                answer: str | None = read()
            finally:
                asked.is_answered = True
        except _Unwanted:
            answer = None
        finally:
            if thread.ident is not None:
                thread.join()
    if asked.error is not None:
        raise asked.error
    return answer


class _Asked:
    """A question in the main thread, and a thread that works meanwhile."""

    def __init__(self) -> None:
        self.is_answered = False
        self.error: Exception | None = None
        self._can_end = threading.current_thread() is threading.main_thread()
        self._is_unwanted = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, the signal of :meth:`work` ends ``input()``; Ctrl-C works as before."""
        before: Any = signal.getsignal(signal.SIGINT)
        if not self._can_end or before is None:
            yield
            return

        def on_signal(signum: int, frame: Any) -> None:
            if self._is_unwanted:
                if not self.is_answered:
                    raise _Unwanted
            elif callable(before):
                before(signum, frame)

        signal.signal(signal.SIGINT, on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def work(self, work: Callable[[Callable[[], bool]], None]) -> None:
        """Work during the question; end it if there is nothing left to ask."""
        try:
            work(lambda: self.is_answered)
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that asks
            self.error = error
        main = threading.main_thread().ident
        while self._can_end and not self.is_answered and main is not None:
            self._is_unwanted = True
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(_AGAIN)


_AGAIN = 0.1
"""Seconds after which a thread that missed a signal is sent another."""
