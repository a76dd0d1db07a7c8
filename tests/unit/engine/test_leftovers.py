"""What exceptions keep alive, and which one that was when it is destroyed."""

from __future__ import annotations

import gc
import threading

from rankbook.engine.looking.leftovers import Leftovers
from rankbook.models import Failure

FIRST = Failure("ValueError", "no data")


class Closer:
    """Notes what is said of it while it is destroyed."""

    def __init__(self, leftovers, found):
        self._leftovers, self._found = leftovers, found

    def __del__(self):
        self._found.append(self._leftovers.being_destroyed(threading.get_ident()))


class Trainer:
    def __init__(self, closer):
        self.parts = {"logger": [closer]}


def raises(make):
    trainer = make()
    raise ValueError(trainer)


def failed(make):
    try:
        raises(make)
    except ValueError as error:
        error.args = ()
        return error


def test_an_object_that_an_exception_kept_alive_is_reported_by_it():
    leftovers, found = Leftovers(), []
    error = failed(lambda: Closer(leftovers, found))
    leftovers.note(error.__traceback__, FIRST)
    assert found == []
    del error
    gc.collect()
    assert found == [FIRST]


def test_an_object_inside_others_is_found():
    leftovers, found = Leftovers(), []
    error = failed(lambda: Trainer(Closer(leftovers, found)))
    leftovers.note(error.__traceback__, FIRST)
    del error
    gc.collect()
    assert found == [FIRST]


def test_other_objects_are_reported_by_none():
    leftovers, found = Leftovers(), []
    error = failed(list)
    leftovers.note(error.__traceback__, FIRST)
    Closer(leftovers, found)
    gc.collect()
    assert found == [None]


def test_an_object_that_a_module_also_holds_is_no_leftover(monkeypatch):
    leftovers, found = Leftovers(), []
    monkeypatch.setitem(globals(), "shared", Closer(leftovers, found))
    error = failed(lambda: globals()["shared"])
    leftovers.note(error.__traceback__, FIRST)
    del error
    monkeypatch.undo()
    gc.collect()
    assert found == [None]
