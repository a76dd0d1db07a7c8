"""Trying an answer on the ranks of the current session, and what is in the way of that."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rankbook.api import session
from rankbook.errors import LessonError, RankbookError
from rankbook.ranks import label
from rankbook.teach.definitions import Exercise, Lesson, Prediction
from rankbook.teach.here import Ended
from rankbook.words import plural, ranks_do

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from rankbook.models import Failure
    from rankbook.models.calls import Traffic
    from rankbook.models.cells import CellSpan
    from rankbook.notebook import Session
    from rankbook.sessions.cells.results import CellResult

__all__ = [
    "Tried",
    "ended",
    "has_run",
    "is_here",
    "is_unsent",
    "lacking",
    "last_cell",
    "session_for",
    "try_out",
]

_TIMEOUT = 20.0
"""Seconds for a prediction's truth."""


@dataclass(frozen=True)
class Tried:
    """What came of an answer that was tried on all ranks."""

    said: Mapping[int, Mapping[str, Any]]
    """By rank that came to an end, what :func:`rankbook.teach.judging.judge` says of it."""
    traffic: Mapping[int, Traffic] = field(default_factory=dict)
    hang: str = ""
    """Kind of the diagnosis, if ranks had to be freed; empty if not."""
    verdict: str = ""
    """What was wrong then, in a sentence."""
    advice: str = ""
    """What that often is, and the remedy, in a line."""
    raised: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """By rank that raised, the exception's name, and a sentence that says what and where."""
    late: Mapping[int, str] = field(default_factory=dict)
    """By rank that was interrupted because it took too long, the line where it was."""


def has_run(prediction: Prediction) -> bool:
    """Whether the cell that answers a prediction has run in the current session.

    A cell that lacked a name, because one above it was skipped, does not count.
    """
    return _span_of(prediction) is not None


def _span_of(prediction: Prediction) -> CellSpan | None:
    current = session()
    spans = () if current is None else current.cells
    return next(
        (
            span
            for span in reversed(spans)
            if prediction.cell in span.code and set(span.raised.values()) != {"NameError"}
        ),
        None,
    )


def ended(span: CellSpan | None) -> Ended:
    """How a cell ended, as a prediction's truth is told of it."""
    if span is None:
        return Ended()
    how = "hang" if span.freed else "error" if span.raised else "all done"
    culprits = span.diagnosis.ranks if span.diagnosis else ()
    waited = {rank: traffic.waiting for rank, traffic in span.traffic.items()}
    return Ended(how, span.ranks, span.freed, tuple(culprits), waited)


def last_cell(exercise: Exercise) -> str:
    """The code of the last cell that defined the exercise's names on ranks; empty if none did."""
    span = _last_span(exercise)
    return span.code if span else ""


def lacking(exercise: Exercise, ranks: int) -> tuple[int, ...]:
    """The ranks to which the last cell that defined the exercise's names was not given.

    Args:
        exercise: Which.
        ranks: How many there are.
    """
    span = _last_span(exercise)
    return tuple(rank for rank in range(ranks) if span and rank not in span.ranks)


def _last_span(exercise: Exercise) -> CellSpan | None:
    current = session()
    spans = () if current is None else current.cells
    return next((span for span in reversed(spans) if _defines(exercise, span.code)), None)


def is_here(exercise: Exercise) -> bool:
    """Whether the cell that defined the exercise's names last ran in the notebook's own process."""
    shell = _shell()
    is_known = shell is not None and exercise.needs[0] in shell.user_ns
    _, code = _typed_last(exercise)
    return is_known and bool(code) and not code.lstrip().startswith("%%")


def is_unsent(exercise: Exercise) -> bool:
    """Whether the last cell that was to define the exercise's names did not get to the ranks.

    It had a syntax error, say, and they still have what an earlier cell defined.
    """
    span, (number, _) = _last_span(exercise), _typed_last(exercise)
    return span is not None and 0 < span.number < number


