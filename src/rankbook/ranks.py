"""The RANKS of a magic: ``all``, ``0``, ``0,2``, ``0-3``, ``1:``, ``::2``, ``[0,2]``, ``-1``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rankbook.errors import InputError

__all__ = ["label", "parse"]

_HELP = "use all, 0, 0,2, 0-3, 1:, ::2 or -1"
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?(?::(-?\d+)?)?")
_RANGE = re.compile(r"(\d+)-(\d+)")


def parse(text: str | int | Iterable[int], world_size: int) -> tuple[int, ...]:
    """Read a selection of ranks.

    Args:
        text: A selection as a person types it, one rank, or several.
        world_size: Number of ranks in the group.

    Returns:
        The ranks in ascending order, each once.

    Raises:
        InputError: The selection is empty, malformed, or names a rank that is not there.
    """
    if isinstance(text, int):
        text = str(text)
    if not isinstance(text, str):
        text = ",".join(str(rank) for rank in text)
    inner = text.strip()
    if inner.startswith("[") and inner.endswith("]"):
        inner = inner[1:-1].strip()
    if not inner:
        raise InputError(f"No ranks given: {_HELP}.")
    if inner.lower() == "all":
        return tuple(range(world_size))
    found: set[int] = set()
    for part in inner.split(","):
        found.update(_part(part.strip(), text, world_size))
    if not found:
        raise InputError(f"{text!r} selects none of the {world_size} ranks: {_HELP}.")
    return tuple(sorted(found))


def _part(part: str, text: str, world_size: int) -> Iterable[int]:
    if match := _SLICE.fullmatch(part):
        bounds = [int(b) if b else None for b in match.groups()]
        if bounds[2] == 0:
            raise InputError(f"The step of {text!r} is 0: {_HELP}.")
        return range(world_size)[slice(*bounds)]
    if match := _RANGE.fullmatch(part):
        first, last = int(match[1]), int(match[2])
        if first > last:
            raise InputError(f"{part!r} runs backwards: use {last}-{first}.")
        return [
            _existing(first, text, world_size),
            *range(first, _existing(last, text, world_size) + 1),
        ]
    try:
        rank = int(part)
    except ValueError:
        raise InputError(f"{text!r} is not a selection of ranks: {_HELP}.") from None
    return [_existing(rank, text, world_size)]


def _existing(rank: int, text: str, world_size: int) -> int:
    if not -world_size <= rank < world_size:
        raise InputError(
            f"There is no rank {rank} in {text!r}: "
            f"this group has {world_size}, 0 to {world_size - 1}."
        )
    return rank % world_size


def label(ranks: Iterable[int]) -> str:
    """Write ranks as short as they can be said: ``0-3``, ``0,2``, ``0-1,5``."""
    parts: list[str] = []
    run: list[int] = []
    for rank in [*sorted(set(ranks)), None]:
        if run and rank != run[-1] + 1:
            parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
            run = []
        if rank is not None:
            run.append(rank)
    return ",".join(parts)
