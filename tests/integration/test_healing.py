"""What was made before a hang, an interrupt or a reset goes on after it, with the same results."""

from __future__ import annotations

import re

import psutil
import pytest
from objects import COMMON, OBJECTS, STEP, seen_after
from processes import wait_until
from steps import SOON

from rankbook.errors import SessionError

STEPS = 6
BEFORE = 3
"""Steps that are taken before the event."""


@pytest.fixture(scope="module", autouse=True)
def imported(four):
    four.run(COMMON).raise_for_error()


def make(session, name):
    session.run(COMMON + OBJECTS[name]).raise_for_error()


def forget(session):
    """Leave nothing of what was made before."""
    session.reset(clean=True)
    names = "model = optimizer = loss = mesh = other = layer = weight = update = None"
    names += "\nstage = schedule = None"
    last = "sys.last_value = sys.last_traceback = sys.last_exc = None"
    session.run(f"import gc, sys\n{names}\n{last}\ngc.collect()").raise_for_error()


def states(session, steps):
    return [seen_after(session, STEP.format(k)) for k in steps]


@pytest.fixture(scope="module")
def undisturbed(four):
    """By object, what each step of a run without events gives."""
    kept = {}

    def of(name):
        if name not in kept:
            make(four, name)
            kept[name] = states(four, range(STEPS))
        return kept[name]

    return of


def assert_close(taken, expected):
    def numbers(states):
        return [float.fromhex(x) for its in states for v in its.values() for m in v for x in m]

    assert numbers(taken) == pytest.approx(numbers(expected), rel=1e-4, abs=1e-5)


def skip(session):
    return session.run(f"if rank != 2: grads({BEFORE})")


def raise_in(place):
    def event(session):
        session.run(f"if rank == 2: halt[{place!r}] = 'raise'").raise_for_error()
        return session.run(f"grads({BEFORE})")

    return event


def interrupt(session):
    session.run("if rank == 2: halt['backward'] = 'sleep'").raise_for_error()
    results = []
    cell = session.in_background(lambda: results.append(session.run(f"grads({BEFORE})")))
    wait_until(lambda: session.diagnose().kind == "slow")
    session.interrupt()
    cell.join(SOON)
    return results[0]


def reset(session):
    session.reset()


EVENTS = {
    "hang before the step": skip,
    "hang in the forward": raise_in("forward"),
    "hang between forward and backward": raise_in("between"),
    "hang in the backward": raise_in("backward"),
    "interrupt in the backward": interrupt,
    "reset": reset,
}


@pytest.mark.sample(every=3)
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", OBJECTS)
def test_the_same_objects_take_the_next_step(four, undisturbed, name, event):
    expected = undisturbed(name)
    make(four, name)
    assert states(four, range(BEFORE)) == expected[:BEFORE]
    generation = four.generation
    result = EVENTS[event](four)
    assert result is None or not result.ok
    assert four.generation == generation + 1, result and result.note
    assert seen_after(four, "seen = state()") == expected[BEFORE - 1]
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


DDP_KINDS = [name for name in OBJECTS if name.startswith("DDP")]


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("missing", [0, 3])
@pytest.mark.parametrize("name", DDP_KINDS)
@pytest.mark.sample(every=5)
def test_ranks_cut_while_ddp_sorts_its_buckets_take_the_next_step(
    four, undisturbed, name, missing, before
):
    expected = undisturbed(name)
    forget(four)  # a module like this one that has come further
    make(four, name)
    states(four, range(before))
    result = four.run(f"if rank != {missing}: grads({before})")
    assert not result.ok
    taken = states(four, range(before, STEPS))
    if name == "DDP static_graph" and before == 1:
        # Its buckets are those of a first step once more: sums are rounded in another order.
        assert_close(taken, expected[before:])
    else:
        assert taken == expected[before:]


IN_PARTS = """
def grads(k):
    optimizer.zero_grad()
    for part in range(2):
        if part:
            pause("parts")
        model.set_requires_gradient_sync(part == 1)
        model(batch(k + 50 * part)).pow(2).sum().backward()
"""


