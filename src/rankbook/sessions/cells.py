"""Running a cell on several ranks, and collecting what it says and does meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from rankbook.cluster.channel import Channel, everyone
from rankbook.models import Failure, load
from rankbook.sessions.looking import interrupt
from rankbook.sessions.results import CellResult, RankResult

__all__ = ["CellOutput", "Collector", "Stuck", "run_cell"]

_INTERRUPT_GRACE = 3.0
"""Seconds for a cell to end after an interrupt."""


class Stuck(Exception):  # noqa: N818 - no error yet: the session makes one of it
    """An interrupt did not end the cell.

    Attributes:
        ranks: On which it still runs.
        result: What it did on the others.
    """

    def __init__(self, ranks: list[int], result: CellResult) -> None:
        super().__init__(ranks)
        self.ranks = ranks
        self.result = result


def run_cell(
    channel: Channel,
    rank_of: Mapping[int, int],
    code: str,
    number: int,
    timeout: float | None,
    output: CellOutput | None,
) -> CellResult:
    """Run a cell and wait for it; Ctrl-C and the timeout interrupt it on the ranks.

    Args:
        channel: To the engines.
        rank_of: By engine, the rank it is, for every engine that is to run the cell.
        code: The cell.
        number: What tracebacks call it.
        timeout: Seconds after which to interrupt it, None for never.
        output: Shows what the ranks say.

    Raises:
        Stuck: The interrupt did not end it.
        ClusterError: The controller is gone.
    """
    collector = Collector(rank_of.values(), output)
    call = channel.request("run", everyone(rank_of, code=code, number=number))

    def wait(seconds: float | None) -> bool:
        return channel.wait(
            call,
            seconds,
            lambda event: collector.event(rank_of[event.engine], event.body),
            lambda: collector.pause({rank_of[engine] for engine in call.pending}),
        )

    try:
        try:
            finished = wait(timeout)
        except KeyboardInterrupt:
            finished = False
        if not finished:
            interrupt(channel, list(call.pending))
            finished = wait(_INTERRUPT_GRACE)
    finally:
        collector.finish()
        channel.forget(call)
    result = collector.result(
        {rank_of[engine]: value for engine, value in call.values.items()},
        {rank_of[engine]: failure for engine, failure in call.failures.items()},
    )
    if not finished:
        raise Stuck(sorted(rank_of[engine] for engine in call.pending), result)
    return result


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

    def finish(self) -> None:
        """Show what is left."""
        if self._output is not None:
            self._output.finish()

    def result(
        self, answers: Mapping[int, dict[str, Any]], failures: Mapping[int, dict[str, Any]]
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
                error = {k: failures[rank][k] for k in ("ename", "evalue")}
            ranks[rank] = RankResult(
                rank,
                "".join(streams["stdout"]),
                "".join(streams["stderr"]),
                self._values.get(rank),
                load(Failure, error) if error else None,
                answer.get("seconds", 0.0),
            )
        return CellResult(ranks)
