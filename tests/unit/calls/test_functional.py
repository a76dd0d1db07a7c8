"""Functional collectives in one process: each is counted once, however it is called."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.tensor.debug import CommDebugMode

from rankbook import calls

OPS = torch.ops._c10d_functional


def reduced(tensor):
    return functional.wait_tensor(functional.all_reduce(tensor, "sum", dist.group.WORLD))


def by_name():
    OPS.wait_tensor(OPS.all_reduce(torch.ones(2), "sum", dist.group.WORLD.group_name))


def by_keywords():
    name = dist.group.WORLD.group_name
    OPS.wait_tensor.default(OPS.all_reduce.default(torch.ones(2), reduce_op="sum", group_name=name))


def by_using_it():
    assert (functional.all_reduce(torch.ones(2), "sum", dist.group.WORLD) + 1).tolist() == [2, 2]


def in_inference_mode():
    with torch.inference_mode():
        reduced(torch.ones(2))


def in_a_mode():
    with CommDebugMode() as counted:
        reduced(torch.ones(2))
    assert counted.get_total_counts() == 1


def under_a_profiler():
    with torch.profiler.profile() as profile:
        reduced(torch.ones(2))
    assert {"_c10d_functional::all_reduce", "_c10d_functional::wait_tensor"} <= {
        each.key for each in profile.key_averages()
    }


def with_a_gradient():
    if not torch._C._dispatch_has_kernel_for_dispatch_key(
        "_c10d_functional::all_reduce", "Autograd"
    ):
        pytest.skip("this torch gives it no gradient")
    given = torch.ones(2, requires_grad=True)
    (functional.all_reduce(given, "sum", dist.group.WORLD) * 3).sum().backward()
    assert given.grad.tolist() == [3, 3]


def of_several():
    for each in functional.all_reduce_coalesced([torch.ones(2)], "sum", dist.group.WORLD):
        functional.wait_tensor(each)


def without_data():
    reduced(torch.ones(2, device="meta"))
    with FakeTensorMode():
        reduced(torch.ones(2))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: reduced(torch.ones(2)), ["all_reduce"]),
        (by_name, ["all_reduce"]),
        (by_keywords, ["all_reduce"]),
        (by_using_it, ["all_reduce"]),
        (
            lambda: reduced(functional.all_reduce(torch.ones(2), "sum", dist.group.WORLD)),
            ["all_reduce"] * 2,
        ),
        (in_inference_mode, ["all_reduce"]),
        (in_a_mode, ["all_reduce"]),
        (under_a_profiler, ["all_reduce"]),
        (with_a_gradient, ["all_reduce"] * 2),
        (of_several, ["all_reduce_coalesced"]),
        (without_data, []),
    ],
)
def test_a_call_and_its_wait_are_seen_once(ledger, call, expected):
    call()
    told, _ = ledger.since()
    assert [(each.op, each.reduce_op, each.shapes[0]) for each in told] == [
        (op, "sum", (2,)) for op in expected
    ]
    assert all(each.awaited and each.completed and not each.failed for each in told)
    assert {each.place.file for each in told} <= {__file__}


def test_a_group_may_be_given_itself(ledger):
    try:
        OPS.wait_tensor(OPS.all_reduce(torch.ones(2), "sum", dist.group.WORLD))
    except RuntimeError:
        pytest.skip("this torch takes its name alone")
    assert [each.op for each in ledger.since()[0]] == ["all_reduce"]


def test_what_torch_refuses_is_not_counted(ledger):
    for _ in range(2):
        with pytest.raises(RuntimeError, match="summ"):
            functional.all_reduce(torch.ones(2), "summ", dist.group.WORLD)
    reduced(torch.ones(2))
    assert [each.number for each in ledger.since()[0]] == [1]


def test_torch_finds_its_operators_in_its_tables(ledger):
    table = {OPS.all_reduce: 1, OPS.all_reduce.default: 2}
    calls.remove()
    assert (table[OPS.all_reduce], table[OPS.all_reduce.default]) == (1, 2)
    reduced(torch.ones(2))
    assert not ledger.last
