"""Names of cells, files that bear them, and the lines of a notebook's cells."""

from __future__ import annotations

import linecache
import sys
import traceback
import tracemalloc
import warnings
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from rankbook import cellnames
from rankbook.cellnames import file_of, in_text
from rankbook.engine.cells.naming import Naming
from rankbook.magics import lines
from rankbook.models.calls import Place
from rankbook.models.requests import Run


@pytest.fixture
def ranks_shell(monkeypatch):
    """An IPython shell as an engine has it; it runs a cell and tells where an error came from."""
    monkeypatch.setattr(warnings, "_formatwarnmsg_impl", warnings._formatwarnmsg_impl)
    shell = InteractiveShell()
    shell.naming = Naming(shell)
    yield shell
    shell.atexit_operations = lambda: None


def lines_of_error(shell, code, name="In [4]", first_line=2):
    """Run a cell; by frame of a cell, its name and its line."""
    shown = []
    shell.showtraceback = lambda *_, **__: shown.append(sys.exc_info()[1])
    shell.naming.begin(Run(code, 4, name, first_line))
    try:
        shell.run_cell(code)
    finally:
        shell.naming.end()
    return lines_in_cells(shown[0])


def lines_in_cells(error):
    frames = [
        (frame.f_code.co_filename, at) for frame, at in traceback.walk_tb(error.__traceback__)
    ]
    return [(cellnames.cell_of(file), at) for file, at in frames if cellnames.is_cell(file)]


def test_a_cell_is_called_by_the_notebooks_number_or_by_how_many_the_session_ran():
    assert cellnames.name_of(4, 7) == "In [4]"
    assert cellnames.name_of(0, 7) == "cell 7"


def test_the_file_of_a_cell_says_which_cell_it_is():
    file = cellnames.file_of("In [4]")
    assert file != cellnames.file_of("In [4]")
    assert cellnames.is_cell(file)
    assert cellnames.cell_of(file) == "In [4]"


@pytest.mark.parametrize("file", ["/tmp/ipykernel_7/123.py", "<ipython-input-3-abc>"])  # noqa: S108
def test_a_cell_of_another_client_has_no_name(file):
    assert cellnames.is_cell(file)
    assert cellnames.cell_of(file) == "a cell"


def test_a_file_is_no_cell():
    assert not cellnames.is_cell("/home/me/train.py")
    assert not cellnames.is_cell("/lib/python3.11/site-packages/ipykernel_launcher.py")
    assert cellnames.cell_of("/home/me/train.py") == ""


FOUR = Place("In [4]", 2, is_cell=True)


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        ([], ""),
        ([Place("/me/train.py", 6, "step")], ""),
        ([FOUR], "In [4] line 2"),
        ([Place("In [4]", 9, "f", is_cell=True), FOUR], "In [4] line 9"),
        (
            [Place("/me/train.py", 6, "step"), FOUR],
            "train.py:6 in step, called from In [4] line 2",
        ),
        (
            [Place("In [3]", 1, "f", is_cell=True), FOUR],
            "In [3] line 1 in f, called from In [4] line 2",
        ),
        (
            [Place("/me/a.py", 1, "f"), Place("In [3]", 1, "g", is_cell=True), FOUR],
            "a.py:1 in f, called from In [4] line 2",
        ),
    ],
)
def test_a_place_is_reported_with_the_line_of_the_cell_that_runs(stack, words):
    assert cellnames.where(stack) == words


# -- on a rank -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("x = 1\n1/0", 3),
        ("\n\n1/0", 4),
        ("1/0", 2),
        ("%%time\nx = 1\n1/0", 4),
        ("%%time\n\n1/0", 4),
        ("x = 1\n%time 1/0", 3),
        ("if True:\n    %time 1/0", 3),
        ("%%capture\nx = 1\n1/0", 4),
        ("def f():\n    1/0\n\nf()", 3),
    ],
)
def test_an_error_of_a_cell_has_the_line_of_the_editor(ranks_shell, code, line):
    assert lines_of_error(ranks_shell, code)[-1] == ("In [4]", line)


