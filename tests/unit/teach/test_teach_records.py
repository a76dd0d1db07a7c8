"""Progress in a file: it survives a restart, and does nothing surprising."""

from __future__ import annotations

import json

import pytest

from rankbook.teach.records import Book


def test_predictions_and_checks_survive_a_restart(tmp_path):
    book = Book.open("lesson", tmp_path)
    locked = book.lock("steps", 6, late=False)
    book.tried("ring", ok=False, mistake="adds-again")
    book.tried("ring", ok=True)
    book.hinted("ring", 2)

    again = Book.open("lesson", tmp_path)
    assert again.valid("steps") == locked
    assert again.is_genuine("steps")
    assert again.has_passed("ring")
    assert again.attempts == book.attempts
    assert again.attempts["ring"].mistakes == ("adds-again",)
    assert again.note == ""
    assert [path.name for path in tmp_path.iterdir()] == ["lesson.progress.json"]


def test_opening_a_lesson_makes_no_file(tmp_path):
    Book.open("lesson", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_until_the_cell_has_run_a_prediction_can_be_changed():
    book = Book("lesson")
    book.lock("steps", 5, late=False)
    book.lock("steps", 6, late=False)
    assert book.valid("steps").value == 6
    assert [each.value for each in book.predictions["steps"]] == [5, 6]


def test_what_is_predicted_afterwards_does_not_count():
    book = Book("lesson")
    book.lock("steps", 5, late=False)
    book.lock("steps", 6, late=True)
    assert book.valid("steps").value == 5


def test_the_same_prediction_again_changes_nothing():
    book = Book("lesson")
    first = book.lock("steps", 6, late=False)
    assert book.lock("steps", 6, late=True) is first
    assert book.predictions["steps"] == [first]


@pytest.mark.parametrize("change", [{"value": 6}, {"at": "2020-01-01T00:00:00"}, {"late": False}])
def test_a_change_by_hand_is_visible(tmp_path, change):
    Book.open("lesson", tmp_path).lock("steps", 5, late=True)
    path = tmp_path / "lesson.progress.json"
    kept = json.loads(path.read_text())
    kept["predictions"]["steps"][0] |= change
    path.write_text(json.dumps(kept))
    assert not Book.open("lesson", tmp_path).is_genuine("steps")


@pytest.mark.parametrize(
    "text", ["", "not JSON", "[]", "null", '{"version": 99}', '{"version": 1, "predictions": 3}']
)
def test_a_file_that_cannot_be_read_is_set_aside_and_said(tmp_path, text):
    path = tmp_path / "lesson.progress.json"
    path.write_text(text)
    book = Book.open("lesson", tmp_path)
    assert book.predictions == {}
    assert book.note.startswith("The progress in lesson.progress.json could not be read")
    assert (tmp_path / "lesson.progress.unreadable.json").read_text() == text
    book.lock("steps", 6, late=False)
    assert Book.open("lesson", tmp_path).valid("steps").value == 6


def test_where_nothing_can_be_written_progress_lasts_as_long_as_the_kernel(tmp_path):
    folder = tmp_path / "not there"  # permissions do not stop root, a missing folder does
    book = Book.open("lesson", folder)
    assert book.note == ""
    book.lock("steps", 6, late=False)
    assert book.note.startswith("Progress lasts until this kernel ends: it cannot be kept in ")
    assert book.valid("steps").value == 6
    book.note = ""
    book.tried("steps", ok=True)
    assert book.note == "", "it is said once"
    assert not folder.exists()