def test_gradients_of_the_first_part_of_a_step_are_dropped_where_a_rank_was_between_two(four):
    make(four, "FSDP2")
    four.run(IN_PARTS).raise_for_error()
    expected = states(four, range(3))
    forget(four)
    make(four, "FSDP2")
    four.run(IN_PARTS).raise_for_error()
    assert states(four, range(1)) == expected[:1]
    four.run("if rank == 2: halt['parts'] = 'raise'").raise_for_error()
    assert not four.run("grads(1)").ok
    assert states(four, range(1, 3)) == expected[1:]


ACCUMULATING = f"""{COMMON}
model = DistributedDataParallel(nn.Sequential(make_model(), nn.BatchNorm1d(24)))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

def grads(k):
    optimizer.zero_grad()
    pause("forward")
    with model.no_sync():
        model(batch(k)).pow(2).sum().backward()
    pause("between")
    model(batch(k + 50)).pow(2).sum().backward()
"""


@pytest.mark.parametrize("place", ["forward", "between", "backward"])
def test_ranks_cut_before_and_after_a_part_of_a_step_take_the_next(four, place):
    four.run(ACCUMULATING).raise_for_error()
    expected = states(four, range(STEPS))
    four.run(ACCUMULATING).raise_for_error()
    states(four, range(BEFORE))
    raise_in(place)(four)
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def test_an_older_fsdp_module_of_mixed_precision_takes_the_next_step(four):
    mixed = "MixedPrecision(param_dtype=torch.bfloat16)"
    made = OBJECTS["FSDP, the older one"].replace(
        "device_id", f"mixed_precision={mixed}, device_id"
    )
    code = f"{COMMON}from torch.distributed.fsdp import MixedPrecision\n{made}"
    four.run(code).raise_for_error()
    expected = states(four, range(STEPS))
    four.run(code).raise_for_error()
    states(four, range(BEFORE))
    raise_in("between")(four)
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def test_an_older_fsdp_module_whose_state_one_rank_has_asked_for_goes_on(four, undisturbed):
    expected = undisturbed("FSDP, the older one")
    make(four, "FSDP, the older one")
    states(four, range(BEFORE))
    assert not four.run("if rank == 0: model.state_dict()").ok
    four.run("model.state_dict();").raise_for_error()
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def test_ranks_of_which_some_had_entered_join_take_a_step_outside_of_it(four, undisturbed):
    expected = undisturbed("DDP")
    make(four, "DDP")
    states(four, range(BEFORE))
    join = "from torch.distributed.algorithms import Join\n"
    cell = f"if rank != 2:\n    with Join([model]):\n        grads({BEFORE})"
    assert not four.run(join + cell).ok
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def test_a_schedule_that_has_gone_on_on_some_ranks_is_reported(four):
    make(four, "DDP")
    four.run("scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)").raise_for_error()
    code = "grads(0)\napply()\nif rank == 3: raise ValueError\nscheduler.step()\ndist.barrier()"
    assert (
        "Replicas have diverged: StepLR has taken 1 step on ranks 0-2, 0 on rank 3, since the "
        "group was made" in four.run(code).note
    )
    assert "diverged" not in four.run("if rank: dist.barrier()").note


def test_a_reduction_of_a_step_that_one_rank_never_took_is_dropped(four, undisturbed):
    expected = undisturbed("DDP")
    forget(four)
    make(four, "DDP")
    four.run("if rank == 0: halt['forward'] = 'raise'").raise_for_error()
    assert not four.run("grads(0)").ok
    four.reset()
    assert not four.run("if rank != 2: grads(0)").ok
    assert_close(states(four, range(STEPS)), expected)


def test_a_loss_computed_before_a_reset_is_reduced_after_it(four, undisturbed):
    expected = undisturbed("DDP")
    make(four, "DDP")
    states(four, range(BEFORE))
    code = f"optimizer.zero_grad(); loss = model(batch({BEFORE})).pow(2).sum()"
    four.run(code).raise_for_error()
    four.reset()
    after = seen_after(four, "loss.backward(); apply(); seen = state()")
    assert [after, *states(four, range(BEFORE + 1, STEPS))] == expected[BEFORE:]


