"""The debugger of a rank, with a user who types what the test has prepared."""

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
"""Ends the thread of a user who does not type."""

CELL = file_of("In [7]")


_RUNNER = f"""
import ast
for node in ast.parse(source).body:
    exec(compile(ast.Module([node], []), {CELL!r}, "exec"), names)
"""


class Rank:
    """A rank whose user types lines, each at the next prompt."""

    def __init__(self, monkeypatch):
        self.prompts = []
        self.lines = queue.SimpleQueue()
        self.prompt = Prompt(lambda: self)
        of_pdb = ("set_trace", "post_mortem", "pm", "run", "runctx", "runeval", "runcall")
        for owner, name in [*((pdb, name) for name in of_pdb), (sys, "breakpointhook")]:
            monkeypatch.setattr(owner, name, getattr(owner, name))
        of_debuggers = ("set_trace", "interaction", "run", "runctx", "runeval", "runcall")
        for name in of_debuggers:
            monkeypatch.setattr(pdb.Pdb, name, getattr(pdb.Pdb, name))
        for name in ("pdb.main", "IPython.terminal.debugger.TerminalPdb.pt_init"):
            monkeypatch.setattr(name, None)
        for module in ("core", "terminal"):
            monkeypatch.setattr(f"IPython.{module}.debugger.set_trace", None)
        for name in ("builtins.input", "getpass.getpass", "torch.distributed.breakpoint"):
            monkeypatch.setattr(name, None)
        self.stops = Stops(self.prompt)
        self.monkeypatch = monkeypatch

    def put(self, event):
        """Take an event, as the outbox of a cell does."""
        self.prompts.append(" ".join(filter(None, (event.place, event.text))))
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


def test_pdb_stops_at_the_line_of_the_breakpoint_itself(rank, capsys):
    rank.run("a = 1\nbreakpoint()\nb = 2", "p a", "c")
    assert rank.prompts == ["In [7] line 2"] * 2
    assert capsys.readouterr().out.splitlines() == ["> In [7] line 2", "-> breakpoint()", "1"]


@pytest.mark.parametrize(
    "stop", ["breakpoint()", "pdb.set_trace()", "pdb.set_trace(header='here')"]
)
def test_each_kind_of_breakpoint_stops_in_its_line(rank, stop):
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
def test_commands_that_go_on_stop_where_a_user_expects(rank, commands, places):
    source = "def f(v):\n    w = v\n    return w\n\nbreakpoint()\nx = f(3)\ny = 4\nz = 5"
    names = rank.run(source, *commands)
    assert [int(place.rpartition(" ")[2]) for place in rank.prompts] == places
    assert names["z"] == 5


def test_a_breakpoint_that_is_stepped_over_does_not_stop_twice(rank):
    source = "for i in range(3):\n    breakpoint()\n    x = i"
    rank.run(source, "n", "n", "n", "n", "c", "c")
    assert [int(place.rpartition(" ")[2]) for place in rank.prompts] == [2, 3, 1, 2, 3, 2]


def test_what_is_displayed_is_shown_where_it_has_changed_in_place_too(rank, capsys):
    source = "import torch\nx = torch.ones(2)\nbreakpoint()\nx += 1\ny = x\nx = y * 2\nz = 0"
    lines = ("display x", "display", "n", "n", "n", "n", "undisplay x", "undisplay x", "c")
    rank.run(source, *lines)
    said = [
        line for line in capsys.readouterr().out.splitlines() if "x" in line and ">" not in line
    ]
    assert said == [
        "display x: tensor([1., 1.])",
        "x: tensor([1., 1.])",
        "display x: tensor([2., 2.])  [old: tensor([1., 1.])]",
        "display x: tensor([4., 4.])  [old: tensor([2., 2.])]",
        "*** x is not displayed.",
    ]


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


def test_a_command_that_fails_itself_is_reported_and_the_prompt_stays(rank, capsys):
    rank.run(
        "import torch\nx = torch.ones(2)\nbreakpoint()\nb = 2", "whatis x", "source 3", "p x", "c"
    )
    shown = capsys.readouterr().out
    assert "<class 'torch.Tensor'>" in shown
    assert "tensor([1., 1.])" in shown
    assert len(rank.prompts) == 4


ODD = """
class Odd:
    def __repr__(self):
        raise RuntimeError("no repr")
    def __getattr__(self, name):
        raise KeyError(name)
def make(odd):
    breakpoint()
    return odd
odd = make(Odd())
after = 1
"""


