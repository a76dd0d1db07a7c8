"""With which exit code a command ends, and why it is refused."""

from __future__ import annotations

from enum import IntEnum

from rankbook.errors import RankbookError
from rankbook.models import Diagnosis

__all__ = ["End", "RefusedError", "end_of"]


class End(IntEnum):
    """Exit codes."""

    FINE = 0
    """Done; of ``why``: nobody waits in vain."""
    FAILED = 1
    """Your code raised on a rank."""
    USAGE = 2
    """The command line makes no sense."""
    NO_CLUSTER = 3
    """There is no such cluster, or several, and none was named."""
    HANGS = 4
    """Ranks wait in vain, or did until they were freed."""
    NOT_YOURS = 5
    """A living process uses the cluster: do it there."""
    DEAD = 6
    """A rank has ended."""
    ERROR = 7
    """Anything else: the cluster does not answer, ranks do not let go."""


class RefusedError(RankbookError):
    """A command is not carried out.

    Args:
        end: With which code.
        message: Why, and what to do.
    """

    def __init__(self, end: End, message: str) -> None:
        super().__init__(message)
        self.end = end


def end_of(diagnosis: Diagnosis | None) -> End:
    """The exit code that says what a diagnosis does."""
    if diagnosis is None or diagnosis.kind in ("idle", "running", "slow"):
        return End.FINE
    return End.DEAD if diagnosis.kind == "dead" else End.HANGS
