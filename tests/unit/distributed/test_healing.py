"""Giving process groups new connections, in one process; those of several are in integration."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import threading
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist
from processes import wait_until
from torch.distributed._composable.replicate import replicate
from torch.distributed.algorithms import Join
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from rankbook import replicas
from rankbook.distributed import healing
from rankbook.distributed.copying import fsdp
from rankbook.distributed.healing import (
    buckets,
    connections,
    counting,
    fsdp2,
    groups,
    meshes,
    reducers,
    samplers,
    stale,
    standings,
    steps,
    words,
    wrappers,
)
from rankbook.distributed.healing.account import Terms
from rankbook.errors import StaleGroupError
from rankbook.models import GroupInfo
from rankbook.sessions.group import carried

C10D = import_module("torch.distributed.distributed_c10d")


def begin(backend="gloo"):
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)


def again(backend="gloo", **options):
    """Leave the group as an engine does, and heal what was left."""
    account = healing.note(7)
    dist.destroy_process_group()
    healing.separate(account.groups)
    begin(backend)
    return healing.heal(account, **options)


@pytest.fixture(scope="module", autouse=True)
def nothing_of_other_tests():
    """No modules of theirs, which would be found as well."""
    gc.collect()


@pytest.fixture(autouse=True)
def group():
    begin()
    yield dist.group.WORLD
    dist.destroy_process_group()


def works(group):
    tensor = torch.ones(2)
    dist.all_reduce(tensor, group=group)
    return float(tensor.sum()) == 2


def test_this_torch_library_has_every_symbol_that_healing_calls():
    assert healing.is_possible(), "distributed/healing/connections.py must find another way"
    assert healing.lacking() == ()


def test_private_names_of_torch_that_healing_uses_are_there(group):
    for name in ("pg_map", "pg_names", "pg_group_ranks", "pg_backend_config", "pg_to_tag"):
        assert group in getattr(C10D._world, name)
    for name in ("_register_process_group", "_unregister_process_group", "_update_default_pg"):
        assert callable(getattr(C10D, name))
    assert group._get_backend(torch.device("cpu")).options._timeout
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    for name in ("_ddp_init_helper", "_build_params_for_reducer"):
        assert callable(getattr(model, name))
    assert (model._has_rebuilt_buckets, model._comm_hooks) == (False, [])
    assert standings.standing(model) == (False, False, True, (), False, True)


def test_the_same_objects_and_names_have_connections_again(group):
    other = dist.new_group([0], group_desc="mine")
    names = [group.group_name, other.group_name]
    assert again() == groups.Healed(("subgroups",), ())
    assert dist.group.WORLD is group
    assert [group.group_name, other.group_name] == names
    assert other.group_desc == "mine"
    assert C10D._resolve_process_group(names[1]) is other
    assert works(group)
    assert works(other)
    assert int(dist.new_group([0]).group_name) > int(names[1])


def test_a_group_without_connections_raises(group):
    account = healing.note()
    dist.destroy_process_group()
    healing.separate(account.groups)
    assert not dist.is_initialized()
    with pytest.raises(RuntimeError, match="backend"):
        group.barrier().wait()
    begin()


def test_healing_again_and_again_leaves_no_threads_and_descriptors(group):
    other = dist.new_group([0])
    process = psutil.Process()
    again()
    wait_until(lambda: not threads("let-go"))
    before = process.num_threads(), process.num_fds()
    for _ in range(6):
        again()
    assert works(other)
    wait_until(lambda: (process.num_threads(), process.num_fds()) <= before)


def threads(name):
    return [one for one in threading.enumerate() if name in one.name]


def test_a_listener_for_new_connections_is_called_for_each_group(group):
    other = dist.new_group([0])
    heard = []
    healing.on_connected.append(heard.append)
    try:
        again()
    finally:
        healing.on_connected.remove(heard.append)
    assert heard == [group, other]


def test_a_forgotten_object_says_so_when_it_is_used(group):
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    other = dist.new_group([0])
    assert again(clean=True) == groups.Healed((), ("DDP modules", "subgroups"))
    assert dist.group.WORLD is not group
    with pytest.raises(StaleGroupError, match=r"made for generation 7.*DataParallel\(ddp.module\)"):
        model(torch.ones(1, 2))
    with pytest.raises(ValueError, match="not initialized") as caught:
        works(other)
    said = healing.explain(caught.value)
    assert "made for generation 7, and has ended" in str(said)
    assert healing.explain(ValueError("anything else")) is None


CALLS = {
    "all_reduce": lambda group: dist.all_reduce(torch.ones(1), group=group),
    "broadcast": lambda group: dist.broadcast(torch.ones(1), 0, group=group),
    "barrier": dist.barrier,
    "all_gather": lambda group: dist.all_gather([torch.ones(1)], torch.ones(1), group=group),
    "reduce": lambda group: dist.reduce(torch.ones(1), 0, group=group),
    "all_to_all_single": lambda group: dist.all_to_all_single(
        torch.ones(1), torch.ones(1), group=group
    ),
}


@pytest.fixture(params=["not gloo", "cpu:gloo"])
def another_backend(request):
    """The name of one that is not healed: as with NCCL, its connections would still work."""
    dist.destroy_process_group()
    if request.param == "not gloo" and not hasattr(dist.Backend, "NOT_GLOO"):

        def make(store, rank, size, timeout):
            return dist.ProcessGroupGloo(store, rank, size, timeout)

        dist.Backend.register_backend("not_gloo", make, devices=["cpu"])
    name = request.param.replace(" ", "_")
    begin(name)
    return name


@pytest.mark.parametrize("call", CALLS)
def test_a_group_of_a_backend_that_is_not_healed_says_so_and_computes_nothing(
    another_backend, call
):
    other = dist.new_group([0])
    CALLS[call](other)
    assert again(backend=another_backend).lost == ("subgroups",)
    assert works(dist.group.WORLD)
    with pytest.raises((RuntimeError, ValueError)) as caught:
        CALLS[call](other)
    assert "process group was made for generation 7" in str(healing.explain(caught.value))


def test_what_is_no_group_is_not_said_to_be_an_earlier_one(another_backend):
    again(backend=another_backend)
    for wrong in ("dp", object()):
        with pytest.raises((RuntimeError, ValueError, TypeError)) as caught:
            dist.all_reduce(torch.ones(1), group=wrong)
        assert healing.explain(caught.value) is None


def test_a_module_of_a_backend_that_is_not_healed_says_so(another_backend):
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    loss = model(torch.ones(1, 2)).sum()
    assert again(backend=another_backend).lost == ("DDP modules",)
    with pytest.raises(StaleGroupError, match=r"DDP module was made for generation 7"):
        model(torch.ones(1, 2))
    with pytest.raises(RuntimeError, match="backend"):  # what was computed before
        loss.backward()


def test_a_module_that_wraps_the_model_of_one_that_ended_reduces_alone(another_backend):
    layer, tensor = torch.nn.Linear(2, 2), torch.ones(1, 2)
    former = DistributedDataParallel(layer)
    former(tensor)  # its reducer now expects a backward
    assert again(backend=another_backend).lost == ("DDP modules",)
    dist.destroy_process_group()
    begin("gloo")
    DistributedDataParallel(layer)(tensor).sum().backward()
    with pytest.raises(StaleGroupError):
        former(tensor)


def cut_in_the_forward():
    """An FSDP module in the middle of a step, its mesh, and an input."""
    mesh = init_device_mesh("cpu", (1,))
    model = fully_shard(torch.nn.Linear(2, 2), mesh=mesh)
    tensor = torch.ones(1, 2)
    model(tensor).sum().backward()
    model.zero_grad()
    model(tensor)
    return model, tensor


def test_a_sharded_module_goes_on_where_torch_only_reads_what_has_accumulated(group, monkeypatch):
    """As from torch 2.15 on."""
    model, tensor = cut_in_the_forward()
    [held] = {type(one) for its in fsdp2.param_groups(model) for one in its.fsdp_params}
    reads = property(lambda self: getattr(getattr(self, "_unsharded_param", None), "grad", None))
    if not isinstance(getattr(held, "unsharded_accumulated_grad", None), property):
        fsdp2.restart(model)  # a step of this torch's own would set it
        monkeypatch.setattr(held, "unsharded_accumulated_grad", reads, raising=False)
    model._get_fsdp_state()._training_state = held_state(model, "FORWARD")
    assert again().kinds == ("FSDP modules",)
    assert model._get_fsdp_state()._training_state.name == "IDLE"
    with torch.no_grad():
        model(tensor)


def between_two_parts_of_a_step():
    """An FSDP module with gradients of the first part, which are not reduced yet."""
    model, tensor = cut_in_the_forward()
    model.set_requires_gradient_sync(False)
    model(tensor).sum().backward()
    return model


def accumulated(model):
    [group] = fsdp2.param_groups(model)
    return [one.unsharded_param.grad is not None for one in group.fsdp_params]


def test_gradients_of_the_first_part_of_a_step_go_with_the_rest_that_was_cut_on_another_rank(group):
    model = between_two_parts_of_a_step()
    assert not fsdp2.is_amid(model)
    fsdp2.restart(model)
    assert accumulated(model) == [True, True]
    fsdp2.restart(model, was_cut=True)
    assert accumulated(model) == [False, False]


def test_a_module_whose_parameters_are_being_gathered_gathers_them_again(group):
    model, tensor = cut_in_the_forward()
    handle = model.unshard(async_op=True)
    again()
    handle.wait()  # there is nothing left to wait for
    with torch.no_grad():
        model(tensor)


def held_state(model, name):
    return type(model._get_fsdp_state()._training_state)[name]


def test_a_sharded_module_says_so_where_torch_lacks_what_it_takes_to_go_on(group, monkeypatch):
    model, tensor = cut_in_the_forward()
    other = dist.new_group([0])

    def lacks(module, *, was_cut):
        raise AttributeError("'FSDPState' object has no attribute '_reset_iter_state'")

    monkeypatch.setattr(fsdp2, "restart", lacks)
    healed = again()
    assert (healed.kinds, healed.lost) == (("subgroups",), ("FSDP modules",))
    assert works(other)
    with pytest.raises(StaleGroupError, match=r"this FSDP module .* make the model again"):
        model(tensor)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (DistributedDataParallel, "_ddp_init_helper"),
        (DistributedDataParallel, "_build_params_for_reducer"),
        (dist, "_register_comm_hook"),
        (None, "_comm_hooks"),
        (None, "_has_rebuilt_buckets"),
    ],
)
def test_only_a_ddp_module_says_so_where_torch_lacks_what_its_reducer_takes(
    group, monkeypatch, owner, name
):
    model, other = DistributedDataParallel(torch.nn.Linear(2, 2)), dist.new_group([0])
    tensor = torch.ones(1, 2)
    model(tensor).sum().backward()
    monkeypatch.delattr(owner or model, name)
    for _ in range(2):
        healed = again()
        assert (healed.kinds, healed.lost) == (("subgroups",), ("DDP modules",))
        assert works(other)
        with pytest.raises(StaleGroupError, match=rf"lacks .*\.{name}\): wrap the model .* again"):
            model(tensor)
    assert len(model._forward_pre_hooks) == 1


def test_a_ddp_module_whose_parameters_were_replaced_before_its_step_was_cut_says_so(group):
    def cut(_gradient):
        raise ValueError

    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model, tensor = DistributedDataParallel(layers), torch.ones(1, 2)
    for _ in range(2):  # in the second its buckets are sorted
        model(tensor).sum().backward()
    handle = layers[0].weight.register_hook(cut)
    with pytest.raises(ValueError):  # noqa: PT011
        model(tensor).sum().backward()
    handle.remove()
    layers[1].weight = torch.nn.Parameter(torch.ones(2, 2))
    assert again().kinds == ("DDP modules",)
    for _ in range(2):
        with pytest.raises(StaleGroupError, match=r"were replaced after it was wrapped\): wrap"):
            model(tensor)
    DistributedDataParallel(layers)(tensor).sum().backward()


def test_a_ddp_module_lacks_nothing_with_this_torch(group):
    assert reducers.lack(DistributedDataParallel(torch.nn.Linear(2, 2))) == ""


def test_without_torchs_names_for_groups_that_is_said_and_another_group_is_made(group, monkeypatch):
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    dist.new_group([0])
    monkeypatch.delattr(dist.ProcessGroup, "_id")
    connections.is_possible.cache_clear()
    try:
        [lack] = healing.lacking()
        healed = again()
    finally:
        connections.is_possible.cache_clear()
    assert "torch has no ProcessGroup._id: after a hang" in lack
    assert healed == groups.Healed((), ("DDP modules", "subgroups"))
    assert works(dist.group.WORLD)
    with pytest.raises(StaleGroupError, match="made for generation 7"):
        model(torch.ones(1, 2))


def test_nothing_goes_on_in_a_group_of_another_size(group):
    dist.new_group([0])
    account = replace(healing.note(1), size=2)
    dist.destroy_process_group()
    healing.separate(account.groups)
    begin()
    healed = healing.heal(account)
    # Before the subgroups stand the kinds of modules, which other tests may have left in memory.
    assert (healed.kinds, healed.lost[-1:]) == ((), ("subgroups",))


def test_a_group_goes_on_only_where_all_its_members_hold_it_alike():
    def terms(name, **other):
        return Terms(name, (0, 1), "gloo", 60.0, "", "", **other)

    one, two = terms("1"), terms("2")
    said = [{one, two}, {one, terms("2", is_default=True)}]
    assert words.agreed_on(said) == {one}


def test_groups_of_other_members_under_one_name_do_not_go_on():
    def terms(name, *ranks):
        return Terms(name, ranks, "gloo", 60.0, "", "")

    whole, outer, inner = terms("0", 0, 1, 2, 3), terms("1", 0, 3), terms("1", 1, 2)
    said = [{whole, outer}, {whole, inner}, {whole, inner}, {whole, outer}]
    assert words.agreed_on(said) == {whole}


def test_a_new_rank_gets_the_group_of_itself_that_a_mesh_gives_every_rank():
    def alone(rank, name, description="mesh_tp"):
        return Terms(name, (rank,), "gloo", 60.0, description, "")

    held = [[alone(0, "5"), alone(0, "9", "mesh_x")], [alone(1, "6"), alone(1, "7", "mine")], None]
    assert words.alone(held, 2) == [alone(2, "5/2")]
    assert words.alone([None], 0) == []


def test_the_objects_that_go_on_are_listed_in_a_sentence():
    def said(*ranks):
        infos = [
            GroupInfo("gloo", r, len(ranks), "cpu", r == 0, healed=healed, lost=lost)
            for r, (healed, lost) in enumerate(ranks)
        ]
        return carried.sentence_end(dict(enumerate(infos)))

    assert said(((), ()), ((), ())) == "."
    assert said((("DDP modules",), ()), ((), ())) == "; DDP modules made before go on."
    assert said((("DDP modules", "FSDP modules", "subgroups"), ())) == (
        "; DDP modules, FSDP modules and subgroups made before go on."
    )
    assert said((("subgroups",), ("DDP modules",)), ((), ("subgroups",))) == (
        "; subgroups made before go on. DDP modules and some subgroups made before have ended; "
        "each says so when it is used."
    )


def test_every_private_name_of_torch_in_the_room_is_used_in_one_file_only():
    room = Path(connections.__file__).parent
    for name in ("_register_process_group", "release_resources", "_ddp_init_helper"):
        assert len([p for p in room.glob("*.py") if name in p.read_text()]) == 1


def test_modules_of_another_group_are_left_alone(group):
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    assert wrappers.find({group: "0"}).ddp[-1][1] is model
    assert wrappers.find({object(): "0"}).ddp == ()


class _Uncleared:
    """A cache of torch up to 2.10, which cannot be cleared."""

    def __init__(self, compute):
        self.compute = compute

    def __call__(self, schema):
        return self.compute(schema)


def test_dtensor_gets_an_empty_cache_where_torch_cannot_clear_it(group, monkeypatch):
    propagator = DTensor._op_dispatcher.sharding_propagator
    before = _Uncleared(propagator.propagate_op_sharding_non_cached)
    monkeypatch.setattr(propagator, "propagate_op_sharding", before)  # it is put back at the end
    meshes.clear_caches()
    assert propagator.propagate_op_sharding is not before
    assert isinstance(propagator.propagate_op_sharding, _Uncleared)
    held = distribute_tensor(torch.ones(2, 2), init_device_mesh("cpu", (1,)), [Shard(0)])
    assert torch.equal((held @ held).full_tensor(), torch.full((2, 2), 2.0))


def test_caches_of_dtensor_are_cleared(group):
    held = distribute_tensor(torch.ones(2, 2), init_device_mesh("cpu", (1,)), [Shard(0)])
    propagator = DTensor._op_dispatcher.sharding_propagator
    assert torch.equal((held @ held).full_tensor(), torch.full((2, 2), 2.0))
    meshes.clear_caches()
    assert not propagator.propagate_op_sharding.cache_info().currsize
    assert torch.equal((held @ held).full_tensor(), torch.full((2, 2), 2.0))


def test_to_forget_it_takes_no_import_of_inductor():
    code = (
        "import sys, torch.distributed.tensor\n"
        "from rankbook.distributed.healing import clear_caches\n"
        "before = set(sys.modules)\n"
        "clear_caches()\n"
        "print(*(set(sys.modules) - before))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


def test_steps_are_compared_where_ranks_have_optimizers_of_one_kind():
    assert replicas.diverged([{"Adam a": [2]}, {"Adam a": [0]}]) == (("Adam", (2, 0)),)
    assert replicas.diverged([{"Adam a": [2]}, None, {"Adam a": [2]}]) == ()
    # Stages of a pipeline, or what is left of parameters in the older FSDP's shards.
    assert replicas.diverged([{"Adam a": [2]}, {"Adam b": [1]}]) == ()
    assert replicas.diverged([{"Adam a": [2]}, {}]) == ()


def test_an_optimizer_that_has_taken_no_step_is_told_of_as_one_that_has():
    def optimizer():
        return torch.optim.SGD(torch.nn.Linear(2, 3).parameters())

    steps.count()
    steps.begin()
    one, other, garbage = optimizer(), optimizer(), optimizer()
    assert [*steps.taken([one, garbage]).values()] == [[0]]
    for each in (one, other, one):
        each.step()
    assert [*steps.taken([one, garbage]).values()] == [[2]]
    assert [*steps.taken([one, other]).values()] == [[1, 2]]


def test_a_module_of_columns_lets_nothing_run_on_a_mesh_that_has_ended():
    mesh = DeviceMesh.from_group(dist.new_group(), "cpu")
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    parallelize_module(module, mesh, {"0": ColwiseParallel()})
    optimizer = torch.optim.SGD(module.parameters())
    assert "tensor-parallel modules" in again(clean=True).lost
    with pytest.raises(StaleGroupError, match=r"^this tensor-parallel module was made "):
        module(torch.ones(1, 2))
    with pytest.raises(StaleGroupError, match=r"^this SGD .* make it again with its model, SGD\("):
        optimizer.step()
    assert module[0].weight.to_local().shape == (2, 2)  # which can still be looked at
    module[0].weight = torch.nn.Parameter(module[0].weight.to_local())
    module[0].bias = torch.nn.Parameter(module[0].bias.to_local())
    optimizer.param_groups[0]["params"] = list(module.parameters())
    optimizer.step()


def replicated():
    """A module of ``replicate()`` that has taken a step."""
    model = replicate(torch.nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    return model


def test_a_module_of_replicate_begins_again_with_its_next_forward():
    model = replicated()
    model(torch.ones(1, 2)).sum().backward(inputs=[model.weight])  # a part of a step
    assert again().kinds == ("DDP modules",)
    begins = [
        hook for hook in model._forward_pre_hooks.values() if isinstance(hook, reducers.Begin)
    ]
    assert len(begins) == 1
    model(torch.ones(1, 2)).sum().backward()
    assert begins[0] not in model._forward_pre_hooks.values()
    assert standings.standing(begins[0].ddp).is_done


def test_a_module_of_replicate_that_cannot_go_on_says_what_it_is():
    model = replicated()
    assert again(clean=True).lost == ("DDP modules",)
    with pytest.raises(StaleGroupError, match=r"this module of replicate\(\) .* load the state"):
        model(torch.ones(1, 2))
    model.state_dict()


def test_a_module_of_replicate_waits_for_a_replaced_rank_in_its_own_forward(group):
    model = replicated()
    found = wrappers.find({group: "0"})
    stale.wait(found, [1])
    with pytest.raises(StaleGroupError, match=r"no such module of replicate\(\): make it again on"):
        model(torch.ones(1, 2))
    stale.release(found)
    model(torch.ones(1, 2))
    assert id(model) not in stale.refused()


def test_a_module_waits_for_all_ranks_that_have_lacked_it(group):
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    found = wrappers.find({group: "0"})
    stale.wait(found, [2])
    stale.wait(found, [])
    with pytest.raises(StaleGroupError, match=r"rank 2 was replaced.* %dist_restart 2 --from 0"):
        model(torch.ones(1, 2))
    stale.wait(found, [1])
    with pytest.raises(
        StaleGroupError, match=r"ranks 1,2 were replaced.* %dist_restart 1,2 --from"
    ):
        model(torch.ones(1, 2))
    stale.wait_for(found, lambda _kind, _module: {1})
    with pytest.raises(StaleGroupError, match="rank 1 was replaced"):
        model(torch.ones(1, 2))
    assert stale.release(found) == ()
    model(torch.ones(1, 2))


def test_a_module_that_was_given_to_a_rank_waits_until_all_ranks_have_it(group):
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    healing.wait_for_others()
    with pytest.raises(StaleGroupError, match="rank 0 was replaced and has no such DDP module"):
        model(torch.ones(1, 2))
    assert healing.settle() == (("DDP modules",), (), ())
    model(torch.ones(1, 2))


def test_a_reducer_is_made_in_a_module_that_was_compiled(group):
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    run = torch.compile(model, backend="eager")
    for _ in range(2):
        run(torch.ones(1, 2)).sum().backward()
    former = model.reducer
    cut = standings.Standing(has_begun=True, is_sorted=True, is_done=False)
    reducers.restart(model, "kind", [[cut]], dist.HashStore())
    torch.compiler.reset()
    run(torch.ones(1, 2)).sum().backward()
    assert model.reducer is not former


def test_ddp_modules_with_other_hooks_are_of_another_kind(group):
    one, other = (DistributedDataParallel(torch.nn.Linear(2, 2)) for _ in range(2))
    other.register_comm_hook(None, allreduce_hook)
    kinds = [kind for kind, module in wrappers.find({group: "0"}).ddp if module in (one, other)]
    assert kinds[1].startswith(f"{kinds[0]} ") or kinds[0].startswith(f"{kinds[1]} ")


def trained(steps):
    """A DDP module that has taken so many steps, and the state of its communication hook."""
    model, counted = DistributedDataParallel(torch.nn.Linear(2, 2)), Counted()
    model.register_comm_hook(counted, count_steps)
    for _ in range(steps):
        model(torch.ones(1, 2)).sum().backward()
    return model, counted


class Counted:
    iter = 0


def count_steps(state, bucket):
    state.iter += 1
    return allreduce_hook(None, bucket)


def cut(model, *inputs):
    """Have a DDP module begin a backward that it does not end."""
    model(*inputs or [torch.ones(1, 2)]).sum().backward(inputs=buckets.reduced(model)[:1])
    assert not standings.standing(model).is_done


class InOrder(torch.nn.ModuleList):
    def forward(self, tensor, order):
        for number in order:
            tensor = self[number](tensor)
        return tensor


@pytest.mark.parametrize("options", [{}, {"static_graph": True}, {"gradient_as_bucket_view": True}])
def test_a_ddp_module_keeps_its_buckets_after_a_step_that_was_cut(group, options):
    layers = InOrder(torch.nn.Linear(2, 2) for _ in range(4))
    model = DistributedDataParallel(layers, bucket_cap_mb=24 / 2**20, **options)
    first, other, tensor = (0, 1, 2, 3), (2, 3, 0, 1), torch.ones(1, 2)
    for _ in range(3):  # a static graph's are sorted in the third
        model(tensor, first).sum().backward()
    sorted_ones = buckets.layout(model)
    for order in (other, first):
        cut(model, tensor, order)
        again()
        for _ in range(2):
            model(tensor, order).sum().backward()
            assert buckets.layout(model) == sorted_ones


def test_a_ddp_module_cut_before_its_backward_reduces_nothing_in_no_sync(group):
    model, counted = trained(3)
    model(torch.ones(1, 2))
    again()
    with model.no_sync():
        model(torch.ones(1, 2)).sum().backward()
    assert counted.iter == 3
    model(torch.ones(1, 2)).sum().backward()
    assert counted.iter == 4


def test_a_ddp_module_reduces_what_was_frozen_when_it_was_cut(group):
    model, _ = trained(3)
    cut(model)
    model.requires_grad_(requires_grad=False)
    again()
    assert not model(torch.ones(1, 2)).requires_grad
    model.requires_grad_()
    model(torch.ones(1, 2)).sum().backward()
    assert {*map(id, buckets.reduced(model))} == {*map(id, model.parameters())}


@pytest.mark.filterwarnings("ignore:FSDP is switching", "ignore:When using ``NO_SHARD``")
def test_an_older_fsdp_module_gives_its_state_after_that_was_cut(group):
    model = FullyShardedDataParallel(torch.nn.Linear(2, 2), device_id=torch.device("cpu"))
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    cutting = model.module.register_state_dict_pre_hook(lambda *_args: {}["cut"])
    with pytest.raises(KeyError):
        model.state_dict()
    cutting.remove()
    again()
    for _ in range(2):
        torch.testing.assert_close(dict(model.state_dict()), expected)


def test_a_step_that_was_cut_in_join_leaves_it(group):
    model, _ = trained(1)
    with pytest.raises(KeyError), Join([model]):
        raise KeyError
    again()
    assert not model._join_config.enable


def test_a_ddp_module_reduces_a_sparse_parameter_before_its_first_gradient(group):
    model = DistributedDataParallel(torch.nn.Embedding(2, 2, sparse=True))
    assert buckets.reduced(model) == [*model.parameters()]


def test_of_two_ddp_modules_of_a_kind_each_goes_on_where_it_was(group):
    (one, many), (other, few) = trained(5), trained(1)
    again()
    for model in (one, other):
        model(torch.ones(1, 2)).sum().backward()
    assert (many.iter, few.iter) == (6, 2)


@pytest.mark.parametrize("backwards", [1, 3])
def test_a_step_in_which_another_rank_died_is_not_counted(group, backwards):
    steps.count()
    model, counted = trained(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        for _ in range(backwards):
            model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    counting.uncount(model)
    assert counted.iter == 2 * backwards
    for _ in range(backwards):
        model(torch.ones(1, 2)).sum().backward()
    counting.uncount(model)
    assert counted.iter == 2 * backwards


def test_steps_are_counted_where_no_optimizer_of_torch_takes_them(group):
    steps.count()
    model, counted = trained(5)
    counting.uncount(model)
    assert counted.iter == 5


def test_a_copy_of_a_ddp_module_that_is_to_begin_again_is_a_new_one(group):
    model, _ = trained(3)
    cut(model)
    again()
    assert model._forward_pre_hooks
    copied = copy.deepcopy(model)
    for one in (copied, model):
        for _ in range(3):
            one(torch.ones(1, 2)).sum().backward()
        assert not one._forward_pre_hooks


def test_an_exception_of_torchs_names_what_holds_the_group():
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    again(clean=True)
    with pytest.raises((RuntimeError, ValueError)) as raised:
        Join([model])
    assert str(healing.explain(raised.value)).startswith("this DDP module was made for generation")
    assert id(model) in stale.refused()


def test_whatever_torch_says_of_a_sharded_module_that_has_ended_is_said_by_the_module(group):
    model, _ = cut_in_the_forward()
    again(clean=True)
    with pytest.raises(AssertionError) as raised:
        fully_shard(model)
    assert str(healing.explain(raised.value)).startswith("this FSDP module was made for generation")
    with pytest.raises(AttributeError) as raised:
        model.no_such_name  # noqa: B018 - a mistake that has nothing to do with it
    assert healing.explain(raised.value) is None


def test_what_torch_says_of_a_module_that_waits_stays(group):
    """It says why it waits when it is used; torch works on it while it is filled."""
    model, _ = cut_in_the_forward()
    found = wrappers.find({one.group: "0" for one in healing.note().held})
    stale.wait(found, [1])
    with pytest.raises(AssertionError) as raised:
        fully_shard(model)
    assert healing.explain(raised.value) is None
    stale.release(found)


def test_what_torch_says_of_a_module_that_goes_on_stays(group):
    model, _ = cut_in_the_forward()
    again()
    with pytest.raises(AssertionError) as raised:
        fully_shard(model)
    assert healing.explain(raised.value) is None


def fails(module, recurse, nonwrapped_numel):
    raise ValueError("in the middle")


@pytest.mark.filterwarnings("ignore:FSDP is switching")
def test_a_module_that_torch_failed_to_make_is_left_alone(group):
    """It lives on in the traceback of the exception."""
    _, half = cut_in_the_forward(), torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="in the middle") as raised:
        FullyShardedDataParallel(half, auto_wrap_policy=fails, device_id=torch.device("cpu"))
    half.__class__ = type("FSDPLinear", (FSDPModule, torch.nn.Linear), {})  # as fully_shard does
    assert "FSDP modules" in again().kinds
    assert "FSDP modules" in again(clean=True).lost
    assert fsdp.shards()
    assert raised.value


def test_a_loop_over_a_loader_ends_with_its_sampler():
    loader = DataLoader(range(4), batch_size=2, sampler=DistributedSampler(range(4)))
    loop, other = iter(loader), iter(DataLoader(range(4)))
    assert samplers.refuse(1, 0, 3) == ("distributed samplers",)
    with pytest.raises(StaleGroupError, match="was made for 1 ranks, and there are 3"):
        next(loop)
    assert next(other) == 0
