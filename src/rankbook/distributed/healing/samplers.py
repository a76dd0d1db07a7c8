"""Samplers that divide a data set among a number of ranks that no longer exists."""

from __future__ import annotations

import sys
from typing import Any

from rankbook.distributed.healing.stale import Refusal
from rankbook.heap import instances

__all__ = ["refuse"]


def refuse(size: int, rank: int, now: int) -> tuple[str, ...]:
    """Make samplers for a world of another size raise when iterated over.

    They would go on without an error, and leave out the part of missing ranks, or divide the data
    among too few.

    Args:
        size: For how many ranks they were made.
        rank: Which of these this process was: other samplers are for parts of the world, and stay.
        now: How many ranks there are now.

    Returns:
        Their name in the plural; nothing if there are none.
    """
    module = sys.modules.get("torch.utils.data.distributed")
    sampler: Any = getattr(module, "DistributedSampler", None)
    found = instances(sampler) if sampler else []
    ended = [one for one in found if vars(one).get("num_replicas") == size]
    ended = [one for one in ended if vars(one).get("rank") == rank]
    for one in ended:
        cls = type(one)
        why = Refusal(
            f"this {cls.__name__} was made for {size} ranks, and there are {now}: make it again, "
            f"{cls.__name__}(dataset), and the loader that has it"
        )
        _replace(one, "__iter__", why)
        for loading in _loading(one):
            _replace(loading, "__next__", why)
    return ("distributed samplers",) if ended else ()


def _loading(sampler: Any) -> list[Any]:
    """The loops over a loader that have begun and use a sampler."""
    module = sys.modules.get("torch.utils.data.dataloader")
    cls: Any = getattr(module, "_BaseDataLoaderIter", None)
    found = instances(cls) if cls else []
    indices = [getattr(one, "_index_sampler", None) for one in found]
    # A batch sampler contains another sampler.
    sources = [(of, getattr(of, "sampler", None)) for of in indices]
    return [
        one for one, of in zip(found, sources, strict=True) if any(each is sampler for each in of)
    ]


def _replace(one: Any, name: str, method: Refusal) -> None:
    """Replace a method that Python looks up on an object's class, for this object only."""
    cls = type(one)
    one.__class__ = type(cls.__name__, (cls,), {name: method, "__module__": cls.__module__})
