"""What the calls of a lesson return, and how a notebook shows it: as HTML, and as text."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from rankbook.display.html import sentence
from rankbook.teach.definitions import Exercise, Lesson, Prediction
from rankbook.teach.forms import in_short
from rankbook.teach.records import Attempts, Book, Locked
from rankbook.teach.verdicts import Verdict

__all__ = ["Checked", "Hint", "Prompt", "Revealed", "State"]

_GREEN, _AMBER, _BLUE = "#2e9d5b", "#c98a14", "#3b7dd8"


def _card(colour: str, *parts: str) -> str:
    """A card with a coloured edge, readable on light and dark pages."""
    inner = "".join(f'<div style="margin:2px 0">{part}</div>' for part in parts if part)
    return (
        f'<div style="border-left:4px solid {colour};padding:4px 12px;margin:4px 0;'
        f'max-width:52em">{inner}</div>'
    )


def _strong(text: str, colour: str = "") -> str:
    style = f' style="color:{colour}"' if colour else ""
    return f"<b{style}>{sentence(text)}</b>"


class _Shown:
    """Something that shows itself."""

    def _repr_html_(self) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class Prompt(_Shown):
    """A prediction that was locked."""

    prediction: Prediction
    locked: Locked
    valid: Locked
    """The one that counts."""
    note: str = ""

    def __str__(self) -> str:
        return "\n".join(filter(None, [self._said(), self.note]))

    def _said(self) -> str:
        at = self.locked.at[11:16]
        if self.locked.late and self.valid != self.locked:
            return (
                f"The answer was known at {at}: {_written(self.valid.value)} stays your "
                f"prediction, and {_written(self.locked.value)} is kept beside it."
            )
        if self.locked.late:
            return f"{_written(self.locked.value)}, at {at}; its cell had run before."
        return f"Locked at {at}: {_written(self.locked.value)}. Now run the next cell."

    def _repr_html_(self) -> str:
        return _card(
            _BLUE,
            sentence(self.prediction.asks),
            _strong(self._said()),
            sentence(self.note),
        )


@dataclass(frozen=True, repr=False)
class Revealed(_Shown):
    """A prediction over the truth."""

    prediction: Prediction
    locked: Locked
    truth: Any
    ok: bool
    genuine: bool = True
    changed: bool = False

    def __bool__(self) -> bool:
        return self.ok

    def _notes(self) -> list[str]:
        prediction, notes = self.prediction, []
        if not self.ok:
            notes += prediction.remarks(self.locked.value)
        notes.append(prediction.why)
        if self.locked.late:
            notes.append("(You predicted after the cell had run.)")
        elif self.changed:
            notes.append("(Another value was predicted after the cell had run.)")
        if not self.genuine:
            notes.append("(What is kept of this prediction was changed by hand.)")
        return [note for note in notes if note]

    def __str__(self) -> str:
        predicted, truth = _written(self.locked.value), _written(self.truth)
        wrong = f"✗ predicted {predicted}, it is {truth}."
        first = f"✓ {truth}, as you predicted." if self.ok else wrong
        return "\n".join([first, *self._notes()])

    def _repr_html_(self) -> str:
        colour = _GREEN if self.ok else _AMBER
        heading = "As you predicted" if self.ok else "Not as you predicted"
        return _card(
            colour,
            _strong(f"{'✓' if self.ok else '✗'} {heading}", colour),
            _over(self.locked.value, self.truth, ok=self.ok),
            *map(sentence, self._notes()),
        )


@dataclass(frozen=True, repr=False)
class Checked(_Shown):
    """What was found of an answer to an exercise."""

    exercise: Exercise
    verdict: Verdict
    attempts: Attempts

    @property
    def ok(self) -> bool:
        """Whether it is solved."""
        return self.verdict.ok

    def __bool__(self) -> bool:
        return self.ok

    def _lines(self) -> list[str]:
        verdict = self.verdict
        lines = [verdict.said, verdict.reached]
        if verdict.hint:
            lines.append(f"Hint: {verdict.hint}")
        elif not verdict.ok:
            lines.append(f"hint(1) to hint({len(self.exercise.hints)}) help.")
        return [line for line in lines if line]

    def __str__(self) -> str:
        mark = "✓" if self.ok else "✗"
        return "\n".join([f"{mark} {self.exercise.name}: {self._lines()[0]}", *self._lines()[1:]])

    def _repr_html_(self) -> str:
        colour = _GREEN if self.ok else _AMBER
        first, *rest = self._lines()
        title = f"{'✓' if self.ok else '✗'} {self.exercise.title}"
        return _card(colour, _strong(title, colour), sentence(first), *map(sentence, rest))


@dataclass(frozen=True, repr=False)
class Hint(_Shown):
    """A hint of an exercise."""

    exercise: str
    number: int
    count: int
    text: str

    def __str__(self) -> str:
        return f"Hint {self.number} of {self.count} for {self.exercise}: {self.text}"

    def _repr_html_(self) -> str:
        head = f"Hint {self.number} of {self.count} for {self.exercise}"
        return _card(_BLUE, _strong(head), sentence(self.text))


@dataclass(frozen=True, repr=False)
class State(_Shown):
    """What is done of a lesson."""

    lesson: Lesson
    book: Book
    note: str = ""

    @property
    def done(self) -> tuple[str, ...]:
        """Names of the exercises that were solved, and of the predictions that were checked."""
        return tuple(name for name, _ in self._rows() if self.book.has_passed(name))

    def _rows(self) -> list[tuple[str, str]]:
        """Names, and what they are."""
        return [(each.name, "prediction") for each in self.lesson.predictions] + [
            (each.name, "exercise") for each in self.lesson.exercises
        ]

    def __str__(self) -> str:
        rows = self._rows()
        head = (
            f"{self.lesson.title}: {self.lesson.minutes} minutes, {self.lesson.ranks} ranks; "
            f"{len(self.done)} of {len(rows)} done."
        )
        open_ones = [name for name, _ in rows if name not in self.done]
        left = f"To come: {', '.join(open_ones)}." if open_ones else "All done."
        return "\n".join(filter(None, [head, left, self.note]))

    def _repr_html_(self) -> str:
        rows = self._rows()
        chips = " ".join(_chip(name, kind, done=name in self.done) for name, kind in rows)
        head = f"{self.lesson.title} · {self.lesson.minutes} minutes · {self.lesson.ranks} ranks"
        count = f"{len(self.done)} of {len(rows)} done"
        colour = _GREEN if len(self.done) == len(rows) else _BLUE
        return _card(colour, _strong(head), chips, escape(count), sentence(self.note))


def _chip(name: str, kind: str, *, done: bool) -> str:
    mark = "✓ " if done else ""
    shape = "4px" if kind == "exercise" else "12px"
    fill = f"background:{_GREEN};color:white;" if done else ""
    return (
        f'<span title="{kind}" style="display:inline-block;border:1px solid {_GREEN};{fill}'
        f'border-radius:{shape};padding:0 8px;margin:2px">{mark}{escape(name)}</span>'
    )


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]" if value else "none"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) >= 1 else f"{value:.3g}"
    return value if isinstance(value, str) else in_short(value)


def _over(predicted: Any, truth: Any, *, ok: bool) -> str:
    """A table: the prediction above the truth, what differs marked."""
    rows = [
        (value or [value]) if isinstance(value, list) else [value] for value in (predicted, truth)
    ]
    width = max(map(len, rows))
    cells = [[_written(v) for v in row] + [""] * (width - len(row)) for row in rows]
    html = []
    for label, row in zip(("predicted", "it is"), cells, strict=True):
        tds = "".join(
            f'<td style="text-align:center;padding:2px 10px;border:1px solid '
            f'{_GREEN if ok or a == b else _AMBER}">{escape(text) or "none"}</td>'
            for text, a, b in zip(row, *cells, strict=True)
        )
        html.append(
            f'<tr><td style="text-align:left;padding:2px 10px 2px 0">{label}</td>{tds}</tr>'
        )
    return f'<table style="margin:4px 0;border-collapse:separate">{"".join(html)}</table>'
