"""Ending what a rank has started, when the rank has ended: however, and whatever that was.

The process that forks the engines is told by Linux of every process below it whose parent has
ended: it becomes the parent. Each carries in its environment which engine it comes from. On other
systems the engine's process group is ended, which a process can leave.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["adopt", "end"]

_PR_SET_CHILD_SUBREAPER = 36

_PATIENCE = 1.0
"""Seconds for those that were killed to end, so that their own children are known."""


def adopt() -> None:
    """Become the parent of processes below this one whose parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end(engine: int, variable: str) -> None:
    """End what an engine that has ended has left running.

    Args:
        engine: Its process id; it led a process group of its own.
        variable: ``NAME=value`` that only it and what it has started have in their environment.
    """
    with suppress(OSError):  # nothing is left of the group
        os.killpg(engine, signal.SIGKILL)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        left = [pid for pid in _children() if _has(pid, variable)]
        if not left:
            return
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with suppress(OSError):
                os.waitpid(pid, 0)


def _children() -> Iterator[int]:
    """Processes whose parent this one is, by now."""
    with suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def _has(pid: int, variable: str) -> bool:
    with suppress(OSError):  # it has ended
        return variable.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False