@pytest.mark.parametrize(
    "command",
    [
        *("p odd", "pp odd", "odd", "whatis odd", "args", "source odd", "display odd", "retval"),
        *("exceptions 7", "condition", "ignore", "commands x", "tbreak no.py:1", "clear x"),
        *("until x", "jump x", "alias", "unalias x", "down", "up 9", "help nothing", "enable 3"),
        *("odd.", "!odd", "source", "debug odd", "undisplay x", "b nowhere", "list 1, 2, 3"),
    ],
)
def test_an_odd_value_or_argument_leaves_the_prompt(rank, capsys, command):
    names = rank.run(ODD, command, "p 'still here'", "r", "n", "c")
    assert "'still here'" in capsys.readouterr().out
    assert names["after"] == 1


@pytest.mark.parametrize("command", ["p odd", "pp odd", "odd", "p [odd]"])
def test_a_value_that_cannot_be_printed_says_why(rank, capsys, command):
    rank.run(ODD, command, "c")
    assert "*** RuntimeError: no repr" in capsys.readouterr().out


def test_help_names_what_ranks_have_beyond_pdb(rank, capsys):
    rank.run("breakpoint()\nb = 2", "help", "help where", "c")
    shown = capsys.readouterr().out
    assert "2: p x" in shown
    assert shown.count("q ends the cell on all ranks") == 1


def test_only_the_cells_own_frames_are_shown(rank, capsys):
    rank.run("def f():\n    breakpoint()\nf()", "w", "up", "up", "c")
    shown = capsys.readouterr().out
    assert "pytest" not in shown
    assert "*** Oldest frame" in shown
    assert shown.splitlines()[2:6] == [
        *("  In [7] line 3", "-> f()", "> In [7] line 2 in f()", "-> breakpoint()")
    ]


def test_commands_of_pdb_that_ranks_do_not_have_say_so(rank, capsys):
    rank.run("breakpoint()\nb = 2", "interact", "run", "c")
    shown = capsys.readouterr().out
    assert "*** interact does not work on a rank" in shown
    assert "*** run does not work on a rank" in shown


def test_an_expression_is_debugged_and_the_cell_goes_on(rank, capsys):
    rank.run("def f(v):\n    return v\nbreakpoint()\nb = 2", "debug f(3)", "s", "s", "c", "c")
    assert "Back from the expression." in capsys.readouterr().out
    assert len(rank.prompts) == 5


FUNCTION = "def f(n, s):\n    breakpoint()\n    return n\nkept = f(3, [4, 5])"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("n = 7", None),
        ("n += 4", None),
        ("s[0]", "4"),
        ("n.bit_length()", "2"),
        ("n == 3", "True"),
        ("n * 2", "6"),
        ("s is None", "False"),
        ("list(s)", "[4, 5]"),
        ("p (n)", "3"),
        ("p -n", "-3"),
        ("p [n + x for x in s]", "[7, 8]"),
        ("any(n < x for x in s)", "True"),
        ("(lambda: n)()", "3"),
    ],
)
def test_what_begins_like_a_command_but_is_python_is_run(rank, capsys, line, answer):
    names = rank.run(FUNCTION, line, "c")
    assert rank.prompts == ["In [7] line 2"] * 2
    said = capsys.readouterr().out.splitlines()[2:]
    assert said == ([answer] if answer else [])
    assert names["kept"] == (7 if answer is None else 3)


def test_a_statement_can_have_several_lines(rank, capsys):
    lines = ["def g(x):", "    return x + n", "", "y = [", "1]", "p g(2), y", "c"]
    rank.run(FUNCTION, *lines)
    assert capsys.readouterr().out.splitlines()[2:] == ["(5, [1])"]
    assert rank.prompts == [
        *("In [7] line 2", "In [7] line 2 ...", "In [7] line 2 ...", "In [7] line 2"),
        *("In [7] line 2 ...", "In [7] line 2", "In [7] line 2"),
    ]


def test_an_expression_can_have_several_lines(rank, capsys):
    rank.run("a = 5\nbreakpoint()", "p (a", "+ 1)", "c")
    assert rank.prompts == ["In [7] line 2", "In [7] line 2 ...", "In [7] line 2"]
    assert capsys.readouterr().out.splitlines()[2:] == ["6"]


