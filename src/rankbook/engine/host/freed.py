"""What becomes of memory that this process has freed: kept for the next step, or returned.

It concerns glibc's ``malloc``, which torch allocates small and medium CPU tensors with. Where
there is another C library, or an allocator that has none of these functions, nothing happens.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["keep", "release"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt``, from ``malloc.h``."""

_LARGE = 32 * 2**20
"""Bytes from which a block has a mapping of its own, the most that glibc allows. Twice as many may
stay free at the end of the heap.

glibc raises its own limits to these as soon as a process frees a block of that size. Until then a
training step returns its tensors to the system, and the next step gets new pages: a small CNN had
1,290 page faults a step, which took a tenth of its time."""

_SET_BY_HAND = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")


def keep(environ: Mapping[str, str] = os.environ) -> None:
    """Keep the memory of freed tensors of up to 32 MiB for the next ones.

    Args:
        environ: Variables of this process; what they set of glibc's limits stays.
    """
    if any(map(environ.get, _SET_BY_HAND)) or "glibc.malloc" in environ.get("GLIBC_TUNABLES", ""):
        return
    with suppress(OSError, AttributeError):  # another C library than glibc
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_TRIM_THRESHOLD, 2 * _LARGE)


def release() -> None:
    """Return all memory that is free now to the system."""
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
