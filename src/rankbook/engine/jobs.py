"""A request in progress on an engine."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from rankbook import errors, protocol
from rankbook.engine.cells.outbox import Outbox
from rankbook.models import to_dict
from rankbook.models.events import to_row
from rankbook.models.requests import RemoteError

if TYPE_CHECKING:
    from rankbook.engine.context import Engine
    from rankbook.engine.control import Control

__all__ = ["Job", "raised", "returned"]

_GATHER = 0.003
"""Seconds between two messages with output, in which the next one gathers: each message costs the
notebook's kernel about as much as the text of a hundred lines."""


class Job:
    """A request in progress, with the way to answer it.

    Attributes:
        engine: The engine that its operation works on.
        control: The control thread.
        sender: The identities to answer, and the request message, in ipyparallel's form.
        name: Name of the operation.
        outbox: Takes events from any thread; they are sent in order, before the answer.
        attachments: Bytes to send with the answer.
        stops: Stop the periodic work of the control thread.
        later: Work of the main thread after the answer: seconds to wait, and the action.
        is_open: Whether it has yet to be answered.
        is_dropped: Whether it must no longer begin.
    """

    def __init__(
        self, engine: Engine, control: Control, idents: list[bytes], message: dict[str, Any]
    ) -> None:
        self.engine = engine
        self.control = control
        self.sender = (idents, message)
        self.name: str = message["content"].get("op", "")
        self.outbox = Outbox(lambda: control.call(self._send_events))
        self.attachments: list[bytes] = []
        self.stops: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.is_open = True
        self.is_dropped = False

    @property
    def arguments(self) -> dict[str, Any]:
        """Fields of the request, in JSON's types."""
        arguments: dict[str, Any] = self.sender[1]["content"].get("args", {})
        return arguments

    @property
    def buffers(self) -> list[Any]:
        """Bytes that came with the request."""
        buffers: list[Any] = self.sender[1]["buffers"]
        return buffers

    def precedes(self, other: Job) -> bool:
        """Whether the same session has sent this request before the other one."""
        (session, number), (its_session, its_number) = self._origin, other._origin
        return session == its_session and number < its_number

    @property
    def _origin(self) -> tuple[str, int]:
        session, _, number = self.sender[1]["header"]["msg_id"].rpartition("-")
        return session, int(number)

    def finish(self, answer: dict[str, Any]) -> None:
        """Send the rest of the outbox, then the answer; on the control thread."""
        self.is_open = False
        for stop in self.stops:
            stop()
        self.outbox.close()  # threads that never pause would keep it full
        while self._send_batch():
            pass
        self.control.send(protocol.REPLY, answer, self.sender, self.attachments)

    def _send_events(self) -> None:
        """Send what waits, at once; then, while there is more, now and then."""
        if self._send_batch():
            self.control.call_later(_GATHER, self._send_events)

    def _send_batch(self) -> bool:
        """Send what waits, or a large part; return whether anything did."""
        events = self.outbox.take()
        if events:
            content = {"events": [to_row(event) for event in events]}
            self.control.send(protocol.EVENTS, content, self.sender)
        return bool(events)


def returned(value: Any) -> dict[str, Any]:
    """The answer with the result of an operation."""
    return {"status": "ok", "value": to_dict(value) if is_dataclass(value) else value}


def raised(error: BaseException) -> dict[str, Any]:
    """The answer with the exception of an operation."""
    name = type(error).__name__
    failure = RemoteError(
        kind=name if isinstance(error, errors.RankbookError) else "",
        ename=name,
        evalue=str(error),
        traceback=tuple(traceback.format_exception(error)),
    )
    return {"status": "error", "error": to_dict(failure)}
