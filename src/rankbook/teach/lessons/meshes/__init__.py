"""Lesson 09: meshes; a group in each direction, and who has to call what."""

from __future__ import annotations

from rankbook.teach.definitions import Lesson
from rankbook.teach.lessons.meshes.groups import GROUPS
from rankbook.teach.lessons.meshes.mean import MEAN
from rankbook.teach.lessons.meshes.norm import NORM
from rankbook.teach.lessons.meshes.predictions import PREDICTIONS

__all__ = ["LESSON"]

LESSON = Lesson(
    name="09_meshes",
    title="Meshes",
    minutes=40,
    ranks=4,
    predictions=PREDICTIONS,
    exercises=(GROUPS, MEAN, NORM),
)
