"""This engine's place in the process group: joining a generation, and leaving it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d

from rankbook.calls import Ledger
from rankbook.distributed import (
    by_hand,
    destroy_global_state,
    devices,
    environment,
    healing,
    initialize_distributed,
    rendezvous,
    teardown,
)
from rankbook.distributed.aside import ForScript
from rankbook.distributed.destroying import Guest
from rankbook.distributed.environment import Launch
from rankbook.engine.group import levels, nccl
from rankbook.engine.group.interfaces import Interfaces
from rankbook.engine.group.meeting import remove_former
from rankbook.engine.group.names import Names
from rankbook.engine.group.sockets import GlooSockets
from rankbook.engine.host.threads import Threads
from rankbook.engine.looking.history import Epoch
from rankbook.models import Collective, GroupInfo
from rankbook.models.cells import Script
from rankbook.models.requests import Initialize

__all__ = ["Group"]

_LENT = timedelta(days=2)
"""The timeout that gloo gets instead of the group's."""

_EPOCHS = 31
"""How many earlier groups are remembered, to assign a collective to its group."""


class Group:
    """Joins and leaves process groups, and keeps the names that a cell finds."""

    def __init__(self, namespace: dict[str, Any], ledger: Ledger) -> None:
        self.info: GroupInfo | None = None
        self.began = 0
        """When the present group was requested, ns since the epoch."""
        self.names = Names(namespace)
        self.epochs: list[Epoch] = []
        """The latest requested groups, the present one last."""
        self.aborts = nccl.Aborts()
        self._ledger = ledger
        self._sockets = GlooSockets()
        self._threads = Threads()
        self._interfaces = Interfaces()
        self._url = ""
        self._lends = False
        healing.count_steps()
        self._resumed = 0
        """When the group was restored after a script, ns since the epoch."""
        self._aside: tuple[ForScript, Launch | None] | None = None
        """The groups that were set aside for a script."""
        self._account: healing.Account | None = None
        """The groups when the latest default group was left, until they go on with another."""
        self._healed = 0
        """The latest generation in which this rank has told the others what it holds."""

    @property
    def since(self) -> int:
        """Since when collectives belong to the present group, which a cell may have made itself.

        A destroyed group of the same name had the same numbers.
        """
        return max(self.began, self._sockets.began, self._resumed)

    @property
    def is_destroyed(self) -> bool:
        """Whether a cell destroyed the session's group, and made no other."""
        return self.info is not None and self._aside is None and not dist.is_initialized()

    def initialize(self, wanted: Initialize) -> GroupInfo:
        """Join a generation; blocks until every rank has.

        Args:
            wanted: The generation, and the rank in it.
        """
        self.destroy()
        self.began = time.time_ns()
        self.epochs = [*self.epochs[-_EPOCHS:], Epoch(self.began, wanted.generation, wanted.rank)]
        os.environ.update(
            RANK=str(wanted.rank),
            WORLD_SIZE=str(wanted.world_size),
            LOCAL_RANK=str(wanted.local_rank),
            LOCAL_WORLD_SIZE=str(wanted.local_world_size),
            MASTER_ADDR=wanted.address,
        )
        if "nccl" in wanted.backend:
            devices.survive_timeouts()
        devices.share_gpus(shared=wanted.share_gpus)
        self._threads.share(wanted.local_world_size)
        self._interfaces.use(wanted.address)
        # Permanently: a cell may destroy the group and initialise it again.
        rendezvous.use(wanted.url, wanted.generation)
        with levels.that_of_the_beginning():
            info = initialize_distributed(wanted.backend, wanted.timeout_minutes)
        timeout = timedelta(minutes=wanted.timeout_minutes)
        ports = by_hand.enable(environment.read(), wanted.address, timeout)
        os.environ["MASTER_PORT"] = str(ports.ours)
        by_hand.tell_children()
        has_failed = 0 <= wanted.whole < self._healed
        self._healed = wanted.generation
        with levels.that_of_the_beginning():
            healed = healing.heal(self._account, clean=wanted.clean, has_failed=has_failed)
        self._lend_time(info.backend)
        self._account = None
        self.info = GroupInfo(
            backend=info.backend,
            rank=info.rank,
            world_size=info.world_size,
            device=str(info.device),
            is_main=info.is_main,
            local_rank=wanted.local_rank,
            generation=wanted.generation,
            timeout_minutes=wanted.timeout_minutes,
            check=wanted.check,
            sharing=devices.ranks_on(info.device, wanted.local_world_size),
            share_gpus=wanted.share_gpus,
            healed=healed.kinds,
            lost=healed.lost,
            waiting=healed.waiting,
            is_new=healed.is_new,
            diverged=healed.diverged,
        )
        remove_former(self._url, wanted.url)
        self._url = wanted.url
        self.names.update(
            torch=torch,
            dist=dist,
            rank=info.rank,
            world_size=info.world_size,
            local_rank=wanted.local_rank,
            device=info.device,
            dist_info=info,
        )
        return self.info

    def before_cell(self) -> None:
        """Forget an attempt to make a group, which not all ranks share; restore names."""
        self.names.restore()
        healing.begin_cell()
        if not dist.is_initialized():
            teardown.forget_attempt()

    def destroy(self) -> None:
        """Leave the group, if this engine is in one; objects that hold it can no longer use it."""
        generation = self.info.generation if self.info is not None else 0
        self.info = None
        self.aborts.wait()
        account = healing.note(generation)
        destroy_global_state()
        if account is not None and not dist.is_initialized():
            self._sockets.cut()  # a handle that was never awaited would keep them open
            # Objects that wait for an initialisation that failed go on waiting.
            self._account = self._account or account
            for left in (account, self._account):
                healing.separate(left.groups)

    def begin_script(self, launch: Launch, script: Script) -> None:
        """Set the group aside for a script that makes its own.

        Args:
            launch: This process among those that run it.
            script: The script.
        """
        kind, name = ("module" if script.is_module else "script"), Path(script.path).name
        self._aside = ForScript(f"in the {kind} {name}"), by_hand.act_as(launch)
        self._ledger.groups.world = script.world

    def end_script(self) -> None:
        """Restore the session's group, if a script has ended since; destroy the script's.

        Not at once when the script ends on this rank: others may wait for it, and the verdict must
        still see for what.
        """
        if self._aside is not None:
            (former, launch), self._aside = self._aside, None
            former.end()
            by_hand.act_as(launch)
            self._ledger.groups.world = ()
            self._resumed = time.time_ns()

    @contextmanager
    def hosting(self) -> Iterator[None]:
        """Restore this group after the block, even if a script in it destroyed it."""
        guest = Guest()
        try:
            yield
        finally:
            if guest.end():
                self._resumed = time.time_ns()

    def cut(self) -> None:
        """Free the main thread from the collective in which it waits; from any thread.

        The group is unusable afterwards, on this rank and on those connected to it.
        """
        self._sockets.cut()
        if dist.is_initialized() and "nccl" in dist.get_backend():
            self.aborts.begin()

    def silent_for(self, group: str) -> float | None:
        """Seconds since data was sent to or received from another rank.

        Args:
            group: torch's name of the group. If it is unknown, every group counts.

        Returns:
            The seconds; None where the system does not tell.
        """
        return self._sockets.silent_for(group)

    def overdue(self, waiting: Collective | None) -> float:
        """Seconds by which a collective exceeds the group's timeout.

        The session ends it, because only the session knows how long a rank was at a prompt.
        """
        if waiting is None or not self._lends or self.info is None or not dist.is_initialized():
            return 0.0
        is_of_the_group = waiting.group == dist.group.WORLD.group_name  # type: ignore[union-attr]
        late = waiting.since - 60 * self.info.timeout_minutes
        return max(0.0, late) if is_of_the_group else 0.0

    def _lend_time(self, backend: str) -> None:
        """Have gloo wait longer than the group allows; see :meth:`overdue`.

        gloo reads the timeout when a collective is called, and cannot learn later that a rank is
        at a prompt. NCCL's watchdog has its own clock, and so has torch's own comparison of
        collectives (``TORCH_DISTRIBUTED_DEBUG=DETAIL``).
        """
        # Private in torch, 2.1 to 2.15; tests/unit/test_private_api.py fails if it goes. Without
        # it gloo keeps the group's timeout, even while a rank is at a prompt.
        lend = getattr(c10d, "_set_pg_timeout", None)
        self._lends = backend == "gloo" and lend is not None and not levels.are_compared()
        if lend is not None and self._lends:
            lend(_LENT, dist.group.WORLD)