def test_a_statement_changes_a_variable_of_a_calling_function(rank):
    source = "def g():\n    breakpoint()\ndef f(n):\n    g()\n    return n\nkept = f(3)"
    assert rank.run(source, "up", "!n = 8", "w", "c")["kept"] == 8


def test_a_statement_binds_what_it_declares_global(rank):
    names = rank.run(FUNCTION, "global deep; deep = n", "c")
    assert names["deep"] == 3


def test_breakpoints_are_counted_from_1_in_each_cell_and_named_by_the_cell(rank, capsys):
    for _ in range(2):
        rank.run("breakpoint()\nb = 2\nc = 3", "b 3", "b", "cl 1", "c")
    said = capsys.readouterr().out.splitlines()
    assert said.count("Breakpoint 1 at In [7] line 3") == 2
    assert said.count("Deleted breakpoint 1 at In [7] line 3") == 2


def test_commands_of_a_breakpoint_ask_with_their_own_prompt_and_may_end_the_cell(rank, capsys):
    source = "def f():\n    for i in range(3):\n        x = i\nbreakpoint()\nf()"
    lines = ["b 3", "commands", "p i + 40", "end", "c", "c"]

    def end(event):
        rank.prompts.append(event.place)
        rank.prompt.end()

    put = rank.put
    rank.put = lambda event: end(event) if len(rank.prompts) == 6 else put(event)
    with pytest.raises(KeyboardInterrupt):
        rank.run(source, *lines)
    assert rank.prompts[2:4] == ["In [7] line 4 (com)"] * 2
    assert "41" in capsys.readouterr().out.splitlines()


def test_a_jump_from_the_line_of_the_breakpoint_goes_on_to_that_line(rank):
    source = "def f():\n    breakpoint()\n    x = 1\n    x = 2\n    return 5\ny = f()"
    names = rank.run(source, "j 5", "c")
    assert rank.prompts == ["In [7] line 2", "In [7] line 5"]
    assert names["y"] == 5


def test_a_jump_to_another_statement_of_the_cell_is_refused(rank, capsys):
    rank.run("breakpoint()\nb = 2\nc = 3", "n", "j 3", "c")
    assert "*** A cell runs statement by statement" in capsys.readouterr().out
    assert rank.prompts[-1] == "In [7] line 2"


def test_a_generator_that_ends_is_left_for_the_code_that_uses_it(rank):
    source = "def g():\n    yield 1\n    breakpoint()\n    yield 2\nfor v in g():\n    w = v\nd = 1"
    rank.run(source, "n", "n", "c")
    assert [place.rpartition(" ")[2] for place in rank.prompts] == ["3", "4", "7"]


@pytest.mark.parametrize(
    ("call", "first"),
    [
        ("pdb.run('q = 1')", "<string> line 1"),
        ("pdb.runeval('1 + 1')", "<string> line 1"),
        ("pdb.runcall(f)", "In [7] line 2"),
        ("from IPython.core.debugger import set_trace; set_trace()", "In [7] line 3"),
        ("from IPython.terminal.debugger import set_trace; set_trace()", "In [7] line 3"),
        ("pdb.Pdb().set_trace()", "In [7] line 3"),
        ("pdb.Pdb(nosigint=True).run('q = 1')", "<string> line 1"),
        ("pdb.Pdb().runeval('1 + 1')", "<string> line 1"),
        ("pdb.Pdb().runcall(f)", "In [7] line 2"),
        ("class Forked(pdb.Pdb):\n    use_rawinput = 1\nForked().set_trace()", "In [7] line 5"),
    ],
)
def test_other_ways_into_pdb_open_the_same_prompt(rank, call, first):
    rank.run(f"def f():\n    return 1\n{call}\nz = 1", "c")
    assert rank.prompts == [first]


def test_a_debugger_that_code_has_made_goes_on_as_the_user_says(rank, capsys):
    rank.run("a = 1\npdb.Pdb().set_trace()\nb = 2\nc = 3", "n", "p b", "n", "p b", "c")
    assert [place.rpartition(" ")[2] for place in rank.prompts] == ["2", "3", "3", "4", "4"]
    assert capsys.readouterr().out.splitlines()[-1] == "2"


def test_a_debugger_that_code_has_made_looks_back_at_a_failure(rank, capsys):
    source = (
        "import sys\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n"
        "    debugger = pdb.Pdb()\n    debugger.reset()\n"
        "    debugger.interaction(None, sys.exc_info()[2])"
    )
    rank.run(source, "c")
    assert rank.prompts == ["In [7] line 3"]


