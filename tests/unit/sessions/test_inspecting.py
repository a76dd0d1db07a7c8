"""What a name stands for on several ranks, and the table of their variables."""

from __future__ import annotations

import pytest

from rankbook.display import inspected, variables
from rankbook.models.inspecting import Inspected, Variable
from rankbook.sessions.members import inspecting


def test_equal_inspections_of_all_ranks_are_shown_once():
    found = {r: Inspected(True, {"Type": "int", "Value": str(r // 2)}) for r in range(4)}  # noqa: FBT003
    assert inspected.to_text("x", found).splitlines() == [
        *("[0-3] x", "Type: int", "Value:", "[0-1] 0", "[2-3] 1")
    ]


def test_a_name_that_only_some_ranks_have_says_which():
    found = {0: Inspected(True, {"Type": "int"}), 1: Inspected(False)}  # noqa: FBT003
    assert inspected.to_text("x", found).splitlines() == [
        *("[0-1] x", "'x' is not there on rank 1.", "Type: int")
    ]


@pytest.mark.parametrize("second", ["0x7f01", "0x7f02"])
def test_where_an_object_lies_in_each_process_is_left_out(second):
    found = {
        rank: Inspected(True, {"Value": f"<function greet at {at}>"})  # noqa: FBT003
        for rank, at in enumerate(("0x7f01", second))
    }
    assert inspected.to_text("greet", found).splitlines()[1] == "Value: <function greet>"
    assert "at 0x7f01" in inspected.to_text("greet", {0: found[0]})


def test_the_table_says_who_has_the_same_value():
    def x(digest):
        return Variable("x", "Tensor", "2x3", "float32", "cpu", 24, digest)

    told = {0: [x("a")], 1: [x("a")], 2: [x("b")], 3: [Variable("only", "dict", "2 items")]}
    lines = variables.to_text(told).splitlines()
    assert lines[0] == "2 variables on ranks 0-3"
    assert lines[2].split() == ["only", "3", "dict", "2", "items"]
    assert lines[3].split() == [
        "x",
        "0-2",
        "Tensor",
        "2x3",
        "float32",
        "cpu",
        "24",
        "B",
        "0-1",
        "|",
        "2",
    ]
    assert "no answer from rank 4" in repr(variables.Variables(told, range(5)))
    assert "<td" in variables.to_html(told)


def test_a_shape_that_differs_has_a_line_of_its_own():
    told = {0: [Variable("x", "Tensor", "2")], 1: [Variable("x", "Tensor", "3")]}
    assert len(variables.to_text(told).splitlines()) == 4


def test_values_of_a_name_are_escaped_in_html():
    assert "<b>" not in variables.to_html({0: [Variable("<b>", "dict")]})


def test_a_name_is_completed_by_the_first_rank_that_answers(formed, pool):
    pool[0].answers = False
    pool[1].names["model"] = 1
    found = inspecting.complete(formed.members.living(), "mod", 3)
    assert "model" in [one.text for one in found.found] or found.found == ()
    assert pool.awaited == set()


def test_where_no_rank_answers_nothing_is_found(formed, pool):
    for number in range(4):
        pool[number].answers = False
    assert inspecting.complete(formed.members.living(), "mod", 3).found == ()
    assert inspecting.inspect(formed.members.living(), "mod") == {}
    assert pool.awaited == set()
