"""A report: what is needed to look at a hang elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.cells import CellSpan
from rankbook.models.environment import Environment
from rankbook.models.frames import Standing
from rankbook.models.looks import Look
from rankbook.models.snapshots import Snapshot
from rankbook.models.verdicts import Diagnosis
from rankbook.words import in_words, plural

__all__ = ["Report", "SavedRecording", "SavedReport"]


@dataclass(frozen=True)
class Report:
    """The state of a session when the report was made."""

    made: float
    """When, seconds since the epoch by the notebook's clock."""
    host: str
    """Where: the host of the notebook's kernel."""
    snapshot: Snapshot
    """The session and its ranks then; ``snapshot.hangs`` if the cell hung at that moment."""
    verdict: Diagnosis | None = None
    """The verdict on the running or last cell, from before its ranks were freed. Where nothing was
    wrong with it, the verdict when the report was made; None without a group."""
    cell: CellSpan | None = None
    """The running or last cell; None if there was none."""
    looks: Mapping[int, Look] = field(default_factory=dict)
    """By rank, what it did when the report was made, or before it was freed."""
    stacks: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """By rank, the main thread's Python stack then, of those that answered; outermost first."""
    standings: Mapping[int, Standing] = field(default_factory=dict)
    """By rank that answered, its stack then, frame by frame, with the local variables of user
    code."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the notebook's kernel by name: python, torch, rankbook …, and the system."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the environment of the notebook's kernel, those that matter to torch."""
    environments: Mapping[int, Environment] = field(default_factory=dict)
    """By rank, what its process runs with, of those that answered."""
    before_freed: bool = False
    """Whether ``looks`` and ``stacks`` are from before the ranks of the last cell were freed."""
    masked: int = 0
    """How many places looked like a secret and were masked."""

    @property
    def contents(self) -> str:
        """What it contains, and what it does not, in one line."""
        has_locals = any(one.frames for one in self.standings.values())
        has = {
            "the verdict": self.verdict is not None,
            "the code of the cell": self.cell is not None,
            f"states, looks and stacks of {in_words(self.looks)}": bool(self.looks),
            "local variables of the functions that they ran, in short": has_locals,
            "versions, names of hosts, paths of files, and those variables of the environment that "
            "torch and launchers read": True,
        }
        return (
            f"Contains {', '.join(words for words, is_there in has.items() if is_there)}. Contains "
            f"no {'other ' if has_locals else ''}values of variables, no output, no other "
            "variables of the environment. What looks "
            f"like a secret is masked, in {plural(self.masked, 'place')}: read the report before "
            "you pass it on."
        )


@dataclass(frozen=True, repr=False)
class SavedReport:
    """A report that was saved; shows itself as a line."""

    path: str
    contents: str
    """See :attr:`Report.contents`."""

    def __repr__(self) -> str:
        return f"Saved {self.path}. {self.contents}"


@dataclass(frozen=True, repr=False)
class SavedRecording:
    """The calls of ranks, saved for torch's analyser; shows itself as a line."""

    path: str
    ranks: tuple[int, ...]
    """The ranks with a file."""
    missing: tuple[int, ...] = ()
    """The ranks that have ended or do not answer."""
    calls: int = 0

    def __repr__(self) -> str:
        lacking = f" --allow-incomplete-ranks, for there is none of {in_words(self.missing)}"
        return (
            f"Saved the last {plural(self.calls, 'call')} of {in_words(self.ranks)}. Analyse it: "
            f"torchfrtrace {self.path}{lacking if self.missing else ''}"
        )
