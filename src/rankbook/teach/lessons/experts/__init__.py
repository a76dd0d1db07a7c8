"""Lesson 11: a mixture of experts; tokens go out to their experts and come back, unevenly."""

from __future__ import annotations

from rankbook.teach.definitions import Lesson
from rankbook.teach.lessons.experts.capacity import WITHIN
from rankbook.teach.lessons.experts.combine import COMBINE
from rankbook.teach.lessons.experts.dispatch import DISPATCH
from rankbook.teach.lessons.experts.predictions import PREDICTIONS

__all__ = ["LESSON"]

LESSON = Lesson(
    name="11_mixture_of_experts",
    title="Mixture of experts",
    minutes=40,
    ranks=4,
    predictions=PREDICTIONS,
    exercises=(DISPATCH, COMBINE, WITHIN),
)
