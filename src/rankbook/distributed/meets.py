"""Where a thread waits for the other ranks before they have a group, for those who look at it."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

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

__all__ = [
    "announced",
    "at_port",
    "in_file",
    "install",
    "interruptible",
    "is_of_ranks",
    "kept",
    "let_go",
    "of_store",
    "of_thread",
    "remove",
    "stands_for",
]

_ALONE = "a HashStore, which other processes do not see"

_present: dict[int, Meets] = {}
"""By thread."""

_KEPT = 64
"""Stores kept alive: C++ holds only its half of one, and the methods belong to the other half."""

_kept: deque[Store] = deque(maxlen=_KEPT)
_places: WeakKeyDictionary[Store, str] = WeakKeyDictionary()
"""Of stores that stand for another one."""

_prefixes: WeakKeyDictionary[Store, str | None] = WeakKeyDictionary()
"""Below which keys of a store start, with those of the stores below it."""

_below: WeakKeyDictionary[Store, Store] = WeakKeyDictionary()
"""What prefixes were put before: it lives as long as they, one of which torch keeps with a group.

So a store in a file, which is removed with the last of them, need not be kept otherwise."""

_of_ranks: WeakSet[Store] = WeakSet()
"""Those that no other process reaches than ranks of the session."""

_PREFIX_STORE: Any = PrefixStore
_construct: Callable[..., None] = PrefixStore.__init__


def install() -> None:
    """Note the prefixes of stores from now on, which torch does not tell.

    (The constructor's parameters are documented, but replacing it is not: torch 2.9 to 2.15.)
    """
    _PREFIX_STORE.__init__ = _noting


def remove() -> None:
    """Have torch's own constructor again."""
    _PREFIX_STORE.__init__ = _construct


@functools.wraps(_construct)
def _noting(made: Any, /, *args: Any, **kwargs: Any) -> None:
    _construct(made, *args, **kwargs)
    given = dict(zip(("prefix", "store"), args, strict=False)) | kwargs
    outer = _prefix_of(given["store"])
    _below[made] = given["store"]
    _prefixes[made] = None if outer is None else f"{outer}/{given['prefix']}".lstrip("/")


def _prefix_of(store: Any) -> str | None:
    """The prefix of all keys of a store; None if it is not known."""
    return _prefixes.get(store, None if isinstance(store, PrefixStore) else "")


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
    or_children: bool = False,
) -> Iterator[None]:
    """Tell that this thread waits for others within the block, unless it already waits for them.

    Args:
        at: The place.
        rank: As which of them; of a store, 0 if this process serves it; None: any.
        size: How many there are; 0: not known.
        timeout: After which it gives up; None: not known.
        only_ranks: Whether no other process can come there than ranks of the session.
        or_children: Whether those can that code has started here.
    """
    thread = threading.get_ident()
    is_outermost = thread not in _present
    if is_outermost:
        seconds = timeout.total_seconds() if timeout is not None else None
        _present[thread] = Meets(at, rank, size, only_ranks, or_children, seconds)
    try:
        yield
    finally:
        if is_outermost:
            _present.pop(thread, None)


def of_thread(thread: int) -> Meets | None:
    """Where a thread waits for others; None if it does not."""
    return _present.get(thread)


def interruptible(
    store: Store, timeout: timedelta, at: str, size: int = 0, prefix: str | None = ""
) -> Store:
    """Have waits in a store be Python.

    Args:
        store: In which ranks meet.
        timeout: Of its waits.
        at: Its place.
        size: How many ranks meet there; 0: others than ranks of the session may reach it, too.
        prefix: Below which prefix of that place; empty: the same on all ranks.
    """
    is_in_file = isinstance(_base(store), FileStore)
    if not devices.gpu_count():  # threads of NCCL's are better served without Python
        store = Interruptible(store, timeout, size)
        if not size:
            store.kind = "other store"
    stands_for(store, at, size, prefix)
    if not is_in_file:
        _kept.append(store)
    return store


def _base(store: Any) -> Any:
    """The store below all prefixes."""
    while isinstance(store, PrefixStore):
        store = store.underlying_store
    return store


def kept() -> list[Store]:
    """The stores that are kept alive."""
    return [*_kept]


def let_go(before: Sequence[Store]) -> None:
    """Keep only these stores alive: the groups that met in others are gone."""
    _kept.clear()
    _kept.extend(before)


def stands_for(store: Store, at: str, size: int, prefix: str | None = "") -> None:
    """Note the place of a store, of whatever class it is; arguments as above."""
    _places[store], _prefixes[store] = at, prefix
    if size:
        _of_ranks.add(store)


def is_of_ranks(store: Any) -> bool:
    """Whether no other process reaches a store than ranks of the session."""
    return _at_place(store) in _of_ranks


def _at_place(store: Any) -> Any:
    """The store below prefixes of which the place is known."""
    while isinstance(store, PrefixStore) and store not in _places:
        store = store.underlying_store
    return store


def of_store(store: Any, rank: int, size: int) -> Meets | None:
    """Where ranks meet that make a group in a store; None if it is not known."""
    if not isinstance(store, Store):
        return None
    prefix, at = _prefix_of(store), _place_of(_at_place(store))
    return Meets(at, rank, size, prefix=prefix) if at else None


def _place_of(store: Any) -> str:
    if store in _places:
        return _places[store]
    if isinstance(store, TCPStore):
        return at_port(store.host, store.port)
    if isinstance(store, FileStore):
        path: Any = getattr(store, "path", "")  # which its type information leaves out
        return in_file(path)
    return _ALONE if isinstance(store, HashStore) else ""
