"""What a lesson consists of: predictions, and exercises with their typical mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rankbook.errors import LessonError
from rankbook.teach.forms import Form

if TYPE_CHECKING:
    from rankbook.models.calls import Traffic
    from rankbook.teach.here import Here

__all__ = ["Exercise", "Lesson", "Mistake", "Prediction", "Seen", "Target", "cell_of"]


@dataclass(frozen=True)
class Seen:
    """What trying an answer on all ranks has shown."""

    findings: Mapping[int, str] = field(default_factory=dict)
    """By rank that came to an end: ``right``, the name of a mistake, or ``other``."""
    hang: str = ""
    """Kind of the diagnosis, if ranks had to be freed: ``mismatch``, ``missing_rank`` …"""
    raised: Mapping[int, str] = field(default_factory=dict)
    """By rank that raised, the name of the exception."""
    missed: frozenset[str] = frozenset()
    """Names of the targets that were missed, though the result was right."""
    notes: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """By rank, what :meth:`Here.note` has kept."""
    sentences: Mapping[int, str] = field(default_factory=dict)
    """By rank that raised, what, and where."""

    def raises(self, words: str) -> bool:
        """Whether a rank has raised an error that has these words in its message."""
        return any(words in sentence for sentence in self.sentences.values())

    @property
    def right(self) -> frozenset[int]:
        """The ranks whose value is right."""
        return frozenset(rank for rank, finding in self.findings.items() if finding == "right")


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that many give, and the hint that it deserves."""

    name: str
    hint: str
    example: str
    """The cell of somebody who makes it. The tests run it, and expect the hint."""
    says: str = ""
    """What such a rank does, as the rest of a sentence: ``has the sum twice``."""
    gives: Callable[[Here], Any] | None = None
    """On a rank: the value that comes of it. Ranks are recognised one by one."""
    seen: Callable[[Seen], bool] | None = None
    """Where no value tells: whether it is recognised by all that was seen."""


@dataclass(frozen=True)
class Target:
    """What a right answer must also reach, on every rank: from the account of its calls."""

    name: str
    what: str
    """``calls``, ``nbytes``, or the name of a note that :meth:`Here.note` has kept."""
    unit: str
    """As the rest of ``12 …``: ``calls``, ``bytes sent or received``."""
    most: float
    least: float = 0
    tells: bool = True
    """Whether it is mentioned where it is reached."""

    def value(self, traffic: Traffic, notes: Mapping[str, Any]) -> float:
        """What a rank has reached."""
        return float(notes[self.what] if self.what in notes else getattr(traffic, self.what))

    def is_met(self, value: float) -> bool:
        """Whether that is enough."""
        return self.least <= value <= self.most


@dataclass(frozen=True)
class Exercise:
    """Something to write, which is tried on the ranks."""

    name: str
    title: str
    needs: tuple[str, ...]
    """Names that the exercise's cell makes on every rank."""
    tries: Callable[[Here], Any]
    """On a rank: use the learner's names, and return the value that is judged."""
    right: Callable[[Here], Any]
    """On a rank: the right value."""
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, ...]
    targets: tuple[Target, ...] = ()
    tolerance: float = 1e-5
    """Relative to the right value."""
    timeout: float = 20.0
    """Seconds after which a try is interrupted."""
    parts: tuple[str, ...] = ()
    """Where the value is a list of several things: what each of them is, ``the gradient of x``."""
    tools: tuple[str, ...] = ()
    """Functions of ``dist`` and operations of ``ReduceOp`` that right answers use. If a wrong
    answer uses another one, it is told what that one does. Empty: it is not."""


@dataclass(frozen=True)
class Prediction:
    """A question that is answered before a cell runs."""

    name: str
    asks: str
    form: Form
    cell: str
    """A text of the cell that answers it."""
    truth: Callable[[Here], Any]
    """On a rank: the truth, or what is done for ``counts`` to be read."""
    answer: Any
    """The right prediction, which the tests make; and the truth is compared with it there."""
    rank: int | None = None
    """The rank whose value is the truth; None: the values of all ranks, in their order."""
    counts: str = ""
    """``calls`` or ``nbytes``: the truth is what the account says of the try; empty: its value."""
    tolerance: float = 0.0
    """Relative to the truth."""
    measured: bool = False
    """Whether the truth depends on the machine. Other truths are the answer, or cells have run in
    another order."""
    why: str = ""
    """Shown with the truth."""
    slips: tuple[tuple[Any, str], ...] = ()
    """Wrong predictions that many make, each with what there is to say about it."""

    def remarks(self, predicted: Any) -> list[str]:
        """What there is to say about a wrong prediction, if it is one that many make."""
        for value, remark in self.slips:
            if self.form.agree(predicted, self.form.read(value), self.tolerance):
                return [remark]
        return []


@dataclass(frozen=True)
class Lesson:
    """The definitions behind one notebook."""

    name: str
    """As the notebook is called, without ``.ipynb``."""
    title: str
    minutes: int
    ranks: int
    predictions: tuple[Prediction, ...]
    exercises: tuple[Exercise, ...]

    def find(self, name: str) -> Prediction | Exercise:
        """The prediction or exercise of a name.

        Raises:
            LessonError: There is none.
        """
        items: list[Prediction | Exercise] = [*self.predictions, *self.exercises]
        for item in items:
            if item.name == name:
                return item
        names = ", ".join(item.name for item in items)
        raise LessonError(f"{self.name} has no {name!r}; there are {names}.")


def cell_of(head: str, *lines: str) -> str:
    """A cell that defines a function on all ranks.

    Args:
        head: Its name and arguments: ``mean(x)``.
        lines: Of its body, as they stand below one another.
    """
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef {head}:\n{body}"
