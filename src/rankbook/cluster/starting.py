"""Starting a cluster in its own thread, while showing what the start waits for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING

from rankbook.cluster.launchers.base import Launcher, Progress
from rankbook.errors import ClusterError, RankbookError

# Modules that need ipyparallel are imported when used: loading the extension must stay quick.
if TYPE_CHECKING:
    from rankbook.cluster.pool import Pool

__all__ = ["start_pool"]

_POLL = 0.1
"""Seconds between two looks at what a start waits for."""


def start_pool(
    make: Callable[[], Launcher], count: int, meanwhile: Callable[[], object] = int
) -> Pool:
    """Start engines; Ctrl-C leaves none of them running.

    It prints what the start waits for, such as a pending job.

    Args:
        make: Makes the launcher; called in another thread.
        count: Number of engines to wait for.
        meanwhile: Called in that other thread while processes start; it imports what the session
            will need. No second thread may do that: where two import the same package, each may
            get a part of it.

    Raises:
        RankbookError: The start failed; nothing that was started is left running.
    """
    try:
        return _start(make, count, meanwhile)
    except (RankbookError, OSError, RuntimeError) as error:
        from rankbook.cluster import scarce

        if why := scarce.too_low(count, scarce.limits()):
            raise ClusterError(f"The cluster did not start. {why}") from error
        raise


def _start(make: Callable[[], Launcher], count: int, meanwhile: Callable[[], object]) -> Pool:
    # In its own thread: Ctrl-C must not hit between starting a process and recording it.
    with ThreadPoolExecutor(1, "rankbook-start") as executor:
        progress = Progress(meanwhile=meanwhile)
        starting = executor.submit(_start_launcher, make, count, progress)
        try:
            _tell_until_done(starting, progress)
            return starting.result()
        except KeyboardInterrupt:
            progress.cancelled.set()
            with suppress(RankbookError):  # the user wanted its end
                starting.result().close()
            raise


def _start_launcher(make: Callable[[], Launcher], count: int, progress: Progress) -> Pool:
    # The launcher first: for local ranks it starts a process that imports torch meanwhile.
    launcher = make()
    from rankbook.cluster.pool import Pool

    return Pool.start(launcher, count, progress)


def _tell_until_done(starting: Future[Pool], progress: Progress) -> None:
    """Print what a start waits for, whenever that changes."""
    printed = ""
    while not starting.done():
        if (now := progress.waits_for) != printed:
            printed = now
            if printed:
                print(printed, flush=True)  # noqa: T201 - what the user waits for
        wait([starting], timeout=_POLL)
