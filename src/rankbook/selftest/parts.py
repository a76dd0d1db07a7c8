"""Which parts there are, the most important first."""

from __future__ import annotations

from rankbook.selftest.memory import MEMORY
from rankbook.selftest.nccl import ONE_RANK_PER_GPU
from rankbook.selftest.nccl_hangs import NCCL_HANGS
from rankbook.selftest.shared import SHARED
from rankbook.selftest.steps import Part
from rankbook.selftest.visible import VISIBLE
from rankbook.selftest.walk import WALK

__all__ = ["PARTS", "named", "order"]

PARTS = (WALK, ONE_RANK_PER_GPU, NCCL_HANGS, MEMORY, SHARED, VISIBLE)


def named(name: str) -> Part:
    """The part of a name.

    Raises:
        LookupError: There is none.
    """
    for part in PARTS:
        if part.name == name:
            return part
    raise LookupError(f"there is no part {name!r}: one of {', '.join(p.name for p in PARTS)}")


def order(*, gpu_first: bool) -> tuple[Part, ...]:
    """All parts; those that need a GPU in front, or behind."""
    return tuple(sorted(PARTS, key=lambda part: (part.gpus > 0) != gpu_first))
