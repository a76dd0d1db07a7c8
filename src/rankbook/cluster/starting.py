"""Starting a cluster: in a thread of its own, while a person is told what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING

from rankbook.cluster.launchers.base import Launcher, Progress
from rankbook.errors import RankbookError

# What needs ipyparallel is imported when it is used: loading the extension must stay quick.
if TYPE_CHECKING:
    from rankbook.cluster.pool import Pool

__all__ = ["start_pool"]

_POLL = 0.1
"""Seconds between two looks at what a start waits for."""


def start_pool(make: Callable[[], Launcher], count: int) -> Pool:
    """Start engines; Ctrl-C leaves none of them running.

    What the start waits for, a job that is pending, say, is printed.

    Args:
        make: Makes the launcher; it is called in another thread.
        count: Number of engines to wait for.

    Raises:
        RankbookError: The start failed; nothing that was started is left running.
    """
    # In a thread of its own: Ctrl-C must not hit between starting a process and knowing it.
    with ThreadPoolExecutor(1, "rankbook-start") as executor:
        progress = Progress()
        starting = executor.submit(_start_launcher, make, count, progress)
        try:
            _tell_until_done(starting, progress)
            return starting.result()
        except KeyboardInterrupt:
            progress.cancelled.set()
            with suppress(RankbookError):
                starting.result().close()
            raise


def _start_launcher(make: Callable[[], Launcher], count: int, progress: Progress) -> Pool:
    # First the launcher: of local ranks it is a process that imports torch meanwhile.
    launcher = make()
    from rankbook.cluster.pool import Pool

    return Pool.start(launcher, count, progress)


def _tell_until_done(starting: Future[Pool], progress: Progress) -> None:
    """Print what a start waits for, each time that this changes."""
    printed = ""
    while not starting.done():
        if (now := progress.waits_for) != printed:
            printed = now
            if printed:
                print(printed, flush=True)  # noqa: T201 - what a person waits for
        wait([starting], timeout=_POLL)