def between(pids):
    """The connections of ranks with each other: gloo's."""
    made = [(pid, c) for pid in pids for c in psutil.Process(pid).net_connections("tcp") if c.raddr]
    owner = {c.laddr: pid for pid, c in made}
    return {(c.laddr, c.raddr) for pid, c in made if owner.get(c.raddr, pid) != pid}


def test_no_group_uses_its_old_sockets_after_a_reset(four):
    make(four, "FSDP2 on a 2-D mesh")
    four.run("import os; pid = os.getpid()")
    pids = four.pull("pid").values()
    code = """
states = [state()]
handles = [dist.irecv(torch.ones(2), (rank + 1) % 4), dist.irecv(torch.ones(2))]
"""
    four.run(code).raise_for_error()
    before = between(pids)
    assert len(before) > 12
    four.reset()
    wait_until(lambda: not before & between(pids))
    assert seen_after(four, STEP.format(0))
    assert len(between(pids)) == len(before)
    assert seen_after(four, STEP.format(1))


def held(session, pids):
    """By rank: torch groups, threads, descriptors."""
    groups = seen_after(session, "seen = len(dist.distributed_c10d._world.pg_map)")
    ranks = [psutil.Process(pid) for pid in pids]
    return [(groups[n], p.num_threads(), p.num_fds()) for n, p in enumerate(ranks)]


