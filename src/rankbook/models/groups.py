"""A rank's place in its process group, and the requests that lead there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.wire import Request

__all__ = [
    "Destroy",
    "EndScript",
    "GetUnfinished",
    "GroupInfo",
    "HostStore",
    "Initialize",
    "Reach",
    "Unfinished",
]


@dataclass(frozen=True)
class HostStore(Request):
    """Open a store for the ranks to meet in; the answer is its URL."""

    address: str
    """The address of this host on which it listens."""
    op = "host_store"


@dataclass(frozen=True)
class Reach(Request):
    """Try to connect to a store; the answer is whether that works."""

    url: str
    op = "reaches"


@dataclass(frozen=True)
class Initialize(Request):
    """Join a generation; answered when every rank has. The answer is a :class:`GroupInfo`."""

    backend: str
    """As ``initialize_distributed`` takes it."""
    timeout_minutes: float
    """Timeout of the initialisation and of every collective of the group."""
    url: str
    """Where the ranks meet: ``file:///path`` or ``tcp://address:port``."""
    generation: int
    """The number of this group in the session, from 1."""
    rank: int
    world_size: int
    local_rank: int
    """Rank among the ranks of this host."""
    local_world_size: int
    address: str
    """Address of rank 0, reachable from here; loopback if all ranks share a host."""
    check: bool = False
    """Whether to compare every collective across ranks before it runs."""
    clean: bool = False
    """Whether to forget objects of earlier groups, instead of giving them the new connections."""
    share_gpus: bool = False
    """Whether several ranks of a host may share a GPU."""
    whole: int = -1
    """The latest generation that all ranks have joined; 0: none yet, -1: not known."""
    op = "initialize"


@dataclass(frozen=True)
class Destroy(Request):
    """Leave the process group, if the engine is in one."""

    op = "destroy"


@dataclass(frozen=True)
class GetUnfinished(Request):
    """Say what the latest cell has left amid a step; the answer is :class:`Unfinished`."""

    was_interrupted: bool
    op = "unfinished"


@dataclass(frozen=True)
class Unfinished:
    """What a cell has left amid a step on a rank."""

    kinds: tuple[str, ...] = ()
    """Kinds of objects whose next step would fail, or differ, in the plural: ``DDP modules``."""
    taken: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By class and shapes of parameters, the steps that optimizers took in the cell."""


@dataclass(frozen=True)
class EndScript(Request):
    """Leave the group of a script, and be in the session's again."""

    op = "end_script"


@dataclass(frozen=True)
class GroupInfo:
    """A ``DistInfo`` in JSON's types: ``device`` is ``str(torch.device)``."""

    backend: str
    rank: int
    world_size: int
    device: str
    is_main: bool
    local_rank: int = 0
    generation: int = 0
    timeout_minutes: float = 1
    """Timeout of every collective of the group."""
    check: bool = False
    """Whether every collective is compared across ranks before it runs."""
    sharing: int = 1
    """Ranks that have its device, this one among them."""
    share_gpus: bool = False
    """Whether several ranks of a host may have the same GPU."""
    healed: tuple[str, ...] = ()
    """Kinds of objects of earlier groups that go on, in the plural: ``DDP modules``."""
    lost: tuple[str, ...] = ()
    """What does not go on: earlier groups, by their members."""
    waiting: tuple[str, ...] = ()
    """Kinds that wait until a replaced rank has them, too."""
    is_new: bool = False
    """Whether the rank had no groups and others had some."""
    diverged: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """Class of each optimizer whose steps differ between ranks, and by rank the steps since the
    last generation; -1 on a new rank."""
