"""The number of threads of a rank: its share of the host's cores.

By default each process computes with one thread per core, so several ranks on a host would slow
each other down. What the user has set stays, in the environment (``OMP_NUM_THREADS``,
``MKL_NUM_THREADS``) or by ``torch.set_num_threads``.

The number of inter-op threads is left alone: torch allows setting it once per process, which is up
to the user. Training does not start those threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, MutableMapping
from pathlib import Path

import torch

from rankbook.engine.host import cgroups

__all__ = ["Threads", "cores", "part"]

_SET = "OMP_NUM_THREADS"
_READ = (_SET, "MKL_NUM_THREADS")
"""Variables from which torch reads its number of threads."""


def cores(affinity: int, limits: Iterable[float]) -> int:
    """How many cores a process may use.

    Args:
        affinity: Number of cores on which it may run.
        limits: Cores' worth of time that its control groups allow.
    """
    return max(1, int(min([affinity, *limits])))


def part(cores: int, ranks: int) -> int:
    """Threads for each of the ranks on one host."""
    return max(1, cores // ranks)


class Threads:
    """The threads of this process; changes only its own settings, not the user's."""

    def __init__(
        self, environ: MutableMapping[str, str] = os.environ, root: Path = Path("/")
    ) -> None:
        self._environ = environ
        self._root = root
        self._stated = ""
        self._set: int | None = None

    def share(self, ranks: int) -> None:
        """Use this rank's share of the cores; on the main thread.

        Args:
            ranks: Number of ranks on this host.
        """
        given = {name: value for name in _READ if (value := self._environ.get(name, ""))}
        if given.keys() - {_SET} or given.get(_SET, self._stated) != self._stated:
            return
        number = part(cores(_affinity(), cgroups.cpus(self._root)), ranks)
        self._stated = self._environ[_SET] = str(number)  # for processes that a cell starts
        if self._set is None or torch.get_num_threads() == self._set:
            torch.set_num_threads(number)
            self._set = number


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
