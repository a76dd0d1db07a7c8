"""Lesson 03: what the collectives do, in pictures."""

from __future__ import annotations

from rankbook.teach.definitions import Lesson
from rankbook.teach.lessons.collectives.mean import MEAN
from rankbook.teach.lessons.collectives.predictions import PREDICTIONS
from rankbook.teach.lessons.collectives.softmax import SOFTMAX

__all__ = ["LESSON"]

LESSON = Lesson(
    name="03_collectives_in_pictures",
    title="Collectives in pictures",
    minutes=35,
    ranks=4,
    predictions=PREDICTIONS,
    exercises=(MEAN, SOFTMAX),
)
