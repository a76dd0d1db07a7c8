"""NCCL: which collectives this rank's streams have not completed, and ending them.

NCCL returns before the GPU has done the work, so a hang shows elsewhere: in ``.item()``, in
``torch.cuda.synchronize()``, or not at all. The main thread spins meanwhile. The sign of a hang is
a collective that was enqueued and has not completed.

Seen with torch 2.11 and NCCL 2.28.9 on an H200: calls that were enqueued and completed are counted
per group in ``pg_status`` (13 microseconds to read); an abort frees the rank within 0.15 s and
returns after 0.5 s; without a signal before it ``.item()`` returns a wrong value as if all were
well; and leaving the group while an abort is under way corrupts the heap.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable
from importlib import import_module
from threading import Thread
from typing import Any

import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d

__all__ = ["Aborts", "OpenSince", "Streams"]

_LEAVE = 10.0
"""Seconds for which leaving a group waits for an abort, which takes half a second."""

_PUBLIC = {
    "_all_gather_base": "all_gather_into_tensor",
    "_reduce_scatter_base": "reduce_scatter_tensor",
    "all_reduce_barrier": "barrier",
}
"""The public function, by NCCL's name of a call."""

# Private in torch 2.9 to 2.15, and absent from builds without NCCL.
_DUMP: Callable[..., bytes] | None = getattr(
    import_module("torch._C._distributed_c10d"), "_dump_nccl_trace", None
)


def _is_backend() -> bool:
    return dist.is_initialized() and "nccl" in dist.get_backend()


class Streams:
    """NCCL's record of this rank's streams."""

    def __init__(
        self,
        dump: Callable[..., bytes] | None = _DUMP,
        is_backend: Callable[[], bool] = _is_backend,
    ) -> None:
        """Begin to read.

        Args:
            dump: torch's dump of the recorder; None: this build has none.
            is_backend: Whether the present process group computes with NCCL.
        """
        self._dump = dump
        self._is_backend = is_backend
        self._dismissed: set[tuple[str, int, int]] = set()

    @property
    def are_used(self) -> bool:
        """Whether the present process group computes with NCCL."""
        return self._dump is not None and self._is_backend()

    def open_calls(self) -> tuple[tuple[str, int, int], ...]:
        """Groups that seem to have enqueued a call that has not completed.

        The last completed call is recorded up to 0.1 s late, and out of order where a group has
        several streams. Sends and receives are counted apart from collectives, but recorded in the
        same field. So two different numbers mean that a call may be open, and only the recorder's
        calls tell which; if there is none, see :meth:`dismiss`.

        Returns:
            For each group, its name and the numbers of the calls enqueued and completed last; takes
            some 13 microseconds.
        """
        counts = (
            (str(group), status["last_enqueued_collective"], status["last_completed_collective"])
            for group, status in self._read(calls=False).get("pg_status", {}).items()
        )
        return tuple(each for each in counts if each[1] != each[2] and each not in self._dismissed)

    def dismiss(self, calls: tuple[tuple[str, int, int], ...]) -> None:
        """Leave these out from now on: none of them is open in the present groups.

        torch keeps the numbers of former groups: a call that an abort ended seems open forever.
        """
        self._dismissed.update(calls)

    def entries(self) -> list[dict[str, Any]]:
        """The calls that NCCL's recorder kept, in the form of torch's flight recorder."""
        entries: list[dict[str, Any]] = self._read(calls=True).get("entries", [])
        for entry in entries:
            # NCCL marks a completed call at once, and retires it half a second later.
            entry["retired"] = entry["retired"] or entry["state"] == "completed"
            kind, colon, name = entry["profiling_name"].rpartition(":")
            entry["profiling_name"] = f"{kind}{colon}{_PUBLIC.get(name, name)}"
        return entries

    def mark(self) -> bytes:
        """A value that changes when a call is enqueued or completes."""
        return repr(self._read(calls=False).get("pg_status")).encode()

    def _read(self, *, calls: bool) -> dict[str, Any]:
        if self._dump is None or not self._is_backend():
            return {}
        data = self._dump(includeCollectives=calls, includeStackTraces=False, onlyActive=False)
        found: dict[str, Any] = pickle.loads(data)  # noqa: S301 - torch made it in this process
        return found


class Aborts:
    """Aborts the present group, once at a time."""

    def __init__(self) -> None:
        self._thread: Thread | None = None

    @property
    def are_under_way(self) -> bool:
        """Whether an abort has yet to return."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self) -> None:
        """Abort the group in a thread: it may wait for other ranks to do the same."""
        if not self.are_under_way:
            # Private in torch 2.9 to 2.15, and the way that its documentation recommends.
            target: Callable[[], object] = c10d._abort_process_group
            self._thread = Thread(target=target, name="rankbook-abort", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait for an abort that is under way, before the group is left."""
        if self._thread is not None:
            self._thread.join(_LEAVE)


class OpenSince:
    """How long the same call has been open with the main thread at the same place."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._since = 0.0

    def seconds(self, key: Hashable, now: float) -> float:
        """Seconds for which that has been seen.

        Args:
            key: The call, and the place of the main thread.
            now: Seconds by a clock that never goes back.
        """
        if key != self._key:
            self._key, self._since = key, now
        return now - self._since
