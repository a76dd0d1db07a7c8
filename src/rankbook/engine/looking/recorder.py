"""torch's flight recorder in this process: its calls, and the group of each.

The dump is read as a pickle, which torch makes in this process: parsing JSON takes five times as
long. A full dump of 2,000 entries still takes 20 ms, most of them holding the GIL. (2.9 to 2.15;
the names are private, ``tests/unit/test_private_api.py`` fails if they go.)
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch.distributed.distributed_c10d as c10d

from rankbook.engine.group.nccl import Streams

__all__ = ["Recorder", "lacking", "members"]

_DUMP: Any = getattr(import_module("torch._C._distributed_c10d"), "_dump_fr_trace", None)

_NAMES = 10_000


class Recorder:
    """Reads the flight recorder, and remembers which groups it has seen under which names.

    A cell may destroy the group and re-create it: the name of the group and the numbers of its
    collectives are then the same again.

    Attributes:
        names: Names of the groups whose collectives it then had.
        open_p2p: The open sends and receives that it then had, oldest first; torch records only
            those of NCCL.
    """

    def __init__(
        self,
        streams: Streams | None = None,
        dump: Callable[..., bytes] | None = _DUMP,
        most_names: int = _NAMES,
    ) -> None:
        """Begin to read.

        Args:
            streams: NCCL's recorder, which is separate; None: this process's.
            dump: torch's dump function, which pickles the kept calls; None if it has none.
            most_names: How many names of groups are remembered. Beyond that, the oldest names
                without collectives in the recorder are dropped.
        """
        self._dump = dump
        self._most_names = most_names
        self._streams = streams or Streams()
        self.names: set[str] = set()
        self.open_p2p: list[dict[str, Any]] = []
        self._made: dict[str, dict[int, int]] = {}
        self._nth: dict[tuple[str, int, int], int] = {}

    def entries(self) -> list[dict[str, Any]]:
        """All collectives in the recorder, in the order of their calls."""
        entries = []
        if self._dump is not None:
            kept = self._dump(includeCollectives=True, includeStackTraces=False, onlyActive=False)
            entries = pickle.loads(kept)["entries"]  # noqa: S301 - torch made it in this process
        if more := self._streams.entries():  # NCCL has its own recorder
            entries = sorted([*entries, *more], key=lambda entry: entry["time_created_ns"])
            entries = [entry | {"record_id": i} for i, entry in enumerate(entries)]
        self.open_p2p = _open_p2p(entries)
        entries = [entry for entry in entries if not entry["is_p2p"]]
        for entry in entries:
            made = self._made.setdefault(entry["process_group"][0], {})
            made.setdefault(entry["pg_id"], entry["time_created_ns"])
        self.names = {entry["process_group"][0] for entry in entries}
        self._nth.clear()
        for name in [*self._made][: max(0, len(self._made) - self._most_names)]:
            if name not in self.names:
                del self._made[name]
        return entries

    def nth(self, entry: dict[str, Any], since_ns: int) -> int:
        """Which of the groups with its name, used since then, an entry belongs to, from 1."""
        name, group = entry["process_group"][0], entry["pg_id"]
        known = self._nth.get((name, group, since_ns))
        if known is None:
            made = self._made[name]
            known = sum(since_ns <= created <= made[group] for created in made.values())
            self._nth[(name, group, since_ns)] = known
        return known


def _open_p2p(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Open sends and receives; for those in a batch, only the batch is known."""
    calls = [entry for entry in entries if entry["is_p2p"]]
    done = {_batch(entry) for entry in calls if entry["retired"] and "coalesced" in _title(entry)}
    return [entry for entry in calls if not entry["retired"] and _batch(entry) not in done]


def _batch(entry: dict[str, Any]) -> tuple[int, int]:
    return entry["pg_id"], entry["p2p_seq_id"]


def _title(entry: dict[str, Any]) -> str:
    return str(entry["profiling_name"])


def lacking() -> tuple[str, ...]:
    """What is unknown where torch's recorder cannot be read, in a sentence; else empty."""
    if _DUMP is not None:
        return ()
    lack = (
        "torch's flight recorder cannot be read: of a rank with calls on a GPU's stream, calls on "
        "the CPU are not shown."
    )
    return (lack,)


def members() -> dict[str, tuple[int, ...]]:
    """By name, the global ranks of every group that exists."""
    return {
        str(c10d._world.pg_names[group]): tuple(ranks)
        for group, ranks in list(c10d._world.pg_group_ranks.items())
        if group in c10d._world.pg_names
    }
