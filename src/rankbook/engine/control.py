"""The control thread of an engine and its socket: how requests come in and answers go out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from rankbook import protocol
from rankbook.heap import uncollected

__all__ = ["Control"]


class Control:
    """ipyparallel's control channel, shared with its other clients."""

    def __init__(self, kernel: Any) -> None:
        """Take the channel of an engine's kernel."""
        self._session = kernel.session
        self._stream = kernel.control_stream
        self._loop = kernel.control_thread.io_loop
        self._dispatch_others = kernel.dispatch_control

    def listen(self, receive: Callable[[list[bytes], dict[str, Any]], None]) -> None:
        """Have requests received on the control thread from now on.

        Args:
            receive: Takes the identities to answer, and the message.
        """

        def on_message(frames: list[Any]) -> Any:
            if not protocol.is_ours(frames):
                return self._dispatch_others(frames)
            idents, parts = self._session.feed_identities(frames, copy=False)
            try:
                message = self._session.deserialize(parts, content=True, copy=False)
            except ValueError as error:  # a bad signature: not from this cluster
                print(f"rankbook: refused a message: {error}", file=sys.__stderr__)
                return None
            receive(idents, message)
            return None

        # Straight from the stream: ipykernel would publish 'busy' and 'idle' around each request,
        # two broadcasts through the controller that no client needs, and would answer one control
        # message at a time. Messages of other clients go the usual way.
        self._loop.add_callback(self._stream.on_recv, on_message, copy=False)

    def call(self, act: Callable[[], None]) -> None:
        """Have the control thread do something; from any thread."""
        self._loop.add_callback(act)

    def call_later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something once, after some seconds; on the control thread only."""
        self._loop.call_later(seconds, act)

    def repeat(self, seconds: float, act: Callable[[], float | None]) -> Callable[[], None]:
        """Do something periodically; on the control thread only.

        Args:
            seconds: Before each time.
            act: The work; it may return another number of seconds until the next time.

        Returns:
            A function that stops it.
        """
        timer: Any = None

        def again() -> None:
            nonlocal timer
            with uncollected():
                later = act()
            timer = self._loop.call_later(seconds if later is None else later, again)

        timer = self._loop.call_later(seconds, again)
        return lambda: self._loop.remove_timeout(timer)

    def send(
        self,
        kind: str,
        content: dict[str, Any],
        to: tuple[list[bytes], dict[str, Any]],
        buffers: Sequence[bytes] = (),
    ) -> None:
        """Send one message; on the control thread only, which owns the socket.

        Args:
            kind: Its type.
            content: Its content.
            to: The identities and the request that it answers.
            buffers: Bytes sent with the JSON.
        """
        idents, request = to

        def send(content: dict[str, Any]) -> None:
            self._session.send(
                self._stream,
                kind,
                content,
                parent=request,
                ident=idents,
                buffers=list(buffers) or None,
            )

        try:
            send(content)
        except (TypeError, ValueError):  # a user's text or display need not be JSON
            send(protocol.as_json(content))
