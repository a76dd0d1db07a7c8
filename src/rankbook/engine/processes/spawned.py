"""Processes that a cell spawns: functions and classes of cells there, and what they print.

``multiprocessing`` sends them by name, ``__main__.f``: a forked process has what is behind that
name, one that was spawned has not. So once a rank has begun to spawn, they are sent by value, and
the process keeps them under their names, under which it sends back what it makes of them.

Such a process writes without a buffer, as every Python that a rank starts, so that nothing waits to
be seen. Then ``print`` writes in pieces, between which another process may write. So it is told to
write whole lines.
"""

from __future__ import annotations

import sys
import types
from functools import cache
from multiprocessing import spawn
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import ForkingPickler
from typing import Any

import cloudpickle

__all__ = ["install", "receive"]


class _State:
    has_spawned = False


@cache
def install() -> None:
    """Do so with processes that are spawned from now on."""
    ForkingPickler.reducer_override = _reduce  # type: ignore[method-assign]
    prepare = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {**prepare(name), "rankbook": _WholeLines()}

    # Not documented, the same in Python 3.4 to 3.14: what a process is told before it begins.
    spawn.get_preparation_data = get_preparation_data


class _WholeLines:
    """Has the process that unpickles it write whole lines; it need not have this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (_WRITE_LINES,)


_WRITE_LINES = """
import sys
for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(line_buffering=True, write_through=False)
"""


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
