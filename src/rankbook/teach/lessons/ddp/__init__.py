"""Lesson 05: DDP from scratch; the same start, hooks, overlap, buckets."""

from __future__ import annotations

from rankbook.teach.definitions import Lesson
from rankbook.teach.lessons.ddp.buckets import BUCKETED
from rankbook.teach.lessons.ddp.hooks import HOOKS
from rankbook.teach.lessons.ddp.predictions import PREDICTIONS
from rankbook.teach.lessons.ddp.same_start import SAME_START

__all__ = ["LESSON"]

LESSON = Lesson(
    name="05_ddp_from_scratch",
    title="DDP from scratch",
    minutes=40,
    ranks=4,
    predictions=PREDICTIONS,
    exercises=(SAME_START, HOOKS, BUCKETED),
)
