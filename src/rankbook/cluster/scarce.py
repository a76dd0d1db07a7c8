"""Limits of this process that are too low for a session."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from dataclasses import dataclass

import psutil

__all__ = ["Limit", "limits", "too_low"]


@dataclass(frozen=True)
class Limit:
    """How many of something a process, or its user, may have.

    Attributes:
        what: Of what, with who may have it, in words.
        option: The option of ``ulimit``.
        most: How many there may be.
        used: How many there are.
        base: How many more a session takes.
        each: How many more each rank takes.
    """

    what: str
    option: str
    most: int
    used: int
    base: int
    each: int

    def is_too_low(self, ranks: int) -> bool:
        """Whether a session with so many ranks may not fit."""
        return self.most != resource.RLIM_INFINITY and self.most - self.used < (
            self.base + self.each * ranks
        )

    def enough(self, ranks: int) -> int:
        """A limit that leaves room."""
        return max(4096, 2 * (self.used + self.base + self.each * ranks))


def limits() -> list[Limit]:
    """The limits of this process, with what is used now."""
    me = psutil.Process()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    found = [Limit("This process may open only {} files", "-n", files, me.num_fds(), 64, 8)]
    if os.getuid():  # nobody limits how many processes root has
        most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        threads = 0
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it has ended
                if process.uids().real == os.getuid():
                    threads += process.num_threads()
        found.append(
            Limit("You may have only {} processes and threads", "-u", most, threads, 24, 12)
        )
    return found


def too_low(ranks: int, found: list[Limit]) -> str:
    """Say which limit may have made a start fail, and what to do; empty if none.

    Args:
        ranks: Number of ranks that were to start.
        found: The limits.
    """
    for limit in found:
        if limit.is_too_low(ranks):
            return (
                f"{limit.what.format(limit.most)} (ulimit {limit.option}), too few for "
                f"{ranks} ranks: run `ulimit {limit.option} {limit.enough(ranks)}` in a shell, "
                "and start this program from it again."
            )
    return ""
