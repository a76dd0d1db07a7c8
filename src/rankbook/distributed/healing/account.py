"""Which process groups exist, and how they were made, read from torch's own tables."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d

__all__ = ["Account", "Held", "Terms", "note"]


@dataclass(frozen=True)
class Terms:
    """The arguments of a group, in JSON types: its ranks must agree on them."""

    name: str
    ranks: tuple[int, ...]
    """Its members in the order of the group, as ranks of the default group."""
    backend: str
    seconds: float
    """Its timeout."""
    description: str
    tag: str
    is_default: bool = False


@dataclass(frozen=True)
class Held:
    """A group that this rank is a member of."""

    terms: Terms
    group: Any
    """The ``ProcessGroup`` itself."""


@dataclass(frozen=True)
class Account:
    """The groups of this rank."""

    generation: int
    """Generation of the default group; 0 where generations are not counted."""
    rank: int
    size: int
    """Size of the default group."""
    held: tuple[Held, ...]
    count: int
    """How many groups torch has numbered; the next group's name is this number."""

    @property
    def groups(self) -> list[Any]:
        """The ``ProcessGroup`` objects."""
        return [one.group for one in self.held]


def note(generation: int = 0) -> Account | None:
    """Record the present groups; None where there is no default group.

    Args:
        generation: Generation of the default group.
    """
    default = dist.group.WORLD
    if default is None:
        return None
    world = c10d._world
    held = tuple(
        Held(_terms(group), group)
        for group in sorted(world.pg_map, key=lambda group: world.pg_names[group])
        # A group written in Python has no connections, and an interrupted new_group leaves a
        # group without members.
        if type(group) is dist.ProcessGroup and group in world.pg_group_ranks
    )
    return Account(generation, default.rank(), default.size(), held, world.group_count)


def _terms(group: Any) -> Terms:
    world = c10d._world
    ranks = world.pg_group_ranks[group]
    is_default = group is world.default_pg
    return Terms(
        name=world.pg_names[group],
        ranks=tuple(sorted(ranks, key=ranks.__getitem__)),
        backend=str(world.pg_map[group][0]),
        # The next default group has its own timeout.
        seconds=0.0 if is_default else _timeout(group).total_seconds(),
        description=group.group_desc,
        tag=world.pg_to_tag.get(group) or "",
        is_default=is_default,
    )


def _timeout(group: Any) -> timedelta:
    with suppress(AttributeError, RuntimeError):  # the backend does not tell
        backend = group._get_backend(group._device_types[0])
        timeout: timedelta = getattr(backend, "wrapped_pg", backend).options._timeout
        return timeout
    return c10d.default_pg_timeout
