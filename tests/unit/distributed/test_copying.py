"""Taking variables apart and making them again; that of several ranks is in integration."""

from __future__ import annotations

import sys
import threading
import types
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    FullyShardedDataParallel,
    MixedPrecisionPolicy,
    fully_shard,
)
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from rankbook.distributed import copying, healing
from rankbook.distributed.copying import kept, places
from rankbook.distributed.copying.checkpoints import prefix_of
from rankbook.distributed.healing.account import Terms
from rankbook.errors import StaleGroupError


def begin():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def heal():
    account = healing.note(1)
    dist.destroy_process_group()
    healing.separate(account.groups)
    begin()
    healing.heal(account)


@pytest.fixture(autouse=True)
def group():
    """A group that has healed, so that the ranks know of each other which groups they hold."""
    begin()
    heal()
    yield dist.group.WORLD
    dist.destroy_process_group()


def copied(names, *, defined=(), **namespace):
    """What another process would have of these, and what would be left out."""
    sent = copying.dump(namespace, names.split(), defined)
    here = {name: namespace[name] for name in defined}
    assert copying.load(sent.data, sent.names, here, 0) == ""
    return here, dict(sent.left)


def test_an_optimizer_refers_to_the_parameters_of_its_model():
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    here, left = copied("optimizer model", model=model, optimizer=optimizer)
    assert not left
    [group] = here["optimizer"].param_groups
    assert group["params"][0] is here["model"].weight
    assert group["lr"] == 0.5
    assert here["model"].weight is not model.weight
    assert torch.equal(here["model"].weight, model.weight)
    assert torch.equal(here["model"].weight.grad, model.weight.grad)
    state = here["optimizer"].state[here["model"].weight]
    assert torch.equal(state["exp_avg"], optimizer.state[model.weight]["exp_avg"])


def test_a_mesh_whose_groups_a_cell_has_destroyed_is_left_out():
    mesh = DeviceMesh.from_group(dist.new_group([0]), "cpu")
    heal()
    _, left = copied("mesh", mesh=mesh)
    assert not left
    dist.destroy_process_group()
    begin()
    heal()
    _, left = copied("mesh", mesh=mesh)
    assert left["mesh"].startswith("a device mesh whose process groups have ended")


def add_one(parameter):
    parameter.grad += 1


def test_hooks_of_parameters_and_of_an_optimizer_travel_with_them():
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.weight.register_hook(lambda gradient: gradient * 2)
    model.weight.register_post_accumulate_grad_hook(add_one)
    optimizer.register_step_post_hook(lambda one, *_: one.param_groups[0]["params"][0].data.neg_())
    torch.optim.lr_scheduler.LinearLR(optimizer)  # has another step() of its own in it
    here, left = copied("model optimizer", model=model, optimizer=optimizer)
    assert not left
    for names in (here, {"model": model, "optimizer": optimizer}):
        names["model"](torch.ones(1, 2)).sum().backward()
        assert names["model"].weight.grad.tolist() == [[3, 3]]
        names["optimizer"].step()
    assert torch.equal(here["model"].weight, model.weight)


def test_an_optimizer_keeps_what_it_has_besides_its_state():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.LBFGS([weight])
    here, _ = copied("weight optimizer", weight=weight, optimizer=optimizer)
    here["optimizer"].step(here["weight"].sum)
    assert here["optimizer"]._params[0] is here["weight"]


def test_tensors_that_share_memory_share_it_afterwards():
    x = torch.arange(6.0)
    view = x[2:4]
    here, _ = copied("x view", x=x, view=view)
    here["x"][2] = 7
    assert here["view"].tolist() == [7, 3]
    assert x[2] == 2


@pytest.mark.parametrize("size", [0, 6])
def test_a_copied_tensor_can_be_resized(size):
    here, _ = copied("x", x=torch.arange(float(size)))
    assert here["x"].resize_(12)[:size].tolist() == [*range(size)]


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([]),
        torch.arange(6).reshape(2, 3).T,
        torch.tensor(2.5),
        torch.ones(2, 2).to_sparse(),
        torch.tensor([1 + 2j]).conj(),
        torch.ones(2, dtype=torch.bfloat16),
        torch.tensor([True, False]),
    ],
    ids=["empty", "strided", "scalar", "sparse", "conjugate", "bfloat16", "bool"],
)
def test_a_tensor_of_any_kind_is_copied(value):
    here, left = copied("value", value=value)
    assert not left
    assert here["value"].dtype == value.dtype
    assert torch.equal(here["value"].to_dense(), value.to_dense())


