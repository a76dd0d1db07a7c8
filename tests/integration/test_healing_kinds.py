"""More kinds of objects that go on after a step that was cut, with the same results."""

from __future__ import annotations

import pytest
import torch
from objects import COMMON, FORGET, STEP, seen_after

pytestmark = pytest.mark.usefixtures("eager", "nothing_of_before")

STEPS = 5
BEFORE = 2
"""Steps that are taken before the event."""

# Before, torch's pipelines abort on gloo by themselves.
PIPELINES = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11),
    reason="pipelines of torch 2.9 abort on gloo",
)

PIPELINE_OF_DDP = """
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
mesh = init_device_mesh('cpu', (2, 2), mesh_dim_names=('pp', 'dp'))
pp, dp = mesh.get_local_rank('pp'), mesh.get_local_rank('dp')
torch.manual_seed(7 + pp)
part = nn.Sequential(nn.Linear(24, 24), Pause(), nn.Tanh())
model = DistributedDataParallel(part, process_group=mesh.get_group('dp'))
stage = PipelineStage(model, pp, 2, device, group=mesh.get_group('pp'))
schedule = Schedule1F1B(stage, 4, loss_fn=nn.functional.mse_loss)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

def grads(k):
    optimizer.zero_grad()
    torch.manual_seed(k * 10 + dp)
    x, y = torch.randn(8, 24), torch.randn(8, 24)
    pause("between")
    schedule.step(*([x] if pp == 0 else []), **({'target': y, 'losses': []} if pp else {}))
"""


def states(session, steps):
    return [seen_after(session, STEP.format(k)) for k in steps]


def cut(place):
    def event(session):
        session.run(f"if rank == 2: halt[{place!r}] = 'raise'").raise_for_error()
        result = session.run(f"grads({BEFORE})")
        assert not result.ok
        session.run("halt.clear()").raise_for_error()

    return event


@PIPELINES
@pytest.mark.parametrize(
    "event",
    [cut("between"), cut("forward"), cut("backward"), lambda session: session.reset()],
    ids=["between", "forward", "backward", "reset"],
)
@pytest.mark.sample(every=2)
def test_a_pipeline_of_ddp_modules_adds_gradients_in_the_same_order(four, event):
    four.run(COMMON + PIPELINE_OF_DDP).raise_for_error()
    expected = states(four, range(STEPS))
    four.run(FORGET).raise_for_error()
    four.run(COMMON + PIPELINE_OF_DDP).raise_for_error()
    states(four, range(BEFORE))
    generation = four.generation
    event(four)
    assert four.generation == generation + 1
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


@PIPELINES
def test_stages_that_were_cut_while_they_told_their_shapes_tell_them_again(four):
    four.run(COMMON + PIPELINE_OF_DDP).raise_for_error()
    expected = states(four, range(2))
    four.run(FORGET).raise_for_error()
    four.run(COMMON + PIPELINE_OF_DDP).raise_for_error()
    assert not four.run("if rank != 2: grads(0)").ok
    assert states(four, range(2)) == expected


ACCUMULATING = """
model = DistributedDataParallel(make_model())
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

def grads(k):
    optimizer.zero_grad()
    with model.no_sync():
        model(batch(k)).pow(2).sum().backward()
    model(batch(k + 50)).pow(2).sum().backward()
"""


@pytest.mark.parametrize("before", [1, 2])
def test_a_step_that_begins_in_no_sync_after_a_reset_adds_in_the_same_order(four, before):
    four.run(COMMON + ACCUMULATING).raise_for_error()
    expected = states(four, range(STEPS))
    four.run(FORGET).raise_for_error()
    four.run(COMMON + ACCUMULATING).raise_for_error()
    states(four, range(before))
    four.reset()
    assert states(four, range(before, STEPS)) == expected[before:]
