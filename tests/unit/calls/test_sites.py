"""The line of a call is right where the same line led to the operation before."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.distributed as dist

from rankbook.calls import sites
from rankbook.cellnames import file_of

MANY = """
import torch.distributed as dist

def call_twice(first, second):
    for function in (first, second):
        function()

def directly(x):
    for _ in range(3):
        dist.all_reduce(x)
    dist.all_reduce(x)

def through(function):
    function()

def deep(x, depth):
    if depth:
        deep(x, depth - 1)
    else:
        dist.all_reduce(x)
"""


@pytest.fixture
def script():
    """Functions in a user's file."""
    names: dict[str, object] = {}
    exec(compile(MANY, "/home/user/train.py", "exec"), names)  # noqa: S102
    return names


def seen(ledger):
    """Each call: its line, the torch function called there, and the cell's line that led there."""
    return [
        (call.place.line, call.function, call.called_from and call.called_from.line)
        for call in ledger.since()[0]
    ]


def test_each_function_that_one_instruction_calls_is_named(ledger, script):
    gathered = [None]
    script["call_twice"](
        partial(dist.all_gather_object, gathered, 1), partial(dist.gather_object, 1, gathered)
    )
    names = [function for line, function, _ in seen(ledger) if line == 6]
    assert names[0] == "all_gather_object"
    assert names[-1] == "gather_object"


def test_a_users_function_between_is_the_line(ledger, script):
    x = torch.ones(1)
    group = dist.group.WORLD
    names: dict[str, object] = {"group": group, "x": x}
    exec(compile("def own(): group.allreduce([x]).wait()", "/home/user/own.py", "exec"), names)  # noqa: S102
    calls = [group.allreduce, lambda tensors: dist.all_reduce(*tensors)]
    for _ in range(2):
        script["through"](names["own"])
        for call in calls:
            script["through"](partial(call, [x]))
    files = [call.place.file.rpartition("/")[2] for call in ledger.since()[0]]
    assert files == ["own.py", "train.py", "test_sites.py"] * 2


def test_lines_and_depths_are_told_apart(ledger, script):
    x = torch.ones(1)
    for _ in range(2):
        script["directly"](x)
        for depth in (0, 3, 1, 3):
            script["deep"](x, depth)
    lines = [line for line, *_ in seen(ledger)]
    assert lines == ([10] * 3 + [11] + [20] * 4) * 2


def test_the_cell_that_led_to_a_line_is_that_of_this_call(ledger, script):
    for cell in (3, 4, 3):
        code = compile("\n" * cell + "directly(x)", file_of(f"In [{cell}]"), "exec")
        exec(code, {"directly": script["directly"], "x": torch.ones(1)})  # noqa: S102
    led = [cell for *_, cell in seen(ledger)]
    assert led == [cell + 1 for cell in (3, 4, 3) for _ in range(4)]


def test_lines_are_found_again_where_few_are_remembered():
    few = sites.Sites(most=2)

    def issue():
        return few.of_caller("all_reduce", "sum").spot.place.line

    def call():
        first = [issue() for _ in range(2)]
        second = issue()
        return [*first, second]

    lines = call()
    assert lines == [lines[0], lines[0], lines[0] + 1]
    assert call() == call() == lines


def test_code_that_takes_the_place_of_other_code_is_not_taken_for_it(ledger):
    """Python gives the id of code that has gone to other code."""
    x = torch.ones(1)
    for line in range(1, 40):
        code = compile("\n" * line + "dist.all_reduce(x)", "/home/user/new.py", "exec")
        exec(code, {"dist": dist, "x": x})  # noqa: S102
    assert [line for line, *_ in seen(ledger)] == list(range(2, 41))
