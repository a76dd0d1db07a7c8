"""The debugger of a rank, with a person who types what the test has prepared."""

from __future__ import annotations

import linecache
import os
import pdb
import queue
import sys
import threading

import pytest
from processes import wait_until
from steps import SOON

from rankbook.cellnames import file_of
from rankbook.engine.debugging.prompt import CannotAskError, Prompt
from rankbook.engine.debugging.stops import Stops

NO_ANSWER = None
"""Ends the thread of a person who does not type."""

CELL = file_of("In [7]")


_RUNNER = f"""
import ast
for node in ast.parse(source).body:
    exec(compile(ast.Module([node], []), {CELL!r}, "exec"), names)
"""


class Rank:
    """A rank whose person types lines, each at the next prompt."""

    def __init__(self, monkeypatch):
        self.prompts = []
        self.lines = queue.SimpleQueue()
        self.prompt = Prompt(lambda: self)
        for owner, name in [(pdb, "set_trace"), (pdb, "post_mortem"), (sys, "breakpointhook")]:
            monkeypatch.setattr(owner, name, getattr(owner, name))
        for name in ("builtins.input", "getpass.getpass", "torch.distributed.breakpoint"):
            monkeypatch.setattr(name, None)
        self.stops = Stops(self.prompt)
        self.monkeypatch = monkeypatch

    def put(self, event):
        """Take an event, as the outbox of a cell does."""
        self.prompts.append(event.place or event.text)
        threading.Thread(target=self._type, args=(event.number,), daemon=True).start()

    def _type(self, number):
        if (line := self.lines.get(timeout=SOON)) is not NO_ANSWER:
            assert self.prompt.answer(number, line)

    def run(self, source, *lines):
        """Run statements one by one, as IPython does."""
        for line in lines:
            self.lines.put(line)
        text = source.splitlines(keepends=True)
        self.monkeypatch.setitem(linecache.cache, CELL, (len(source), None, text, CELL))
        names = {"__name__": "__main__", "pdb": pdb}
        try:
            exec(_RUNNER, {"__name__": "IPython.core.fake", "source": source, "names": names})  # noqa: S102
        finally:
            self.stops.end_cell()
        return names


@pytest.fixture
def rank(monkeypatch):
    yield Rank(monkeypatch)
    sys.settrace(None)


def test_it_stops_at_the_line_of_the_breakpoint_itself(rank, capsys):
    rank.run("a = 1\nbreakpoint()\nb = 2", "p a", "c")
    assert rank.prompts == ["In [7] line 2"] * 2
    assert capsys.readouterr().out.splitlines() == ["> In [7] line 2", "-> breakpoint()", "1"]


@pytest.mark.parametrize(
    "stop", ["breakpoint()", "pdb.set_trace()", "pdb.set_trace(header='here')"]
)
def test_what_stops_it(rank, stop):
    rank.run(f"{stop}\nb = 2", "c")
    assert rank.prompts == ["In [7] line 1"]


def test_a_breakpoint_can_be_turned_off_as_everywhere(rank, monkeypatch):
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")
    rank.run("breakpoint()")
    assert rank.prompts == []


@pytest.mark.parametrize(
    ("commands", "places"),
    [
        (["n", "n", "c"], [5, 6, 7]),
        (["n", "s", "s", "r", "c"], [5, 6, 1, 2, 3]),
        (["until 7", "c"], [5, 7]),
        (["b 7", "c", "c"], [5, 5, 7]),
        (["tbreak 2", "c", "up", "c"], [5, 5, 2, 6]),
        (["n", "n", "r"], [5, 6, 7]),
        (["", "c"], [5, 5]),
    ],
)
def test_commands_that_go_on_stop_where_a_person_expects(rank, commands, places):
    source = "def f(v):\n    w = v\n    return w\n\nbreakpoint()\nx = f(3)\ny = 4\nz = 5"
    names = rank.run(source, *commands)
    assert [int(place.rpartition(" ")[2]) for place in rank.prompts] == places
    assert names["z"] == 5


def test_nothing_is_traced_after_the_cell_and_its_breakpoints_are_gone(rank):
    rank.run("breakpoint()\ny = 1\nz = 2", "b 3", "n", "c", "c")
    assert sys.gettrace() is None
    rank.run("x = 1\ny = 1\nz = 2")
    assert len(rank.prompts) == 4


def test_a_statement_changes_the_variables_of_the_frame(rank):
    names = rank.run("a = 1\nbreakpoint()\nb = a", "!a = 9", "c")
    assert names["b"] == 9


def test_an_expression_that_raises_is_reported_and_the_prompt_stays(rank, capsys):
    rank.run("breakpoint()\nb = 2", "p nothing", "c")
    assert "*** NameError: name 'nothing' is not defined" in capsys.readouterr().out
    assert len(rank.prompts) == 2


def test_only_the_cells_own_frames_are_shown(rank, capsys):
    rank.run("def f():\n    breakpoint()\nf()", "w", "up", "up", "c")
    shown = capsys.readouterr().out
    assert "pytest" not in shown
    assert "*** Oldest frame" in shown
    assert shown.splitlines()[2:6] == [
        *("  In [7] line 3", "-> f()", "> In [7] line 2 in f()", "-> breakpoint()")
    ]


def test_what_is_not_there_says_so(rank, capsys):
    rank.run("breakpoint()\nb = 2", "interact", "run", "c")
    shown = capsys.readouterr().out
    assert "*** interact is not there on a rank" in shown
    assert "*** run is not there on a rank" in shown


def test_an_expression_is_debugged_and_the_cell_goes_on(rank, capsys):
    rank.run("def f(v):\n    return v\nbreakpoint()\nb = 2", "debug f(3)", "s", "s", "c", "c")
    assert "Back from the expression." in capsys.readouterr().out
    assert len(rank.prompts) == 5


def test_looking_back_begins_in_the_persons_frame(rank, capsys):
    import torch

    def fails(size):
        return torch.nn.functional.linear(torch.ones(2), torch.ones(1, size))

    with pytest.raises(RuntimeError) as caught:
        fails(3)
    for line in ("p size", "c"):
        rank.lines.put(line)
    rank.stops.look_back(caught.value.__traceback__)
    assert capsys.readouterr().out.splitlines()[-1] == "3"
    assert rank.prompts[0].startswith("test_debugger.py line ")


def test_in_a_forked_child_nobody_can_be_asked(rank, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(CannotAskError, match=r"a child of this rank.*num_workers=0"):
        rank.run("breakpoint()")


def test_where_no_cell_runs_nobody_can_be_asked():
    with pytest.raises(CannotAskError, match="No cell runs"):
        Prompt(lambda: None).ask("input")


def test_only_the_question_that_waits_is_answered(rank):
    assert rank.prompt.answer(1, "too early") is False
    rank.lines.put("yes")
    assert rank.prompt.ask("input", "really? ") == "yes"
    assert rank.prompts == ["really? "]
    assert rank.prompt.answer(1, "too late") is False


def test_the_end_of_a_cell_ends_a_thread_at_the_prompt_and_the_main_one(rank):
    ended = []

    def ask():
        try:
            rank.prompt.ask("input")
        except SystemExit:
            ended.append(True)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: rank.prompt.asks is not None, SOON)
    rank.prompt.end()
    thread.join(SOON)
    assert ended == [True]
    with pytest.raises(KeyboardInterrupt):
        rank.prompt.ask("input")
    for _ in range(2):  # the questions that were not answered
        rank.lines.put(NO_ANSWER)
