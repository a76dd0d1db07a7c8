"""A rank that died is replaced and filled from another: the next steps are as if it had lived."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from objects import COMMON, FORGET, LOAD, OBJECTS, STEP, seen_after
from objects import SAVE as SAVED
from processes import wait_until

from rankbook.errors import InputError, SessionError

pytestmark = pytest.mark.usefixtures("eager", "nothing_of_before")

STEPS = 6
BEFORE = 3
"""Steps that are taken before the death."""

VICTIM = 2

SAVE = """
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict
of_model, of_optimizer = get_state_dict(model, optimizer)
dcp.save({{'model': of_model, 'optimizer': of_optimizer}}, checkpoint_id={0!r})
del of_model, of_optimizer
"""

SAVE_ZERO = """
import torch.distributed.checkpoint as dcp
optimizer.consolidate_state_dict(0)
both = [optimizer.state_dict() if rank == 0 else None]
dist.broadcast_object_list(both)
dcp.save({{'model': model.state_dict(), 'optimizer': both.pop()}}, checkpoint_id={0!r})
"""


def make(session, name):
    session.run(COMMON + OBJECTS[name]).raise_for_error()


def states(session, steps):
    return [seen_after(session, STEP.format(k)) for k in steps]


def assert_close(taken, expected):
    def numbers(states):
        return [float.fromhex(x) for its in states for v in its.values() for m in v for x in m]

    assert numbers(taken) == pytest.approx(numbers(expected), rel=1e-4, abs=1e-5)


def kill(session, *victims):
    session.run("import os; seen = os.getpid()").raise_for_error()
    pids = session.pull("seen")
    session.run("del seen").raise_for_error()
    for victim in victims or [VICTIM]:
        os.kill(pids[victim], signal.SIGKILL)
        wait_until(lambda rank=victim: rank in session.dead_ranks)


def undisturbed(session, name):
    make(session, name)
    expected = states(session, range(STEPS))
    session.run(FORGET).raise_for_error()
    return expected


@pytest.mark.parametrize("before", [0, 1, 2, BEFORE])
@pytest.mark.parametrize("name", [name for name in OBJECTS if name.startswith("DDP")])
@pytest.mark.sample(every=4)
def test_a_ddp_module_trains_on_with_a_rank_that_was_killed_and_filled(four, name, before):
    expected = undisturbed(four, name)
    make(four, name)
    states(four, range(before))
    kill(four)
    filled = four.restart_ranks(from_rank=0)
    assert {"model", "optimizer"} <= set(filled.names)
    assert not filled.left
    assert "DDP modules made before go on" in four.carried
    taken = states(four, range(before, STEPS))
    if before == 1 and "static_graph" in name:
        # The buckets are those of a first step once more: sums are rounded in another order.
        assert_close(taken, expected[before:])
    else:
        assert taken == expected[before:]


def test_a_step_in_which_a_rank_died_does_not_count_for_hooks_that_compress(four):
    expected = undisturbed(four, "PowerSGD")
    make(four, "PowerSGD")
    states(four, range(2))
    four.run(f"if rank == {VICTIM}: halt['backward'] = 'die'").raise_for_error()
    assert not four.run("grads(2)").ok
    wait_until(lambda: VICTIM in four.dead_ranks)
    four.restart_ranks(from_rank=0)
    assert states(four, range(2, STEPS)) == expected[2:]


# Before, the slices of a mesh do not know of it.
SLICES = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
    reason="slices of a mesh are copied from torch 2.13 on",
)


@pytest.mark.parametrize(
    "name",
    ["FSDP2", "FSDP2 on a 2-D mesh", pytest.param("TP and FSDP2", marks=SLICES), "ZeRO"],
)
@pytest.mark.sample(every=3)
def test_sharded_objects_train_on_from_a_checkpoint_on_all_ranks(four, tmp_path, name):
    expected = undisturbed(four, name)
    make(four, name)
    states(four, range(BEFORE))
    save = SAVE_ZERO if name == "ZeRO" else SAVE
    four.run(save.format(str(tmp_path))).raise_for_error()
    states(four, [BEFORE])  # which is lost
    kill(four)
    filled = four.restart_ranks(from_rank=0, checkpoint=tmp_path)
    assert filled.loaded == ("model", "optimizer")
    assert f"All ranks have loaded model, optimizer from {tmp_path}." in str(filled)
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


@pytest.mark.parametrize("name", [name for name in OBJECTS if name.startswith("pipeline")])
def test_a_pipeline_goes_on_with_a_stage_that_is_made_again_on_a_new_rank(four, tmp_path, name):
    expected = undisturbed(four, name)
    make(four, name)
    states(four, range(BEFORE))
    four.run(SAVED[name].format(tmp_path)).raise_for_error()
    kill(four)
    filled = four.restart_ranks(from_rank=0)
    assert "each rank has a stage of its own: make it again there" in filled.left.values()
    four.run(LOAD[name].format(tmp_path), ranks=VICTIM).raise_for_error()
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


PAIRS = """
pair, _ = dist.new_subgroups(2)
model = DistributedDataParallel(make_model(), process_group=pair)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
"""


@pytest.mark.slow
def test_a_ddp_module_of_a_subgroup_is_copied_from_a_rank_that_has_the_same_parameters(four):
    steps = [STEP.format(k) for k in range(3)]
    four.run(COMMON + PAIRS).raise_for_error()
    expected = [seen_after(four, step) for step in steps]
    four.run(FORGET).raise_for_error()
    four.run(COMMON + PAIRS).raise_for_error()
    seen_after(four, steps[0])
    kill(four)
    filled = four.restart_ranks(from_rank=0)
    assert filled.left["model"] == (
        "here it is replicated on other ranks than on rank 0: --from 3 copies it"
    )
    result = four.run(steps[1], ranks=3)
    assert "%dist_restart 2 --from 3 makes it there" in result[3].error.evalue
    assert {"model", "optimizer"} <= set(four.restart_ranks([VICTIM], from_rank=3).names)
    assert [seen_after(four, step) for step in steps[1:]] == expected[1:]


def test_without_a_checkpoint_a_sharded_module_is_not_copied_and_says_so(four):
    make(four, "FSDP2")
    states(four, [0])
    kill(four)
    filled = four.restart_ranks(from_rank=0)
    assert filled.left["model"] == "sharded: --checkpoint PATH loads it on all ranks"
    assert "mesh" in filled.names
    result = four.run("grads(1)", ranks="0,1,3")
    assert {result[rank].error.ename for rank in result} == {"StaleGroupError"}
    assert "--from 0 --checkpoint PATH" in result[0].error.evalue


def test_an_older_fsdp_module_with_a_replaced_rank_says_that_it_is_to_be_made_again(four):
    make(four, "FSDP, the older one")
    states(four, [0])
    kill(four)
    filled = four.restart_ranks(from_rank=0)
    why = "FullyShardedDataParallel keeps a part of it on each rank: make it again on all"
    assert (filled.left["model"], filled.left["optimizer"]) == (why, why)
    assert "FSDP modules made before have ended" in four.carried
    result = four.run("grads(1)", ranks="0,1,3")
    says = (
        "rank 2 was replaced and has no part of this FSDP module: on all ranks, make it again, "
        "FullyShardedDataParallel(model), and load a checkpoint"
    )
    assert {result[rank].error.evalue for rank in result} == {says}
    make(four, "FSDP, the older one")
    states(four, [0])


def test_groups_of_a_killed_rank_are_its_own_after_it_was_filled(four):
    make(four, "three subgroups")
    four.run(
        "def closed():\n"
        "    group = dist.new_group([1, 2])\n"
        "    return lambda x: dist.all_reduce(x, group=group)\n"
        "reduce = closed()\n"
        "mesh = init_device_mesh('cpu', (2, 2, 1), mesh_dim_names=('a', 'b', 'c'))"
    ).raise_for_error()
    kill(four, 3)
    filled = four.restart_ranks(from_rank=1)
    code = """
