"""This engine's place in the process group: joining a generation, leaving it."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d
from torch._C._distributed_c10d import DebugLevel, get_debug_level, set_debug_level

from rankbook.distributed import (
    by_hand,
    destroy_global_state,
    environment,
    initialize_distributed,
    rendezvous,
    teardown,
)
from rankbook.engine import state
from rankbook.engine.history import Epoch
from rankbook.engine.sockets import GlooSockets
from rankbook.engine.threads import Threads
from rankbook.models import GroupInfo, to_dict

__all__ = ["Group"]

_LOOPBACK = "127.0.0.1"

_EPOCHS = 31
"""Earlier groups that are remembered, to tell of which one a collective was."""


class Group:
    """Joins and leaves process groups, and keeps the names that a cell finds."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.info: GroupInfo | None = None
        self.began = 0
        """When the present group was asked for, ns since the epoch."""
        self.epochs: list[Epoch] = []
        """The latest groups that were asked for, the present one last."""
        self._sockets = GlooSockets()
        self._threads = Threads()
        self._level = get_debug_level()
        self._namespace = namespace
        self._interfaces: dict[str, str] = {}
        self._url = ""

    @property
    def since(self) -> int:
        """From when on collectives are of the present group, which a cell may have made itself.

        A group of the same name that was destroyed has had the same numbers.
        """
        return max(self.began, self._sockets.began)

    def host_store(self, address: str) -> str:
        """Open the store in which the ranks meet, on one address of this host.

        Returns:
            The URL under which the other ranks reach it.
        """
        return rendezvous.host(address)

    def reaches(self, url: str) -> bool:
        """Whether a store that another host has opened can be connected to from here."""
        host, _, port = url.removeprefix("tcp://").rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
        except OSError:
            return False
        return True

    def initialize(  # noqa: PLR0913 - what a launcher says in as many variables
        self,
        *,
        backend: str,
        timeout_minutes: float,
        url: str,
        generation: int,
        rank: int,
        world_size: int,
        local_rank: int,
        local_world_size: int,
        address: str,
        check: bool = False,
    ) -> dict[str, Any]:
        """Join a generation; blocks until every rank has.

        Args:
            backend: As ``initialize_distributed`` takes it.
            timeout_minutes: Of the initialisation and of every collective of the group.
            url: Where the ranks meet: ``file:///path`` or ``tcp://address:port``.
            generation: Which of the session's groups this is, from 1.
            rank: The rank this engine becomes.
            world_size: Number of ranks.
            local_rank: Among the ranks of this host.
            local_world_size: Number of ranks on this host.
            address: Of rank 0, reachable from here; loopback if all ranks share a host.
            check: Have torch compare every collective across ranks before it runs.

        Returns:
            A :class:`~rankbook.models.GroupInfo` as a dict.
        """
        self.destroy()
        self.began = time.time_ns()
        self.epochs = [*self.epochs[-_EPOCHS:], Epoch(self.began, generation, rank)]
        os.environ.update(
            RANK=str(rank),
            WORLD_SIZE=str(world_size),
            LOCAL_RANK=str(local_rank),
            LOCAL_WORLD_SIZE=str(local_world_size),
            MASTER_ADDR=address,
        )
        self._threads.share(local_world_size)
        self._use_interface(address)
        # For good: a cell may destroy the group and initialise it again.
        rendezvous.use(url, generation)
        level = self._level if not check else DebugLevel.DETAIL
        if get_debug_level() != level:
            set_debug_level(level)
        info = initialize_distributed(backend, timeout_minutes)
        port = by_hand.enable(environment.read(), address, timedelta(minutes=timeout_minutes))
        os.environ["MASTER_PORT"] = str(port)
        self.info = GroupInfo(
            backend=info.backend,
            rank=info.rank,
            world_size=info.world_size,
            device=str(info.device),
            is_main=info.is_main,
            local_rank=local_rank,
            generation=generation,
            timeout_minutes=timeout_minutes,
            check=check,
        )
        self._remove_former_store(url)
        self._namespace.update(
            torch=torch,
            dist=dist,
            rank=info.rank,
            world_size=info.world_size,
            local_rank=local_rank,
            device=info.device,
            dist_info=info,
        )
        return to_dict(self.info)

    def before_cell(self) -> None:
        """Forget attempts of an earlier cell to make a group, which other ranks may not know of."""
        if not dist.is_initialized():
            teardown.forget_attempt()

    def destroy(self) -> None:
        """Leave the group, if this engine is in one."""
        self.info = None
        destroy_global_state()

    def cut(self) -> None:
        """Free the main thread from whatever collective it waits in; from any thread.

        The group is of no use afterwards, on this rank and on those connected to it.
        """
        self._sockets.cut()
        if dist.is_initialized() and "nccl" in dist.get_backend():
            # It waits for every rank to do the same, so nobody waits for it.
            Thread(target=_abort, name="rankbook-abort", daemon=True).start()

    def silent_for(self, group: str) -> float | None:
        """Seconds since data went to or came from another rank of a group, of torch's name.

        Of one that is not known, of any group; None where it is not known at all.
        """
        return self._sockets.silent_for(group)

    def _remove_former_store(self, url: str) -> None:
        """Remove the file in which the ranks met for a session that is gone; all have left it.

        A session removes its own files, unless it went and left its group as it was.
        """
        former, self._url = self._url, url
        folder = Path(former.removeprefix("file://")).parent
        if former.startswith("file://") and folder != Path(url.removeprefix("file://")).parent:
            with suppress(OSError):  # the other ranks do the same
                for path in folder.glob("store-*"):
                    path.unlink(missing_ok=True)
                folder.rmdir()

    def _use_interface(self, address: str) -> None:
        """Bind gloo, NCCL's bootstrap and RPC to the interface on which rank 0 is reached.

        By default gloo asks what the host name resolves to, which on many machines is an
        address that no other host reaches. What the user has set stays.
        """
        if address == _LOOPBACK:
            name = state.interface_of(_LOOPBACK)
        else:
            name = state.interface_of(state.addresses(address)[0])
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME"):
            if os.environ.get(variable) == self._interfaces.get(variable):
                os.environ[variable] = self._interfaces[variable] = name


def _abort() -> None:
    """End NCCL's kernels and the waits for them."""
    # Private in torch 2.8 to 2.13, and the way that its documentation names for this.
    c10d._abort_process_group()
