"""A cell that awaits: what may wake it, and the line in which it stands.

It waits in the engine's own event loop, in which the engine waits, too. What a cell has left to the
loop is told apart by its context, which is that of the cell's code.
"""

from __future__ import annotations

import selectors
import threading
from asyncio import Task
from collections.abc import Callable, Collection, Iterator
from types import CodeType
from typing import Any

from rankbook.engine.cells.between import is_of_a_cell
from rankbook.engine.looking import frames, owners, timers

__all__ = ["Coroutine"]


class Coroutine:
    """The cell that runs, if it awaits."""

    def __init__(
        self,
        task: Callable[[], Task[Any] | None] = lambda: None,
        threads: Callable[[], Collection[threading.Thread]] = tuple,
    ) -> None:
        """Take what tells of it.

        Args:
            task: The task that runs the cell; None if none does.
            threads: The threads that cells have begun.
        """
        self._task = task
        self._threads = threads

    def waits_for(self, threads: Collection[int]) -> bool:
        """Whether nothing can wake the cell while some of its threads stay where they are.

        Cells have left neither a timer nor a file to the event loop, but for timeouts of which none
        comes soon, and their other threads wait as well, for each other or for work.

        Args:
            threads: Those that stay.
        """
        task = self._task()
        handles = _handles(task.get_loop()) if task is not None else None
        if handles is None or any(is_of_a_cell(each._context) for each in handles):
            return False
        others = {one.ident for one in self._threads() if one.ident is not None} - {*threads}
        return all(map(frames.waits_for_thread, others))

    def line(self) -> str:
        """The line in which the cell awaits, with those that led there; empty if unknown."""
        task = self._task()
        return owners.where(reversed([*_stack(task)])) if task is not None else ""


def _handles(loop: Any) -> list[Any] | None:
    """What an event loop is to call at a time, or for a file; None if it is not asyncio's own.

    (The names are private in Python 3.10 to 3.14.)
    """
    timed, selector = timers.pending(loop), getattr(loop, "_selector", None)
    if timed is None or not isinstance(selector, selectors.BaseSelector):
        return None
    try:
        files = list(selector.get_map().values())
    except (RuntimeError, KeyError):  # it has just got another one
        return None
    of_files = [each for key in files for each in key.data or () if each]
    return [each for each in (*timed, *of_files) if not each.cancelled()]


def _stack(task: Task[Any]) -> Iterator[tuple[CodeType, int]]:
    """The code in which a task stands and its lines, the outermost first."""
    awaited: Any = task.get_coro()
    while (frame := getattr(awaited, "cr_frame", None)) is not None:
        yield frame.f_code, frame.f_lineno
        awaited = awaited.cr_await
