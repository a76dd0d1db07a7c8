"""Running a cell on several ranks, until every rank has answered or is given up."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from rankbook.errors import InputError, PromptError
from rankbook.interrupts import delaying_ctrl_c, ignore_ctrl_c, read_beside
from rankbook.models import CellOutcome, Diagnosis, Failure, events, load
from rankbook.sessions.cells.acknowledging import Acknowledging
from rankbook.sessions.cells.cell import Cell
from rankbook.sessions.cells.collecting import CellOutput, Collector
from rankbook.sessions.cells.comparing import Comparing
from rankbook.sessions.cells.news import News
from rankbook.sessions.cells.prompting import QUIT, RANKS, Prompting, Question
from rankbook.sessions.cells.results import CellResult
from rankbook.sessions.cells.watch import Hang, Watch
from rankbook.sessions.group.repair import Repair
from rankbook.sessions.members import Members
from rankbook.sessions.members.freeing import Freed
from rankbook.sessions.members.outcomes import PENDING

__all__ = ["RunningCell"]

_ENDED, _HOPELESS, _OVERDUE = "ended", "hopeless", "overdue"
_ASKED, _INTERRUPTED = "asked", "interrupted"

_AGE = re.compile(r" for [\d.]+ s\b")
"""How long a rank has waited."""


class RunningCell:
    """A running cell: waits for it, watches it, asks what its ranks ask, has them freed.

    Attributes:
        watch: Decides whether it is hopeless.
    """

    def __init__(
        self,
        members: Members,
        repair: Repair,
        comparing: Comparing,
        cell: Cell,
        output: CellOutput | None,
    ) -> None:
        """Start it.

        Args:
            members: The ranks.
            repair: Frees them.
            comparing: Compares what they called.
            cell: What to run.
            output: Shows the output of the ranks.
        """
        self.watch = Watch(members)
        self._members = members
        self._timing = members.timing
        self._repair = repair
        self._comparing = comparing
        self._cell = cell
        self._collector = Collector(cell.ranks, output)
        self._acknowledging = Acknowledging(members)
        self._deadline = None if cell.timeout is None else time.monotonic() + cell.timeout
        self._has_reported = False
        self._prompting = Prompting(members)
        self._told = ""
        self._was_overdue = False
        self._delayed: AbstractContextManager[None] = nullcontext()  # Ctrl-C waits within it
        self._ended = ""  # why it was ended at a prompt, by the user or by a front end
        self._call = members.ranks(cell.ranks).request(cell.requests())
        self._news = News(members, self._collector)
        self._heard: set[int] = set()
        """Ranks that have ended, with their last words shown."""

    @property
    def progress(self) -> dict[int, Failure | str | None]:
        """By rank, ``PENDING``, the exception that ended the cell there, or None."""
        progress: dict[int, Failure | str | None] = dict.fromkeys(self._cell.ranks, PENDING)
        for rank, value in self._call.values.items():
            progress[rank] = load(CellOutcome, value).error
        return progress

    def finish(self) -> tuple[CellResult, Freed | None]:
        """Wait for its end; free its ranks in a hang, on Ctrl-C, and after the timeout.

        Returns:
            What it did on the ranks that answered, and the outcome of freeing, if it was needed.

        Raises:
            ClusterError: The controller is gone.
        """
        watch = self.watch
        freed: Freed | None = None
        hang: Hang | None = None
        overdue: Diagnosis | None = None
        try:
            while (outcome := self._wait()) != _ENDED:
                if outcome == _ASKED and self._converse():
                    continue
                pending = self._call.pending
                if outcome == _HOPELESS:
                    # Ranks that no rank waits for may still run: they are left alone.
                    pending &= set(watch.diagnosis.stuck) if watch.diagnosis else set()
                elif outcome == _OVERDUE:
                    pending &= set(watch.overdue)
                    self._was_overdue = True
                    overdue = overdue or watch.diagnosis
                with ignore_ctrl_c():  # Ctrl-C was pressed, and is being handled
                    if outcome == _INTERRUPTED:
                        watch.interrupt(self.progress)
                    else:
                        watch.keep()
                    # A look after ranks were freed shows less than the one before.
                    hang = hang or watch.hang
                    freed = self._repair.free(pending)
                    watch.begin_again()
                    if outcome not in (_HOPELESS, _OVERDUE) or freed.busy:
                        timeout = self._timing.answer_timeout(len(pending))
                        self._call.wait(timeout, self._take)
                        break
        finally:
            with ignore_ctrl_c(self._timing.show):
                for rank, body in self._call.left():
                    self._take(rank, body)
                self._hear_last_words()
                self._collector.finish()
            self._call.forget()
        hang = watch.completed(hang, self.progress) if hang and self._call.done else hang
        result = self._result(hang, overdue)
        result.was_interrupted = freed is not None or self.watch.was_interrupted
        is_caught = freed and freed.was_busy and result.ok and result.diagnosis is None
        if is_caught and result.interruption:
            self._collector.note(result.interruption)
        return result, freed

    def _result(self, hang: Hang | None, overdue: Diagnosis | None) -> CellResult:
        """What it did on the ranks that answered.

        Args:
            hang: What was seen before its ranks were freed.
            overdue: The verdict where a collective took longer than the group allows.
        """
        outcomes = {rank: load(CellOutcome, value) for rank, value in self._call.values.items()}
        result = self._collector.result(outcomes, self._call.failures)
        result.mesh = self._members.named_mesh
        # If another thread freed the ranks, what was seen before that is the reason.
        if any(rank.error and rank.error.freed for rank in result.values()):
            hang = hang or self.watch.hang
        if hang is not None:
            result.diagnosis, result.interruption = hang.diagnosis, hang.interruption
        result.diagnosis = result.diagnosis or overdue
        fingerprints = {rank: outcome.fingerprints for rank, outcome in outcomes.items()}
        found = self._comparing.compare(fingerprints)
        was_refused = any(rank.error and rank.error.slot for rank in result.values())
        if result.diagnosis is None and not was_refused:  # the refusal says more
            result.mismatches = found.differing
            for one in found.differing:
                self._collector.mismatch(one)
        if result.diagnosis is None and result.ok:  # otherwise the group is put in order
            result.left_out = found.left_out
            for one in found.left_out:
                self._collector.note(f"{one.summary} {one.hint}")
        result.ended = self._ended
        result.was_overdue = self._was_overdue
        return result

    def _take(self, rank: int, body: events.Event) -> None:
        """Take an event of a rank."""
        if isinstance(body, events.Asks):
            self._prompting.take(rank, body)
        else:
            with self._delayed:
                self._collector.event(rank, body)
            self._acknowledging.take(rank, body)

    def _hear_last_words(self) -> None:
        """Show what ended ranks printed but did not send."""
        failed = self._call.failures.keys() - self._heard
        for rank in failed & self._members.dead.keys() if failed else ():
            last = self._members.last_calls(self._members.placed().engines[rank])
            if last is not None:
                self._heard.add(rank)
                for output in last.outputs:
                    if output.cell == self._cell.number:
                        self._collector.complete(rank, output)

    def _pause(self) -> float:
        """Show output and look at ranks, if due; return the seconds until that is due again."""
        self._hear_last_words()
        likely = None if self._cell.on_hang == "wait" else self.watch.likely
        self._news.tell(self._call.pending, self.watch.unheard, likely)
        with self._delayed:
            due = self._collector.pause(self._call.speaking - self._prompting.asking)
        return min(due, self.watch.pause(lambda: self.progress))

    def _wait(self) -> str:
        """Wait until the cell has ended, its ranks are to be freed, or one of them asks."""

        def calls() -> bool:
            is_to_end = self._is_to_be_freed() or self._is_overdue()
            return is_to_end or self._prompting.is_due(self._call.pending)

        try:
            # Time at a prompt does not count, so there may be some left after the wait.
            with delaying_ctrl_c() as self._delayed:
                while not self._call.wait(left := self._left(), self._take, self._pause, calls):
                    if left is not None and (self._left() or 0) <= 0:
                        return _INTERRUPTED
        except KeyboardInterrupt:
            return _ENDED if self._call.done else _INTERRUPTED
        if self._call.done:
            return _ENDED
        if self._is_to_be_freed():
            return _HOPELESS
        return _OVERDUE if self._is_overdue() else _ASKED

    def _is_overdue(self) -> bool:
        """Whether a collective took longer than the group allows, time at prompts excluded."""
        return max(self.watch.overdue.values(), default=0.0) > self._prompting.held

    def _left(self) -> float | None:
        """Seconds until it is interrupted; None for never."""
        end = self._deadline
        return None if end is None else end + self._prompting.held - time.monotonic()

    # -- a rank that asks --------------------------------------------------------------------

    def _converse(self) -> bool:
        """Ask the user once, and pass the answer on; return whether the cell goes on."""
        question = self._prompting.question()
        self._collector.pause(self._call.speaking - self._prompting.asking)
        try:
            line = read_beside(
                lambda: self._collector.ask(question.text, secret=question.of == "password"),
                lambda is_answered: self._go_on(question, is_answered),
            )
        except KeyboardInterrupt:
            self._ended = f"Interrupted at a prompt ({question.where})."
            return False
        except PromptError as error:
            self._ended = f"A prompt was reached ({question.where}), and {error}."
            return False
        return line is None or self._obey(line, question)

    def _go_on(self, question: Question, is_answered: Callable[[], bool]) -> None:
        """Show and watch other ranks until the answer has come, or is no longer needed."""
        earlier = self.watch.diagnosis  # from before these ranks stopped

        def pause() -> float:
            due = min(self._pause(), self._timing.asking)
            found = self.watch.diagnosis
            if found is not None and found is not earlier and found.kind == "slow":
                self._tell(found)
            return due

        def ends() -> bool:
            self._prompting.keep(self._call.pending)
            nobody_asks = not self._prompting.asking & set(question.ranks)
            return is_answered() or nobody_asks or self._is_to_be_freed()

        self._call.wait(None, self._take, pause, ends)

    def _tell(self, found: Diagnosis) -> None:
        """Say once which ranks wait for a rank at a prompt."""
        words = _AGE.sub("", found.summary)
        others = words.partition("; ")[2]  # the places of the others were shown when they stopped
        if self._prompting.asking & set(found.ranks) and others != self._told:
            self._told = others
            self._collector.say(words)

    def _obey(self, line: str, question: Question) -> bool:
        """Do what the user types at a prompt; return whether the cell goes on."""
        try:
            command = self._prompting.read(line, question)
        except InputError as error:
            self._collector.say(str(error))
            return True
        word = command.text.strip() if question.of == "debugger" else ""
        if word == RANKS:
            self._collector.say(self._prompting.where(self.progress))
            return True
        if word in QUIT and self._cell.post_mortem != "last":
            self._ended = f"Ended at the prompt by {word} ({question.where})."
            return False
        self._collector.expect(command.ranks)
        self._prompting.answer(command)
        return True

    def _is_to_be_freed(self) -> bool:
        """Whether it is hopeless and ``on_hang`` says free; reports it where that says report."""
        hopeless = self.watch.is_hopeless()
        if hopeless and self._cell.on_hang == "report" and not self._has_reported:
            self._has_reported = True
            assert self.watch.diagnosis is not None  # noqa: S101 - it makes the cell hopeless
            self._collector.note(self.watch.diagnosis.summary)
        return hopeless and self._cell.on_hang == "free"
