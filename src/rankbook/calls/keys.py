"""Waiting for keys in a store of a person's own, in Python, where an interrupt comes through."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from rankbook.distributed import stores

__all__ = ["is_ours", "wait_until_set"]

_TIMEOUT = 300.0
"""Seconds that torch waits by itself."""


def is_ours(code: Any) -> bool:
    """Whether code is that of a function that waits here."""
    return code.co_filename == __file__  # type: ignore[no-any-return]


def wait_until_set(store: Any, keys: Sequence[str], timeout: float | None) -> None:
    """Wait until keys are set, if this is the main thread and the store waits in C++.

    Args:
        store: Torch's, or one that waits in Python, which says so by having a ``kind``.
        keys: All of them.
        timeout: Seconds; None: the store's own.

    Raises:
        DistStoreError: They are not within the timeout.
    """
    base = store
    while isinstance(base, stores.PrefixStore):
        base = base.underlying_store
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or hasattr(base, "kind") or not keys:
        return
    if timeout is None:
        own = getattr(store, "timeout", None)  # documented since torch 2.1
        timeout = own.total_seconds() if own is not None else _TIMEOUT
    stores.wait_until_set(store, keys, timeout)
