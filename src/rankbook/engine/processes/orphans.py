"""Ending all processes that a rank started, when the rank has ended in any way.

On Linux the process that forks the engines becomes the parent of every descendant whose parent has
ended, even of daemons. A mark shows which engine it comes from. Forks and new programs inherit the
mark, and leaving the group, the session or the environment does not remove it: it is a resource
limit, too high to be reached. On other systems the engine's process group is ended, which a process
can leave.

An engine without such a parent, which another launcher has started, has a process of its own that
outlives it and does the same: see :func:`guard`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["adopt", "end", "end_all", "guard", "mark"]

_PR_SET_CHILD_SUBREAPER = 36

_NO_LIMIT = 1 << 62
"""Microseconds for which a process with real-time priority may run without a pause: 146,000 years.
Finite, so that the number of an engine can be subtracted from it."""

_ENGINES = 1 << 16
"""More engines than one process forks."""

_LOOK = 0.1
"""Seconds between two looks for an engine that is about to end."""

_PATIENCE = 1.0
"""Seconds for killed processes to end, so that their children become known."""


def adopt() -> None:
    """Become the parent of descendants whose parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def guard() -> None:
    """Start the process that ends all that this one has started, when this one has ended.

    It waits for a lock that this process holds to its end. Neither forks nor new programs inherit
    the lock. Where it is lost before, because all descriptors were closed, it looks now and then.
    """
    if sys.platform != "linux":
        return
    engine, lock = os.getpid(), os.memfd_create("rankbook-engine-lives")
    fcntl.lockf(lock, fcntl.LOCK_EX)
    if child := os.fork():
        os.waitpid(child, 0)  # else it is an unknown child of this process
        mark(0, engine)
        return
    try:
        os.setsid()
        if not os.fork():
            _await_end(engine, lock)
            end_all(engine)
    finally:
        os._exit(0)


def _await_end(engine: int, lock: int) -> None:
    """Wait for the end of another process, and hold none of its streams."""
    for signum in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir("/")
    fcntl.lockf(lock, fcntl.LOCK_EX)
    while _lives(engine):
        time.sleep(_LOOK)


def _lives(pid: int) -> bool:
    with suppress(OSError):
        facts = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        state, *_ = facts.rpartition(")")[2].split()
        return state not in {"Z", "X"}  # it has ended, and its parent has yet to take note
    return False


def mark(engine: int, parent: int | None = None) -> None:
    """Mark this process, and all that it starts, as coming from an engine.

    Args:
        engine: The engine's number among those forked by the same process.
        parent: The process id of that; None: it is the parent of this process.
    """
    if sys.platform == "linux":
        soft, _ = resource.getrlimit(resource.RLIMIT_RTTIME)
        with suppress(OSError, ValueError):  # a sandbox may forbid setting it
            hard = _marked(engine, os.getppid() if parent is None else parent)
            resource.setrlimit(
                resource.RLIMIT_RTTIME, (hard if soft < 0 else min(soft, hard), hard)
            )


def end(pid: int, engine: int, others: Collection[int]) -> None:
    """End the processes that an ended engine left running.

    Args:
        pid: Its process id; it led a process group of its own.
        engine: The number in its mark.
        others: The process ids of engines that still run. If there are none, all processes that
            this one has adopted are ended.
    """
    with suppress(OSError):  # the group is empty
        os.killpg(pid, signal.SIGKILL)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        adopted = [child for child in _children() if child not in others]
        left = [child for child in adopted if not others or _comes_from(child, engine)]
        if not left:
            return
        for child in left:
            with suppress(OSError):  # it has ended
                os.kill(child, signal.SIGKILL)
        for child in left:
            with suppress(OSError):  # it was reaped already
                os.waitpid(child, 0)


def end_all(parent: int) -> None:
    """End engines whose parent was killed, and the processes that they started.

    Args:
        parent: The process id of that parent, given to the process that started it.
    """
    killed: set[int] = set()
    while sys.platform == "linux":
        left = [pid for pid in _processes() if pid not in killed and _is_below(pid, parent)]
        if not left:
            return
        for pid in left:
            with suppress(OSError):  # it has ended
                os.kill(pid, signal.SIGKILL)
        killed.update(left)


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _children() -> Iterator[int]:
    """The present children of this process."""
    with suppress(OSError):  # one of these threads has ended
        for task in Path("/proc/self/task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def _comes_from(pid: int, engine: int) -> bool:
    return _limit_of(pid) == _marked(engine, os.getpid())


def _is_below(pid: int, parent: int) -> bool:
    limit = _limit_of(pid)
    return limit is not None and 0 <= _marked(0, parent) - limit < _ENGINES


def _limit_of(pid: int) -> int | None:
    """The limit of a process; None where it cannot be read."""
    if sys.platform == "linux":
        with suppress(OSError):  # it has ended, or is another user's
            return resource.prlimit(pid, resource.RLIMIT_RTTIME)[1]
    return None


def _marked(engine: int, parent: int) -> int:
    """The limit that marks an engine, as the engine, its parent and its grandparent compute it."""
    hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    return (_NO_LIMIT if hard < 0 else hard) - parent * _ENGINES - engine - 1
