"""Running a cell on several ranks, and collecting what it says and does meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rankbook.cluster.channel import Call, Channel, Event, everyone
from rankbook.interrupts import undisturbed
from rankbook.models import Diagnosis, Failure, load
from rankbook.models.requests import RemoteError, Run
from rankbook.sessions.freeing import Freed
from rankbook.sessions.looking import answer_timeout
from rankbook.sessions.results import CellResult, RankResult
from rankbook.sessions.watching import Watch

__all__ = ["PENDING", "Cell", "CellOutput", "Collector", "RunningCell"]

PENDING = "pending"
"""A rank that has not said yet how its cell ended."""

_ENDED, _HOPELESS, _INTERRUPTED = "ended", "hopeless", "interrupted"

_SHOWING = 3.0
"""Seconds in which Ctrl-C does not keep from being shown what has arrived."""

_LABEL = 80
"""Characters of a cell's first line by which it is known."""


@dataclass(frozen=True)
class Cell:
    """What is to run, and where."""

    code: str
    rank_of: Mapping[int, int]
    """By engine, its rank, for every engine that is to run it."""
    number: int = 0
    """What tracebacks call it."""
    timeout: float | None = None
    """Seconds after which it is interrupted, None for never."""
    on_hang: str = "free"
    """One of :data:`rankbook.models.ON_HANG`."""

    @property
    def label(self) -> str:
        """Its first line, cut if it is long."""
        first = next((line.strip() for line in self.code.splitlines() if line.strip()), "")
        return first[:_LABEL]


class RunningCell:
    """A cell from the request on: waits for it, watches it, frees its ranks."""

    def __init__(
        self,
        channel: Channel,
        cell: Cell,
        output: CellOutput | None,
        free: Callable[[Collection[int]], Freed],
        diagnose: Callable[[Mapping[int, Failure | str | None]], Diagnosis],
    ) -> None:
        """Start it.

        Args:
            channel: To the engines.
            cell: What to run.
            output: Shows what the ranks say.
            free: Frees some engines, whatever they do.
            diagnose: Looks at the ranks, given what has become of the cell on them.
        """
        self._channel = channel
        self._cell = cell
        self._free = free
        self._diagnose = lambda: diagnose(self.progress)
        self._collector = Collector(cell.rank_of.values(), output)
        self._deadline = None if cell.timeout is None else time.monotonic() + cell.timeout
        self._has_reported = False
        self.call: Call = channel.request(everyone(cell.rank_of, Run(cell.code, cell.number)))

    @property
    def progress(self) -> dict[int, Failure | str | None]:
        """By rank, :data:`PENDING`, the exception that has ended the cell there, or None."""
        progress: dict[int, Failure | str | None] = dict.fromkeys(
            self._cell.rank_of.values(), PENDING
        )
        for engine, value in dict(self.call.values).items():
            error = value["error"]
            progress[self._cell.rank_of[engine]] = load(Failure, error) if error else None
        return progress

    def finish(self, watch: Watch) -> tuple[CellResult, Freed | None]:
        """Wait until it has ended; free its ranks if it cannot, on Ctrl-C, and after the timeout.

        Returns:
            What it did on the ranks that answered, and what freeing came to, if it was needed.

        Raises:
            ClusterError: The controller is gone.
        """
        freed = verdict = None
        try:
            while (outcome := self._wait(watch)) != _ENDED:
                pending = set(self.call.pending)
                if outcome == _HOPELESS:
                    # Ranks that others do not wait for may still run: they are left alone.
                    stuck = set(watch.diagnosis.stuck) if watch.diagnosis else set()
                    pending = {e for e in pending if self._cell.rank_of[e] in stuck}
                with undisturbed():  # it is being obeyed
                    watch.confirm(self._diagnose)
                    # What is seen after ranks were freed says less than what led to it.
                    verdict = verdict or watch.proof
                    freed = self._free(pending)
                    watch.begin_anew()
                    if outcome == _INTERRUPTED or freed.busy:
                        timeout = answer_timeout(len(pending))
                        self._channel.wait(self.call, timeout, self._on_event)
                        break
        finally:
            with undisturbed(_SHOWING):
                for event in self.call.left():
                    self._on_event(event)
                self._collector.finish()
            self._channel.forget(self.call)
        result = self._collector.result(
            {self._cell.rank_of[engine]: value for engine, value in self.call.values.items()},
            {self._cell.rank_of[engine]: error for engine, error in self.call.failures.items()},
        )
        # Where another thread has freed the ranks, what it was for is what was seen before.
        was_freed = any(its.error and its.error.freed for its in result.values())
        result.diagnosis = verdict or (watch.proof if was_freed else None)
        return result, freed

    def _wait(self, watch: Watch) -> str:
        """Wait until the cell has ended, or its ranks are to be freed."""

        def pause() -> float:
            running = {self._cell.rank_of[engine] for engine in self.call.pending}
            return min(self._collector.pause(running), watch.pause())

        def is_hopeless() -> bool:
            if not watch.is_proven or self._cell.on_hang == "wait":
                return False
            if self._cell.on_hang == "report" and not self._has_reported and watch.diagnosis:
                self._has_reported = True
                self._collector.note(watch.diagnosis.summary)
            return self._cell.on_hang == "free"

        left = None if self._deadline is None else self._deadline - time.monotonic()
        try:
            waited = self._channel.wait(self.call, left, self._on_event, pause, until=is_hopeless)
        except KeyboardInterrupt:
            waited = False
        if self.call.done:
            return _ENDED
        return _HOPELESS if waited else _INTERRUPTED

    def _on_event(self, event: Event) -> None:
        self._collector.event(self._cell.rank_of[event.engine], event.body)


