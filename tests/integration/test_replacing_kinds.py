"""What a rank is given after it was replaced is made there as it is on the others."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec

import pytest
from objects import COMMON, FORGET, SAVE, STEP, seen_after
from processes import wait_until

pytestmark = pytest.mark.usefixtures("eager", "nothing_of_before")

STEPS = 5
BEFORE = 2
"""Steps that are taken before the death."""

VICTIM = 2

ADAM = "optimizer = torch.optim.Adam(model.parameters(), lr=0.01)"

MESH = "mesh = init_device_mesh('cpu', (world_size,))\nmodel = make_model()\n"

# As torchtitan shards the last two layers of its models.
TOGETHER = f"""
{MESH}
fully_shard(model[2], mesh=mesh)
fully_shard([model[0], model[5]], mesh=mesh, reshard_after_forward=False)
fully_shard(model, mesh=mesh)
{ADAM}
"""

SET = f"""
{MESH}
for layer in (model[0], model[2], model[5]):
    fully_shard(layer, mesh=mesh)
    layer.set_gradient_divide_factor(2.0)
    layer.set_force_sum_reduction_for_comms(True)  # gloo has no other
model[0].set_modules_to_forward_prefetch([model[2], model[5]])
model[5].set_modules_to_backward_prefetch([model[2], model[0]])
fully_shard(model, mesh=mesh)
if hasattr(model, "set_separate_reduce_scatter_group"):  # torch 2.13
    model.set_separate_reduce_scatter_group()
{ADAM}
"""

REPLICA = f"""
from torch.distributed._composable.replicate_with_fsdp import replicate
{MESH}
for layer in (model[0], model[2], model[5]):
    replicate(layer, mesh=mesh)
replicate(model, mesh=mesh)
{ADAM}
"""

REPLICATES = pytest.mark.skipif(
    find_spec("torch.distributed._composable.replicate_with_fsdp") is None,
    reason="this torch has no replicate() on FSDP2",
)


def undisturbed(session, code):
    make(session, code)
    expected = states(session, range(STEPS))
    session.run(FORGET).raise_for_error()
    return expected


def make(session, code):
    session.run(COMMON + code).raise_for_error()


def kill(session):
    os.kill(session.states()[VICTIM].pid, signal.SIGKILL)
    wait_until(lambda: VICTIM in session.dead_ranks)


def states(session, steps):
    return [seen_after(session, STEP.format(k)) for k in steps]


@pytest.mark.parametrize("code", [TOGETHER, SET], ids=["together", "settings"])
def test_a_filled_rank_shards_and_sets_what_the_others_have(four, tmp_path, code):
    expected = undisturbed(four, code)
    make(four, code)
    states(four, range(BEFORE))
    four.run(SAVE["FSDP2"].format(str(tmp_path))).raise_for_error()
    kill(four)
    filled = four.restart_ranks(from_rank=0, checkpoint=tmp_path)
    assert not filled.left
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def assert_copied(four, code):
    """Replace a rank in mid-training; with a copy of another, all train on as if undisturbed."""
    expected = undisturbed(four, code)
    make(four, code)
    states(four, range(BEFORE))
    kill(four)
    filled = four.restart_ranks(from_rank=0)
    assert not filled.left
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


@REPLICATES
def test_a_module_of_replicate_on_fsdp_is_copied_with_its_values(four):
    assert_copied(four, REPLICA)


@REPLICATES
def test_a_module_of_replicate_on_fsdp_says_what_it_waits_for_and_that_it_has_ended(four):
    make(four, REPLICA)
    states(four, range(1))
    kill(four)
    four.restart_ranks()
    says = four.run("grads(1)", ranks="0,1,3")[0].error.evalue
    assert says == (
        "rank 2 was replaced and has no such module of replicate(): "
        "%dist_restart 2 --from 0 makes it there, or make it again on all ranks"
    )
    four.reset(clean=True)
    says = four.run("grads(1)", ranks="0,1,3")[0].error.evalue
    assert says.startswith("this module of replicate() was made for generation ")
    assert says.endswith("make the model again, replicate(model), and load a checkpoint")


# A DTensor that every rank has all of travels with its values, and so does its optimizer's state.
DISTRIBUTED = """
from torch.distributed.tensor import distribute_module
mesh = init_device_mesh('cpu', (world_size,))
model = distribute_module(make_model(), mesh)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

def grads(k):
    optimizer.zero_grad()
    loss = model(DTensor.from_local(batch(k), mesh, [Shard(0)])).pow(2).sum()
    loss.full_tensor().backward()
"""


def test_the_state_of_an_optimizer_of_replicated_dtensors_is_copied(four):
    assert_copied(four, DISTRIBUTED)


COMPILED = f"""
model = torch.compile(DistributedDataParallel(make_model()), backend="eager")
{ADAM}
"""


@pytest.mark.slow
def test_what_torch_compile_puts_among_the_variables_is_not_copied(four):
    expected = undisturbed(four, COMPILED)
    make(four, COMPILED)
    states(four, range(BEFORE))
    kill(four)
    filled = four.restart_ranks(from_rank=0)
    assert not [name for name in (*filled.left, *filled.names) if name.startswith("__")]
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]
