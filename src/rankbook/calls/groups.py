"""The process groups that an account knows, told apart also where their names are the same.

torch gives a name again once its group was destroyed: a cell that makes the default group again
gets another one with the old name, and calls are counted from 1 there. All members of a group make
it together, so they agree which one of its name it is.

torch makes every group in one function, which is replaced; ``tests/unit/test_private_api.py`` fails
if it goes.
"""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch.distributed.distributed_c10d as c10d

from rankbook.calls.records import Group

__all__ = ["Groups", "install", "remove"]

_MOST = 10_000
"""Names that are counted."""


class Groups:
    """Known by the identity of torch's object, which a call has.

    Attributes:
        world: In a script the session's ranks, by those of its default group; else empty.
    """

    def __init__(self) -> None:
        self.world: tuple[int, ...] = ()
        self.by_id: dict[int, Group] = {}
        self._made: Counter[tuple[int, str, tuple[int, ...]]] = Counter()
        self._nth: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def made(self, pg: Any, name: str, ranks: tuple[int, ...], generation: int) -> None:
        """Count a group that was made; it is the n-th of its name and members."""
        if len(self._made) >= _MOST:
            self._made.clear()
        self._made[generation, name, ranks] += 1
        self._nth[pg] = self._made[generation, name, ranks]

    def count_again(self, generation: int) -> None:
        """Take every group that there is for the first of its name, its calls not yet counted.

        To be called on all ranks at the same moment: one that was replaced has just made what the
        others have had for long.
        """
        for group in self.by_id.values():
            group.generation = -1  # what was called so far is of none: its numbers come again
        self.by_id = {}
        self._made.clear()
        self._nth.clear()
        for pg, name in c10d._world.pg_names.items():
            self.made(pg, str(name), members_of(pg), generation)

    def know(self, pg: Any, generation: int) -> Group:
        """Begin to count the calls of a group."""
        name = self.name_in_session(c10d._world.pg_names.get(pg, ""))
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
        """The session's numbers of ranks that torch has numbered."""
        world = self.world
        return tuple(world[rank] if rank < len(world) else rank for rank in ranks)

    def name_in_session(self, name: str) -> str:
        """The name of a group, which in a script differs from those of the session's groups."""
        return f"script/{name}" if self.world and name else name


def members_of(pg: Any) -> tuple[int, ...]:
    """The global ranks of a group, as torch numbers them, by rank in it."""
    ranks = c10d._world.pg_group_ranks.get(pg, {})
    return tuple(sorted(ranks, key=lambda rank: ranks[rank]))


def install(ledger: Any) -> None:
    """Begin to tell an account which groups are made, in place of another."""
    remove()
    original: Any = c10d._new_process_group_helper

    @functools.wraps(original)
    def make_group(size: int, rank: int, members: Any, *args: Any, **kwargs: Any) -> Any:
        made = original(size, rank, members, *args, **kwargs)
        if isinstance(made[0], c10d.ProcessGroup):
            name = str(c10d._world.pg_names.get(made[0], ""))
            ranks = tuple(members) or tuple(range(size))  # none: it is the default group
            groups = ledger.groups
            name, ranks = groups.name_in_session(name), groups.in_session(ranks)
            groups.made(made[0], name, ranks, ledger.generation)
        return made

    make_group.of_account = True  # type: ignore[attr-defined]
    c10d._new_process_group_helper = make_group  # type: ignore[assignment]


def remove() -> None:
    """Put torch's function back, unless another stand-in has come above ours."""
    present: Any = c10d._new_process_group_helper
    if "of_account" in vars(present):
        c10d._new_process_group_helper = present.__wrapped__
