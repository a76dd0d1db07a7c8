"""Pipes and sockets that this process holds for others, which end, or take it for gone, without it.

A fork of this process gets them, too. It would hold them open after this process has ended, however
it ended, and engines would live as long as some worker of a pool in the notebook does.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["hold"]


class Held(Protocol):
    """A pipe, or a socket."""

    def fileno(self) -> int:
        """Its descriptor, negative once it is closed."""


_held: WeakSet[Held] = WeakSet()


def hold(one: Held) -> None:
    """Have no fork of this process hold it open."""
    _held.add(one)


def _in_fork() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for one in _held:
        try:
            fd = one.fileno()
        except ValueError:  # a pipe that was closed
            continue
        if fd >= 0:
            # Not closed: the object closes its descriptor once more when it is collected.
            os.dup2(null, fd, inheritable=False)
    os.close(null)


os.register_at_fork(after_in_child=_in_fork)
