"""Lesson 12: death and recovery; what a new process needs, and what has to be saved where."""

from __future__ import annotations

from rankbook.teach.definitions import Lesson
from rankbook.teach.lessons.recovery.catch_up import CATCH_UP
from rankbook.teach.lessons.recovery.fewer_ranks import SHARE
from rankbook.teach.lessons.recovery.predictions import PREDICTIONS
from rankbook.teach.lessons.recovery.snapshot import SNAPSHOT

__all__ = ["LESSON"]

LESSON = Lesson(
    name="12_death_and_recovery",
    title="Death and recovery",
    minutes=40,
    ranks=4,
    predictions=PREDICTIONS,
    exercises=(CATCH_UP, SNAPSHOT, SHARE),
)