def test_a_function_keeps_the_name_and_the_lines_of_its_own_cell(ranks_shell):
    ranks_shell.naming.begin(Run("def f():\n    1/0", 3, "In [3]", 2))
    ranks_shell.run_cell("def f():\n    1/0")
    assert lines_of_error(ranks_shell, "\nf()") == [("In [4]", 3), ("In [3]", 3)]


def test_cells_of_other_clients_are_named_as_before(ranks_shell):
    lines_of_error(ranks_shell, "1/0")
    error = ranks_shell.run_cell("\n1/0").error_in_exec
    assert lines_in_cells(error) == [("a cell", 1)]


def test_the_lines_of_a_cell_are_shown_as_they_were_typed(ranks_shell):
    code = "x = 1\n%time 1/0"
    lines_of_error(ranks_shell, code)
    file = ranks_shell.naming._compiler.file
    assert linecache.getline(file, 3) == "%time 1/0\n"
    assert ranks_shell.compile.format_code_name(file) == ("Cell", "In [4]")


def test_a_cell_of_a_program_is_called_cell_in_a_traceback(ranks_shell):
    lines_of_error(ranks_shell, "1/0", "cell 3", 1)
    file = ranks_shell.naming._compiler.file
    assert ranks_shell.compile.format_code_name(file) == ("Cell", "3")


def test_a_warning_of_a_cells_line_is_the_same_on_every_rank(ranks_shell):
    file = cellnames.file_of("In [4]")
    told = warnings.formatwarning("careful", UserWarning, file, 3, "  f()  ")
    assert told == "In [4] line 3: UserWarning: careful\n  f()\n"
    told = warnings.formatwarning("careful", UserWarning, "/me/train.py", 3, "f()")
    assert told == "/me/train.py:3: UserWarning: careful\n  f()\n"


@pytest.mark.parametrize(
    "file", [cellnames.file_of("In [4]"), "/me/train.py"], ids=["cell", "script"]
)
def test_a_warning_about_an_object_tells_where_that_was_made(ranks_shell, file):
    tracemalloc.start()
    try:
        warning = warnings.WarningMessage("left", ResourceWarning, file, 3, source=bytearray(9))
        told = warnings._formatwarnmsg(warning)
    finally:
        tracemalloc.stop()
    assert "Object allocated at (most recent call last)" in told
    assert Path(__file__).name in told


# -- in the notebook -------------------------------------------------------------------------


class Shell:
    def __init__(self, typed):
        self.history_manager = type("History", (), {"input_hist_raw": ["", typed]})
        self.user_ns = {"In": ["", typed]}


@pytest.mark.parametrize(
    ("typed", "body", "first"),
    [
        ("%%dist\nx = 1\ny", "x = 1\ny", 2),
        ("%%dist\nx = 1\ny\n", "x = 1\ny\n", 2),
        ("\n\n%%dist\nx", "x", 4),
        ("%%time\n%%dist\nx", "x", 3),
        ("# plain, with %dist_mode on\nx", "# plain, with %dist_mode on\nx", 1),
        ("a = get_ipython().run_cell_magic('dist', '', 'x')", "x", 2),
        ("  %%dist\n  if x:\n      y", "if x:\n    y", 2),
    ],
)
def test_the_body_of_a_cell_begins_at_its_line_of_the_editor(typed, body, first):
    found = lines.below(Shell(typed), body)
    assert (found.first_line, found.number, found.cell) == (first, 1, "In [1]")


def test_the_code_of_a_line_magic_begins_at_the_line_that_runs():
    names = {"lines": lines, "shell": Shell("\nx = 1\n%dist x")}
    file = cellnames.file_of("In [1]")
    exec(compile("\nfound = lines.in_line(shell, 'x')", file, "exec"), names)  # noqa: S102
    assert names["found"].first_line == 3  # IPython has dropped the empty line


def test_in_a_text_cells_are_called_by_their_names():
    text = f"Docstring: x\nFile:      {file_of('In [4]')}\nType:      function"
    assert in_text(text) == "Docstring: x\nFile:      In [4]\nType:      function"
    assert in_text("File: ~/src/train.py") == "File: ~/src/train.py"
