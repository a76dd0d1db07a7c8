"""Releasing what a former process group, or a script, has left in memory."""

from __future__ import annotations

import ctypes
import gc
import threading
from contextlib import suppress

__all__ = ["tidy"]


def tidy() -> None:
    """Release the former group, in a thread of its own.

    Tracebacks, and what IPython makes of them, refer to each other and to that group with its
    threads and sockets, until Python's collector happens to find such cycles. It also ends what a
    person's code has left in them, and that may take its time: a ``DataLoader`` of which a sample
    has raised waits 5 s for each of its workers. The rank does not wait for it.
    """
    threading.Thread(target=_release, name="rankbook-tidy", daemon=True).start()


def _release() -> None:
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc keeps for itself what is released in pieces
        ctypes.CDLL(None).malloc_trim(0)
