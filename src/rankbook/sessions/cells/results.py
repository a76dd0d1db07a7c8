"""What a cell did on each rank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rankbook import ranks as rank_selection
from rankbook.errors import HangError, RankError
from rankbook.models import Diagnosis, Failure
from rankbook.models.calls import Traffic
from rankbook.words import in_words

__all__ = ["CellResult", "RankResult", "group_failures"]


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
    """Of a script: what its process would have ended with, minus the signal if one ended it.

    None for a cell."""
    left: str = ""
    """Of a script: the threads and processes that it has left behind, in words."""

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
    """What the session has done about it."""
    mismatches: tuple[Diagnosis, ...] = ()
    """Collectives that ranks called differently, though nothing hung; the first of each group."""
    traffic: Mapping[int, Traffic] = field(default_factory=dict)
    """By rank, what the cell did over its groups: calls, bytes, seconds waiting and computing."""

    ended: str = ""
    """Why it was ended at a prompt, where ranks had stopped; empty if it was not."""

    was_overdue: bool = False
    """Whether a collective had taken longer than the group allows."""

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
            return f"<CellResult: ok on {in_words(self.ranks)}>"
        failed = ", ".join(
            f"{failure.ename} on {in_words(ranks)}" for ranks, failure in group_failures(self)
        )
        return f"<CellResult: {failed}>"

    @property
    def ok(self) -> bool:
        """Whether the cell ran to its end on every rank."""
        return all(result.ok for result in self.ranks.values())

    def raise_for_error(self) -> None:
        """Raise what went wrong, if anything did.

        Raises:
            HangError: The cell could not end on some ranks; the message is the verdict.
            RankError: The cell raised on some ranks. The message names them and the first cause.
        """
        groups = self._failures()
        if not groups and self.ended:
            groups = group_failures(self)
        if not groups and self.diagnosis is None:
            return
        failed = tuple(sorted(rank for ranks, _ in groups for rank in ranks))
        error: RankError
        if self.diagnosis is not None:
            error = HangError(f"{self.diagnosis.summary} {self.note}".rstrip(), failed)
            error.diagnosis, error.note = self.diagnosis, self.note
            width = len(str(max(self.diagnosis.per_rank, default=0)))
            error.table_lines = [
                f"  rank {rank:{width}}  {does}" for rank, does in self.diagnosis.per_rank.items()
            ]
        else:
            only_ended = self.ended and not self._failures()
            cause = self.ended.rstrip(".") if only_ended else _first_cause(groups)
            error = RankError(f"{cause}. {self.note}" if self.note else cause, failed)
        error.traceback_lines = self.traceback_lines()
        raise error

    def _failures(self) -> list[tuple[list[int], Failure]]:
        """The failures by which a cell is known; where it was ended, those that came before."""
        return [pair for pair in group_failures(self) if not (self.ended and pair[1].freed)]

    def traceback_lines(self) -> list[str]:
        """One traceback for each different error, headed by its ranks; the first cause first.

        With a diagnosis, ranks that only waited and were freed are left out: the verdict says
        the same.
        """
        return [
            line
            for ranks, failure in group_failures(self)
            if not (failure.freed and (self.diagnosis is not None or self.ended))
            for line in _headed(ranks, failure)
        ]


def group_failures(result: CellResult) -> list[tuple[list[int], Failure]]:
    """Group equal exceptions of several ranks.

    Returns:
        Pairs of ranks and their failure, the one that happened first in front. Exceptions are
        the same if class, message and the lines of the cell agree.
    """
    groups: dict[tuple[str, ...], tuple[list[int], Failure]] = {}
    for rank in sorted(result.ranks):
        failure = result.ranks[rank].error
        if failure is None:
            continue
        key = (failure.ename, failure.evalue, *failure.traceback)
        if key in groups:
            ranks, known = groups[key]
            ranks.append(rank)
            groups[key] = (ranks, min(known, failure, key=lambda f: f.when))
        else:
            groups[key] = ([rank], failure)
    return sorted(groups.values(), key=lambda pair: pair[1].when)


def _headed(ranks: list[int], failure: Failure) -> list[str]:
    head = f"\x1b[1;31m[{rank_selection.label(ranks)}]\x1b[0m "
    lines = list(failure.traceback) or [f"{failure.ename}: {failure.evalue}"]
    return [head + lines[0], *lines[1:]]


def _first_cause(groups: list[tuple[list[int], Failure]]) -> str:
    (ranks, first), *others = groups
    message = f"{first.ename} on {in_words(ranks)}"
    if first.evalue:
        message += f": {first.evalue.splitlines()[0]}"
    if others:
        names = (f"{f.ename} on {in_words(r)}" for r, f in others)
        message += f"; then {', '.join(names)}"
    return message
