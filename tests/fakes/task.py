"""One request, as the engine that is asked sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from rankbook import errors
from rankbook.cluster.transport.messages import Incoming, Outgoing
from rankbook.models.events import Event, to_row

__all__ = ["Task"]


class Task:
    """A request that has arrived; it is answered once, or never."""

    def __init__(
        self,
        message: Outgoing,
        buffers: Sequence[bytes],
        receive: Callable[[Incoming], None],
    ) -> None:
        content = _through_json(message.content)
        self.op: str = content["op"]
        self.args: dict[str, Any] = content["args"]
        self.buffers = buffers
        self._id = message.id
        self._receive = receive

    def say(self, event: Event) -> None:
        """Send an event."""
        self._receive(Incoming(self._id, _through_json({"events": [to_row(event)]})))

    def answer(self, value: Any, buffers: Sequence[bytes] = ()) -> None:
        """Reply with a value."""
        self.reply({"status": "ok", "value": value}, buffers)

    def fail(self, error: errors.RankbookError) -> None:
        """Reply that the operation raised."""
        name = type(error).__name__
        kind = name if hasattr(errors, name) else ""
        content = {"kind": kind, "ename": name, "evalue": str(error), "traceback": []}
        self.reply({"status": "error", "error": content})

    def reply(self, content: dict[str, Any], buffers: Sequence[bytes] = ()) -> None:
        """Send the reply."""
        views = [memoryview(data) for data in buffers]
        self._receive(Incoming(self._id, _through_json(content), views, is_reply=True))


def _through_json(content: Any) -> Any:
    return json.loads(json.dumps(content))
