"""What Ctrl-C must not leave half done."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["undisturbed"]


@contextmanager
def undisturbed(patience: float = math.inf) -> Iterator[None]:
    """Have Ctrl-C do nothing for a while: what it is pressed for is being done.

    It reaches the main thread only; in others there is nothing to be done about it.

    Args:
        patience: Seconds after which it does again what it did before.
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
