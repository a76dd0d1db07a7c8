"""torch's debug level while rankbook makes groups: the one with which this rank has begun.

At level DETAIL torch makes a second group beside each, to compare calls. Ranks to which a cell has
given different levels would wait for each other in that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["are_compared", "that_of_the_beginning"]

_dist: Any = import_module("torch.distributed")

_AT_FIRST = _dist.get_debug_level()


def are_compared() -> bool:
    """Whether torch compares calls itself, in groups around the real ones."""
    return bool(_AT_FIRST == _dist.DebugLevel.DETAIL)


@contextmanager
def that_of_the_beginning() -> Iterator[None]:
    """Make groups with that level within the block."""
    present = _dist.get_debug_level()
    _dist.set_debug_level(_AT_FIRST)
    try:
        yield
    finally:
        _dist.set_debug_level(present)
