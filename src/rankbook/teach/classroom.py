"""What a notebook calls: open a lesson, predict, check, ask for a hint."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankbook.errors import CheckFailed, LessonError
from rankbook.teach import lessons
from rankbook.teach.definitions import Exercise, Lesson, Prediction
from rankbook.teach.forms import in_short
from rankbook.teach.records import Book
from rankbook.teach.showing import Checked, Hint, Prompt, Revealed, State
from rankbook.teach.trying import (
    Tried,
    has_run,
    is_here,
    is_unsent,
    lacking,
    last_cell,
    session_for,
    try_out,
)
from rankbook.teach.usual import DOTS, UNWAITED, usual_hint
from rankbook.teach.verdicts import Verdict, verdict_on

__all__ = ["check", "hint", "lesson", "predict", "progress", "pyplot"]


@dataclass
class _Desk:
    """Which lesson is open in this kernel, and where one is in it."""

    lesson: Lesson | None = None
    book: Book | None = None
    exercise: str = ""


_desk = _Desk()


def lesson(name: str, *, keep: str | Path | None = ".") -> State:
    """Open a lesson; its progress so far is read from the folder of the notebook.

    Args:
        name: As its notebook is called, or the dotted name of a module of yours that has a
            ``LESSON``.
        keep: The folder in which ``NAME.progress.json`` is kept; None: keep no file.

    Returns:
        The state of all its predictions and exercises, which shows itself.

    Raises:
        LessonError: There is no such lesson.
    """
    found = lessons.load(name)
    _desk.lesson, _desk.book, _desk.exercise = found, Book.open(found.name, keep), ""
    return progress()


def progress() -> State:
    """What is done of the open lesson, and what is not."""
    lesson, book = _open()
    note, book.note = book.note, ""
    return State(lesson, book, note)


def predict(name: str, value: Any) -> Prompt:
    """Lock a prediction, before the cell that answers it runs.

    It is kept with its time and a hash. Until the cell has run it can be changed; what is
    predicted afterwards is kept beside it, marked as late.

    Args:
        name: Which question.
        value: The answer; a number, a list, a word: the question says it.

    Returns:
        What was locked, which shows itself.

    Raises:
        LessonError: The value has another type or shape than the question asks for.
    """
    lesson, book = _open()
    item = lesson.find(name)
    if not isinstance(item, Prediction):
        raise LessonError(f"{name} is an exercise: write its cell, then check({name!r}).")
    read = item.form.read(value)
    late = has_run(item) or book.has_passed(name)
    locked = book.lock(name, read, late=late)
    note, book.note = book.note, ""
    return Prompt(item, locked, book.valid(name) or locked, note)


def check(name: str) -> Checked | Revealed:
    """Hold a prediction against the truth, or try an exercise's answer on the ranks.

    Args:
        name: Of the prediction or the exercise.

    Returns:
        What was found, which shows itself. A wrong prediction is no error.

    Raises:
        CheckFailed: The answer to an exercise is not right, or misses a target.
        LessonError: It cannot be checked now; the message says what to do first.
    """
    lesson, book = _open()
    item = lesson.find(name)
    return (
        _revealed(lesson, book, item)
        if isinstance(item, Prediction)
        else _checked(lesson, book, item)
    )


def hint(number: int | str = 1, name: str | int = "") -> Hint:
    """Show a hint of an exercise.

    Args:
        number: Which, from 1; each says more than the one before. The two can change places:
            ``hint("ring", 2)``.
        name: Of the exercise; empty: the one that was checked last, or the first that is open.

    Raises:
        LessonError: There is no such hint.
    """
    lesson, book = _open()
    if isinstance(number, str):
        number, name = name or 1, number
    item = lesson.find(str(name) or _present(lesson, book))
    if not isinstance(item, Exercise):
        raise LessonError(f"{item.name} is a prediction: guess, then run the cell.")
    count = len(item.hints)
    if not isinstance(number, int) or number not in range(1, count + 1):
        raise LessonError(f"{item.name} has {count} hints: hint(1) to hint({count}).")
    book.hinted(item.name, number)
    return Hint(item.name, number, count, item.hints[number - 1])


def pyplot() -> Any:
    """Matplotlib's pyplot.

    Raises:
        LessonError: It is not installed.
    """
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        raise LessonError(
            "This picture needs matplotlib: run %pip install matplotlib, or go on without it."
        ) from None
    return plt


def _open() -> tuple[Lesson, Book]:
    if _desk.lesson is None or _desk.book is None:
        raise LessonError("No lesson is open: run the notebook's first cells, up to lesson(…).")
    return _desk.lesson, _desk.book


def _present(lesson: Lesson, book: Book) -> str:
    """The exercise that one is at."""
    if not lesson.exercises:
        raise LessonError(f"{lesson.name} has no exercises.")
    names = [exercise.name for exercise in lesson.exercises]
    return _desk.exercise or next((n for n in names if not book.has_passed(n)), names[-1])


def _checked(lesson: Lesson, book: Book, item: Exercise) -> Checked:
    _desk.exercise = item.name
    session_for(lesson)  # a cell that did not get to ranks that have ended is no mistake in it
    here = is_here(item)
    if here and not last_cell(item):
        raise LessonError(
            f"{item.needs[0]} is defined in the notebook itself, not on the ranks: begin its cell "
            "with %%dist."
        )
    if not here and is_unsent(item):
        raise LessonError(
            f"Your last cell with {item.needs[0]} did not get to the ranks, which still have the "
            f"one before it. Repair that cell and run it, then check({item.name!r}) again."
        )
    tried = try_out(lesson, item)
    missed = lacking(item, lesson.ranks)
    verdict = _with_usual_hint(item, verdict_on(item, tried), tried, is_here=here, missed=missed)
    book.tried(item.name, ok=verdict.ok, mistake=verdict.mistake)
    found = Checked(item, verdict, book.attempts[item.name])
    if not verdict.ok:
        raise CheckFailed(str(found), found)
    return found


def _with_usual_hint(
    item: Exercise, verdict: Verdict, tried: Tried, *, is_here: bool, missed: Collection[int]
) -> Verdict:
    """The verdict; where the cell was left as it stood, or no mistake is known, with a hint."""
    if verdict.ok:
        return verdict
    code = last_cell(item)
    usual = usual_hint(
        item.needs[0],
        code,
        tried,
        is_here=is_here,
        missed=missed,
        communicates=bool(item.tools) or any("dist." in text for text in item.hints),
        tools=item.tools,
    )
    by_its_value = any(m.gives for m in item.mistakes if m.name == verdict.mistake)
    if is_here or missed or usual == DOTS or (usual == UNWAITED and by_its_value):
        return replace(verdict, mistake="", hint=usual)
    return verdict if verdict.hint else replace(verdict, hint=usual)


def _revealed(lesson: Lesson, book: Book, item: Prediction) -> Revealed:
    locked = book.valid(item.name)
    if locked is None:
        raise LessonError(f"Predict first: predict({item.name!r}, {item.form.example}).")
    if not has_run(item):
        raise LessonError(f"Run the cell with {item.cell!r} first, then check({item.name!r}).")
    truth = _truth(item, try_out(lesson, item))
    answer = item.form.read(item.answer)
    if not item.measured and not item.form.agree(answer, truth, max(item.tolerance, 1e-6)):
        raise LessonError(
            f"On the ranks it is now {in_short(truth)}: a cell above was skipped, ran twice, or "
            "waits for its solution. Run the cells of this part again, from its heading on, then "
            f"check({item.name!r})."
        )
    ok = item.form.agree(locked.value, truth, item.tolerance)
    book.tried(item.name, ok=True)  # seen; a wrong guess is not a failure
    last = book.predictions[item.name][-1]
    return Revealed(
        item, locked, truth, ok=ok, genuine=book.is_genuine(item.name), changed=last != locked
    )


def _truth(item: Prediction, tried: Tried) -> Any:
    if tried.hang or tried.raised or tried.late or not tried.said:
        raised = [answer for _, answer in tried.raised.values()]
        what = tried.verdict or (raised[0] if raised else "it took too long.")
        raise LessonError(f"{item.name} needs the cells above, run them first: {what}")
    if item.counts:
        values = {rank: getattr(tried.traffic[rank], item.counts) for rank in tried.said}
    else:
        values = {rank: answer["truth"] for rank, answer in tried.said.items()}
    return [values[r] for r in sorted(values)] if item.rank is None else values[item.rank]
