"""``destroy_process_group`` when code calls it in a process of a session.

A cell that destroys the group is obeyed. A script that runs inside a cell (``%run``) is a guest:
under a launcher it ends with its group, so many destroy it at the end. Here it has none from then
on, or one that it makes itself, and the session has its own again when the script has ended.

A destroyed group is kept for a moment. A DDP model that ends right after its group, as in a
function that trains and cleans up, would be the last to hold it, and torch (2.13) would destroy it
while holding the GIL. That waits for gloo's threads, which wait for the GIL because they still hold
a Python object of the backward pass: a deadlock.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from importlib import import_module
from queue import SimpleQueue
from typing import Any

import torch.distributed as dist

from rankbook.distributed.aside import ForScript
from rankbook.distributed.teardown import let_go

__all__ = ["Guest", "install", "keep_for_a_moment", "on_destroy"]

on_destroy: list[Callable[[Any], object]] = []
"""Functions that are told of each group before code destroys it."""

_MOMENT = 1.0
"""Seconds for which destroyed groups are kept. gloo's threads need the GIL for microseconds."""

_c10d: Any = import_module("torch.distributed.distributed_c10d")
_original: Callable[..., None] = _c10d.destroy_process_group


class Guest:
    """A script inside a cell, from the creation of this on: it cannot destroy the present group.

    There is one at a time; a script that runs inside another is part of it.
    """

    _present: Guest | None = None

    def __init__(self) -> None:
        self._hosts = dist.group.WORLD
        self._aside: ForScript | None = None
        self._is_inner = Guest._present is not None or self._hosts is None
        if not self._is_inner:
            Guest._present = self

    def end(self) -> bool:
        """Restore the group; return whether the script had destroyed it."""
        if self._is_inner:
            return False
        Guest._present, aside = None, self._aside
        if aside is not None:
            aside.end()
        return aside is not None

    def leaves(self, group: Any) -> bool:
        """Set the host's group aside, if that is the one that the script destroys."""
        if self._aside is not None or group is not self._hosts:
            return False
        self._aside = ForScript("in a script that %run ran")
        return True


def install() -> None:
    """Stand in for torch's function from now on."""
    for name in ("torch.distributed", "torch.distributed.distributed_c10d"):
        module: Any = import_module(name)
        module.destroy_process_group = _destroy_process_group


@functools.wraps(_original)
def _destroy_process_group(group: Any = None) -> None:
    world = dist.group.WORLD
    is_all = group is None or group is world
    if is_all and world is not None and Guest._present is not None and Guest._present.leaves(world):
        return
    destroyed = [*_c10d._world.pg_map] if is_all else [group]
    for each in destroyed:
        for tell in on_destroy:
            tell(each)
    try:
        _original(group)
    finally:
        keep_for_a_moment(destroyed)


class _Keeper(threading.Thread):
    """Keeps destroyed groups for a moment, one thread for all however many there are.

    Its frame holds them: neither the end of Python nor a fork destroys what still waits here.
    """

    present: _Keeper | None = None

    def __init__(self) -> None:
        super().__init__(name="rankbook-destroyed", daemon=True)
        self.kept: SimpleQueue[tuple[float, list[Any]]] = SimpleQueue()

    def run(self) -> None:
        while True:
            until, groups = self.kept.get()
            time.sleep(min(_MOMENT, max(0.0, until - time.monotonic())))
            let_go(groups)  # destroyed from Python, torch releases the GIL


def keep_for_a_moment(groups: list[Any]) -> None:
    """Drop destroyed groups in a moment, in the background.

    Args:
        groups: Gets emptied; the caller keeps no other references to its items.
    """
    keeper = _Keeper.present
    if keeper is None or not keeper.is_alive():  # a forked process has no thread of its parent's
        keeper = _Keeper()
        try:
            keeper.start()
        except RuntimeError:  # Python 3.12 starts no thread at exit
            groups.clear()
            return
        _Keeper.present = keeper
    keeper.kept.put((time.monotonic() + _MOMENT, groups))
