"""The messages between a channel and the wire below it, which know nothing else of each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

__all__ = ["Incoming", "Notice", "Outgoing", "Registered", "Unregistered", "Wire"]


@dataclass(frozen=True)
class Outgoing:
    """A request to one engine."""

    id: str
    """The id that its answers refer to: a channel's name, ``-``, and a number that rises."""
    engine: int
    content: dict[str, Any]
    """As :data:`rankbook.protocol.REQUEST` says."""


@dataclass(frozen=True)
class Incoming:
    """An engine's answer: events while a request runs, or the reply that ends it."""

    request: str
    """Id of the request."""
    content: dict[str, Any]
    """As :data:`rankbook.protocol.EVENTS` or :data:`rankbook.protocol.REPLY` says."""
    buffers: Sequence[memoryview] = ()
    is_reply: bool = False


@dataclass(frozen=True)
class Registered:
    """The controller has announced an engine."""

    engine: int


@dataclass(frozen=True)
class Unregistered:
    """The controller has lost an engine: it left, or missed its heartbeats."""

    engine: int


Notice: TypeAlias = Incoming | Registered | Unregistered


class Wire(Protocol):
    """Sockets that reach the engines of one cluster."""

    lost: threading.Event
    """Set when the controller is gone, after which no message is sent or received."""

    @property
    def engines(self) -> Collection[int]:
        """Ids of the engines that can be reached."""

    @property
    def address(self) -> str:
        """The controller's address, as this process reaches it."""

    def subscribe(self, receive: Callable[[Notice], None]) -> None:
        """Deliver incoming messages from now on, in order, in a thread of the wire."""

    def send(self, messages: Sequence[Outgoing], buffers: Sequence[bytes] = ()) -> None:
        """Send requests, each with all buffers, and return at once.

        A request to an engine that has just left is dropped; a notice says that it has left.
        """

    def route(self, engines: Mapping[int, str]) -> None:
        """Reach engines, given as uuid by id, before the controller announces them."""

    def unregister(self, engine: int, after: float = 0.0) -> None:
        """Forget an engine that has ended, and tell the controller, before it misses heartbeats.

        Args:
            engine: Its id.
            after: Seconds to wait before the controller is told.
        """

    def close(self) -> None:
        """Close the sockets; idempotent. What has not been sent is dropped."""
