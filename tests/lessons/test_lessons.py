"""Every lesson, executed with its solutions; and every typical wrong answer, which gets its hint.

The wrong answers to an exercise are cells in front of its solution, so that a notebook needs one
kernel for all of them.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import nbformat
import psutil
import pytest
from executed import NOTEBOOKS, error_of, shown
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from solutions import exercise_cells, lesson_of, solve

from rankbook.teach.lessons import LESSONS, load

FAILS = {"tags": ["raises-exception"]}


@dataclass
class Executed:
    """A notebook that has run."""

    lesson: object
    cells: list
    folder: object
    wrong: dict = field(default_factory=dict)
    """By exercise and mistake, the cell that checks it."""


def execute(name, folder, mistakes):
    """Run a lesson's notebook with its solutions, and some mistakes in front of each of them."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    lesson = lesson_of(notebook)
    exercises = list(exercise_cells(notebook))
    solve(notebook)
    done = Executed(lesson, [], folder)
    for exercise, cell, _ in exercises:
        wrong = []
        for mistake in mistakes(lesson.find(exercise)):
            check = new_code_cell(f"check({exercise!r})", metadata=FAILS)
            wrong += [new_code_cell(mistake.example, metadata=FAILS), check]
            done.wrong[exercise, mistake.name] = check
        at = notebook.cells.index(cell)
        notebook.cells[at:at] = wrong
    client = NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    asyncio.run(client.async_execute())
    done.cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return done


def not_a_hang(exercise):
    """The first mistake of an exercise that leaves the ranks free."""
    return [m for m in exercise.mistakes if m.gives][:1]


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    """The lessons that are tried, two at a time: most of its time each waits for processes."""
    tried = {
        item.callspec.params["executed"]: None
        for item in request.session.items
        if "executed" in getattr(item, "fixturenames", ()) and item.path == request.path
    }
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: pool.submit(execute, name, tmp_path_factory.mktemp(name), not_a_hang)
            for name in tried
        }


@pytest.fixture(scope="module", params=LESSONS)
def executed(request, running):
    return running[request.param].result()


def cell_of(executed, call):
    """The last cell that makes a call."""
    return [cell for cell in executed.cells if call in cell.source][-1]


def test_all_solutions_and_predictions_of_a_lesson_are_right(executed):
    for exercise in executed.lesson.exercises:
        assert shown(cell_of(executed, f'check("{exercise.name}")')).startswith("✓ ")
    for prediction in executed.lesson.predictions:
        said = shown(cell_of(executed, f'check("{prediction.name}")'))
        assert said.startswith("✓ "), said
        for mark in ("(You predicted after", "(Another value", "(What is kept"):
            assert mark not in said


def test_only_the_cells_of_a_lesson_that_say_so_fail(executed):
    failed = [c for c in executed.cells if any(o.output_type == "error" for o in c.outputs)]
    tagged = [c for c in executed.cells if "raises-exception" in c.metadata.get("tags", [])]
    assert [c for c in failed if c not in tagged] == []
    hangs = [c for c in failed if error_of(c)[0] == "HangError"]
    assert hangs, "the lesson has no hang that one meets on purpose"


def test_the_progress_of_a_lesson_is_kept_beside_its_notebook(executed):
    path = executed.folder / f"{executed.lesson.name}.progress.json"
    kept = json.loads(path.read_text())
    passed = [name for name, its in kept["exercises"].items() if its["passed"]]
    lesson = executed.lesson
    assert sorted(passed) == sorted(i.name for i in (*lesson.predictions, *lesson.exercises))


def test_a_wrong_answer_to_each_exercise_gets_its_hint(executed):
    assert {exercise for exercise, _ in executed.wrong} == {
        exercise.name for exercise in executed.lesson.exercises if not_a_hang(exercise)
    }
    assert_hints(executed)


def test_a_lesson_stops_what_it_started(executed):
    assert executed.cells[-1].source == "%dist_shutdown"
    left = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.cwd() == str(executed.folder):
                left.append(process.cmdline())
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_every_wrong_answer_of_a_lesson_gets_its_hint(name, tmp_path):
    executed = execute(name, tmp_path, lambda exercise: exercise.mistakes)
    assert len(executed.wrong) == sum(len(e.mistakes) for e in load(name).exercises)
    assert_hints(executed)
    for exercise in executed.lesson.exercises:
        assert shown(cell_of(executed, f'check("{exercise.name}")')).startswith("✓ ")


def assert_hints(executed):
    wrong = {}
    for (exercise, mistake), cell in executed.wrong.items():
        [expected] = [m for m in executed.lesson.find(exercise).mistakes if m.name == mistake]
        failed = any(output.output_type == "error" for output in cell.outputs)
        kind, message, _ = error_of(cell) if failed else ("", shown(cell), "")
        if kind != "CheckFailed" or f"Hint: {expected.hint}" not in message:
            wrong[exercise, mistake] = message
    assert wrong == {}
