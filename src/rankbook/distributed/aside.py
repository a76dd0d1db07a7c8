"""Setting the process groups of this process aside, while a script runs that makes its own.

torch has one default group per process, and names its groups by a number. While groups are set
aside it knows none, as in a process that has just started; afterwards it has the former ones again,
the same objects with their connections, so that whatever holds them goes on.

A script's groups get other names than those of its session. A mesh, an autograd graph or compiled
code hold group names and may outlive the script: they must find no other group by these names.

(The names are private in torch 2.9 to 2.15; ``tests/unit/test_private_api.py`` fails if they go.)
"""

from __future__ import annotations

import logging
import time
from importlib import import_module
from typing import Any
from weakref import WeakSet

import torch.distributed as dist

from rankbook.distributed import healing, init_utils, meets, teardown
from rankbook.distributed.stores import poll
from rankbook.models.calls import SCRIPTS

__all__ = ["Aside", "ForScript", "made"]

logger = logging.getLogger(__name__)

_PATIENCE = 30.0
"""Seconds, beyond those of ``teardown``, for torch to let go of a group that NCCL waits in."""

_c10d: Any = import_module("torch.distributed.distributed_c10d")


class Aside:
    """The process groups that existed, and were set aside, when this was created."""

    def __init__(self) -> None:
        """Hide all groups from torch from now on."""
        world = _c10d._world
        self._tables = [dict(table) for table in teardown.tables()]
        self._default, self._count = world.default_pg, world.group_count
        # torch 2.9 has no list of NCCL's communicators.
        self._comms = list(getattr(world, "comms", ()))
        self._ours = init_utils.exchange(None)
        _hold([{} for _ in self._tables], None, 0, [])

    def end(self) -> None:
        """Destroy the group made meanwhile, if any, and restore the former ones."""
        with teardown.ignoring_sigint():
            if _is_left():
                init_utils.exchange(self._ours)
                _hold(self._tables, self._default, self._count, self._comms)


class ForScript(Aside):
    """The process groups that were set aside for a script; one at a time.

    The script's connections outlive the groups that it destroys. Otherwise a rank that leaves while
    another waits for it would end that wait with an error about a connection, and hide which rank
    waits for which.
    """

    present: ForScript | None = None

    def __init__(self, origin: str) -> None:
        """Hide all groups from torch from now on.

        Args:
            origin: Where the script's groups were made, in words: ``in the script train.py``.
        """
        super().__init__()
        self._origin = origin
        self._made: WeakSet[Any] = WeakSet()
        self._kept: list[Any] = []
        self._stores = meets.kept()
        ForScript.present = self

    def made(self, group: Any) -> None:
        """Count a group that has just been made as one of the script's."""
        if not dist.is_initialized():
            self._kept.clear()  # every rank has left the previous one
        self._made.add(group)
        self._kept.append(group)
        _rename(group, SCRIPTS + group.group_name)

    def end(self) -> None:
        """Destroy the script's group; objects that still hold one say so when used."""
        ForScript.present = None
        super().end()
        with teardown.ignoring_sigint():
            healing.end([*self._made], self._origin)
            teardown.let_go(self._kept)
            meets.let_go(self._stores)  # else a port on which one of them listens stays taken


def made(group: Any) -> None:
    """Note that torch has made a group: a script's, if one runs."""
    if ForScript.present is not None:
        ForScript.present.made(group)


def _rename(group: Any, name: str) -> None:
    """Give a group another name than the one its members met under."""
    _c10d._unregister_process_group(group.group_name)
    group._set_group_name(name)
    _c10d._world.pg_names[group] = name
    _c10d._register_process_group(name, group)


def _is_left() -> bool:
    """Leave the group made meanwhile, if any; return whether torch has let go of it."""
    try:
        init_utils.destroy_global_state()
    except Exception:  # the former groups must come back in any case
        logger.warning("the process group of a script could not be destroyed", exc_info=True)
    # torch empties its tables only then, whatever is in them.
    if poll(lambda: not teardown.pending(), time.monotonic() + _PATIENCE):
        return True
    logger.warning("torch keeps a script's process group: the session's former one is lost")
    return False


def _hold(tables: list[dict[Any, Any]], default: Any, count: int, comms: list[Any]) -> None:
    """Have torch know these groups, and no others."""
    world = _c10d._world
    _c10d._unregister_all_process_groups()
    for table, content in zip(teardown.tables(), tables, strict=True):
        table.clear()
        table.update(content)
    if hasattr(world, "comms"):
        world.comms[:] = comms
    world.group_count = count
    for group, name in world.pg_names.items():
        _c10d._register_process_group(name, group)
    _c10d._update_default_pg(default)
    healing.clear_caches()