seen = [dist.get_process_group_ranks(pairs)]
seen.append(dist.get_process_group_ranks(odds if rank % 2 else evens))
seen += [dist.get_process_group_ranks(mesh[name].get_group()) for name in "abc"]
seen.append(mesh.get_coordinate())
total = torch.ones(1)
dist.all_reduce(total, group=pairs)
dist.all_reduce(total, group=mesh['a'].get_group())
seen.append(float(total))
"""
    seen = seen_after(four, code)
    assert seen[3] == [[2, 3], [1, 3], [1, 3], [2, 3], [3], seen[3][5], 4.0]
    assert tuple(seen[3][5]) == (1, 1, 0)
    assert {its[-1] for its in seen.values()} == {4.0}
    # A group that the new rank is no member of cannot be its own, in a closure neither.
    assert "reduce" in filled.left


def test_groups_that_definitions_hold_are_those_of_a_filled_rank_too(four):
    four.run("""
class Metric:
    everybody = dist.new_group()

    def reduce(self, x, group=dist.new_group([2, 3])):
        dist.all_reduce(x, group=self.everybody)
        if rank > 1:
            dist.all_reduce(x, group=group)

def reduce(x, *, group=dist.new_group([0, 2])):
    if rank % 2 == 0:
        dist.all_reduce(x, group=group)
