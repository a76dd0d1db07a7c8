"""The sockets of an ipyparallel client, which carry the messages of a channel.

The one place that touches private parts of ``ipyparallel.Client`` (9.0 to 9.2), whose public API
sends only its own message types. ``tests/unit/test_private_api.py`` lists them, and fails if one
of them goes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import zmq
from zmq.eventloop.zmqstream import ZMQStream

from rankbook import protocol
from rankbook.cluster.transport.messages import Incoming, Notice, Outgoing, Registered, Unregistered

if TYPE_CHECKING:
    import ipyparallel

__all__ = ["ClientWire"]


class ClientWire:
    """The wire of a client: our messages on its control socket, along with its own.

    Implements :class:`rankbook.cluster.transport.messages.Wire`.
    """

    def __init__(self, client: ipyparallel.Client) -> None:
        self.lost = threading.Event()
        self._client = client
        self._loop = client._io_loop
        self._stream = client._control_stream
        self._original = client._dispatch_single_reply
        self._receive: Callable[[Notice], None] = _drop
        self._loop.add_callback(self._watch)
        # When the hub ends, the client would close itself, in an order that _unwatch must prevent,
        # and waiting callers would not notice.
        client._notification_handlers["shutdown_notification"] = lambda _: self.lost.set()

    @property
    def engines(self) -> list[int]:
        """Ids of the engines that can be reached, ascending."""
        # Not client.ids, which lists an engine a moment before messages can reach it.
        return sorted(self._client._engines)

    @property
    def address(self) -> str:
        """The controller's address, as this process reaches it."""
        return str(self._client._config["interface"]).rpartition("/")[2]

    def subscribe(self, receive: Callable[[Notice], None]) -> None:
        """Deliver incoming messages from now on, in order, in the client's I/O thread."""
        self._receive = receive
        self._loop.add_callback(self._stream.on_recv, self._on_message, copy=False)
        self._client._registration_callbacks.append(self._on_registration)

    def send(self, messages: Sequence[Outgoing], buffers: Sequence[bytes] = ()) -> None:
        """Send requests, each with all buffers, and return at once."""
        routes = self._client._engines
        packed = [(self._pack(m), routes.get(m.engine)) for m in messages]

        def send() -> None:
            for message, uuid in packed:
                if uuid is not None:
                    self._client.session.send(
                        self._stream, message, ident=uuid.encode(), buffers=list(buffers) or None
                    )

        self._loop.add_callback(send)

    def route(self, engines: Mapping[int, str]) -> None:
        """Reach engines, given as uuid by id, before the controller announces them.

        The controller does so at their second heartbeat.
        """
        self._client._update_engines(dict(engines))

    def unregister(self, engine: int, after: float = 0.0) -> None:
        """Forget an engine that has ended, and tell the controller, before it misses heartbeats."""
        content = {"id": engine}

        def tell() -> None:
            if (
                not self.lost.is_set()
            ):  # ZeroMQ would keep a message to a controller that is gone forever
                query = self._client._query_stream
                self._client.session.send(query, "unregistration_request", content)

        def forget() -> None:
            if after:
                self._loop.call_later(after, tell)
            else:
                tell()
            # The hub notifies clients only about engines that it announced to them.
            self._client._unregister_engine({"content": content})

        self._loop.add_callback(forget)

    def close(self) -> None:
        """Close the client and its sockets; idempotent."""
        self._loop.add_callback(self._unwatch)
        self._client.close(linger=0)

    def _pack(self, outgoing: Outgoing) -> dict[str, Any]:
        message: dict[str, Any] = self._client.session.msg(protocol.REQUEST, outgoing.content)
        message["msg_id"] = message["header"]["msg_id"] = outgoing.id
        return message

    # -- in the client's I/O thread ----------------------------------------------------------

    def _on_message(self, frames: list[Any]) -> None:
        if not protocol.is_ours(frames):
            self._original(frames)
            return
        session = self._client.session
        _, parts = session.feed_identities(frames, copy=False)
        message = session.deserialize(parts, content=True, copy=False)
        self._receive(
            Incoming(
                message["parent_header"].get("msg_id", ""),
                message["content"],
                message["buffers"],
                is_reply=message["header"]["msg_type"] == protocol.REPLY,
            )
        )

    def _on_registration(self, event: dict[str, Any]) -> None:
        kind = Unregistered if event["event"] == "unregister" else Registered
        self._receive(kind(int(event["id"])))

    def _watch(self) -> None:
        """Notice at once that the controller's end of the control socket is gone."""
        monitor = self._client._control_socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        ZMQStream(monitor, self._loop).on_recv(lambda _: self.lost.set())

    def _unwatch(self) -> None:
        """Stop watching, before the client closes its sockets in any order.

        If the controller ended between two of them, ZeroMQ's I/O thread would wait forever to
        report that, and no socket of this process could ever connect again.
        """
        self._client._control_socket.disable_monitor()


def _drop(notice: Notice) -> None:
    """Drop a message: there is no subscriber yet."""
