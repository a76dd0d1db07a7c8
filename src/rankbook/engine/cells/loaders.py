"""What a script's DataLoaders have begun, when the script and their workers end.

When a process ends, torch leaves its loops over loaders alone. On a rank they live on: they would
write to workers that have ended, some of them in destructors, while the next script runs. And a
loader with ``persistent_workers``, whose name stays, would ask such workers for its next epoch.

(The names are private in torch 2.9 to 2.15; ``tests/unit/test_private_api.py`` fails if they go.)
"""

from __future__ import annotations

import sys
from collections.abc import Container
from contextlib import suppress
from typing import Any

from rankbook.heap import instances

__all__ = ["let_go"]


def let_go(workers: Container[Any]) -> None:
    """Have loops over loaders forget their workers, and loaders begin with new ones.

    Args:
        workers: The processes that are about to end.
    """
    torch: Any = sys.modules.get("torch.utils.data.dataloader")
    if torch is None:
        return
    found = instances(torch._MultiProcessingDataLoaderIter, torch.DataLoader)
    loops = [one for one in found if _has(one, workers)]
    for loop in loops:
        loop._shutdown = True
        if loop._worker_pids_set:
            loop._worker_pids_set = False
            torch._utils.signal_handling._remove_worker_pids(id(loop))
    for loader in found:
        with suppress(AttributeError):  # a loop, or a loader that could not be made
            if any(loader._iterator is loop for loop in loops):
                loader._iterator = None


def _has(loop: Any, workers: Container[Any]) -> bool:
    """Whether it is a loop with one of these workers."""
    return any(one in workers for one in getattr(loop, "_workers", ()))
