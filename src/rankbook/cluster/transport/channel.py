"""Requests to engines, and waiting for their answers.

The sockets that carry them are a :class:`~rankbook.cluster.transport.messages.Wire`; nothing here
knows what kind of wire it is.
"""

from __future__ import annotations

import itertools
import math
import queue
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rankbook import errors
from rankbook.cluster.transport.call import Call, Event
from rankbook.cluster.transport.messages import (
    Incoming,
    Notice,
    Outgoing,
    Unregistered,
    Wire,
)
from rankbook.models import events, to_dict
from rankbook.models.wire import RemoteError, Request

__all__ = ["Channel", "everyone", "op_of"]

_POLL = 0.05
"""Seconds between checks by a waiting caller of its deadline and of the controller."""

_LONGEST = 0.1
"""Seconds after which a caller's work between events is done though more events wait."""


class Channel:
    """Carries requests to the engines of one cluster, and their answers back."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lock = threading.Lock()
        self._calls: dict[str, tuple[Call, int]] = {}
        self._name, self._sent = uuid.uuid4().hex, itertools.count()
        self._ended: set[int] = set()
        self._closed = False
        wire.subscribe(self._receive)

    @property
    def lost(self) -> threading.Event:
        """Set when the controller is gone."""
        return self._wire.lost

    def request(self, requests: Mapping[int, Request], buffers: Sequence[bytes] = ()) -> Call:
        """Ask engines for one operation and return at once.

        Args:
            requests: The request by engine id; all of one class.
            buffers: Bytes for every engine, sent with the JSON.

        Returns:
            The call, for :meth:`wait`.

        Raises:
            ClusterError: The controller is gone.
        """
        self._check()
        call = Call(set(requests), op_of(requests))
        outgoing, ended = [], []
        with self._lock:
            reachable = set(self._wire.engines) - self._ended
            for engine, request in requests.items():
                if engine not in reachable:
                    ended.append(engine)
                    continue
                message = Outgoing(f"{self._name}-{next(self._sent)}", engine, _content(request))
                self._calls[message.id] = (call, engine)
                outgoing.append(message)
        for engine in ended:
            call.settle(engine, RemoteError.of_ended(engine))
        self._wire.send(outgoing, buffers)
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
            call: The call to wait for.
            timeout: Seconds; None waits as long as it takes.
            on_event: Called here, in the caller's thread, with each event in order.
            on_pause: Called whenever no event is waiting, and now and then where they never end;
                returns the seconds until its next call.
            until: Ends the wait early when it returns true.

        Returns:
            Whether all engines have answered, or ``until`` ended the wait.

        Raises:
            ClusterError: The controller is gone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        paused = time.monotonic()
        while not (call.done and call.inbox.empty()):
            pause = _POLL
            is_due = call.inbox.empty() or time.monotonic() - paused > _LONGEST
            if on_pause is not None and is_due:
                pause = min(pause, on_pause())
                paused = time.monotonic()
            with suppress(queue.Empty):  # none has come yet
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
            again: Seconds after which engines that have not answered are asked again; only for
                repeatable requests. The controller drops a request to an engine that it does not
                know yet.

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
        """Raise the first failure, if there is one; see :meth:`ask`."""
        for engine, failure in call.failures.items():
            raise _as_error(engine, failure)

    def forget(self, call: Call) -> None:
        """Drop a call whose answers are no longer wanted."""
        with self._lock:
            self._calls = {k: v for k, v in self._calls.items() if v[0] is not call}

    def owing(self, ops: Collection[str]) -> set[int]:
        """Engines that have not answered a request yet.

        Args:
            ops: Names of the operations that count.
        """
        with self._lock:
            asked = [known for known in self._calls.values() if known[0].op in ops]
        return {engine for call, engine in asked if engine in call.pending}

    def know(self, engines: Mapping[int, str]) -> None:
        """Route to engines that reported ready themselves; gives their uuid by id.

        The controller announces them later, at their second heartbeat.
        """
        self._wire.route(engines)

    def engine_gone(self, engine: int) -> None:
        """Fail the requests to an engine that has ended, and all later ones.

        The controller may announce it still: that is no other engine, since no id is given twice.
        """
        with self._lock:
            self._ended.add(engine)
        self._fail(engine)

    def _fail(self, engine: int) -> None:
        with self._lock:
            failed = [key for key, (_, asked) in self._calls.items() if asked == engine]
            calls = [self._calls.pop(key)[0] for key in failed]
        for call in calls:
            call.settle(engine, RemoteError.of_ended(engine))

    def close(self) -> None:
        """End every wait: the wire is about to be closed."""
        self._closed = True

    # -- in the wire's thread ----------------------------------------------------------------

    def _receive(self, notice: Notice) -> None:
        if isinstance(notice, Incoming):
            self._deliver(notice)
        elif isinstance(notice, Unregistered):
            self._fail(notice.engine)

    def _deliver(self, incoming: Incoming) -> None:
        key = incoming.request
        with self._lock:
            known = self._calls.pop(key, None) if incoming.is_reply else self._calls.get(key)
        if known is None:  # the call was forgotten
            return
        call, engine = known
        if incoming.is_reply:
            call.settle(engine, incoming.content, incoming.buffers)
        else:
            for row in incoming.content["events"]:
                call.inbox.put(Event(engine, events.from_row(row)))

    # ----------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed:
            raise errors.SessionError("The session was shut down meanwhile.")
        if self.lost.is_set():
            raise errors.ClusterError(
                "The cluster's controller is gone, and its engines cannot be reached: "
                "start again with %dist_init."
            )


def _content(request: Request) -> dict[str, Any]:
    return {"op": request.op, "args": to_dict(request)}


def _as_error(engine: int, failure: RemoteError) -> errors.RankbookError:
    kind = getattr(errors, failure.kind or "", None)
    if kind is None:
        return errors.EngineError(f"Engine {engine} failed: {failure.ename}: {failure.evalue}")
    error: errors.RankbookError = kind(failure.evalue)
    return error


def everyone(engines: Iterable[int], request: Request) -> dict[int, Request]:
    """One request for several engines, by engine id."""
    return dict.fromkeys(engines, request)


def op_of(requests: Mapping[int, Request]) -> str:
    """Name of the requested operation; empty if there are no requests."""
    return next((request.op for request in requests.values()), "")
