"""Lesson 06: from ZeRO to FSDP2; where the memory goes, and how to share it."""

from __future__ import annotations

from rankbook.teach.definitions import Lesson
from rankbook.teach.lessons.zero.predictions import PREDICTIONS
from rankbook.teach.lessons.zero.sharded import SHARDED

__all__ = ["LESSON"]

LESSON = Lesson(
    name="06_zero_to_fsdp2",
    title="From ZeRO to FSDP2",
    minutes=35,
    ranks=4,
    predictions=PREDICTIONS,
    exercises=(SHARDED,),
)