def test_a_debugger_with_streams_of_its_own_keeps_them(rank):
    source = (
        "import io\nsaid = io.StringIO()\n"
        "pdb.Pdb(stdin=io.StringIO('p 6 * 7\\nc\\n'), stdout=said, nosigint=True).set_trace()\n"
        "z = 1"
    )
    names = rank.run(source)
    assert rank.prompts == []
    assert "42" in names["said"].getvalue()


def test_a_script_below_pdb_is_refused_in_a_line(rank):
    with pytest.raises(SystemExit, match="%dist_run --pdb SCRIPT"):
        rank.run("pdb.main()")


@pytest.mark.parametrize(
    ("line", "said"),
    [("x.", "imag  real"), ("xs[0].", "imag  real"), ("nobody.", "NameError")],
)
def test_a_line_that_ends_with_a_dot_lists_attributes(rank, capsys, line, said):
    source = (
        "class Number:\n    real = imag = 1\n    _own = 0\n"
        "def f(x):\n    xs = [x]\n    breakpoint()\nf(Number())"
    )
    rank.run(source, line, "c")
    assert said in capsys.readouterr().out.splitlines()[2]


def test_a_loop_that_reads_lines_ends_with_the_cell_although_it_goes_on_after_an_interrupt(rank):
    rank.put = lambda _: rank.prompt.end()
    source = (
        "told = []\nwhile True:\n    try:\n        input('> ')\n"
        "    except KeyboardInterrupt:\n        told.append('interrupt')\n"
        "    except EOFError:\n        break"
    )
    assert rank.run(source)["told"] == ["interrupt"]


def test_a_recursion_is_shown_in_a_few_frames(rank, capsys):
    rank.run("def f(n):\n    if not n: breakpoint()\n    else: f(n - 1)\nf(100)", "w", "c")
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) < 25
    assert "(95 more frames stand in these lines.)" in shown


def test_threads_that_stop_together_have_the_prompt_one_after_the_other(rank, capsys):
    source = (
        "import threading\ndef f(i):\n    breakpoint()\n    done.append(i)\ndone = []\n"
        "ts = [threading.Thread(target=f, args=(i,)) for i in range(3)]\n"
        "for t in ts: t.start()\nfor t in ts: t.join()"
    )
    names = rank.run(source, *["p i * 11", "c"] * 3)
    said = capsys.readouterr().out.splitlines()
    assert said[::3] == ["> In [7] line 3 in f()"] * 3
    assert said[1::3] == ["-> breakpoint()"] * 3
    assert said[2::3] == [str(i * 11) for i in names["done"]]


def test_a_thread_that_waits_for_another_gives_the_prompt_up_meanwhile(rank, monkeypatch):
    monkeypatch.setattr("rankbook.engine.debugging.prompt._LONG", 0.05)
    source = (
        "import threading\ndef inner():\n    breakpoint()\ndef f():\n"
        "    t = threading.Thread(target=inner); t.start(); t.join()\nbreakpoint()\nz = 1"
    )
    rank.run(source, "f()", "c", "c")
    assert rank.prompts == ["In [7] line 6", "In [7] line 3", "In [7] line 6"]


def test_looking_back_begins_in_the_users_frame(rank, capsys):
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


def test_the_exceptions_behind_an_exception_can_be_looked_at(rank, capsys):
    source = (
        "def f(v):\n    return [][v]\ndef g():\n    try:\n        f(3)\n"
        "    except IndexError as error:\n        raise ValueError('bad') from error\n"
        "try:\n    g()\nexcept ValueError:\n    pdb.post_mortem()"
    )
    rank.run(source, "exceptions", "exceptions 0", "p v", "exceptions 1", "c")
    assert [
        line for line in capsys.readouterr().out.splitlines() if line[:2] not in ("->", "> ")
    ] == [
        "from IndexError: list index out of range (exceptions lists all)",
        "0 IndexError: list index out of range",
        "1 ValueError: bad",
        "3",
    ]


def test_in_a_forked_child_nobody_can_be_asked(rank, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(CannotAskError, match=r"a child of this rank.*num_workers=0"):
        rank.run("breakpoint()")


def test_where_no_cell_runs_nobody_can_be_asked():
    with pytest.raises(CannotAskError, match="No cell is running"):
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
