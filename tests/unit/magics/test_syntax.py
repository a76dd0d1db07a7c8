from __future__ import annotations

import pytest

from rankbook.errors import RankbookError
from rankbook.magics.lines import Typed
from rankbook.magics.syntax import CellSyntaxError, check_cell


@pytest.mark.parametrize(
    "cell",
    [
        "x = 1",
        "x = 1\nx",
        "",
        "# a comment",
        "!ls",
        "files = !ls",
        "%timeit x",
        "%%time\nx = 1",
        "x?",
        "await coroutine()",
        "async with a as b:\n    pass",
        "async for i in a:\n    print(i)",
        "x;",
        "    indented = 1\n    too = 2",
        ">>> prompt = 1",
        "def f():\n\treturn 1",
        "match x:\n    case 1: pass",
        "é = 'ü'",
    ],
)
def test_the_syntax_check_accepts_what_ipython_understands(shell, cell):
    if "= !" in cell and "!" in shell.transform_cell(cell):
        pytest.skip("an IPython that does not know Python 3.12 does not understand this")
    assert check_cell(shell, Typed(cell, 4, 2)) is None


@pytest.mark.parametrize(
    ("cell", "line", "shown"),
    [
        ("x = = 1", 1, "x = = 1"),
        ("a = 1\nif a\n    b = 2", 2, "if a"),
        ("def f(:\n    pass", 1, "def f(:"),
        ("print('open", 1, "print('open"),
        ("x = (1,\n", 1, "x = (1,"),
        ("return 1", 1, "SyntaxError: 'return' outside function"),
        ("if True:\n  a = 1\n b = 2", 3, "unindent does not match"),
        ("\x00", 0, "null bytes"),
    ],
)
def test_a_syntax_error_is_shown_with_its_line(shell, cell, line, shown):
    with pytest.raises(CellSyntaxError) as caught:
        check_cell(shell, Typed(cell, 4, 2))
    message = str(caught.value)
    assert shown in message
    assert not line or f"In [4] line {line + 1}\n" in message
    assert message.endswith("\nThe cell was not sent to any rank.")


def test_a_cell_that_a_rank_understands_is_sent(shell):
    asked = []
    check_cell(shell, Typed("1 PLUS 1", 4, 2), lambda code: not asked.append(code))
    check_cell(shell, Typed("1 + 1", 4, 2), lambda code: not asked.append(code))
    assert asked == ["1 PLUS 1"]


def test_the_caret_of_a_syntax_error_is_below_the_fault(shell):
    with pytest.raises(CellSyntaxError) as caught:
        check_cell(shell, Typed("x = = 1", 4, 2))
    lines = str(caught.value).splitlines()
    [number] = [i for i, line in enumerate(lines) if "x = = 1" in line]
    assert lines[number + 1].index("^") == lines[number].index("= 1")


def test_a_cell_syntax_error_shows_itself_without_our_frames(shell):
    with pytest.raises(RankbookError) as caught:
        check_cell(shell, Typed("x = = 1", 4, 2))
    [shown] = caught.value._render_traceback_()
    assert shown == str(caught.value)
    assert ".py" not in shown


def test_the_syntax_check_runs_no_code(shell):
    check_cell(shell, Typed("import sys\nsys.rankbook_ran = True", 4, 2))
    import sys

    assert not hasattr(sys, "rankbook_ran")
