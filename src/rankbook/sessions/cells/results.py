"""What a cell did on each rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rankbook.diagnosis import rows
from rankbook.errors import HangError, RankError
from rankbook.models import Diagnosis, Failure
from rankbook.models.calls import Traffic
from rankbook.models.events import Display
from rankbook.models.meshes import NamedMesh
from rankbook.sessions.cells.failures import first_cause, group_failures, tracebacks
from rankbook.words import in_words

if TYPE_CHECKING:
    from rankbook.models.profiles import Profile
    from rankbook.models.shown import Held

__all__ = ["CellResult", "RankResult"]

_CAUSE = "\x1b[1;38;5;196m◆\x1b[0m"
"""Marks the ranks that caused a hang: the red that stands out from a light and a dark page."""


@dataclass
class RankResult:
    """What a cell did on one rank."""

    rank: int
    stdout: str = ""
    stderr: str = ""
    result_repr: str | None = None
    """``repr`` of the last expression's value, None where there is none."""
    error: Failure | None = None
    """The exception that ended the cell here: ``.ename``, ``.evalue``, ``.traceback``."""
    seconds: float = 0.0
    """How long the cell ran on this rank."""
    exit_code: int | None = None
    """Of a script: the exit code that its process would have had, minus the signal if one ended it.

    None for a cell."""
    left: str = ""
    """Of a script: the threads and processes that it left behind, in words."""
    held: Held | None = None
    """This rank's part of a value that is drawn: a DTensor, or a device mesh."""
    displays: tuple[Display, ...] = ()
    """The figures, tables and other rich output left at the end: ``.data`` by MIME type."""

    @property
    def ok(self) -> bool:
        """Whether the cell ran to its end."""
        return self.error is None


@dataclass
class CellResult(Mapping[int, RankResult]):
    """What a cell did, by rank: ``result[0].stdout``."""

    ranks: dict[int, RankResult] = field(default_factory=dict)
    diagnosis: Diagnosis | None = None
    """Why it could not end on some ranks; None if it could."""
    note: str = ""
    """What the session did about it."""
    interruption: str = ""
    """When it was interrupted, and what its ranks did then, in a sentence; empty if it was not."""
    mismatches: tuple[Diagnosis, ...] = ()
    """Collectives that ranks called differently, though nothing hung; the first of each group."""
    left_out: tuple[Diagnosis, ...] = ()
    """Collectives that some ranks had not called at the end, though nothing hung; likewise."""
    traffic: Mapping[int, Traffic] = field(default_factory=dict)
    """By rank, what the cell did over its groups: calls, bytes, seconds waiting and computing."""

    lost: tuple[int, ...] = ()
    """Ranks where a call has failed whose group is still there, though the cell may have caught
    that: the connections of that group are gone."""

    ended: str = ""
    """Why it was ended at a prompt where ranks had stopped; empty if it was not."""

    was_interrupted: bool = False
    """Whether its end was requested."""

    was_overdue: bool = False
    """Whether a collective took longer than the group allows."""

    profile: Profile | None = None
    """Where the time of a profiled cell went."""

    mesh: NamedMesh | None = None
    """The mesh whose dimensions name the ranks; None: they go by number."""

    def __getitem__(self, rank: int) -> RankResult:
        return self.ranks[rank]

    def __iter__(self) -> Iterator[int]:
        return iter(self.ranks)

    def __len__(self) -> int:
        return len(self.ranks)

    def __repr__(self) -> str:
        if self.diagnosis is not None:
            return f"<CellResult: {self.diagnosis.summary}>"
        if self.ok:
            return f"<CellResult: ok on {in_words(self.ranks, self.mesh)}>"
        failed = ", ".join(
            f"{failure.ename} on {in_words(ranks, self.mesh)}"
            for ranks, failure in self._failures()
        )
        return f"<CellResult: {failed or self.ended}>"

    @property
    def ok(self) -> bool:
        """Whether the cell ran to its end on every rank."""
        return not self.ended and all(result.ok for result in self.ranks.values())

    def raise_for_error(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            HangError: The cell could not end on some ranks; the message is the verdict.
            RankError: The cell raised on some ranks. The message names them and the first cause.
        """
        groups = self._failures()
        if not groups and self.ended:
            groups = self.failures()
        if not groups and self.diagnosis is None and not self.ended:
            return
        failed = tuple(sorted(rank for ranks, _ in groups for rank in ranks))
        sentence = self.interruption or (self.diagnosis.summary if self.diagnosis else "")
        error: RankError
        if self.diagnosis is not None:
            error = HangError(f"{sentence} {self.note}".rstrip(), failed)
            error.diagnosis, error.hint = self.diagnosis, self.diagnosis.hint
            error.table_lines = _table(self.diagnosis)
        else:
            only_ended = self.ended and not self._failures()
            cause = self.ended.rstrip(".") if only_ended else first_cause(groups, self.mesh)
            message = sentence or f"{cause}."
            error = RankError(
                f"{message} {self.note}" if self.note else message.rstrip("."), failed
            )
            error.sentence = sentence or (self.ended if only_ended else "")
        error.note, error.traceback_lines = self.note, self.traceback_lines()
        raise error

    def failures(self) -> list[tuple[list[int], Failure]]:
        """Equal exceptions of several ranks together, the first cause in front."""
        return group_failures({r: done.error for r, done in self.ranks.items() if done.error})

    def _failures(self) -> list[tuple[list[int], Failure]]:
        """The failures that count; where the cell was ended, those that came before."""
        return [pair for pair in self.failures() if not (self.ended and pair[1].freed)]

    def traceback_lines(self) -> list[str]:
        """One traceback for each different error, headed by its ranks; the first cause first.

        Where a sentence says why ranks were freed, ranks that only waited are left out.
        """
        is_said = self.diagnosis is not None or bool(self.interruption or self.ended)
        shown = [pair for pair in self.failures() if not (pair[1].freed and is_said)]
        return tracebacks(shown, self.mesh)


def _table(diagnosis: Diagnosis) -> list[str]:
    """What each rank did, in lines; the cause first, and marked."""
    table = rows(diagnosis)
    subjects = [in_words(row.ranks, diagnosis.mesh) for row in table]
    width = max(map(len, subjects), default=0)
    return [
        f"{_CAUSE if 'cause' in row.part else ' '} {subject:{width}}  {row.does}"
        for subject, row in zip(subjects, table, strict=True)
    ]
