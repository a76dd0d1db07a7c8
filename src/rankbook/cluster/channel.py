"""Requests to engines and what comes back, over ipyparallel's control channel.

The one place that touches private parts of ``ipyparallel.Client`` (9.0 to 9.2), whose public API
sends only its own message types: ``_control_stream``, ``_control_socket``, ``_query_stream``,
``_io_loop``, ``_engines``, ``_update_engines``, ``_unregister_engine``,
``_registration_callbacks``, ``_notification_handlers`` and ``_dispatch_single_reply``.
``tests/unit/test_private_api.py`` says so if one of them goes.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import zmq
from zmq.eventloop.zmqstream import ZMQStream

from rankbook import errors, protocol
from rankbook.models import events, load, to_dict
from rankbook.models.requests import RemoteError, Request

if TYPE_CHECKING:
    import ipyparallel

__all__ = ["Call", "Channel", "Event", "everyone"]

_POLL = 0.05
"""Seconds after which a waiting caller looks around: at its deadline, for a lost controller."""


@dataclass(frozen=True)
class Event:
    """Something an engine said while a request ran."""

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
        """Events that have arrived and that nobody has waited for."""
        with suppress(queue.Empty):
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
        if content["status"] == "ok":
            self.values[engine] = content["value"]
        else:
            self.failures[engine] = load(RemoteError, content["error"])
        self.pending.discard(engine)
        self.inbox.put(None)


class Channel:
    """Carries requests to the engines of one client."""

    def __init__(self, client: ipyparallel.Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._calls: dict[str, tuple[Call, int]] = {}
        self._dead: set[int] = set()
        self._closed = False
        self.lost = threading.Event()
        self._loop = client._io_loop
        self._stream = client._control_stream
        self._theirs = client._dispatch_single_reply
        self._loop.add_callback(self._stream.on_recv, self._on_message, copy=False)
        self._loop.add_callback(self._watch)
        client._registration_callbacks.append(self._on_registration)
        # Told that the hub ends, the client would close itself, in an order that _unwatch forbids,
        # and nobody who waits would hear of it.
        client._notification_handlers["shutdown_notification"] = lambda _: self.lost.set()

    def request(self, requests: Mapping[int, Request], buffers: Sequence[bytes] = ()) -> Call:
        """Ask engines for one operation and return at once.

        Args:
            requests: By engine id, what it is asked for: of one class.
            buffers: Bytes for every engine, beside the JSON.

        Returns:
            The call, to be watched with :meth:`wait`.

        Raises:
            ClusterError: The controller is gone.
        """
        self._check()
        call = Call(set(requests), op_of(requests))
        outgoing = []
        for engine, request in requests.items():
            content = {"op": request.op, "args": to_dict(request)}
            message = self._client.session.msg(protocol.REQUEST, content)
            with self._lock:
                uuid = self._client._engines.get(engine)
                alive = uuid is not None and engine not in self._dead
                if alive:
                    self._calls[message["header"]["msg_id"]] = (call, engine)
            if alive:
                outgoing.append((message, uuid.encode()))
            else:
                call.settle(engine, RemoteError.of_ended(engine))

        def send() -> None:
            for message, ident in outgoing:
                self._client.session.send(
                    self._stream, message, ident=ident, buffers=list(buffers) or None
                )

        self._loop.add_callback(send)
        return call

    def wait(
        self,
        call: Call,
        timeout: float | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_pause: Callable[[], float] | None = None,
        until: Callable[[], bool] = bool,
    ) -> bool:
        """Wait for all answers, in Python that Ctrl-C interrupts.

        Args:
            call: What to wait for.
            timeout: Seconds; None waits as long as it takes.
            on_event: Called here, in the caller's thread, with each event in order.
            on_pause: Called whenever nothing waits to be read; returns the seconds until it
                wants to be called again.
            until: Ends the wait early when it returns true.

        Returns:
            Whether all engines have answered, or ``until`` ended the wait.

        Raises:
            ClusterError: The controller is gone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (call.done and call.inbox.empty()):
            pause = _POLL
            if on_pause is not None and call.inbox.empty():
                pause = min(pause, on_pause())
            with suppress(queue.Empty):
                event = call.inbox.get(timeout=pause)
                if event is not None and on_event is not None:
                    on_event(event)
            if deadline is not None and time.monotonic() > deadline:
                return False
            if until():
                break
            self._check()
        return True

    def ask(
        self,
        requests: Mapping[int, Request],
        timeout: float | None = None,
        again: float | None = None,
    ) -> dict[int, Any]:
        """Make a request, wait for it, and return the values by engine.

        Args:
            requests: By engine id; see :meth:`request`.
            timeout: Seconds for all of them; None waits as long as it takes.
            again: Seconds after which those that have not answered are asked once more, if that
                does no harm. The controller drops what is for an engine that it does not know yet.

        Raises:
            RankbookError: The first failure, as the class the engine raised, or an
                :class:`~rankbook.errors.EngineError` if it raised anything else.
            ClusterError: Some engines did not answer in time, or the controller is gone.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        values: dict[int, Any] = {}
        while pending := {e: request for e, request in requests.items() if e not in values}:
            left = deadline - time.monotonic()
            if left <= 0:
                raise errors.ClusterError(
                    f"Engines {sorted(pending)} did not answer {op_of(pending)!r} "
                    f"within {timeout:g} s: "
                    "%dist_status shows what they do."
                )
            call = self.request(pending)
            patience = min(left, math.inf if again is None else again)
            if self.wait(call, None if patience == math.inf else patience):
                self.raise_for_failure(call)
            elif again is not None:
                self.forget(call)
            values |= call.values
        return values

    @staticmethod
    def raise_for_failure(call: Call) -> None:
        """Raise what the first engine that failed says; see :meth:`ask`."""
        for engine, failure in call.failures.items():
            raise _as_error(engine, failure)

    def forget(self, call: Call) -> None:
        """Drop a call whose answers nobody wants any more."""
        with self._lock:
            self._calls = {k: v for k, v in self._calls.items() if v[0] is not call}

    def owing(self, ops: Collection[str]) -> set[int]:
        """Engines that have not answered yet what they were asked for.

        Args:
            ops: The operations that matter.
        """
        with self._lock:
            asked = [known for known in self._calls.values() if known[0].op in ops]
        return {engine for call, engine in asked if engine in call.pending}

    def know(self, engines: Mapping[int, str]) -> None:
        """Route to engines that have said themselves that they are there, by id their uuid.

        ipyparallel's hub will announce them, too, at their second heartbeat.
        """
        with self._lock:
            self._dead.difference_update(engines)
        self._client._update_engines(dict(engines))

    def engine_gone(self, engine: int) -> None:
        """Fail what was asked of an engine that has ended."""
        with self._lock:
            self._dead.add(engine)
            mine = [k for k, (_, its) in self._calls.items() if its == engine]
            calls = [self._calls.pop(k)[0] for k in mine]
        for call in calls:
            call.settle(engine, RemoteError.of_ended(engine))

    def unregister(self, engine: int) -> None:
        """Tell hub and client that an engine has ended, before it misses its heartbeats."""
        content = {"id": engine}

        def tell() -> None:
            if not self.lost.is_set():  # else it would wait for ever to be sent
                query = self._client._query_stream
                self._client.session.send(query, "unregistration_request", content)
            # The hub tells its clients only of engines that it had announced to them.
            self._client._unregister_engine({"content": content})

        self._loop.add_callback(tell)

    def close(self) -> None:
        """Let nobody wait any longer: the client is about to be closed, which this must precede."""
        self._closed = True
        self._loop.add_callback(self._unwatch)

    # -- on the client's I/O thread ----------------------------------------------------------

    def _on_message(self, frames: list[Any]) -> None:
        if not protocol.is_ours(frames):
            self._theirs(frames)
            return
        session = self._client.session
        _, parts = session.feed_identities(frames, copy=False)
        message = session.deserialize(parts, content=True, copy=False)
        parent = message["parent_header"].get("msg_id")
        final = message["header"]["msg_type"] == protocol.REPLY
        with self._lock:
            known = self._calls.pop(parent, None) if final else self._calls.get(parent)
        if known is None:
            return
        call, engine = known
        if final:
            call.settle(engine, message["content"], message["buffers"])
        else:
            for row in message["content"]["events"]:
                call.inbox.put(Event(engine, events.from_row(row)))

    def _watch(self) -> None:
        """Notice at once that the controller's end of the control socket is gone."""
        monitor = self._client._control_socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        ZMQStream(monitor, self._loop).on_recv(lambda _: self.lost.set())

    def _unwatch(self) -> None:
        """Stop that, before the client closes its sockets in whatever order.

        If the controller ends between two of them, ZeroMQ's I/O thread would wait for ever to tell
        of it, and no socket of this process would ever be connected again.
        """
        self._client._control_socket.disable_monitor()

    def _on_registration(self, event: dict[str, Any]) -> None:
        if event["event"] == "unregister":
            self.engine_gone(int(event["id"]))
        else:
            with self._lock:
                self._dead.discard(int(event["id"]))

    # ----------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed:
            raise errors.SessionError("The session was shut down meanwhile.")
        if self.lost.is_set():
            raise errors.ClusterError(
                "The cluster's controller is gone, and its engines cannot be reached: "
                "start again with %dist_init."
            )


def _as_error(engine: int, failure: RemoteError) -> errors.RankbookError:
    kind = getattr(errors, failure.kind or "", None)
    if kind is None:
        return errors.EngineError(f"Engine {engine} failed: {failure.ename}: {failure.evalue}")
    error: errors.RankbookError = kind(failure.evalue)
    return error


def everyone(engines: Iterable[int], request: Request) -> dict[int, Request]:
    """The same request for several engines."""
    return dict.fromkeys(engines, request)


def op_of(requests: Mapping[int, Request]) -> str:
    """Name of the operation that engines are asked for; empty where nobody is asked."""
    return next((request.op for request in requests.values()), "")
