"""Lessons that check themselves: predict, run, explain the difference.

In a notebook::

    from rankbook.teach import check, hint, lesson, predict

    lesson("04_all_reduce_by_hand")
    predict("ring-bytes", 48)          # locked before the cell runs
    ...
    check("ring-bytes")                # the prediction over the truth
    check("ring")                      # tries your function on the ranks, and speaks by rank

A wrong answer to an exercise raises :class:`rankbook.errors.CheckFailed`, an ``AssertionError``: so
``check`` grades under nbgrader and otter, too. A lesson of your own is a module with a ``LESSON``.
"""

from rankbook.errors import CheckFailed, LessonError
from rankbook.teach.classroom import check, hint, lesson, predict, progress, pyplot
from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, Seen, Target
from rankbook.teach.forms import Choice, Number, Numbers, Ranks, Whole
from rankbook.teach.here import Here
from rankbook.teach.showing import Checked, Hint, Prompt, Revealed, State

__all__ = [
    "CheckFailed",
    "Checked",
    "Choice",
    "Exercise",
    "Here",
    "Hint",
    "Lesson",
    "LessonError",
    "Mistake",
    "Number",
    "Numbers",
    "Prediction",
    "Prompt",
    "Ranks",
    "Revealed",
    "Seen",
    "State",
    "Target",
    "Whole",
    "check",
    "hint",
    "lesson",
    "predict",
    "progress",
    "pyplot",
]
