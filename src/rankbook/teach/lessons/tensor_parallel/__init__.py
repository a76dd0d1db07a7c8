"""Lesson 07: tensor parallel; layers cut by their outputs, by their inputs, and both."""

from __future__ import annotations

from rankbook.teach.definitions import Lesson
from rankbook.teach.lessons.tensor_parallel.pair import PAIR
from rankbook.teach.lessons.tensor_parallel.predictions import PREDICTIONS

__all__ = ["LESSON"]

LESSON = Lesson(
    name="07_tensor_parallel",
    title="Tensor parallel",
    minutes=30,
    ranks=4,
    predictions=PREDICTIONS,
    exercises=(PAIR,),
)