def test_a_ddp_module_is_made_again_around_the_copied_one_and_trains():
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    here, left = copied("model", model=model)
    assert not left
    other = here["model"]
    assert type(other) is DistributedDataParallel
    assert other.process_group is dist.group.WORLD
    other.zero_grad()
    other(torch.ones(1, 2)).sum().backward()
    assert torch.equal(other.module.weight.grad, model.module.weight.grad)


def test_the_state_of_power_sgd_keeps_its_group():
    group = dist.new_group([0])
    heal()
    state = PowerSGDState(group, matrix_approximation_rank=3)
    state.iter = 7
    here, left = copied("state", state=state)
    assert not left
    assert here["state"].process_group is group
    assert (here["state"].iter, here["state"].matrix_approximation_rank) == (7, 3)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_an_optimizer_around_another_is_copied_with_it():
    optim = import_module("torch.distributed.optim")
    model = torch.nn.Linear(2, 2)
    inner = torch.optim.SGD(model.parameters(), lr=0.5)
    outer = optim.PostLocalSGDOptimizer(inner, PeriodicModelAverager(period=4, warmup_steps=1))
    here, left = copied("model outer", model=model, outer=outer)
    assert not left
    assert here["outer"].optim.param_groups[0]["params"][0] is here["model"].weight
    assert here["outer"].averager.period == 4
    here["model"](torch.ones(1, 2)).sum().backward()
    here["outer"].step()
    assert here["model"].weight.tolist() != model.weight.tolist()


def test_an_object_that_waits_for_a_replaced_rank_does_not_wait_on_that_rank():
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    found = healing.wrappers.Found(ddp=(("kind", model),))
    healing.stale.wait(found, [1])
    with pytest.raises(StaleGroupError, match=r"rank 1 was replaced.*%dist_restart 1 --from 0"):
        model(torch.ones(1, 2))
    here, _ = copied("model", model=model)
    here["model"](torch.ones(1, 2))
    assert healing.stale.release(found) == ()
    model(torch.ones(1, 2))


def test_a_module_that_compiles_itself_is_copied_without_what_it_has_made():
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    model.compile(backend="eager")
    here, left = copied("model", model=model)
    assert not left
    here["model"](torch.ones(1, 2)).sum().backward()