""").raise_for_error()
    kill(four)
    filled = four.restart_ranks(from_rank=0)
    assert not filled.left
    seen = seen_after(four, "seen = torch.ones(1)\nMetric().reduce(seen)\nreduce(seen)")
    assert [float(x) for x in seen.values()] == [12, 4, 12, 8]


def test_a_filled_rank_finds_modules_where_a_cell_has_put_them_into_the_path(four, tmp_path):
    (tmp_path / "only_here.py").write_text("def twice(x):\n    return 2 * x\n")
    four.run(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport only_here")
    four.run("from only_here import twice").raise_for_error()
    kill(four)
    assert not four.restart_ranks(from_rank=0).left
    assert four.run("only_here.twice(1) + twice(rank)")[2].result_repr == "6"


def test_filling_a_new_rank_runs_no_calls_of_earlier_cells(four, tmp_path):
    note = tmp_path / "calls"
    four.run(f"""
import math as mathematics
from dataclasses import dataclass

def call(text):
    with open({str(note)!r}, "a") as file:
        file.write(text)
    return len(text)

@dataclass
class Config:
    rate: float = 0.5

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
    def forward(self, x):
        return call("f") * self.layer(x)

value = call("v")
config = Config(call("cc") / 4)
net = Net()
schedule = lambda step: mathematics.floor(step * config.rate)
""").raise_for_error()
    called = note.read_text()
    kill(four)
    filled = four.restart_ranks(from_rank=0)
    assert note.read_text() == called
    assert not filled.left
    code = "seen = [value, config.rate, schedule(9), type(net) is Net, type(config) is Config]"
    seen = seen_after(four, code)
    assert seen == {rank: [1, 0.5, 4, True, True] for rank in range(4)}
    # A function that was copied looks names up on the new rank.
    four.run("config = Config(1.0)")
    assert set(seen_after(four, "seen = schedule(9)").values()) == {9}


def test_objects_that_cannot_be_copied_to_a_new_rank_are_listed_with_the_reason(four):
    four.run("""
