"""Steps that several unit tests take with a session on fake engines."""

from __future__ import annotations

from pathlib import Path

from processes import wait_until

from rankbook.errors import RankbookError
from rankbook.sessions.cells.results import CellResult, RankResult

__all__ = ["RENEWS", "SOON", "end_of", "folder_of", "infos", "result_of", "run_stuck"]

SOON = 10.0
"""Seconds for something that another thread does at once."""

RENEWS = [
    lambda s: s.initialize("gloo", interrupt=True),
    lambda s: s.reset(interrupt=True),
    lambda s: s.restart_ranks([3], interrupt=True),
]
"""What makes a new group, and ends the running cell for it."""


def infos(pool):
    """Which rank every engine is, None of those that are none."""
    return [pool[number].info for number in pool.engines]


def folder_of(pool):
    """Where the ranks met last: a folder of the session's own."""
    args = next(iter(pool.requested("initialize")[-1].values()))
    return Path(args["url"].removeprefix("file://")).parent


def result_of(ranks=(0, 1, 2, 3), **failures):
    """A cell's result; ``r1=Failure(...)`` fails rank 1."""
    return CellResult({rank: RankResult(rank, error=failures.get(f"r{rank}")) for rank in ranks})


def run_stuck(session, ranks="all", code="stick()", **options):
    """Run a cell that hangs, in the background.

    Returns:
        The thread that waits for it, and where ``result`` or ``error`` will be found.
    """
    ended = {}

    def work():
        try:
            ended["result"] = session.run(code, ranks, **options)
        except RankbookError as error:
            ended["error"] = error

    seats = session.members.seated()
    chosen = [session.pool[seats[rank]] for rank in session.select(ranks)]
    before = {engine.number: len(engine.freed) for engine in chosen}
    thread = session.in_background(work)
    wait_until(
        # Who has been freed by now did hang.
        lambda: all(engine.stuck or len(engine.freed) > before[engine.number] for engine in chosen),
        SOON,
    )
    return thread, ended


def end_of(thread):
    """Wait for a thread to end."""
    thread.join(SOON)
    assert not thread.is_alive()
