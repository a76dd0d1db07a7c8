"""Where a thread waits for the other ranks before they have a group, for those who look at it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from rankbook.distributed import devices
from rankbook.distributed.stores import (
    FileStore,
    HashStore,
    Interruptible,
    PrefixStore,
    Store,
    TCPStore,
)
from rankbook.models.meetings import Meets

__all__ = ["announced", "at_port", "in_file", "interruptible", "of_store", "of_thread"]

_ALONE = "a HashStore, which other processes do not see"

_present: dict[int, Meets] = {}
"""By thread."""

_KEPT = 64
"""Stores kept alive: C++ holds only its half of one, and the methods belong to the other half."""

_kept: deque[Store] = deque(maxlen=_KEPT)
_places: WeakKeyDictionary[Store, str] = WeakKeyDictionary()
"""Of stores that stand for another one."""


def at_port(host: str, port: int) -> str:
    """The place of a store at a host and port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def in_file(path: str) -> str:
    """The place of a store in a file."""
    return os.path.realpath(path)


@contextmanager
def announced(
    at: str,
    rank: int | None,
    size: int,
    timeout: timedelta | None = None,
    *,
    only_ranks: bool = False,
) -> Iterator[None]:
    """Tell that this thread waits for others within the block, unless it already waits for them.

    Args:
        at: The place.
        rank: As which of them; of a store, 0 if this process serves it; None: any.
        size: How many there are; 0: not known.
        timeout: After which it gives up; None: not known.
        only_ranks: Whether no other process can come there than ranks of the session.
    """
    thread = threading.get_ident()
    is_outermost = thread not in _present
    if is_outermost:
        seconds = timeout.total_seconds() if timeout is not None else None
        _present[thread] = Meets(at, rank, size, only_ranks, seconds)
    try:
        yield
    finally:
        if is_outermost:
            _present.pop(thread, None)


def of_thread(thread: int) -> Meets | None:
    """Where a thread waits for others; None if it does not."""
    return _present.get(thread)


def interruptible(store: Store, timeout: timedelta, at: str, size: int = 0) -> Store:
    """Have waits in a store be Python.

    Args:
        store: In which ranks meet.
        timeout: Of its waits.
        at: Its place.
        size: How many ranks meet there; 0: others than ranks of the session may reach it, too.
    """
    if not devices.gpu_count():  # threads of NCCL's are better served without Python
        store = Interruptible(store, timeout, size)
        if not size:
            store.kind = "other store"
    _places[store] = at
    _kept.append(store)
    return store


def of_store(store: Any, rank: int, size: int) -> Meets | None:
    """Where ranks meet that make a group in a store; None if it is not known."""
    while isinstance(store, PrefixStore) and store not in _places:
        store = store.underlying_store
    if store in _places:
        return Meets(_places[store], rank, size)
    if isinstance(store, TCPStore):
        return Meets(at_port(store.host, store.port), rank, size)
    if isinstance(store, FileStore):
        path: Any = getattr(store, "path", "")  # which its type information leaves out
        return Meets(in_file(path), rank, size)
    return Meets(_ALONE, rank, size) if isinstance(store, HashStore) else None