import threading
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler
data = TensorDataset(torch.arange(8.0))
loader = DataLoader(data, num_workers=2)
sampled = DataLoader(data, sampler=DistributedSampler(data, shuffle=False))
log = open("/dev/null")
numbers = (n for n in range(3))
lock = threading.Lock()
handle = dist.all_reduce(torch.ones(1), async_op=True)
handle.wait()
own = rank * 10
torch.manual_seed(5)
""").raise_for_error()
    kill(four)
    filled = four.restart_ranks(from_rank=0)
    assert filled.left["loader"] == "a loader with worker processes"
    assert filled.left["log"] == "an open file"
    assert filled.left["numbers"] == "a generator"
    assert "lock" in filled.left["lock"]
    assert filled.left["handle"] == "a collective that is under way"
    assert {"loader", "log", "numbers", "lock", "handle"} == set(filled.left)
    assert "RNG states are not copied" in str(filled)
    assert filled.differing == ("own",)
    assert "These differ from rank to rank, and rank 2 has those of rank 0 now: own." in str(filled)
    # Each rank has its own part of the data.
    seen = seen_after(four, "seen = [float(x) for batch in sampled for x in batch]")
    assert sorted(x for its in seen.values() for x in its) == [float(x) for x in range(8)]


def test_a_rank_that_was_replaced_empty_can_be_filled_later(four):
    expected = undisturbed(four, "DDP")
    make(four, "DDP")
    states(four, range(BEFORE))
    kill(four)
    assert four.restart_ranks() is None
    assert "DDP modules wait until rank 2 has them, too." in four.carried
    result = four.run(f"grads({BEFORE})", ranks="0,1,3")
    assert {result[rank].error.ename for rank in result} == {"StaleGroupError"}
    assert not four.run("if rank: dist.barrier()").ok
    assert four.carried == ". DDP modules wait until the replaced rank has them, too."
    four.restart_ranks([2], from_rank=3)
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def test_the_verdict_on_a_death_says_what_the_new_rank_would_lack(four):
    make(four, "DDP")
    result = four.run("import os\nif rank == 2: os.abort()\ndist.barrier()")
    assert result.diagnosis.kind == "dead"
    assert "They hold model, optimizer, " in result.note
    assert "--from 0 copies them to rank 2, too." in result.note
    four.restart_ranks()


@pytest.mark.parametrize("source", [None, 0])
def test_the_verdict_on_a_hang_with_a_replaced_rank_names_the_missing_one(four, source):
    kill(four)
    four.restart_ranks(from_rank=source)
    result = four.run("if rank != 3: dist.barrier()")
    assert result.diagnosis.summary.startswith(
        "Rank 3 never called barrier #1, in which ranks 0-2 wait"
    )


def test_a_rank_that_dies_after_a_hang_is_filled_as_well(four):
    expected = undisturbed(four, "DDP")
    make(four, "DDP")
    states(four, range(BEFORE))
    assert not four.run(f"if rank != 3: grads({BEFORE})").ok
    kill(four)
    assert not four.restart_ranks(from_rank=0).left
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def test_two_ranks_are_filled_at_once(four):
    expected = undisturbed(four, "DDP")
    make(four, "DDP")
    states(four, range(BEFORE))
    kill(four, 0, 2)
    filled = four.restart_ranks(from_rank=1)
    assert filled.ranks == (0, 2)
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def test_mistakes_are_refused_before_anything_is_done(four, tmp_path):
    generation = four.generation
    with pytest.raises(InputError, match="Rank 1 is one of those to replace"):
        four.restart_ranks([1], from_rank=1)
    with pytest.raises(InputError, match="more than one rank"):
        four.restart_ranks([1], from_rank="0,2")
    with pytest.raises(InputError, match="give from_rank"):
        four.restart_ranks([1], checkpoint=tmp_path)
    with pytest.raises(InputError, match=r"no \.metadata"):
        four.restart_ranks([1], from_rank=0, checkpoint=tmp_path)
    with pytest.raises(SessionError, match="No rank has ended"):
        four.restart_ranks(from_rank=0)
    assert four.generation == generation
