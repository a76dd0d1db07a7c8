"""Lesson 08: pipeline parallel; GPipe, 1F1B, and the bubble."""

from __future__ import annotations

from rankbook.teach.definitions import Lesson
from rankbook.teach.lessons.pipeline.predictions import PREDICTIONS
from rankbook.teach.lessons.pipeline.schedule import SCHEDULE, STAGES

__all__ = ["LESSON"]

LESSON = Lesson(
    name="08_pipeline",
    title="Pipeline parallel",
    minutes=30,
    ranks=STAGES,
    predictions=PREDICTIONS,
    exercises=(SCHEDULE,),
)
