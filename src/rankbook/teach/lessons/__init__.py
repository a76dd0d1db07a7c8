"""The lessons: a module or a folder for each notebook, and how they are found."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rankbook.errors import LessonError

if TYPE_CHECKING:
    from rankbook.teach.definitions import Lesson

__all__ = ["LESSONS", "load", "module_of"]

LESSONS = {
    "00_quickstart": "rankbook.teach.lessons.quickstart",
    "01_debugging_hangs": "rankbook.teach.lessons.hangs",
    "02_training_survives": "rankbook.teach.lessons.survival",
    "03_collectives_in_pictures": "rankbook.teach.lessons.collectives",
    "04_all_reduce_by_hand": "rankbook.teach.lessons.all_reduce",
    "05_ddp_from_scratch": "rankbook.teach.lessons.ddp",
    "06_zero_to_fsdp2": "rankbook.teach.lessons.zero",
    "07_tensor_parallel": "rankbook.teach.lessons.tensor_parallel",
    "08_pipeline": "rankbook.teach.lessons.pipeline",
    "09_meshes": "rankbook.teach.lessons.meshes",
    "10_measuring": "rankbook.teach.lessons.measuring",
    "11_mixture_of_experts": "rankbook.teach.lessons.experts",
    "12_death_and_recovery": "rankbook.teach.lessons.recovery",
}
"""By the name of the notebook, the module of its lesson."""

_modules = dict(LESSONS)


def load(name: str) -> Lesson:
    """Find a lesson.

    Args:
        name: Of its notebook, or the dotted name of a module that has a ``LESSON``.

    Raises:
        LessonError: There is none of that name.
    """
    module = _modules.get(name, name)
    try:
        found: Lesson = import_module(module).LESSON
    except (ImportError, AttributeError, TypeError, ValueError):
        raise LessonError(
            f"There is no lesson {name!r}; there are {', '.join(LESSONS)}, and modules of yours "
            "that have a LESSON."
        ) from None
    _modules[found.name] = module
    return found


def module_of(name: str) -> str:
    """The module of a lesson that was loaded."""
    return _modules[name]
