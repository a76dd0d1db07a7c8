"""Hints for mistakes that are made in any exercise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rankbook.models.calls import Traffic
from rankbook.teach.trying import Tried
from rankbook.teach.usual import (
    ALONE,
    DOTS,
    ENDLESS,
    NO_TENSOR,
    RETURNS_SENDER,
    SAME,
    TO_ONE,
    YIELDS,
    usual_hint,
)

NONE = Tried({0: {"finding": "other", "got": "None", "want": "4"}})
OTHER = Tried({0: {"finding": "other", "got": "3", "want": "4"}})
YIELDED = Tried({0: {"finding": "other", "got": "<generator object f>", "want": "4"}})
LISTED = Tried({0: {"finding": "other", "got": "a list [3], which is no tensor", "want": "[4]"}})
LEFT = Tried({0: {"finding": "other", "got": "3", "want": "4", "notes": {"unwaited": 1}}})
ON_ONE = Tried({r: {"finding": "other" if r else "right", "got": "3"} for r in range(4)})
HANG = Tried({}, hang="missing_rank", advice="Often it is a branch.")
RAISED = Tried({}, raised={0: ("TypeError", "TypeError: unsupported: 'NoneType' and 'int'")})


def raised(message):
    return Tried({}, raised={0: ("TypeError", f"TypeError: {message}")})


def hint_for(code, tried, *, is_here=False, missed=()):
    return usual_hint("f", code, tried, is_here=is_here, missed=missed)


@pytest.mark.parametrize(
    ("body", "tried", "begins"),
    [
        ("    ...\n", NONE, DOTS),
        ("    x = x + 1\n", NONE, "The function ends without a return."),
        ("    return dist.all_reduce(x)\n", NONE, "Collectives of torch return None"),
        ("    y = dist.broadcast(x, 0)\n    return y / 2\n", RAISED, "Collectives of torch"),
        ("    dist.all_reduce(x, async_op=True)\n    return x\n", OTHER, "Nothing waits"),
        ("    h = dist.isend(x, 1)\n    return x\n", OTHER, "Nothing waits"),
        ("    yield x\n", YIELDED, YIELDS),
        ("    return x.tolist()\n", LISTED, NO_TENSOR),
        ("    dist.barrier()\n", HANG, "Often it is a branch."),
        ("    dist.reduce(x, dst=0)\n    return x\n", ON_ONE, TO_ONE),
        ("    dist.gather(x, parts)\n    return torch.cat(parts)\n", ON_ONE, TO_ONE),
        ("    parts = [x] * world_size\n    dist.all_gather(parts, x)\n", OTHER, SAME),
        ("    pass\n", raised("f() takes 0 positional arguments but 1 was given"), "Keep the arg"),
        ("    pass\n", raised("allgather: invalid output tensor list at index 0"), "The list"),
        ("    pass\n", raised("Expected parameter `tensor` of type torch.Tensor"), "A collective"),
        ("    pass\n", raised("Expected parameter `input_list` of type List"), "The collective"),
        ("    pass\n", raised("Tensors must have same number of dimensions: got 1"), "Tensors of"),
        ("    pass\n", raised("'NoneType' object has no attribute 'wait'"), "A call that blocks"),
        ("    pass\n", raised("Must specify global_rank or group_rank"), "The call lacks a rank"),
        ("    pass\n", raised("``scatter_list`` must be specified on"), "scatter deals out"),
        (
            "    pass\n",
            raised("send to rank 4: there is no such rank, this"),
            "That rank is worked",
        ),
        (
            "    pass\n",
            raised("Pair is not connected ([127.0.0.1]:4)"),
            "A rank cannot send to its",
        ),
        ("    x = dist.recv(x, src=0)\n    return x\n", OTHER, RETURNS_SENDER),
        ("    n += dist.recv(x, 0)\n    return n\n", raised("type torch.Tensor"), RETURNS_SENDER),
        ("    while True:\n        pass\n", Tried({}, late={0: "In [3] line 2"}), ENDLESS),
        ("    h = dist.irecv(x)\n    k.wait()\n    return x\n", LEFT, "Nothing waits"),
        ("    pass\n", raised("(): incompatible function arguments."), "torch was given"),
        ("    pass\n", raised("Optional kwarg `mesh_dim` needs to be"), "A mesh of several dim"),
        ("    pass\n", raised("Mesh dimension 'column' does not exist."), "The mesh has no dim"),
        ("    pass\n", raised("'int' object has no attribute 'allreduce'"), "group= takes one"),
        (
            "    pass\n",
            raised("unhashable type: 'list' (In [4] line 2: dist.barrier(group=[0, 1]))"),
            "group= takes one",
        ),
        ("    pass\n", raised("Global rank 0 is not part of group <object>"), "src= and dst="),
        ("    pass\n", raised("a leaf Variable that requires grad is"), "torch does not let"),
        ("    pass\n", raised("cannot access local variable 'mine' where"), "On that rank"),
        ("    pass\n", raised("cannot unpack non-iterable Work object"), "Two things are taken"),
        ("    pass\n", raised("Check failed: outputs[0].sizes().vec() == inputs"), "Each piece"),
        ("    pass\n", raised("allgather: invalid tensor size at index 0 (expected"), "Each piece"),
        ("    pass\n", raised("invalid input tensor list size, must be world"), "Each piece"),
        ("    pass\n", raised("reduce_scatter() missing 1 required positional"), "The call takes"),
        ("    pass\n", raised("'NoneType' object has no attribute 'append'"), "append and extend"),
        ("    pass\n", raised("'NoneType' object has no attribute 'copy_'"), "That is None so far"),
        ("    pass\n", raised("too many values to unpack (expected 4)"), "The function is to"),
        ("    pass\n", raised("'torch.ProcessGroup' is not iterable"), "A process group is no"),
    ],
)
def test_a_usual_mistake_gets_its_hint(body, tried, begins):
    assert hint_for(f"def f(x):\n{body}", tried).startswith(begins)


PART = Tried({0: {"finding": "other", "got": "None as the gradient of x", "want": "4"}})


@pytest.mark.parametrize(
    ("forward", "backward", "begins"),
    [
        ("return x", "pass", "A backward() ends without a return"),
        ("return x", "return None", "A backward() ends without a return"),
        ("pass", "return x", "A forward() ends without a return"),
        ("return x", "dist.all_reduce(x); return x", ""),
        ("return x", "return dist.all_reduce(x)", "Collectives of torch return None"),
    ],
)
def test_a_method_that_returns_nothing_is_named(forward, backward, begins):
    code = "class f(Function):\n"
    for name, body in (("forward", forward), ("backward", backward)):
        code += f"    @staticmethod\n    def {name}(ctx, x):\n        {body}\n"
    said = hint_for(code, PART)
    assert said.startswith(begins)
    assert bool(said) == bool(begins)


@pytest.mark.parametrize(
    ("call", "begins"),
    [
        ("dist.broadcast(x, 0)", "dist.broadcast gives every rank"),
        ("dist.gather(x, dst=0)", "dist.gather collects"),
        ("dist.all_reduce(x, dist.ReduceOp.MAX)", "ReduceOp.MAX keeps the largest"),
        ("dist.all_reduce(x, op=dist.ReduceOp.AVG)", ""),
        ("dist.all_reduce(x)", ""),
    ],
)
@pytest.mark.parametrize("tried", [OTHER, raised("sizes differ")])
def test_a_call_that_right_answers_do_not_need_is_explained(call, begins, tried):
    code = f"def f(x):\n    {call}\n    return x\n"
    said = usual_hint("f", code, tried, is_here=False, tools=("all_reduce", "AVG"))
    assert said.startswith(begins)
    assert bool(said) == bool(begins)
    assert hint_for(code, tried) == ""


@pytest.mark.parametrize(
    ("body", "tried"),
    [
        ("    return x + 1\n", OTHER),
        ("    parts = [None] * world_size\n    dist.all_gather_object(parts, x)\n", OTHER),
        ("    return lookup(x)\n", NONE),
        ("    dist.recv(x, src=0)\n    return x\n", OTHER),
        ("    h = dist.isend(x, 1)\n    h.wait()\n    return x\n", OTHER),
        ("    h = dist.isend(x, 1)\n    return x.y\n", raised("no attribute 'y'")),
    ],
)
def test_where_no_usual_mistake_is_seen_there_is_no_hint(body, tried):
    assert hint_for(f"def f(x):\n{body}", tried) == ""


def test_who_tells_nobody_anything_is_told_so_where_ranks_are_to_communicate():
    alone = replace(OTHER, traffic={0: Traffic(0, 0)})
    code = "def f(x):\n    return sum(x for rank in range(4))\n"
    assert usual_hint("f", code, alone, is_here=False, communicates=True) == ALONE
    assert usual_hint("f", code, alone, is_here=False) == ""
    called = replace(OTHER, traffic={0: Traffic(1, 4)})
    assert usual_hint("f", code, called, is_here=False, communicates=True) == ""


def test_what_was_defined_in_the_notebook_alone_is_reported_before_all_else():
    assert hint_for("def f(x):\n    ...\n", NONE, is_here=True).endswith("with %%dist.")


def test_what_some_ranks_were_not_given_is_reported():
    hint = hint_for("def f(x):\n    return x\n", OTHER, missed=(1, 2, 3))
    assert (
        hint == "The last cell with f was not given to ranks 1-3: run it on all ranks, with %%dist."
    )


def test_ranks_that_an_answer_is_tried_on_are_not_said_to_have_uneven_shards():
    hang = Tried({}, hang="missing_rank", advice="Often it is uneven shards: rank 1 had fewer.")
    assert usual_hint("f", "", hang, is_here=False).startswith("Every rank of the group must call")
