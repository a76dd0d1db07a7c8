"""The process groups of an account, distinguished even where their names are equal.

torch reuses a name once its group was destroyed: a cell that makes the default group again gets
another group with the old name, and calls are counted from 1 there. All members of a group make it
together, so they agree which group of that name it is.

torch makes every group in one function, which is replaced; ``tests/unit/test_private_api.py`` fails
if it goes.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch.distributed.distributed_c10d as c10d

from rankbook.calls.fingerprints import Running, key_of
from rankbook.calls.places import line_of_call
from rankbook.calls.records import Group
from rankbook.distributed.meets import of_store
from rankbook.models.calls import GROUPS, SCRIPTS, Fingerprint, Making, Slot
from rankbook.models.meetings import Meets, MeshMaking

__all__ = ["Groups", "install", "remove"]

_MOST = 10_000
"""How many names are counted."""

_NOT_IN_A_CHILD = (
    "This process was forked from a rank and does not have the connections of the rank's process "
    "group: the call would never return. Call torch.distributed in the rank itself, not in a "
    "DataLoader's dataset or collate_fn with num_workers > 0, nor in a Pool or a Process."
)

_MAKINGS = 32
"""How many groups are remembered with their makers and places."""


class Groups:
    """The groups of a process, identified by torch's object, which every call has.

    Attributes:
        world: In a script, the session's ranks by ranks of its default group; else empty.
        meshes: The latest device meshes, oldest first.
    """

    def __init__(self) -> None:
        self.world: tuple[int, ...] = ()
        self.by_id: dict[int, Group] = {}
        self._made: Counter[tuple[int, str, tuple[int, ...]]] = Counter()
        self._makings: deque[Making] = deque(maxlen=_MAKINGS)
        self._under_way: dict[int, Making] = {}
        self.meshes: deque[MeshMaking] = deque(maxlen=_MAKINGS)
        self._mesh_count = 0
        self._epoch = 0
        self._all: tuple[int, ...] = ()
        self._of_all = Running()
        self._nth: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._of_parent: weakref.WeakSet[Any] = weakref.WeakSet()

    def made(self, pg: Any, name: str, ranks: tuple[int, ...], generation: int) -> None:
        """Count a new group as the n-th of its name and members."""
        if len(self._made) >= _MOST:
            self._made.clear()
        self._made[generation, name, ranks] += 1
        self._nth[pg] = self._made[generation, name, ranks]

    def begin(
        self,
        name: str,
        ranks: tuple[int, ...],
        line: str,
        meets: Meets | None = None,
        *,
        is_default: bool,
        backends: str = "",
    ) -> None:
        """Note that this thread begins to make a group."""
        nth, number = int(name) if name.isdigit() else len(c10d._world.pg_names), 0
        ranks = self.in_session(ranks)
        if is_default:
            self._epoch, self._all, self._of_all = self._epoch + 1, ranks, Running()
            self._mesh_count = 0
        elif line and name.isdigit():  # user code made it; of other names only the members make it
            # A group of one rank has no rendezvous: each rank may have its own.
            self._of_all.add(key_of((name, ranks if len(ranks) > 1 else ())))
            number = self._of_all.count
        name = f"{SCRIPTS}{name}" if self.world else name
        making = Making(
            name, ranks, nth, self._epoch, line, number=number, meets=meets, backends=backends
        )
        self._under_way[threading.get_ident()] = making

    def begin_mesh(self, shape: tuple[int, ...], names: tuple[str, ...], line: str) -> None:
        """Note that this process begins to make a device mesh."""
        self._mesh_count += 1
        self.meshes.append(MeshMaking(shape, names, self._mesh_count, self._epoch, line))

    def end(self, *, made: bool) -> None:
        """Note that the group that this thread began is made, or failed."""
        making = self._under_way.pop(threading.get_ident(), None)
        if made and making is not None:
            self._makings.append(replace(making, done=True))

    def destroy(self, pg: Any) -> None:
        """Note that a person's code is about to destroy a group: nothing can complete in it."""
        line = line_of_call(sys._getframe(1))
        name = str(c10d._world.pg_names.get(pg, ""))
        if not line or not name:
            return
        name = f"{SCRIPTS}{name}" if self.world and not name.startswith(SCRIPTS) else name
        ranks = self.in_session(members_of(pg))
        known = (
            each
            for each in reversed(self._makings)
            if (each.name, each.epoch) == (name, self._epoch)
        )
        made = next(known, Making(name, ranks, epoch=self._epoch, done=True))
        self._makings.append(replace(made, destroyed=line))

    def under_way(self, thread: int) -> Making | None:
        """The group that a thread is making."""
        return self._under_way.get(thread)

    def makings(self) -> tuple[Making, ...]:
        """The latest groups made, and those being made, oldest first."""
        return (*self._makings.copy(), *self._under_way.copy().values())

    def made_by_all(self, generation: int) -> tuple[Fingerprint, ...]:
        """New groups of those that all ranks must make alike; empty if there is none.

        The members of a group find each other only by its name, so ranks that use one name for
        different members may silently meet the wrong ranks.
        """
        count, hashes = self._of_all.news()
        name = f"{GROUPS} {self._epoch}"
        is_new = hashes and self._all
        return (Fingerprint(name, self._all, generation, count, hashes),) if is_new else ()

    def making(self, slot: Slot) -> Making | None:
        """One of those groups by its number; None if it is not kept."""
        for each in self.makings():
            if (f"{GROUPS} {each.epoch}", each.number) == (slot.group, slot.number):
                return each
        return None

    def count_again(self, generation: int) -> None:
        """Count every existing group as the first of its name, with no calls so far.

        Call on all ranks at the same moment: a replaced rank has just made groups that the others
        have had for long.
        """
        for group in self.by_id.values():
            group.generation = -1  # earlier calls belong to no generation: their numbers recur
        self.by_id = {}
        self._made.clear()
        self._nth.clear()
        self._makings.clear()
        self.meshes.clear()
        self._epoch, self._of_all, self._mesh_count = 0, Running(), 0
        self._all = self.in_session(members_of(c10d.GroupMember.WORLD))
        for pg, name in c10d._world.pg_names.items():
            self.made(pg, str(name), members_of(pg), generation)

    def have_failed(self, generation: int) -> bool:
        """Whether a call has failed under way in a group that was neither destroyed nor set aside.

        What failed may have been caught; but the connections of that group are gone.
        """
        return any(
            each.has_failed and each.generation == generation and each.ref() in c10d._world.pg_map
            for each in self.by_id.copy().values()
        )

    def leave_to_parent(self) -> None:
        """Count every existing group as one of the parent process, after a fork."""
        self._of_parent = weakref.WeakSet(
            pg for pg in c10d._world.pg_names if str(c10d._world.pg_map.get(pg, ("",))[0]) != "fake"
        )

    def know(self, pg: Any, generation: int) -> Group:
        """Begin counting the calls of a group.

        Raises:
            RuntimeError: This is a forked child, and the group is its parent's.
        """
        if pg in self._of_parent:
            raise RuntimeError(_NOT_IN_A_CHILD)
        name = str(c10d._world.pg_names.get(pg, ""))
        ranks = self.in_session(members_of(pg))
        self.by_id = {
            key: group
            for key, group in self.by_id.items()
            if group.ref() is not None and group.generation == generation
        }
        backend = c10d._world.pg_map.get(pg, ("", None))[0]
        group = Group(
            pg, name, ranks, generation, self._nth.get(pg, 1), is_gloo=str(backend) == "gloo"
        )
        self.by_id[id(pg)] = group
        return group

    def in_session(self, ranks: Iterable[int]) -> tuple[int, ...]:
        """The session's ranks for ranks in torch's numbering."""
        world = self.world
        return tuple(world[rank] if rank < len(world) else rank for rank in ranks)


