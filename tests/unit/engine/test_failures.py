"""Exceptions of cells on a rank, where IPython lacks what it shows them with."""

from __future__ import annotations

import pytest

from rankbook.engine.cells.failures import Failures


class Shell:
    """A shell of an IPython that shows errors in a way that nobody knows yet."""

    def __init__(self, *names):
        for name in names:
            setattr(self, name, None)

    def showtraceback(self, *_args, **_options):
        raise AssertionError("IPython would tell nobody")


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        (["InteractiveTB"], "_showtraceback"),
        (["_showtraceback"], "InteractiveTB"),
        ([], "_showtraceback and InteractiveTB"),
    ],
)
def test_without_a_private_name_errors_are_shown_as_python_prints_them(there, missing):
    shell = Shell(*there)
    failures = Failures(shell)
    [lack] = failures.lacking()
    assert lack.endswith(f"this IPython has no {missing}.")
    failures.begin()
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        shell.showtraceback()
    failure = failures.end()
    assert (failure.ename, failure.evalue) == ("ZeroDivisionError", "division by zero")
    assert failure.traceback[-1] == "ZeroDivisionError: division by zero"
