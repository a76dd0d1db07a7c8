"""Lesson 10: measuring; a stopwatch, alpha and beta, when DDP pays, and a straggler.

Where an answer takes time here, it passes on a clock of the lesson's own: a busy machine does not
change the verdict.
"""

from __future__ import annotations

from rankbook.teach.definitions import Lesson
from rankbook.teach.lessons.measuring.predictions import PREDICTIONS
from rankbook.teach.lessons.measuring.stopwatch import STOPWATCH
from rankbook.teach.lessons.measuring.straggler import STRAGGLER
from rankbook.teach.lessons.measuring.when_ddp_pays import PAYS

__all__ = ["LESSON"]

LESSON = Lesson(
    name="10_measuring",
    title="Measuring",
    minutes=40,
    ranks=4,
    predictions=PREDICTIONS,
    exercises=(STOPWATCH, PAYS, STRAGGLER),
)
