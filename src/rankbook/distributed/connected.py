"""Waiting until gloo has connected all ranks of a group."""

from __future__ import annotations

import time
from datetime import timedelta
from importlib import import_module
from typing import Any

from rankbook.distributed import meets, stores

__all__ = ["wait_until_connected"]

_CONNECTED = "rankbook/connected"

_FOR_OTHERS = timedelta(seconds=1)
"""How long gloo's connections are waited for where not only ranks may come: they take less."""

_c10d: Any = import_module("torch.distributed.distributed_c10d")


def wait_until_connected(*given: Any, **options: Any) -> None:
    """Wait until gloo has connected all ranks of a default group, not only this one.

    A rank that destroys the group at once would take the connections from slower ranks.

    Args:
        *given: The arguments of the group: the number of ranks, this rank, its members, the
            backend, the store in which the ranks met.
        **options: The group's ``timeout``, among others.
    """
    size, _, _, backend, store = given[:5]
    # By what torch makes of it: one rank may say "gloo", where another says "cpu:gloo".
    if size > 1 and _c10d.BackendConfig(backend).device_backend_map.get("cpu") == "gloo":
        if store.add(f"{_CONNECTED}/count", 1) == size:
            store.set(_CONNECTED, "")
        limit = options.get("timeout") or _c10d.default_pg_timeout
        if not meets.is_of_ranks(store):
            limit = min(limit, _FOR_OTHERS)  # a process that is no rank does not say so
        # If a rank does not come, the group's first collective reports it.
        stores.poll(lambda: store.check([_CONNECTED]), time.monotonic() + limit.total_seconds())
