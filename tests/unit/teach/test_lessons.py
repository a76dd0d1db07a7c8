"""The definitions of the lessons, and the notebooks that go with them: nothing runs here."""

from __future__ import annotations

import re
from types import SimpleNamespace

import nbformat
import pytest
from executed import NOTEBOOKS
from solutions import exercise_cells, lesson_of, solve

from rankbook.errors import LessonError
from rankbook.teach.here import Ended
from rankbook.teach.lessons import LESSONS, load


@pytest.fixture(params=LESSONS)
def lesson(request):
    return load(request.param)


@pytest.fixture
def notebook(lesson):
    return nbformat.read(NOTEBOOKS / f"{lesson.name}.ipynb", as_version=4)


def _same(one, other, **_):
    return one == other


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def place_of(text, sources):
    """The only cell in which a text occurs."""
    [place] = [index for index, source in enumerate(sources) if text in source]
    return place


def test_a_notebook_opens_the_lesson_of_its_name(lesson, notebook):
    assert lesson_of(notebook) == lesson
    assert lesson.minutes <= 40


def test_every_exercise_has_two_mistakes_with_hints_of_their_own(lesson):
    for exercise in lesson.exercises:
        hints = [mistake.hint for mistake in exercise.mistakes]
        assert len(hints) >= 2
        assert len(set(hints)) == len(hints)
        assert len({mistake.name for mistake in exercise.mistakes}) == len(hints)
        assert all(bool(m.gives) != bool(m.seen) for m in exercise.mistakes)
        assert exercise.hints


def test_names_of_a_lesson_are_unique(lesson):
    names = [item.name for item in (*lesson.predictions, *lesson.exercises)]
    assert len(set(names)) == len(names)


def test_a_prediction_is_asked_then_its_cell_runs_then_it_is_checked(lesson, notebook):
    sources = code(notebook)
    for item in lesson.predictions:
        asked = place_of(f'predict("{item.name}", ...)', sources)
        cell = place_of(item.cell, sources)
        checked = place_of(f'check("{item.name}")', sources)
        assert asked < cell < checked, item.name


def test_the_right_answer_and_the_usual_wrong_ones_are_predictions_that_can_be_made(lesson):
    for item in lesson.predictions:
        right = item.form.read(item.answer)
        assert not item.remarks(right), item.name
        for slip, remark in item.slips:
            assert item.remarks(item.form.read(slip)) == [remark], (item.name, slip)


def test_every_exercise_has_a_cell_a_check_and_a_folded_solution(lesson, notebook):
    found = {name: (cell.source, solution) for name, cell, solution in exercise_cells(notebook)}
    assert sorted(found) == sorted(exercise.name for exercise in lesson.exercises)
    for name, (cell, solution) in found.items():
        assert "..." in cell, name
        assert "..." not in solution, name
        for needed in lesson.find(name).needs:
            assert any(re.search(rf"\b(def|class) {needed}\b", s) for s in code(notebook))


def test_solving_leaves_no_dots_to_fill_in(notebook):
    solve(notebook)
    assert [source for source in code(notebook) if re.search(r"\.\.\.(?!\w)", source)] == []


def test_a_notebook_is_kept_without_outputs_and_ends_its_ranks(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count] == []
    assert cells[-1].source == "%dist_shutdown"


def test_an_unknown_lesson_is_refused_in_a_line():
    with pytest.raises(LessonError, match=r"no lesson '99_chess'; there are 00_quickstart, 01_"):
        load("99_chess")
    with pytest.raises(LessonError, match="no lesson 'json'"):
        load("json")


def test_an_unknown_exercise_is_refused_with_the_names_that_there_are(lesson):
    with pytest.raises(LessonError, match=rf"{lesson.name} has no 'chess'; there are "):
        lesson.find("chess")


@pytest.mark.parametrize("how", ["all done", "error", "hang"])
def test_a_prediction_of_how_a_cell_ends_is_compared_with_how_it_has_ended(lesson, how):
    for item in lesson.predictions:
        if not {"error", "hang"} <= set(getattr(item.form, "options", ())):
            continue
        as_expected = (how == "hang") if item.answer == "hang" else (how == "all done")
        here = SimpleNamespace(
            cell=Ended(how), unsent=2, mixed=1, expected=[2], torch=SimpleNamespace(allclose=_same)
        )
        assert (item.truth(here) == item.answer) is as_expected, item.name


@pytest.mark.parametrize(("stuck", "passed"), [((), [0, 1, 2, 3]), ((1, 3), [0, 2])])
def test_a_prediction_of_who_gets_stuck_is_compared_with_who_was_freed(lesson, stuck, passed):
    asked = {("00_quickstart", "who-waits"), ("05_ddp_from_scratch", "who-waits")}
    asked |= {("06_zero_to_fsdp2", "who-is-stuck"), ("07_tensor_parallel", "who-waits")}
    through = {("01_debugging_hangs", "who-sends"), ("04_all_reduce_by_hand", "who-gets-through")}
    through |= {("03_collectives_in_pictures", "who-prints")}
    for item in lesson.predictions:
        here = SimpleNamespace(cell=Ended("hang", (0, 1, 2, 3), stuck))
        if (lesson.name, item.name) in asked:
            assert item.truth(here) == stuck
        if (lesson.name, item.name) in through:
            assert item.truth(here) == passed
