"""Ending what the main thread runs: by SIGINT, or by an exception where the code handles SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["interrupt", "interruptible"]


class _Main:
    """Whether an exception may be raised in the main thread from outside.

    Without a lock: an exception that arrives where one is taken would leave it locked.

    Attributes:
        ours: The handler of SIGINT that ends what runs; None while nothing may be ended.
    """

    def __init__(self) -> None:
        self.ours: Any = None
        self._is_raising = self._has_raised = False

    def is_left_to_code(self) -> bool:
        """Whether code that runs has put a handler of its own in place of ours."""
        return self.ours is not None and signal.getsignal(signal.SIGINT) is not self.ours

    def end(self) -> None:
        """Raise a ``KeyboardInterrupt`` in what runs; from another thread."""
        self._is_raising = True
        if self.ours is signal.default_int_handler:  # an ``await`` is cancelled by its task only
            self._has_raised = True
            _raise_in_main(KeyboardInterrupt)
        self._is_raising = False

    def close(self) -> None:
        """Have nothing raised from now on, nor what has yet to be raised; on the main thread.

        Python can also be told to forget that. Then (3.11) it checks for it at every call from
        then on, and never goes on below a profiler.
        """
        self.ours = None
        while self._is_raising:
            time.sleep(0)
        if self._has_raised:
            self._has_raised = False
            with contextlib.suppress(KeyboardInterrupt):
                for _ in range(2):  # at the end of a turn Python raises what it has yet to
                    pass


_main = _Main()


def interrupt(*, insists: bool = False) -> None:
    """Interrupt what the main thread runs; from another thread.

    Code may have a handler of its own, which asks it to stop soon. It never does while it waits
    for other ranks in Python.

    Args:
        insists: Whether to raise ``KeyboardInterrupt`` whatever the handler of the code does.
    """
    # The default action would end the process, and with it the variables.
    ends_process = signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    if not ends_process:
        os.kill(os.getpid(), signal.SIGINT)
    if (insists or ends_process) and _main.is_left_to_code():
        _main.end()


@contextlib.contextmanager
def interruptible(
    task: asyncio.Future[Any] | None = None, on_cancel: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Make SIGINT end what runs: ``KeyboardInterrupt`` in code, a cancellation in an ``await``.

    Outside of this, an engine ignores SIGINT. A ``KeyboardInterrupt`` must not be raised while a
    cell awaits: it would leave the event loop and end the engine.

    Args:
        task: The task that runs the cell, None for code that does not await.
        on_cancel: Called when the task is cancelled.
    """

    def on_signal(signum: int, frame: Any) -> None:
        __tracebackhide__ = True
        if asyncio.current_task() is task:
            signal.default_int_handler(signum, frame)
        on_cancel()
        if task is not None:
            task.cancel()

    # The plain handler leaves no frame of ours in the traceback.
    handler = on_signal if task else signal.default_int_handler
    before, outer = signal.signal(signal.SIGINT, handler), _main.ours
    _main.ours = handler

    def close() -> None:
        _main.close()
        signal.signal(signal.SIGINT, before)
        _main.ours = outer

    try:
        yield
    finally:
        try:
            close()
        except KeyboardInterrupt:  # it arrived at the last moment
            close()
            raise


def _raise_in_main(error: type[BaseException]) -> None:
    # Documented, and the only way to end Python whose code ignores the signal.
    thread = ctypes.c_ulong(threading.main_thread().ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(error))