def test_an_object_of_one_process_is_not_copied_and_the_reason_is_given():
    with Path(__file__).open() as log:
        here, left = copied(
            "x loader loop log numbers lock",
            x=1,
            loader=DataLoader([1, 2], num_workers=1),
            loop=iter(DataLoader([1, 2])),
            log=log,
            numbers=(n for n in range(3)),
            lock=threading.Lock(),
        )
    assert here == {"x": 1}
    assert left.pop("lock").startswith("cannot pickle")
    assert left == {
        "loader": "a loader with worker processes",
        "loop": "a loop over a loader that has begun",
        "log": "an open file",
        "numbers": "a generator",
    }


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, about one rank
def test_a_module_of_the_older_fsdp_is_left_with_the_reason():
    model = FullyShardedDataParallel(torch.nn.Linear(2, 2), device_id=torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    here, left = copied("model optimizer x", model=model, optimizer=optimizer, x=3)
    assert here == {"x": 3}
    why = "FullyShardedDataParallel keeps a part of it on each rank: make it again on all"
    assert left == {"model": why, "optimizer": why}


def test_a_value_that_holds_what_stays_is_left_and_the_rest_is_whole():
    shared = [1, 2]
    here, left = copied("a b c", a=shared, b=[shared, (n for n in ())], c={"shared": shared})
    assert left == {"b": "a generator"}
    assert here["c"]["shared"] is here["a"]


def test_functions_of_cells_look_names_up_where_they_are():
    namespace = {"__name__": "__main__"}
    exec(  # noqa: S102 - as a cell
        "def make():\n    n = 2\n    return lambda: factor * n\nf = make()\nfactor = 3", namespace
    )
    sent = copying.dump(namespace, ["f"])
    here = {"factor": 10}
    assert copying.load(sent.data, sent.names, here, 0) == ""
    assert here["f"]() == 20
    here["factor"] = 1
    assert here["f"]() == 2


DEFINED = """
import torch.distributed as dist

class Metric:
    group = dist.new_group([0])
    other = 5

    @classmethod
    def reduce(cls, x, group=dist.new_group([0])):
        return group

def reduce(x, y=1, *, group=dist.new_group([0])):
    return group
"""


def test_groups_of_definitions_and_modules_are_put_where_they_ran_again(monkeypatch):
    module, names = types.ModuleType("of_a_user"), ["Metric", "reduce"]
    monkeypatch.setitem(sys.modules, "of_a_user", module)
    there = {"__name__": "__main__"}
    exec(DEFINED, there)  # noqa: S102 - as a cell
    exec("from torch.distributed import new_group\ngroup = new_group([0])", vars(module))  # noqa: S102
    found = kept.find(there, names)
    assert set(found) == {
        "Metric.group",
        "Metric.reduce(0)",
        "reduce(group)",
        "of_a_user:group",
    }
    by_name = {name: group for group, name in dist.distributed_c10d._world.pg_names.items()}
    groups = {place: by_name[name] for place, name in found.items()}
    here = {"__name__": "__main__"}
    with kept.standing_in():
        exec(DEFINED, here)  # noqa: S102
        module.group = dist.new_group([0])
        pairs = dist.new_subgroups(1)
    assert dist.new_group([0]).size() == 1
    for use in (dist.all_reduce, dist.broadcast_object_list, hash):
        with pytest.raises(StaleGroupError, match="on this replaced rank alone: make it again"):
            use(pairs[0]) if use is hash else use(torch.ones(1), group=pairs[0])
    kept.put(here, names, groups)
    assert here["Metric"].group is there["Metric"].group
    assert here["Metric"].reduce(1) is there["Metric"].reduce(1)
    assert here["reduce"](1) is there["reduce"](1)
    assert module.group is groups["of_a_user:group"]


def test_a_class_that_is_not_defined_there_is_named():
    namespace = {"__name__": "__main__"}
    exec("class A: ...\na = A()", namespace)  # noqa: S102 - as a cell
    sent = copying.dump(namespace, ["a"], {"A"})
    assert copying.load(sent.data, sent.names, {}, 0) == "a: A is not defined here"


def test_a_sampler_of_another_group_is_left():
    sampler = DistributedSampler([1, 2], num_replicas=2, rank=1)
    _, left = copied("sampler", sampler=sampler)
    assert "another" in left["sampler"] or "group of its own" in left["sampler"]


def terms(name, *ranks, description=""):
    return Terms(name, ranks, "gloo", 60.0, description, "")


ROWS = [terms("1", 0, 1, description="a"), terms("2", 2, 3, description="a")]
COLUMNS = [terms("3", 0, 2, description="b"), terms("4", 1, 3, description="b")]


@pytest.mark.parametrize(
    ("name", "rank", "here"),
    [("1", 1, "1"), ("1", 2, "2"), ("1", 3, "2"), ("3", 2, "3"), ("3", 3, "4"), ("9", 1, None)],
)
def test_a_group_stands_for_the_one_made_beside_it(name, rank, here):
    theirs = [ROWS[0], COLUMNS[0]]
    assert places.counterpart(name, theirs, [*ROWS, *COLUMNS], rank) == here


def test_groups_of_a_replaced_rank_by_itself_are_in_the_order_in_which_they_were_made():
    theirs = [terms("9", 0), terms("12", 0)]
    assert places.counterpart("12", theirs, [*theirs, terms("11", 1), terms("9/1", 1)], 1) == "11"


def test_a_group_that_has_none_beside_it_stands_for_none():
    alone = terms("5", 0, 1)
    assert places.counterpart("5", [alone], [alone, *ROWS], 3) is None


@pytest.mark.parametrize(
    ("name", "keys", "prefix"),
    [
        ("model", {"model.0.weight", "model.0.bias"}, "model."),
        ("model", {"model.module.0.weight", "model.module.0.bias"}, "model.module."),
        ("net", {"app.model.0.weight", "app.model.0.bias"}, "app.model."),
        ("model", {"0.weight", "0.bias"}, ""),
        ("model", {"model.0.weight", "model.0.bias", "ema.0.weight", "ema.0.bias"}, "model."),
        ("net", {"model.0.weight", "model.0.bias", "ema.0.weight", "ema.0.bias"}, None),
        ("model", {"model.0.weight"}, None),
        ("model", {"model.10.weight", "model.10.bias"}, None),
    ],
)
def test_the_keys_of_a_module_are_found_in_a_checkpoint(name, keys, prefix):
    assert prefix_of(name, ["0.weight", "0.bias"], keys) == prefix


def test_digests_distinguish_values():
    digest = copying.digest
    model = torch.nn.Linear(2, 2)
    assert digest(1) != digest(2)
    assert digest(1) == digest(1)
    assert digest([1, {"a": torch.ones(2)}]) == digest([1, {"a": torch.ones(2)}])
    assert digest(torch.ones(2)) != digest(torch.ones(3))
    assert digest(torch.ones(2)) != digest(torch.ones(2, dtype=torch.int32))
    before = digest(model)
    with torch.no_grad():
        model.weight[0, 0] += 1
    assert digest(model) != before
    assert digest(object()) == digest([object()]) == ""
    assert digest(None) != ""


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_private_names_of_torch_that_copying_uses_are_there():
    parallel = import_module("torch.nn.parallel.distributed")
    assert callable(parallel._get_default_group)
    contract = import_module("torch.distributed._composable.contract")
    mesh = init_device_mesh("cpu", (1,))
    assert mesh._dim_group_names
    assert mesh.get_coordinate() == mesh._coordinate_on_dim
    model = fully_shard(torch.nn.Linear(2, 2), mesh=mesh)
    assert {contract.STATE_KEY, contract.REGISTRY_KEY} <= set(vars(model))
    state = model._get_fsdp_state()
    assert type(state).__name__ == "FSDPState"
    assert state._modules == (model,)
    assert (state._auto_reshard_after_forward, state._mp_policy) == (True, MixedPrecisionPolicy())
    [group] = healing.fsdp2.param_groups(model)
    assert group.post_forward_mesh_info is group.mesh_info
    assert group.mesh_info.mesh is mesh
    assert group.offload_policy is not None
    assert [its.sharded_param for its in group.fsdp_params] == [model.weight, model.bias]
    assert [tuple(its._orig_size) for its in group.fsdp_params] == [(2, 2), (2,)]
    assert {its.fsdp_placement.dim for its in group.fsdp_params} == {0}
    parameters = torch.nn.Linear(2, 2).parameters()
    make = import_module("torch.distributed.optim").ZeroRedundancyOptimizer
    zero = make(parameters, optimizer_class=torch.optim.Adam, lr=0.5)
    assert (zero._optim_constructor, zero._optim_defaults) == (torch.optim.Adam, {"lr": 0.5})
    assert zero._overlap_with_ddp is False


def test_a_sharded_module_is_left_without_a_checkpoint_and_made_again_with_one():
    model = fully_shard(torch.nn.Linear(2, 2), mesh=init_device_mesh("cpu", (1,)))
    optimizer = torch.optim.Adam(model.parameters())
    _, left = copied("model optimizer", model=model, optimizer=optimizer)
    assert set(left.values()) == {"sharded: --checkpoint PATH loads it on all ranks"}
    namespace = {"optimizer": optimizer, "model": model}
    sent = copying.dump(namespace, ["optimizer", "model"], with_shards=True)
    here = {}
    assert copying.load(sent.data, sent.names, here, 0) == ""
    assert isinstance(here["model"], FSDPModule)
    assert [tuple(one.shape) for one in here["model"].parameters()] == [(2, 2), (2,)]
    [group] = here["optimizer"].param_groups
    assert group["params"][0] is here["model"].weight
    here["model"](torch.ones(1, 2)).sum().backward()
    here["optimizer"].step()


def test_a_sharded_module_that_has_gathered_its_parameters_is_made_again_as_any_other():
    mesh = init_device_mesh("cpu", (1,))
    model = fully_shard(torch.nn.Linear(2, 2), mesh=mesh, reshard_after_forward=False)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2))  # as for an evaluation
    assert optimizer.param_groups[0]["params"][0] is not model.weight
    namespace = {"optimizer": optimizer, "model": model}
    sent = copying.dump(namespace, ["optimizer", "model"], with_shards=True)
    here = {}
    assert copying.load(sent.data, sent.names, here, 0) == ""
    [group] = here["optimizer"].param_groups
    assert group["params"][0] is here["model"].weight
    here["model"](torch.ones(1, 2)).sum().backward()
    here["optimizer"].step()
    # Its hooks are its own: those of the original would reshard the original.
    assert here["model"].state_dict()["weight"].shape == (2, 2)
    here["model"].load_state_dict(here["model"].state_dict())


def test_a_part_of_a_sharded_module_is_copied_without_what_shards_the_whole():
    model = fully_shard(
        torch.nn.Sequential(torch.nn.Linear(2, 2)),
        mesh=init_device_mesh("cpu", (1,)),
        reshard_after_forward=False,
    )
    model(torch.ones(1, 2))
    namespace = {"part": model[0], "model": model}
    sent = copying.dump(namespace, ["part", "model"], with_shards=True)
    here = {}
    assert copying.load(sent.data, sent.names, here, 0) == ""
    assert here["model"][0] is here["part"]
    assert not here["part"]._state_dict_pre_hooks
    here["model"](torch.ones(1, 2)).sum().backward()
    here["model"].load_state_dict(here["model"].state_dict())


def test_only_a_sharded_module_is_left_where_torch_lacks_its_state(monkeypatch):
    model = fully_shard(torch.nn.Linear(2, 2), mesh=init_device_mesh("cpu", (1,)))
    monkeypatch.delattr(FSDPModule, "_get_fsdp_state")
    here, left = copied("model x", model=model, x=3)
    assert here == {"x": 3}
    assert left == {"model": "sharded: --checkpoint PATH loads it on all ranks"}
