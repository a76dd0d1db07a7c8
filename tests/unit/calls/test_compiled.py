"""The line of a call in compiled code is that of its source, where the compiler has kept it."""

from __future__ import annotations

import linecache
import sys

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from packaging.version import Version

from rankbook.calls import compiled, places
from rankbook.calls.compiled import scope
from rankbook.cellnames import file_of

CELL = """
def step(x):
    y = x + 1
    y = helper(y)
    return functional.all_reduce(y, "max", dist.group.WORLD) + 1

def helper(x):
    return functional.all_reduce(x * 2, "sum", dist.group.WORLD)

def broken(x):
    y = functional.all_reduce(x, "sum", dist.group.WORLD) + 1
    torch._dynamo.graph_break()
    y = y + 1
    return functional.all_reduce(y, "max", dist.group.WORLD) + 1
"""


@pytest.fixture(autouse=True)
def _compiler():
    yield
    torch._dynamo.reset()


@pytest.fixture
def cell():
    """What a cell has defined."""
    name = file_of("In [3]")
    linecache.cache[name] = len(CELL), None, CELL.splitlines(keepends=True), name
    defined = {"torch": torch, "dist": dist, "functional": functional}
    exec(compile(CELL, name, "exec"), defined)  # noqa: S102
    yield defined
    del linecache.cache[name]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize(
    ("function", "lines"),
    [
        ("step", ["In [3] line 8", "In [3] line 5"]),
        ("broken", ["In [3] line 11", "In [3] line 14"]),
    ],
)
def test_a_call_of_compiled_code_has_its_line(ledger, cell, backend, function, lines):
    if backend == "aot_eager" and Version(torch.__version__) < Version("2.10"):
        pytest.skip("torch 2.9 generates no code for it, but runs it node by node")
    run = torch.compile(cell[function], backend=backend)
    for _ in range(2):  # traced, and then run
        before = ledger.last
        assert run(torch.ones(2)).tolist() == cell[function](torch.ones(2)).tolist()
        known = [str(call.place) for call in ledger.since(before)[0]]
        assert known == [*lines, *lines], "the compiled ones, then the others"


def test_a_position_in_compiled_code_is_that_of_its_source(ledger, cell, monkeypatch):
    """Also where another line of the function runs it, as Dynamo's frame says."""
    run = torch.compile(cell["step"], backend="eager")
    run(torch.ones(2))
    found = []

    def look(*args):
        lines = places.lines_above(sys._getframe())
        found.append([(code.co_name, line) for code, line in lines if "In [3]" in code.co_filename])

    monkeypatch.setattr(ledger, "gave", look)
    run(torch.ones(2))
    assert found == [[("helper", 8), ("step", 4)], [("step", 5)]]


def test_code_of_no_graph_has_no_lines():
    assert compiled.lines(sys._getframe()) == ()


@pytest.mark.parametrize(
    ("name", "said"), [("torch_dynamo_resume_in_train_step_at_12", "train_step"), ("f", "f")]
)
def test_the_rest_of_a_function_has_its_name(name, said):
    assert scope(name) == said
