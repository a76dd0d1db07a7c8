"""Training with a gradient scaler: its step goes on after an event, or the ranks are told."""

from __future__ import annotations

import pytest
from objects import COMMON, FORGET, seen_after

pytestmark = pytest.mark.usefixtures("nothing_of_before")

SCALED = """
import copy
model = DistributedDataParallel(make_model())
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
def clip_gradients():
    return torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
def step(k):
    optimizer.zero_grad()
    scaler.scale(model(batch(k)).pow(2).sum()).backward()
    scaler.unscale_(optimizer)
    pause("unscaled")
    dist.all_reduce(clip_gradients(), op=dist.ReduceOp.MAX)
    scaler.step(optimizer)
    pause("stepped")
    scaler.update()
def state():
    return mark(model.parameters()), scaler.state_dict()
"""


def states(session, steps):
    return [seen_after(session, f"step({k}); seen = state()") for k in steps]


@pytest.fixture
def expected(four, nothing_of_before):
    four.run(COMMON + SCALED).raise_for_error()
    found = states(four, range(4))
    four.run(FORGET).raise_for_error()
    four.run(COMMON + SCALED).raise_for_error()
    states(four, range(2))
    return found


def test_a_step_that_was_cut_after_unscaling_is_taken_again(four, expected):
    result = four.run("if rank == 1: halt['unscaled'] = 'raise'\nstep(2)")
    assert "waited for it in all_reduce" in result.diagnosis.summary
    assert "DDP modules made before go on" in result.note
    assert states(four, [2, 3]) == expected[2:]


def test_a_step_can_be_ended_with_the_gradients_that_were_unscaled(four, expected):
    assert not four.run("if rank == 1: halt['unscaled'] = 'raise'\nstep(2)").ok
    end = "if rank == 1: clip_gradients()\nscaler.step(optimizer); scaler.update()"
    four.run(end).raise_for_error()
    assert seen_after(four, "seen = state()") == expected[2]
    assert states(four, [3]) == expected[3:]


def test_a_rank_that_was_killed_after_unscaling_gets_the_scaler_too(four, expected):
    assert not four.run("if rank == 1: halt['unscaled'] = 'die'\nstep(2)").ok
    four.restart_ranks([1], from_rank=0)
    assert states(four, [2, 3]) == expected[2:]


@pytest.mark.usefixtures("expected")
def test_a_scaler_that_was_updated_on_some_ranks_only_is_reported(four):
    result = four.run("if rank == 3: halt['stepped'] = 'raise'\nstep(2)\ndist.barrier()")
    assert (
        "Replicas have diverged: GradScaler has taken 3 steps on ranks 0-2, 2 on rank 3, since the "
        "group was made" in result.note
    )
