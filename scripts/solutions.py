"""Fill in the exercises and predictions of a lesson's notebook, from what stands in the lesson.

The solution of a cell that is tagged ``exercise`` is the first block of Python in a folded
``<details>`` behind it; so the tests run what the reader reads. A prediction of dots gets the
right answer, from the lesson's definitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rankbook.teach import Lesson
from rankbook.teach.lessons import LESSONS, load

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["exercise_cells", "lesson_of", "solve"]

_SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
_DOTS = re.compile(r'predict\("([\w-]+)", \.\.\.\)')
_OPENS = re.compile(r'lesson\("(\w+)"\)')
_CHECK = re.compile(r'check\("([\w-]+)"\)')


def lesson_of(notebook: NotebookNode) -> Lesson | None:
    """The lesson that a notebook opens, or None if it is no lesson."""
    for cell in notebook.cells:
        found = _OPENS.search(cell.source) if cell.cell_type == "code" else None
        if found and found[1] in LESSONS:
            return load(found[1])
    return None


def exercise_cells(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode, str]]:
    """Every exercise of a notebook: its name, its cell, and its solution.

    Raises:
        LookupError: No solution or no check follows the cell.
    """
    cells = notebook.cells
    for index, cell in enumerate(cells):
        if "exercise" not in cell.metadata.get("tags", []):
            continue
        names = (_CHECK.search(c.source) for c in cells[index + 1 :] if c.cell_type == "code")
        solutions = (
            _SOLUTION.search(c.source) for c in cells[index + 1 :] if c.cell_type == "markdown"
        )
        name, solution = next(filter(None, names), None), next(filter(None, solutions), None)
        if name is None or solution is None:
            raise LookupError(f"No check or no solution follows the exercise\n{cell.source}")
        yield name[1], cell, solution[1].rstrip("\n")


def solve(notebook: NotebookNode) -> None:
    """Write all solutions and right predictions into a notebook's cells."""
    lesson = lesson_of(notebook)
    if lesson is None:
        return
    answers = {item.name: item.answer for item in lesson.predictions}
    for _, cell, solution in list(exercise_cells(notebook)):
        cell.source = solution
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = _DOTS.sub(
                lambda found: f'predict("{found[1]}", {answers[found[1]]!r})', cell.source
            )
