"""The cells of a rank look back at those before them as in a plain kernel."""

from __future__ import annotations

import pytest


@pytest.fixture
def ran(two):
    """Ranks after cells 2, 3, 5 and 6 of a notebook; a program's cells have no number."""
    two.run("%reset -f in", number=1).raise_for_error()
    two.run("x = 1", number=2).raise_for_error()
    two.run("x += 1; x", number=3).raise_for_error()
    two.run("x += 100").raise_for_error()
    two.run("import asyncio\nawait asyncio.sleep(0)", number=5).raise_for_error()
    two.run("!echo $((6))", number=6).raise_for_error()
    return two


def value(session, code, number):
    result = session.run(code, number=number)
    result.raise_for_error()
    [text] = {its.result_repr for its in result.values()}
    return eval(text)  # noqa: S307 - what a test of ours has written


def said(session, code, number):
    result = session.run(code, number=number)
    result.raise_for_error()
    [text] = {its.stdout for its in result.values()}
    return text


def test_inputs_are_found_by_their_number_in_the_notebook(ran):
    names = "_i, _ii, _i2, In[3], In[4], In[-1][:2], len(In), In is _ih"
    seen = value(ran, names, 7)
    six = "!echo $((6))"
    five = "import asyncio\nawait asyncio.sleep(0)"
    assert seen == (six, five, "x = 1", "x += 1; x", "", "_i", 8, True)
    assert value(ran, "_i", 9) == names
    assert value(ran, "Out[3], _3, 4 in Out", 10) == (2, 2, False)


def test_history_lists_what_ran_here(ran):
    lines = said(ran, "%history -n 2-6", 11).splitlines()
    assert lines[:2] == ["   2: x = 1", "   3: x += 1; x"]
    assert lines[-1] == "   6: !echo $((6))"
    assert not any(line.startswith("   4:") for line in lines)
    assert said(ran, "%history -t 6", 12) == "get_ipython().system('echo $((6))')\n"
    assert said(ran, "%history -o 3", 13) == "x += 1; x\n2\n"
    assert said(ran, "%history -g x +=*", 14).splitlines()[0] == "   3: x += 1; x"
    assert said(ran, "%history -l 1", 15) == "%history -g x +=*\n"


def test_inputs_run_again_and_are_saved(ran, tmp_path):
    assert "=== Output: ===\n" in said(ran, "x = 5\n%rerun 3", 20)
    assert value(ran, "x", 21) == 6
    ran.run("x = 7", number=22).raise_for_error()
    ran.run("%rerun", number=23).raise_for_error()
    assert value(ran, "x", 24) == 7
    ran.run(f"%save -f {tmp_path}/it.py 2-3", ranks=[0], number=25).raise_for_error()
    assert (tmp_path / "it.py").read_text().endswith("\nx = 1\nx += 1; x\n")
    ran.run("%macro -q again 2-3", number=26).raise_for_error()
    ran.run("again", number=27).raise_for_error()
    assert value(ran, "x", 28) == 2
    assert said(ran, "%recall 2", 29) == "x = 1\n"


def test_lines_of_one_cell_are_one_input(ran):
    for line in ("a = 1", "b = 2", "b = 2"):
        ran.run(line, number=31).raise_for_error()
    assert value(ran, "_i, In[31], _i31", 32) == ("a = 1\nb = 2",) * 3


def test_a_notebook_that_begins_again_replaces_its_inputs(ran):
    ran.run("pass", number=31).raise_for_error()
    ran.run("y = 1", number=2).raise_for_error()
    assert value(ran, "_i, In[2], len(In) > 30", 3) == ("y = 1", "y = 1", True)
    ran.run("%reset -f in", number=4).raise_for_error()
    assert value(ran, "_i, _ii", 5) == ("", "")  # as in a plain kernel, itself included


def test_what_magics_would_put_into_a_cell_is_shown(two, tmp_path):
    (tmp_path / "part.py").write_text("a = 1\nb = 2\n")
    assert said(two, f"%load {tmp_path}/part.py", 0).endswith("a = 1\nb = 2\n")
