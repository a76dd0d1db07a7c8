"""Releasing what a former process group, or a script, has left in memory."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

__all__ = ["tidy"]


def tidy() -> None:
    """Release the former group.

    Tracebacks, and what IPython makes of them, refer to each other and to that group with its
    threads and sockets, until Python's collector happens to find such cycles.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc keeps for itself what is released in pieces
        ctypes.CDLL(None).malloc_trim(0)
