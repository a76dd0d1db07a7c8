"""Asking ranks: every request goes out by rank, and every answer comes back by rank."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from rankbook.cluster.transport.call import Call, Event
from rankbook.cluster.transport.channel import Channel
from rankbook.errors import ClusterError, EngineError, SessionError
from rankbook.models import events
from rankbook.models.requests import RemoteError, Request
from rankbook.timing import Timing
from rankbook.words import agree, in_words, sentence_start

__all__ = ["Party", "RankCall"]


class Party:
    """Some ranks, to be asked together.

    An engine that is no rank goes by its id instead; there is no party of both.
    """

    def __init__(
        self,
        channel: Channel,
        engines: Mapping[int, int],
        timing: Timing,
        told_of_dead: Callable[[], str] = str,
    ) -> None:
        """Name the ranks.

        Args:
            channel: To the engines.
            engines: The engines by rank.
            timing: How long to wait for answers.
            told_of_dead: Says how ranks have ended, and what to do; nothing if none has.
        """
        self.timing = timing
        self._told_of_dead = told_of_dead
        self._channel = channel
        self._engines = dict(engines)

    @property
    def engines(self) -> Mapping[int, int]:
        """By rank, the engine; for this room only."""
        return self._engines

    def __iter__(self) -> Iterator[int]:
        return iter(self._engines)

    def __len__(self) -> int:
        return len(self._engines)

    def __contains__(self, rank: object) -> bool:
        return rank in self._engines

    def only(self, ranks: Collection[int]) -> Party:
        """Those of ``ranks`` that belong to it."""
        chosen = {rank: engine for rank, engine in self._engines.items() if rank in ranks}
        return Party(self._channel, chosen, self.timing, self._told_of_dead)

    def request(
        self, requests: Request | Mapping[int, Request], buffers: Sequence[bytes] = ()
    ) -> RankCall:
        """Ask for one operation and return at once.

        Args:
            requests: The request for every rank, or one by rank; those for others are left out.
            buffers: Bytes for every rank, sent with the JSON.

        Raises:
            ClusterError: The controller is gone.
        """
        if isinstance(requests, Request):
            requests = dict.fromkeys(self._engines, requests)
        ranks = {engine: rank for rank, engine in self._engines.items() if rank in requests}
        asked = {engine: requests[rank] for engine, rank in ranks.items()}
        call = self._channel.request(asked, buffers)
        return RankCall(self._channel, call, ranks, self._told_of_dead)

    def look(self, request: Request) -> RankCall:
        """Ask for something that engines answer at any time; stop waiting for silent ranks."""
        call = self.request(request)
        call.wait(self.timing.answer_timeout(len(self)))
        call.forget()
        return call

    def ask(self, request: Request, timeout: float | None = None) -> dict[int, Any]:
        """Ask, wait, and return the values by rank.

        Raises:
            RankbookError: The first failure, as the class that the engine raised.
            SessionError: A rank has ended; the message says how, and what to do.
            ClusterError: Some did not answer in time, or the controller is gone.
        """
        call = self.request(request)
        if not call.wait(timeout):
            silent = sorted(call.pending)
            raise ClusterError(
                f"{sentence_start(in_words(silent))} did not answer within {timeout:g} s: "
                f"%dist_status shows what {agree(silent, 'it does', 'they do')}."
            )
        call.raise_for_failure()
        return call.values

    def owing(self, operations: Collection[str]) -> set[int]:
        """Ranks that have not yet answered a request for one of these operations."""
        late = self._channel.owing(operations)
        return {rank for rank, engine in self._engines.items() if engine in late}


class RankCall:
    """One request to several ranks, and their answers so far."""

    def __init__(
        self,
        channel: Channel,
        call: Call,
        ranks: Mapping[int, int],
        told_of_dead: Callable[[], str],
    ) -> None:
        self._channel = channel
        self._call = call
        self._told_of_dead = told_of_dead
        self._ranks = ranks  # by engine, at the time of the request

    @property
    def done(self) -> bool:
        """Whether every rank has answered."""
        return self._call.done

    @property
    def pending(self) -> set[int]:
        """Ranks that have not answered."""
        return {self._ranks[engine] for engine in set(self._call.pending)}

    @property
    def speaking(self) -> set[int]:
        """Ranks of which events may come: that have not answered, or all while some are unread."""
        pending = self.pending  # first: what precedes an answer can be read before the answer is in
        return pending if self._call.inbox.empty() else set(self._ranks.values())

    @property
    def values(self) -> dict[int, Any]:
        """By rank, the answers of those that succeeded."""
        return {self._ranks[engine]: value for engine, value in dict(self._call.values).items()}

    @property
    def failures(self) -> dict[int, RemoteError]:
        """By rank, why the operation failed there."""
        failures = dict(self._call.failures)
        return {self._ranks[engine]: failure for engine, failure in failures.items()}

    def buffers(self, rank: int) -> list[memoryview]:
        """Bytes that came with a rank's answer."""
        return next(self._call.buffers[e] for e, other in self._ranks.items() if other == rank)

    def wait(
        self,
        timeout: float | None = None,
        on_event: Callable[[int, events.Event], None] | None = None,
        on_pause: Callable[[], float] | None = None,
        until: Callable[[], bool] = bool,
    ) -> bool:
        """Wait for all answers; see :meth:`rankbook.cluster.transport.channel.Channel.wait`.

        Args:
            timeout: Seconds; None waits as long as it takes.
            on_event: Called in this thread with the rank and its event.
            on_pause: Called whenever there is nothing to read.
            until: Ends the wait early.
        """

        def tell(event: Event) -> None:
            if on_event is not None:
                on_event(self._ranks[event.engine], event.body)

        return self._channel.wait(self._call, timeout, tell, on_pause, until)

    def left(self) -> Iterator[tuple[int, events.Event]]:
        """Events that have arrived and were not read by :meth:`wait`."""
        for event in self._call.left():
            yield self._ranks[event.engine], event.body

    def raise_for_failure(self) -> None:
        """Raise the error of the first rank that failed, as the class that its engine raised.

        Raises:
            SessionError: A rank has ended; the message says how, and what to do.
        """
        try:
            self._channel.raise_for_failure(self._call)
        except EngineError:
            if told := self._told_of_dead():
                raise SessionError(told) from None
            raise

    def forget(self) -> None:
        """Drop the call: answers that are still missing are no longer wanted."""
        self._channel.forget(self._call)
