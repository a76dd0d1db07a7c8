"""Checked mode: mistakes are ordinary errors before they hang or end a process."""

from __future__ import annotations

from textwrap import indent

import pytest
from processes import waits_for
from world import World

from rankbook.errors import HangError

SOON = 20.0


@pytest.fixture(scope="module")
def world():
    world = World(3, seed=3)
    world.session.initialize(check=True)
    yield world
    world.close()


@pytest.mark.parametrize(
    ("code", "kind", "ranks", "says"),
    [
        ("dist.all_reduce(torch.ones(4 + rank))", "mismatch", (0, 1, 2), "with 6 elements"),
        ("dist.all_reduce(torch.ones(5 if rank == 1 else 4))", "mismatch", (1,), "with 5 elements"),
        (
            "dist.all_reduce(torch.ones(2, dtype=torch.float64 if rank else torch.float32))",
            "mismatch",
            (0,),
            "float64",
        ),
        (
            "dist.barrier() if rank == 2 else dist.all_reduce(torch.ones(2))",
            "mismatch",
            (2,),
            "barrier",
        ),
        (
            "dist.all_gather([torch.ones(3)] * 3, torch.ones(2 if rank == 2 else 3))",
            "mismatch",
            (2,),
            "2 elements",
        ),
        (
            "dist.reduce(torch.ones(2), 0, dist.ReduceOp.MAX if rank == 1 else dist.ReduceOp.SUM)",
            "mismatch",
            (1,),
            "ReduceOp.MAX",
        ),
        ("dist.broadcast(torch.ones(2), src=min(rank, 1))", "mismatch", (0,), "from 0"),
        ("if rank != 1: dist.all_reduce(torch.ones(2))", "missing_rank", (1,), "all_reduce"),
    ],
)
def test_a_mismatched_collective_raises_on_every_rank(world, code, kind, ranks, says):
    result = world.session.run(code)
    assert result.diagnosis is not None, result
    assert (result.diagnosis.kind, result.diagnosis.ranks) == (kind, ranks)
    assert says in result.diagnosis.summary + str(result.diagnosis.per_rank)
    raised = [rank for rank in result if not result[rank].ok]
    assert raised == [rank for rank in range(3) if kind == "mismatch" or rank not in ranks]
    with pytest.raises(HangError):
        result.raise_for_error()
    assert world.works()
    assert world.is_as_it_was()


HEALTHY = {
    "send and recv before a barrier": (
        "if rank == 0: dist.send(torch.ones(2), 1)\n"
        "elif rank == 1: dist.recv(torch.ones(2), 0)\n"
        "dist.barrier()"
    ),
    "a non-blocking call beside blocking ones": (
        "y = torch.ones(2)\n"
        "work = dist.all_reduce(y, async_op=rank == 1)\n"
        "if rank == 1: work.wait()\n"
        "assert y[0] == 3"
    ),
    "a subgroup, then all": (
        "pair = dist.new_group([0, 1])\n"
        "if rank < 2: dist.all_reduce(torch.ones(2), group=pair)\n"
        "dist.barrier()"
    ),
    "objects": "out = [None] * 3\ndist.all_gather_object(out, 'x' * 100 * rank)",
    "uneven all_to_all": (
        "sizes = [1, 2, 3]\n"
        "out = torch.empty(3 * sizes[rank])\n"
        "dist.all_to_all_single(out, torch.ones(6), [sizes[rank]] * 3, sizes)"
    ),
    "DDP": (
        "model_ = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 2))\n"
        "for _ in range(3): model_(torch.ones(4)).sum().backward()"
    ),
    "a group made by hand": (
        "for i in range(3): dist.all_reduce(torch.ones(2))\n"
        "dist.destroy_process_group()\n"
        "dist.init_process_group('gloo')\n"
        "dist.barrier()"
    ),
    "many": "for i in range(1000): dist.all_reduce(torch.ones(2))",
}


@pytest.mark.parametrize("code", HEALTHY.values(), ids=HEALTHY)
def test_a_correct_program_is_left_alone(world, code):
    result = world.session.run(code)
    assert result.ok, result
    assert result.diagnosis is None
    assert world.works()


def test_a_non_blocking_call_waits_for_nobody(world, tmp_path):
    sign = tmp_path / "sign"
    result = world.session.run(
        "from pathlib import Path\n"
        f"if rank == 0:\n{indent(waits_for(sign), '    ')}"
        "work = dist.all_reduce(torch.ones(2), async_op=True)\n"
        f"Path({str(sign)!r}).touch()\n"
        "work.wait()",
        timeout=SOON,
    )
    assert result.ok, result


def test_the_check_of_collectives_can_be_turned_off_and_on(world):
    code = "dist.all_reduce(torch.ones(2), dist.ReduceOp.MAX if rank else dist.ReduceOp.SUM)"
    world.session.initialize(check=False)
    assert world.session.run(code).ok
    world.session.initialize(check=True)
    assert not world.session.run(code).ok
    assert world.works()
