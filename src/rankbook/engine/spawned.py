"""Functions and classes of cells in processes that a cell spawns.

``multiprocessing`` sends them by name, ``__main__.f``: a forked process has what is behind that
name, one that was spawned has not. So once a rank has begun to spawn, they are sent by value, and
the process keeps them under their names, under which it sends back what it makes of them.
"""

from __future__ import annotations

import sys
import types
from functools import cache
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import ForkingPickler
from typing import Any

import cloudpickle

__all__ = ["install", "receive"]


class _State:
    has_spawned = False


@cache
def install() -> None:
    """Send what cells have defined by value to processes that are spawned from now on."""
    ForkingPickler.reducer_override = _reduce  # type: ignore[method-assign]


def receive(data: bytes) -> Any:
    """Take a function or class in a process that was spawned."""
    value = cloudpickle.loads(data)
    setattr(sys.modules["__main__"], value.__name__, value)
    return value


def _reduce(_pickler: Any, value: Any) -> Any:
    if not isinstance(value, (types.FunctionType, type)) or value.__module__ != "__main__":
        return NotImplemented
    _State.has_spawned |= get_spawning_popen() is not None
    if not _State.has_spawned:
        return NotImplemented
    return receive, (cloudpickle.dumps(value),)
