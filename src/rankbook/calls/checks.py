"""Comparing each collective with the other ranks' before it is issued.

A rank posts its next call. A blocking call then waits until the other members have posted theirs,
which it needs anyway, and raises where they differ, on every rank, before anything is sent. A call
that does not block compares with what is already posted, without waiting; later ranks compare with
it, and so does the session when the cell has ended.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from rankbook.calls import boards
from rankbook.calls.boards import PASSED
from rankbook.calls.records import P2P, Group, Record
from rankbook.errors import MismatchError
from rankbook.models.calls import Slot

__all__ = ["Board", "Check", "is_ours"]

_SPINS = 20
"""How often a board is read again at once before a pause."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.00005, 0.002


class Board(Protocol):
    """A board on which ranks post their next calls; see :mod:`rankbook.calls.boards`."""

    def post(self, group: Group, number: int, key: int) -> None:
        """Say what this rank is about to call."""

    def read(self, rank: int, group: Group, number: int) -> int | None:
        """What another rank has posted; None: nothing yet."""

    def close(self) -> None:
        """Leave the board, and post nothing more."""


class Check:
    """Compares the calls of one rank.

    Args:
        board: The board of the ranks.
        rank: This rank.
        timeout: Seconds for which a blocking call waits for the others.
    """

    def __init__(self, board: Board, rank: int, timeout: float) -> None:
        self._board = board
        self._rank = rank
        self._timeout = timeout

    def before(self, ledger: Any, record: Record, *, is_blocking: bool) -> None:
        """Compare a call before it is issued.

        Args:
            ledger: The account that contains it.
            record: The call.
            is_blocking: Whether the caller waits for the other ranks anyway.

        Raises:
            MismatchError: Another rank calls something else under this number.
            RuntimeError: A rank has not come within the timeout.
        """
        group = record.group
        if record.site.op in P2P or len(group.ranks) < 2:  # noqa: PLR2004 - nobody to compare with
            return
        key = ledger.counts.key(record)
        self._board.post(group, record.number, key)
        others = [rank for rank in group.ranks if rank != self._rank]
        missing = [rank for rank in others if not self._agrees(rank, record, key)]
        if not (is_blocking and missing):
            return
        outer = ledger.waits.begin("check", record)
        try:
            self._wait(missing, record, key)
        finally:
            ledger.waits.end(outer)

    def close(self) -> None:
        """Stop comparing."""
        self._board.close()

    def _agrees(self, rank: int, record: Record, key: int) -> bool:
        """Whether a rank has come with the same call; raise if it has another."""
        other = self._board.read(rank, record.group, record.number)
        if other is None:
            return False
        if other not in (key, PASSED):
            group = record.group
            slot = Slot(group.key, group.ranks, group.generation, record.number)
            raise MismatchError(
                f"{record.site.op} #{record.number} on rank {self._rank} does not match the call "
                f"of rank {rank}.",
                slot,
            )
        return True

    def _wait(self, missing: list[int], record: Record, key: int) -> None:
        deadline = time.monotonic() + self._timeout
        pause, spins = _SHORTEST_PAUSE, _SPINS
        # All of them, because one may differ while another never comes.
        while missing := [rank for rank in missing if not self._agrees(rank, record, key)]:
            if spins:
                spins -= 1
                time.sleep(0)
            elif time.monotonic() > deadline:
                raise RuntimeError(
                    f"{record.site.op} #{record.number}: rank {missing[0]} did not call it within "
                    f"{self._timeout:g} s."
                )
            else:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)


def is_ours(code: Any) -> bool:
    """Whether code belongs to the wait for other ranks' calls."""
    return code.co_filename in (__file__, boards.__file__)