def members_of(pg: Any) -> tuple[int, ...]:
    """The global ranks of a group, in torch's numbering, by rank in the group."""
    ranks = c10d._world.pg_group_ranks.get(pg, {})
    return tuple(sorted(ranks, key=lambda rank: ranks[rank]))


def install(ledger: Any) -> None:
    """Report new groups to an account from now on, instead of another."""
    remove()
    original: Any = getattr(c10d, "_new_process_group_helper", None)
    if original is None:
        return  # a group is then known from its first call on, but not its making

    @functools.wraps(original)
    def make_group(size: int, rank: int, members: Any, *args: Any, **kwargs: Any) -> Any:
        groups, is_default = ledger.groups, not members
        ranks = tuple(range(size)) if is_default else tuple(members)
        name = str(kwargs.get("group_name", args[2] if len(args) > 2 else ""))  # noqa: PLR2004
        line = line_of_call(sys._getframe(1))
        store = kwargs.get("store", args[1] if len(args) > 1 else None)
        meets = of_store(store, rank, size) if is_default else None
        backends = _by_device(kwargs.get("backend", args[0] if args else ""))
        groups.begin(name, ranks, line, meets, is_default=is_default, backends=backends)
        done = False
        try:
            made = original(size, rank, members, *args, **kwargs)
            done = True
        finally:
            groups.end(made=done)
        if isinstance(made[0], c10d.ProcessGroup):
            name = str(c10d._world.pg_names.get(made[0], ""))
            groups.made(made[0], name, groups.in_session(ranks), ledger.generation)
        return made

    make_group.of_account = True  # type: ignore[attr-defined]
    c10d._new_process_group_helper = make_group  # type: ignore[assignment]


def _by_device(backend: Any) -> str:
    """The backends of a group for each device, as torch understands what it was given."""
    try:
        return str(c10d.BackendConfig(backend))
    except (AttributeError, TypeError, ValueError):
        return ""  # torch will say what is wrong


def remove() -> None:
    """Restore torch's function, unless another replacement wraps ours."""
    present: Any = getattr(c10d, "_new_process_group_helper", None)
    if present is not None and "of_account" in vars(present):
        c10d._new_process_group_helper = present.__wrapped__
