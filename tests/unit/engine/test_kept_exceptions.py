"""Exceptions that were caught and kept: which are found, and what they have left."""

from __future__ import annotations

import linecache
import textwrap
import threading
from types import SimpleNamespace

import pytest

from rankbook.cellnames import file_of, is_cell
from rankbook.diagnosis.causes import with_causes
from rankbook.engine.looking import kept
from rankbook.models import Look
from rankbook.models.calls import Place
from rankbook.models.looks import Kept, Lines

CELL = file_of("In [7]")


def is_of_a_cell(code):
    return is_cell(code.co_filename)


@pytest.fixture
def run(monkeypatch):
    """Run code as a cell's, and return what is kept at its call of ``stop``."""

    def run(source, **names):
        source, found = textwrap.dedent(source), []
        lines = source.splitlines(keepends=True)
        monkeypatch.setitem(linecache.cache, CELL, (len(source), None, lines, CELL))

        def stop():
            errors = kept.exceptions(threading.get_ident(), is_of_a_cell)
            found.extend((str(error), left(error)) for error in errors)

        exec(compile(source, CELL, "exec"), {"stop": stop, **names})  # noqa: S102
        return found

    return run


def left(error):
    lines = kept.left_by(error, is_of_a_cell)
    assert {each.file for each in lines} == {"In [7]"}
    return [(each.first, each.last) for each in lines]


def test_an_exception_in_a_variable_has_left_what_was_tried(run):
    code = """
        saved = None
        try:
            print
            raise ValueError("bad")
            print
        except ValueError as error:
            saved = error
        stop()
    """
    assert run(code) == [("bad", [(4, 6)])]


def test_an_exception_that_came_through_functions_has_left_all_of_them(run):
    code = """
        def step():
            raise ValueError("bad")
        def fit():
            errors = []
            try:
                step()
            except ValueError as error:
                errors.append(error)
            stop()
        fit()
    """
    assert run(code) == [("bad", [(7, 7), (2, 3)])]


def test_an_exception_on_an_object_is_found(run):
    code = """
        class Trainer:
            def fit(self):
                try:
                    raise ValueError("bad")
                except ValueError as error:
                    self.result = {"error": error}
                stop()
        Trainer().fit()
    """
    assert [error for error, _ in run(code)] == ["bad"]


def test_the_innermost_try_is_what_was_left(run):
    code = """
        saved = None
        try:
            print
            try:
                raise ValueError("bad")
            except ValueError as error:
                saved = error
        finally:
            print
        stop()
    """
    assert run(code) == [("bad", [(6, 6)])]


def test_what_an_exception_has_left_is_told_while_python_parses(run, amid_a_parse):
    """Python 3.11 fails where a parse begins before another has ended."""
    code = """
        saved = None
        try:
            raise ValueError("bad")
        except ValueError as error:
            saved = error
        told = amid_a_parse(lambda: stop())
    """
    told = run(code, amid_a_parse=amid_a_parse)
    assert told
    assert all(each == ("bad", [(4, 4)]) for each in told)


def test_an_exception_of_an_earlier_cell_is_not_found(run):
    assert run("stop()", old=[long_ago()]) == []


def long_ago():
    with pytest.raises(ValueError, match="invalid literal") as saved:
        int("long ago")
    return saved.value


def test_an_exception_that_was_never_raised_is_not_found(run):
    assert run("new = ValueError('bad')\nstop()") == []


def test_of_very_many_kept_objects_not_all_are_searched_for_exceptions(run):
    assert run("many = [[] for _ in range(100_000)]\nstop()") == []


def test_an_object_that_is_asked_for_its_class_is_not(run):
    class Trap:
        @property
        def __class__(self):
            raise AssertionError

    assert run("stop()", trap=Trap(), more=SimpleNamespace(trap=Trap())) == []


KEPT = Kept("ValueError: bad", "train.py:6 in step: raise", (Lines("train.py", 5, 8),))


def waits(line, *kept, file="train.py", handles=""):
    path = (Place(file, line, "step"), Place("In [4]", 2, is_cell=True))
    return Look("waiting", handles=handles, kept=kept, path=path)


@pytest.mark.parametrize(
    ("other", "is_cause"),
    [
        (waits(7), True),
        (waits(5, Kept("OSError: full", "")), True),
        (waits(9), False),
        (waits(7, file="other.py"), False),
        (waits(7, KEPT), False),
        (Look("idle"), False),
    ],
    ids=[
        "where it was left",
        "where it was left, with another one",
        "later",
        "in another file",
        "has the same",
        "idle",
    ],
)
def test_a_kept_exception_is_the_cause_where_another_rank_is_still_in_what_it_left(other, is_cause):
    look = with_causes({0: waits(12, KEPT), 1: other})[0]
    told = ("ValueError: bad", "train.py:6 in step: raise") if is_cause else ("", "")
    assert (look.handles, look.raised_at) == told


def test_an_exception_that_is_handled_comes_before_one_that_is_kept():
    looks = with_causes({0: waits(12, KEPT, handles="OSError: full"), 1: waits(7)})
    assert looks[0].handles == "OSError: full"
