"""Ignoring Ctrl-C while something must not be left half done."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["ignore_ctrl_c"]


@contextmanager
def ignore_ctrl_c(patience: float = math.inf) -> Iterator[None]:
    """Ignore Ctrl-C within the block: what it asks for is being done already.

    Python delivers signals to the main thread only; in another thread this does nothing.

    Args:
        patience: Seconds after which Ctrl-C is obeyed again, within the block too.
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