@pytest.mark.parametrize("generations", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_memory_and_handles_do_not_grow_over_many_generations(four, generations):
    forget(four)
    make(four, "FSDP2 on a 2-D mesh")
    four.run("import os; pid = os.getpid()")
    pids = [*four.pull("pid").values()]
    states(four, [0])
    for _ in range(5):
        four.reset()
    states(four, [1])
    before, memory = held(four, pids), [psutil.Process(pid).memory_info().rss for pid in pids]
    for _ in range(generations):
        four.reset()
    states(four, [2])
    wait_until(
        lambda: all(
            now <= then
            for ranks in zip(held(four, pids), before, strict=True)
            for now, then in zip(*ranks, strict=True)
        )
    )
    grown = [
        psutil.Process(pid).memory_info().rss - was for pid, was in zip(pids, memory, strict=True)
    ]
    assert max(grown) < 20e6


def test_a_destroyed_group_is_none_for_torch_and_goes_on_with_the_next(four, undisturbed):
    expected = undisturbed("three subgroups")
    make(four, "three subgroups")
    states(four, range(BEFORE))
    four.destroy()
    four.initialize()
    four.run("assert dist.group.WORLD.size() == 4 and pairs in dist.distributed_c10d._world.pg_map")
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def test_two_hangs_in_a_row_and_a_group_of_a_closure(four, undisturbed):
    expected = undisturbed("three subgroups")
    make(four, "three subgroups")
    four.run(
        "def closed():\n"
        "    group = dist.new_group([1, 2])\n"
        "    return lambda x: dist.all_reduce(x, group=group)\n"
        "reduce = closed()"
    ).raise_for_error()
    states(four, range(BEFORE))
    for _ in range(2):
        assert not four.run("if rank: dist.barrier()").ok
    code = "seen = torch.ones(2)\nif rank in (1, 2): reduce(seen)"
    assert [float(t.sum()) for t in seen_after(four, code).values()] == [2, 4, 4, 2]
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def test_names_of_groups_made_later_are_new_and_those_in_collectives_by_name_right(four):
    make(four, "FSDP2 on a 2-D mesh")
    four.run("name = mesh.get_group('shard').group_name; number = dist.new_group().group_name")
    four.reset()
    code = """
import torch.distributed._functional_collectives as functional
assert mesh.get_group('shard').group_name == name
other = init_device_mesh('cpu', (2, 2), mesh_dim_names=('replicate', 'shard'))
assert int(other.get_group('shard').group_name) > int(number)
seen = [
    float(functional.all_reduce(torch.ones(1) * rank, 'sum', given)) for given in
    (mesh['shard'], other['shard'], (mesh, 0), dist.group.WORLD)
]
tensor = distribute_tensor(torch.arange(16.0).reshape(4, 4), other, [Shard(0), Shard(1)])
seen.append(float((tensor + 1).full_tensor().sum()))
"""
    seen = seen_after(four, code)
    assert seen == {r: [1 + r // 2 * 4, 1 + r // 2 * 4, 2 + r % 2 * 2, 6, 136] for r in range(4)}


def test_reset_clean_forgets_groups_and_wrappers_made_before(four):
    forget(four)
    make(four, "DDP")
    four.reset(clean=True)
    assert four.carried == ". DDP modules made before have ended; each says so when it is used."
    result = four.run("grads(1)")
    for rank in result:
        assert result[rank].error.ename == "StaleGroupError"
        assert "ddp = DistributedDataParallel(ddp.module)" in result[rank].error.evalue
    four.run("model = DistributedDataParallel(model.module)\ngrads(1)").raise_for_error()


def test_the_sentence_after_a_hang_says_what_goes_on(four):
    forget(four)
    made = "the process group was re-created (generation {})"
    note = four.run("if rank: dist.barrier()").note
    assert note.endswith(made.format(four.generation) + ".")
    make(four, "FSDP2 on a 2-D mesh")
    note = four.run("if rank: dist.barrier()").note
    goes_on = "; FSDP modules and subgroups made before go on."
    assert note.endswith(made.format(four.generation) + goes_on)


def test_replicas_with_different_step_counts_are_reported(four):
    forget(four)
    make(four, "DDP")
    states(four, range(2))
    code = "grads(2)\nif rank != 3: apply()\nif rank == 3: raise ValueError\ndist.barrier()"
    note = four.run(code).note
    assert note.endswith(
        "DDP modules made before go on. Replicas have diverged: Adam has taken 3 steps on ranks "
        "0-2, 2 on rank 3, since the group was made: load a checkpoint on all ranks."
    )
    # It is said once, and of what has happened since.
    assert "diverged" not in four.run("if rank: dist.barrier()").note


def test_parameters_that_a_hook_has_changed_on_some_ranks_only_are_reported(four):
    """As torch's fused optimizers do: a step that was cut has changed those of some buckets."""
    forget(four)
    make(four, "DDP")
    four.run(
        "def update(_, bucket):\n"
        "    def step(sums):\n"
        "        with torch.no_grad():\n"
        "            for one, change in zip(bucket.parameters(), bucket.gradients()):\n"
        "                one.sub_(change, alpha=1e-5)\n"
        "        return sums.value()[0]\n"
        "    return dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(step)\n"
        "model = DistributedDataParallel(model.module, bucket_cap_mb=0.001)\n"
        "model.register_comm_hook(None, update)\n"
        "grads(0)\ngrads(1)"
    ).raise_for_error()
    four.run("if rank == 2: halt['backward'] = 'raise'").raise_for_error()
    note = four.run("grads(2)").note
    assert "Replicas have diverged: DistributedDataParallel has taken 3 steps" in note
    assert "load a checkpoint on all ranks" in note
    assert "diverged" not in four.run("if rank: dist.barrier()").note


def test_a_step_of_zero_that_only_some_ranks_took_is_reported(four):
    """Each has stepped its own part of the parameters, and not sent it to the others."""
    forget(four)
    make(four, "ZeRO")
    states(four, range(1))
    note = four.run("grads(1)\nif rank != 3: apply()").note
    steps = r"2 steps \(the last not to its end\) on ranks? [0-2,-]+"
    assert re.search(f"ZeroRedundancyOptimizer has taken {steps}, .*1 on rank 3, since", note)


def test_a_mesh_that_is_made_again_works_where_one_like_it_has_ended(four):
    """DTensor keeps what it has worked out, by mesh, and takes equal ones for the same."""
    make(four, "DTensor")
    expected = seen_after(four, STEP.format(0))
    four.reset(clean=True)
    result = four.run(STEP.format(1))
    assert {result[rank].error.ename for rank in result} == {"StaleGroupError"}
    make(four, "DTensor")
    assert seen_after(four, STEP.format(0)) == expected


FAILS_AT_GROUP = """
from rankbook.distributed.healing import groups
connect, left = groups._connect, [{}]
def fail(held):
    left[0] -= 1
    if left[0] == 0:
        groups._connect = connect
        raise KeyboardInterrupt
    connect(held)
if rank == 1: groups._connect = fail
"""
"""The next attempt to give groups new connections fails on rank 1, at the first group or so."""


def test_groups_and_wrappers_outlive_an_initialisation_that_fails_halfway(four, undisturbed):
    expected = undisturbed("FSDP2 on a 2-D mesh")
    make(four, "FSDP2 on a 2-D mesh")
    states(four, range(BEFORE))
    four.run(FAILS_AT_GROUP.format(2)).raise_for_error()
    with pytest.raises(SessionError, match="interrupted"):
        four.reset()
    assert four.groups == {}
    four.initialize()
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


def test_what_has_diverged_is_said_after_an_initialisation_that_failed_halfway(four):
    """Ranks that got as far as to tell it do not forget it: others may not have heard."""
    forget(four)
    make(four, "DDP")
    states(four, range(1))
    four.run(FAILS_AT_GROUP.format(1)).raise_for_error()
    code = "grads(1)\nif rank != 3: apply()\nif rank == 3: raise ValueError\ndist.barrier()"
    assert "could not be re-created, and the next cell tries again" in four.run(code).note
    result = four.run("dist.barrier()")
    assert result.ok
    assert "Adam has taken 2 steps on ranks 0-2, 1 on rank 3" in result.note
    four.reset()
    assert "diverged" not in four.carried


def test_modules_wait_for_a_replaced_rank_after_an_initialisation_that_failed_halfway(four):
    forget(four)
    make(four, "DDP")
    four.run(FAILS_AT_GROUP.format(1)).raise_for_error()
    with pytest.raises(SessionError, match="interrupted"):
        four.restart_ranks([3])
    four.initialize()
    assert four.carried.endswith("DDP modules wait until rank 3 has them, too.")
    result = four.run("grads(0)", ranks="0-2")
    assert {result[rank].error.ename for rank in result} == {"StaleGroupError"}


def test_under_comparison_the_same_objects_go_on(four, undisturbed):
    expected = undisturbed("FSDP2 on a 2-D mesh")
    four.initialize(check=True)
    make(four, "FSDP2 on a 2-D mesh")
    states(four, range(BEFORE))
    skip(four)
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]
    four.initialize(check=False)
    assert states(four, range(STEPS, STEPS + 1))


def test_with_a_replaced_rank_groups_go_on_and_modules_wait_for_it(four):
    forget(four)
    make(four, "DDP")
    four.run("low, high = dist.new_group([0, 1]), dist.new_group([2, 3])").raise_for_error()
    four.restart_ranks([3])
    assert four.carried == (
        "; subgroups made before go on. DDP modules wait until rank 3 has them, too."
    )
    assert four.lacking.startswith("Rank 3 lacks what the others hold: model, optimizer, ")
    assert four.lacking.endswith(". %dist_restart 3 --from 0 copies it from rank 0.")
    code = "seen = torch.ones(1)\nif rank < 2: dist.all_reduce(seen, group=low)"
    assert [float(value) for value in seen_after(four, code).values()] == [2, 2, 1, 1]
    result = four.run("grads(0)", ranks="0-2")
    assert {result[rank].error.ename for rank in result} == {"StaleGroupError"}
    assert "rank 3 was replaced and has no such DDP module" in result[0].error.evalue
    assert "%dist_restart 3 --from 0 makes it there" in result[0].error.evalue