class CellOutput(Protocol):
    """Shows a cell's output while it runs; called from the thread that waits for the cell."""

    def event(self, rank: int, body: list[Any]) -> None:
        """Take something that a rank said."""

    def pause(self, running: Collection[int]) -> float:
        """Show what is due; nothing waits to be read.

        Args:
            running: The ranks that may still say something.

        Returns:
            Seconds after which to be called again at the latest.
        """

    def note(self, text: str) -> None:
        """Show a line that no rank said: the session's own."""

    def finish(self) -> None:
        """Show what is left: the cell has ended, however it did."""


class Collector:
    """Builds the result of a cell from its events, and passes them on to be shown."""

    def __init__(self, ranks: Collection[int], output: CellOutput | None) -> None:
        self._output = output
        self._streams: dict[int, dict[str, list[str]]] = {
            rank: {"stdout": [], "stderr": []} for rank in ranks
        }
        self._values: dict[int, str] = {}

    def event(self, rank: int, body: list[Any]) -> None:
        """Take one event of a rank."""
        if body[0] == "stream":
            self._streams[rank][body[1]].append(body[2])
        elif body[0] == "result":
            self._values[rank] = body[1]["data"].get("text/plain", "")
        if self._output is not None:
            self._output.event(rank, body)

    def pause(self, running: Collection[int]) -> float:
        """Show what is due; see :meth:`CellOutput.pause`."""
        return self._output.pause(running) if self._output is not None else 1.0

    def note(self, text: str) -> None:
        """Show a line of the session's own."""
        if self._output is not None:
            self._output.note(text)

    def finish(self) -> None:
        """Show what is left."""
        if self._output is not None:
            self._output.finish()

    def result(
        self, answers: Mapping[int, dict[str, Any]], failures: Mapping[int, RemoteError]
    ) -> CellResult:
        """Put the result together.

        Args:
            answers: By rank, what the engine replied.
            failures: By rank, why an engine could not even run the cell.
        """
        ranks = {}
        for rank, streams in sorted(self._streams.items()):
            if rank not in answers and rank not in failures:
                continue
            answer = answers.get(rank, {})
            error = answer.get("error")
            if rank in failures:
                error = {"ename": failures[rank].ename, "evalue": failures[rank].evalue}
            ranks[rank] = RankResult(
                rank,
                "".join(streams["stdout"]),
                "".join(streams["stderr"]),
                self._values.get(rank),
                load(Failure, error) if error else None,
                answer.get("seconds", 0.0),
            )
        return CellResult(ranks)
