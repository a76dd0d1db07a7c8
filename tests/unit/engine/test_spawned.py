"""Functions of cells in a process that was spawned."""

from __future__ import annotations

import sys
from types import ModuleType

import cloudpickle
import pytest

from rankbook.engine.processes import spawned

CELL = """
setting = None
step = 1

def begin(value):
    global setting
    setting = value

def add(number):
    return setting + step + number

class Adder:
    def add(self, number):
        return add(number)
"""


@pytest.fixture
def sent(monkeypatch):
    """What a rank sends of a cell, by name, to a process that has nothing of it."""
    here = ModuleType("__main__")
    exec(CELL, vars(here))  # noqa: S102 - a cell
    monkeypatch.setitem(sys.modules, "__main__", here)
    data = {name: cloudpickle.dumps(getattr(here, name)) for name in ("begin", "add", "Adder")}
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    return data


def test_functions_that_are_sent_one_by_one_share_their_globals(sent):
    begin, add = spawned.receive(sent["begin"]), spawned.receive(sent["add"])
    begin(10)
    assert add(5) == 16
    assert sys.modules["__main__"].add is add


def test_what_a_process_has_set_is_not_set_back_by_what_is_sent_later(sent):
    spawned.receive(sent["begin"])(10)
    assert spawned.receive(sent["add"])(5) == 16
    assert spawned.receive(sent["Adder"])().add(5) == 16