def _typed_last(exercise: Exercise) -> tuple[int, str]:
    """Number and code of the last cell that defines the exercise's names, or was to."""
    shell = _shell()
    typed = getattr(getattr(shell, "history_manager", None), "input_hist_raw", None) or []
    cells = reversed(list(enumerate(typed)))
    return next(((number, code) for number, code in cells if _defines(exercise, code)), (0, ""))


def _shell() -> InteractiveShell | None:
    from IPython import get_ipython  # not needed where a program checks

    shell: InteractiveShell | None = get_ipython()
    return shell


def _defines(exercise: Exercise, code: str) -> bool:
    name = re.escape(exercise.needs[0])
    defined = rf"^(?:[ \t]*(?:def|class) {name}\b|{name}[ \t]*=[^=])"
    return re.search(defined, code, re.MULTILINE) is not None


def try_out(lesson: Lesson, item: Exercise | Prediction) -> Tried:
    """Try an answer on all ranks.

    Raises:
        LessonError: It cannot be tried now; the message says what to do first.
    """
    current = session_for(lesson)
    module = type_module(lesson)
    cell = ended(_span_of(item)) if isinstance(item, Prediction) else Ended()
    code = (
        "__import__('rankbook.teach.judging', fromlist=['judge'])"
        f".judge({module!r}, {item.name!r}, globals(), **{asdict(cell)!r})"
    )
    limit = item.timeout if isinstance(item, Exercise) else _TIMEOUT
    try:
        result = current.run(code, timeout=limit, title=f"checking {item.name}")
    except RankbookError as error:
        raise LessonError(f"{item.name} cannot be checked now: {error}") from None
    tried = _read(result)
    if dead := current.dead_ranks:
        tried = replace(tried, verdict=f"{tried.verdict} {_replace(dead)}")
    return tried


def type_module(lesson: Lesson) -> str:
    """The module in which the ranks find the lesson."""
    from rankbook.teach.lessons import module_of

    return module_of(lesson.name)


def session_for(lesson: Lesson) -> Session:
    """The current session, if it can try an answer.

    Raises:
        LessonError: It cannot; the message says what to do first.
    """
    init = f"%dist_init gloo -n {lesson.ranks}"
    current = session()
    if current is None:
        raise LessonError(f"There are no ranks: run {init} and the cells above first.")
    if dead := current.dead_ranks:
        raise LessonError(f"{ranks_do(dead, 'has', 'have').capitalize()} ended. {_replace(dead)}")
    if not current.world_size:
        raise LessonError("There is no process group: run %dist_reset, then check again.")
    if current.world_size != lesson.ranks:
        raise LessonError(
            f"This lesson needs {plural(lesson.ranks, 'rank')}, and there are "
            f"{current.world_size}: run {init} and the cells above again."
        )
    return current


def _replace(dead: Mapping[int, str]) -> str:
    """What to do about ranks that have ended."""
    source = next(rank for rank in itertools.count() if rank not in dead)
    return f"Run %dist_restart {label(dead)} --from {source}, then check again."


def _read(result: CellResult) -> Tried:
    reports, raised = {}, {}
    late = {}
    for rank, done in result.items():
        if done.error is None and done.result_repr is not None:
            reports[rank] = json.loads(ast.literal_eval(done.result_repr))
        elif done.error is not None and not done.error.freed:
            raised[rank] = (done.error.ename, _in_a_line(done.error))
        elif done.error is not None and result.interruption:
            late[rank] = done.error.line
    diagnosis = result.diagnosis
    return Tried(
        reports,
        result.traffic,
        diagnosis.kind if diagnosis else "",
        diagnosis.summary if diagnosis else "",
        diagnosis.hint if diagnosis else "",
        raised,
        late,
    )


def _in_a_line(error: Failure) -> str:
    """What was raised, and where."""
    message = error.evalue.splitlines()[0] if error.evalue else ""
    what = f"{error.ename}: {message}" if message else error.ename
    return f"{what} ({error.line})" if error.line else what
