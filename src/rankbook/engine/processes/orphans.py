"""Ending what a rank has started, when the rank has ended: however, and whatever that was.

The process that forks the engines is told by Linux of every process below it whose parent has
ended: it becomes the parent, of daemons, too. Which engine one comes from shows in a mark that
forks and new programs inherit, and that no process sheds by leaving its group, its session or its
environment: a limit of resources, as high as no process comes. On other systems the engine's
process group is ended, which a process can leave.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["adopt", "end", "end_all", "mark"]

_PR_SET_CHILD_SUBREAPER = 36

_NO_LIMIT = 1 << 62
"""Microseconds that a process with real-time priority may compute without a pause: 146,000 years.
Less than infinite, so that it can be lowered by the number of an engine."""

_ENGINES = 1 << 16
"""More than one process forks."""

_PATIENCE = 1.0
"""Seconds for those that were killed to end, so that their own children are known."""


def adopt() -> None:
    """Become the parent of processes below this one whose parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def mark(engine: int) -> None:
    """Let it be seen of this process, and of all that it starts, which engine it comes from.

    Args:
        engine: Its number among those that were forked by the same process.
    """
    if sys.platform == "linux":
        soft, _ = resource.getrlimit(resource.RLIMIT_RTTIME)
        with suppress(OSError, ValueError):  # a sandbox lets nobody set it
            hard = _marked(engine, os.getppid())
            resource.setrlimit(
                resource.RLIMIT_RTTIME, (hard if soft < 0 else min(soft, hard), hard)
            )


def end(pid: int, engine: int, others: Collection[int]) -> None:
    """End what an engine that has ended has left running.

    Args:
        pid: Its process id; it led a process group of its own.
        engine: Its number, with which it was marked.
        others: The process ids of engines that are still to be waited for. If there are none, all
            that this process has adopted ends.
    """
    with suppress(OSError):  # nothing is left of the group
        os.killpg(pid, signal.SIGKILL)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        adopted = [child for child in _children() if child not in others]
        left = [child for child in adopted if not others or _comes_from(child, engine)]
        if not left:
            return
        for child in left:
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
        for child in left:
            with suppress(OSError):
                os.waitpid(child, 0)


def end_all(parent: int) -> None:
    """End what engines, and they themselves, have left running whose parent was killed.

    Args:
        parent: The process id of the one that forked them, from the process that started it.
    """
    killed: set[int] = set()
    while sys.platform == "linux":
        left = [pid for pid in _processes() if pid not in killed and _is_below(pid, parent)]
        if not left:
            return
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        killed.update(left)


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _children() -> Iterator[int]:
    """Processes whose parent this one is, by now."""
    with suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def _comes_from(pid: int, engine: int) -> bool:
    return _limit_of(pid) == _marked(engine, os.getpid())


def _is_below(pid: int, parent: int) -> bool:
    limit = _limit_of(pid)
    return limit is not None and 0 <= _marked(0, parent) - limit < _ENGINES


def _limit_of(pid: int) -> int | None:
    """The limit of a process; None where it cannot be seen."""
    if sys.platform == "linux":
        with suppress(OSError):  # it has ended, or is another person's
            return resource.prlimit(pid, resource.RLIMIT_RTTIME)[1]
    return None


def _marked(engine: int, parent: int) -> int:
    """The limit of an engine, as it itself computes it, its parent, and the parent's parent."""
    hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    return (_NO_LIMIT if hard < 0 else hard) - parent * _ENGINES - engine - 1
