"""Building the result of a cell from the events of its ranks."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from rankbook.errors import PromptError
from rankbook.models import CellOutcome, Diagnosis, Failure, events, load
from rankbook.models.calls import LastOutput
from rankbook.models.requests import RemoteError
from rankbook.sessions.cells.results import CellResult, RankResult
from rankbook.words import lost_before

if TYPE_CHECKING:
    from rankbook.models.shown import Held

__all__ = ["CellOutput", "Collector"]

_DISPLAYS = 100
"""How many of a rank's latest rich outputs a result keeps."""


class CellOutput(Protocol):
    """Shows a cell's output while it runs; called from the thread that waits for the cell."""

    def event(self, rank: int, body: events.Event) -> None:
        """Take an event of a rank."""

    def pause(self, running: Collection[int]) -> float:
        """Show what is due; there are no events to read just now.

        Args:
            running: The ranks that may still send events.

        Returns:
            Seconds within which it must be called again.
        """

    def note(self, text: str) -> None:
        """Show a line from the session."""

    def say(self, text: str) -> None:
        """Show an answer from the session."""

    def ask(self, prompt: str, *, secret: bool) -> str:
        """Ask the user for a line, and wait for it.

        Args:
            prompt: Precedes what is typed.
            secret: Do not show what is typed.

        Raises:
            PromptError: Input is not possible here.
            KeyboardInterrupt: The user has pressed Ctrl-C instead.
        """

    def expect(self, ranks: Collection[int]) -> None:
        """Ranks were given the same command at a prompt, and are about to reply."""

    def finish(self) -> None:
        """Show what is left: the cell has ended, one way or another."""

    def mismatch(self, found: Diagnosis) -> None:
        """Show, after the end, that ranks called a collective differently."""


class Collector:
    """Collects the events of ranks, and passes them on to be shown."""

    def __init__(self, ranks: Collection[int], output: CellOutput | None) -> None:
        self._output = output
        self._streams: dict[int, dict[str, list[str]]] = {
            rank: {"stdout": [], "stderr": []} for rank in ranks
        }
        self._values: dict[int, str] = {}
        self._held: dict[int, Held] = {}
        self._displays: dict[int, deque[events.Display]] = {
            rank: deque(maxlen=_DISPLAYS) for rank in ranks
        }

    def event(self, rank: int, body: events.Event) -> None:
        """Take one event of a rank."""
        if isinstance(body, events.Stream):
            self._streams[rank][body.name].append(body.text)
        elif isinstance(body, events.Result):
            self._values[rank] = body.data.get("text/plain", "")
            if events.HELD in body.data:
                from rankbook.models.shown import Held

                self._held[rank] = load(Held, body.data[events.HELD])
        elif isinstance(body, events.Display):
            self._keep(self._displays[rank], body)
        elif isinstance(body, events.Clear):
            self._displays[rank].clear()
        if self._output is not None:
            self._output.event(rank, body)

    @staticmethod
    def _keep(displays: deque[events.Display], new: events.Display) -> None:
        """Add a display, or replace the one that it updates."""
        if not new.update:
            displays.append(new)
        for place, old in enumerate(displays):
            if new.update and old.display_id == new.display_id:
                displays[place] = new

    def complete(self, rank: int, output: LastOutput) -> None:
        """Add what a rank wrote but did not send before it ended."""
        sent = sum(map(len, self._streams[rank][output.stream]))
        if (missing := output.characters - sent) > 0:
            lost = missing - len(output.text)
            note = lost_before(lost) if lost > 0 else ""
            self.event(rank, events.Stream(output.stream, note + output.text[-missing:]))

    def pause(self, running: Collection[int]) -> float:
        """Show what is due; see :meth:`CellOutput.pause`."""
        return self._output.pause(running) if self._output is not None else 1.0

    def expect(self, ranks: Collection[int]) -> None:
        """See :meth:`CellOutput.expect`."""
        if self._output is not None:
            self._output.expect(ranks)

    def note(self, text: str) -> None:
        """Show a line from the session."""
        if self._output is not None:
            self._output.note(text)

    def say(self, text: str) -> None:
        """Show an answer from the session."""
        if self._output is not None:
            self._output.say(text)

    def ask(self, prompt: str, *, secret: bool) -> str:
        """Ask the user for a line; see :meth:`CellOutput.ask`."""
        if self._output is None:
            raise PromptError("nobody can be asked: the cell was run without an output")
        return self._output.ask(prompt, secret=secret)

    def finish(self) -> None:
        """Show what is left."""
        if self._output is not None:
            self._output.finish()

    def mismatch(self, found: Diagnosis) -> None:
        """Show that ranks have called a collective differently."""
        if self._output is not None:
            self._output.mismatch(found)

    def result(
        self, outcomes: Mapping[int, CellOutcome], failures: Mapping[int, RemoteError]
    ) -> CellResult:
        """Put the result together.

        Args:
            outcomes: By rank, how the cell ended there.
            failures: By rank, why it could not even run the cell.
        """
        ranks = {}
        for rank, streams in sorted(self._streams.items()):
            if rank in failures:
                outcome = CellOutcome(Failure(failures[rank].ename, failures[rank].evalue))
            elif rank in outcomes:
                outcome = outcomes[rank]
            else:
                continue
            ranks[rank] = RankResult(
                rank,
                "".join(streams["stdout"]),
                "".join(streams["stderr"]),
                self._values.get(rank),
                outcome.error,
                outcome.seconds,
                outcome.exit_code,
                outcome.left,
                self._held.get(rank),
                tuple(self._displays[rank]),
            )
        traffic = {rank: outcome.traffic for rank, outcome in sorted(outcomes.items())}
        lost = tuple(rank for rank, outcome in sorted(outcomes.items()) if outcome.lost)
        return CellResult(ranks, traffic=traffic, lost=lost)
