"""Lesson 04: all-reduce by hand; naive, as a tree, as a ring.

Rank r gives ``10**r``, so that the digits of a sum tell whose numbers are in it, and how often.
"""

from __future__ import annotations

from rankbook.teach.definitions import Lesson
from rankbook.teach.lessons.all_reduce.predictions import PREDICTIONS
from rankbook.teach.lessons.all_reduce.ring import RING
from rankbook.teach.lessons.all_reduce.tree import TREE

__all__ = ["LESSON"]

LESSON = Lesson(
    name="04_all_reduce_by_hand",
    title="All-reduce by hand",
    minutes=40,
    ranks=4,
    predictions=PREDICTIONS,
    exercises=(TREE, RING),
)
