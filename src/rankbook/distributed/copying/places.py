"""Finding this rank's counterparts of the source rank's groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from rankbook.distributed import healing
from rankbook.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankbook.distributed.healing.account import Terms

__all__ = ["counterpart", "group_here", "group_named", "source_rank", "taking_the_place_of"]

_c10d: Any = import_module("torch.distributed.distributed_c10d")


class _Source:
    """The rank whose variables are being loaded."""

    rank = 0


@contextmanager
def taking_the_place_of(rank: int) -> Iterator[None]:
    """Within the block, loaded variables come from this rank."""
    _Source.rank = rank
    yield


def source_rank() -> int:
    """The rank whose variables are being loaded."""
    return _Source.rank


def group_here(name: str) -> str:
    """The name of this rank's counterpart of a group of the source.

    Args:
        name: The name of the source's group.

    Raises:
        InputError: There is none.
    """
    roster = healing.roster()
    here = counterpart(name, roster[_Source.rank], [one for held in roster for one in held])
    if here is None:
        raise InputError(f"group {name} of rank {_Source.rank} has no counterpart on this rank")
    return here


def group_named(name: str) -> Any:
    """The process group of this rank with a name.

    Raises:
        InputError: There is none.
    """
    try:
        return _c10d._resolve_process_group(name)
    except RuntimeError:
        raise InputError(f"there is no group {name} on this rank") from None


def counterpart(
    name: str, others: Sequence[Terms], every: Iterable[Terms], rank: int | None = None
) -> str | None:
    """The name of a rank's counterpart of another rank's group.

    The same group if the rank is a member; else the parallel group that was made in the same way,
    such as another row of a device mesh.

    Args:
        name: The name of the other rank's group.
        others: The groups of that rank.
        every: The groups of all ranks.
        rank: The rank that needs the counterpart; None: this process.
    """
    rank = dist.get_rank() if rank is None else rank
    terms = next((one for one in others if one.name == name), None)
    if terms is None:
        return None
    if rank in terms.ranks:
        return name

    def alike(one: Terms) -> bool:
        return (one.description, len(one.ranks)) == (terms.description, len(terms.ranks))

    def in_order(some: Iterable[Terms]) -> list[str]:
        return sorted({one.name for one in some if alike(one)}, key=_number)

    source = in_order(others)
    here = in_order(one for one in every if rank in one.ranks)
    return here[source.index(name)] if len(source) == len(here) else None


def _number(name: str) -> tuple[int, str]:
    """The order in which groups were made; that of a replaced rank alone is called ``7/2``."""
    number = name.partition("/")[0]
    return len(number), number
