"""The history of a rank's cells, by the numbers of the notebook."""

from __future__ import annotations

import pytest

from rankbook.engine.cells.inputs import Inputs


@pytest.fixture
def inputs(shell):
    inputs = Inputs(shell)
    for number, text in ((2, "a = 1"), (3, "b = 1"), (5, "!echo")):
        inputs.begin(number, f"\n\n{text}\n", f"{text}\n")
    return inputs


def test_numbers_that_ran_elsewhere_are_empty_and_not_listed(shell, inputs):
    assert shell.user_ns["In"] == ["", "", "a = 1", "b = 1", "", "!echo"]
    assert shell.user_ns["In"] is shell.user_ns["_ih"]
    assert [line for _, line, _ in inputs.get_range(0)] == [2, 3, 5]
    assert list(inputs.get_range(0, 3, 5, output=True)) == [(0, 3, ("b = 1", None))]
    assert [text for *_, text in inputs.get_range_by_str("2-4 5")] == ["a = 1", "b = 1", "!echo"]


def test_the_latest_before_the_running_one_are_found(shell, inputs):
    ns = shell.user_ns
    assert (ns["_i"], ns["_ii"], ns["_iii"], ns["_i5"]) == ("b = 1", "a = 1", "", "!echo")
    assert [line for _, line, _ in inputs.get_tail(1)] == [3]
    assert [line for _, line, _ in inputs.get_tail(2, include_latest=True)] == [3, 5]
    assert [line for _, line, _ in inputs.get_tail(9)] == [2, 3]
    assert list(inputs.get_tail(0)) == []
    assert {"_i", "_ii", "_iii", "_i5"} <= set(shell.user_ns_hidden)


def test_texts_are_searched(inputs):
    inputs.begin(6, "a = 1", "a = 1")
    assert [line for _, line, _ in inputs.search("* = 1")] == [2, 3, 6]
    assert [line for _, line, _ in inputs.search("* = 1", n=2)] == [3, 6]
    assert [line for _, line, _ in inputs.search("* = 1", unique=True)] == [6, 3]
    assert list(inputs.search("* = 1", n=0)) == []


def test_pieces_of_one_cell_are_one_text(shell, inputs):
    for text in ("c = 1", "c = 1", "d = 1", "d = 1"):
        inputs.begin(7, text, text)
    assert shell.user_ns["In"][7] == shell.user_ns["_i7"] == "c = 1\nd = 1"
    assert shell.user_ns["_i"] == "!echo"


def test_a_number_that_comes_again_is_replaced_and_the_latest(shell, inputs):
    inputs.begin(2, "new", "new")
    assert shell.user_ns["In"] == ["", "", "new", "b = 1", "", "!echo"]
    assert (shell.user_ns["_i"], shell.user_ns["_ii"]) == ("!echo", "b = 1")


@pytest.mark.parametrize("number", [0, -1, 10**9])
def test_what_is_no_number_of_a_notebook_is_not_kept(shell, inputs, number):
    inputs.begin(number, "x", "x")
    assert len(shell.user_ns["In"]) == 6
    assert shell.user_ns["_i"] == "b = 1"


def test_a_reset_below_a_lower_number_cuts_off_what_is_above(shell, inputs):
    shell.execution_count = 2  # 1 where IPython counts a cell when it has run
    inputs.begin(1, "%reset -f in", "%reset -f in")
    shell.run_line_magic("reset", "-f in")
    assert len(shell.user_ns["In"]) <= 3
    assert list(inputs.get_tail(5)) == list(inputs.search("*")) == []
    inputs.begin(2, "x", "x")
    inputs.begin(3, "y", "y")
    assert (shell.user_ns["_i"], shell.user_ns["_ii"]) == ("x", "")
    assert [line for _, line, _ in inputs.get_tail(5)] == [2]


def test_a_reset_forgets_all(shell, inputs):
    shell.run_line_magic("reset", "-f in")
    inputs.begin(6, "x", "x")
    assert shell.user_ns["_i"] == ""
    assert shell.user_ns["In"][6] == "x"
    inputs.reset(new_session=True)
    assert inputs.input_hist_raw == [""]
    inputs.begin(1, "y", "y")
    assert (shell.user_ns["_i"], shell.user_ns["In"]) == ("", ["", "y"])
