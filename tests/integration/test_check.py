"""Checked mode: mistakes are ordinary errors before they hang or end a process."""

from __future__ import annotations

import pytest
from world import World

from rankbook.errors import HangError


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


def test_the_check_of_collectives_can_be_turned_off_and_on(world):
    world.session.initialize(check=False)
    code = "torch.distributed.get_debug_level().name"
    assert {r.result_repr for r in world.session.run(code).values()} == {"'OFF'"}
    world.session.initialize(check=True)
    assert {r.result_repr for r in world.session.run(code).values()} == {"'DETAIL'"}
    assert world.works()
