"""When a semicolon hides the value of a cell; the oldest IPython has no function for it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from IPython.core.displayhook import DisplayHook
from IPython.core.inputtransformer2 import TransformerManager

from rankbook.engine.cells.capture import ends_in_semicolon

PYTHON = {
    "x": False,
    "x;": True,
    "x ; ": True,
    "x;\n\n": True,
    "x;  # said": True,
    "x;\n# said\n\n": True,
    "x  # not this one;": False,
    "';'": False,
    "x; y": False,
    "x; y;": True,
    "if x:\n    y;": False,  # which shows no value in any case
    "if x:\n    y": False,
    "f'{x};'": False,
    '"""\n;\n"""': False,
    "x = [\n1,\n];": True,
    "": False,
    "# nothing": False,
    ";": True,
    "'é' ; ": True,
}

NO_PYTHON = {
    "!echo :-(\nx": False,
    "!echo :-(\nx;": True,
    "!echo it's\nx": False,
    "!echo it's\nx;": True,
    "%time x": False,
    "x = %timeit -o y;": False,
    "(": False,
    "(;": True,
    "'''": False,
}


@pytest.mark.parametrize(("cell", "hidden"), PYTHON.items())
def test_a_cell_ends_in_a_semicolon_if_its_last_token_is_one(cell, hidden):
    assert ends_in_semicolon(cell) is hidden


@pytest.mark.skipif(
    not hasattr(DisplayHook, "semicolon_at_end_of_expression"), reason="IPython before 8.10"
)
@pytest.mark.parametrize("cell", PYTHON)
def test_the_rule_of_the_semicolon_is_that_of_ipython(cell):
    try:
        theirs = DisplayHook.semicolon_at_end_of_expression(cell)
    except Exception:  # noqa: BLE001 - that it raises is why it is not asked
        pytest.skip("IPython raises")
    assert ends_in_semicolon(cell) is bool(theirs)


@pytest.mark.parametrize(("cell", "hidden"), NO_PYTHON.items())
def test_the_rule_of_the_semicolon_holds_for_a_cell_that_is_not_python(cell, hidden):
    with suppress(SyntaxError):
        cell = TransformerManager().transform_cell(cell)
    assert ends_in_semicolon(cell) is hidden
