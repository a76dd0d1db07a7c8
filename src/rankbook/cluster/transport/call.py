"""One request in progress, and its answers so far."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rankbook.models import events, load
from rankbook.models.wire import RemoteError

__all__ = ["Call", "Event"]


@dataclass(frozen=True)
class Event:
    """An event that an engine sent during a request."""

    engine: int
    body: events.Event


@dataclass
class Call:
    """One request to several engines, and its answers so far."""

    pending: set[int]
    op: str = ""
    inbox: queue.SimpleQueue[Event | None] = field(default_factory=queue.SimpleQueue)
    values: dict[int, Any] = field(default_factory=dict)
    failures: dict[int, RemoteError] = field(default_factory=dict)
    buffers: dict[int, list[memoryview]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether every engine has answered."""
        return not self.pending

    def left(self) -> Iterator[Event]:
        """Events that have arrived and that no :meth:`wait` has taken."""
        with suppress(queue.Empty):  # those were all
            while True:
                if (event := self.inbox.get_nowait()) is not None:
                    yield event

    def settle(
        self, engine: int, content: dict[str, Any], buffers: Sequence[memoryview] = ()
    ) -> None:
        """Take an engine's reply, the first one only."""
        if engine not in self.pending:
            return
        self.buffers[engine] = list(buffers)
        has_failed = content["status"] != "ok"
        if has_failed:
            self.failures[engine] = load(RemoteError, content["error"])
        else:
            self.values[engine] = content["value"]
        self.pending.discard(engine)
        # A caller waits for all answers, or for the first failure.
        if has_failed or self.done:
            self.inbox.put(None)
