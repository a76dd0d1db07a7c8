"""Processes that a cell spawns: their functions and classes of cells, and their output.

``multiprocessing`` sends functions and classes by name, ``__main__.f``: a forked process has the
object of that name, a spawned one does not. So once a rank has begun to spawn, they are sent by
value, and the process keeps them under their names, under which it sends instances back. As in one
file, they share their globals: what the initializer of a pool sets, its workers find.

Like every Python that a rank starts, such a process writes unbuffered, so that output appears at
once. But then ``print`` writes in pieces, between which another process may write. So it is told to
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

from rankbook import values

__all__ = ["install", "receive"]


class _State:
    has_spawned = False


@cache
def install() -> None:
    """Treat processes so that are spawned from now on."""
    ForkingPickler.reducer_override = _reduce  # type: ignore[method-assign]
    prepare = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {**prepare(name), "rankbook": _WholeLines()}

    # Undocumented, the same in Python 3.4 to 3.14: the data that a process gets before it begins.
    spawn.get_preparation_data = get_preparation_data


class _WholeLines:
    """Makes the process that unpickles it write whole lines, without needing this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (_WRITE_LINES,)


_WRITE_LINES = """
import sys
for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(line_buffering=True, write_through=False)
"""


def receive(data: bytes) -> Any:
    """Unpickle a function or class in a spawned process."""
    names = vars(sys.modules["__main__"])
    before = dict(names)
    value = values.loads(data, names=names)
    names.update(before)  # what this process has set since is newer than what was sent
    names[value.__name__] = value
    return value


def _reduce(_pickler: Any, value: Any) -> Any:
    if not isinstance(value, (types.FunctionType, type)) or value.__module__ != "__main__":
        return NotImplemented
    _State.has_spawned |= get_spawning_popen() is not None
    if not _State.has_spawned:
        return NotImplemented
    return receive, (cloudpickle.dumps(value),)
