"""What cannot go on says so when it is used first, in one line, and has done no harm by then."""

from __future__ import annotations

import pytest
from objects import COMMON, OBJECTS, STEP, seen_after

KINDS = {
    "DDP": ("DDP module", "ddp = DistributedDataParallel(ddp.module)"),
    "DDP with buffers and unused parameters": ("DDP module", "DistributedDataParallel(ddp.module)"),
    "DDP static_graph": ("DDP module", "ddp = DistributedDataParallel(ddp.module)"),
    "FSDP2": ("FSDP module", "fully_shard(model), and load a checkpoint"),
    "FSDP2 on a 2-D mesh": ("FSDP module", "fully_shard(model), and load a checkpoint"),
    "TP and FSDP2": ("device mesh", "init_device_mesh(...)"),
    "pipeline": ("pipeline schedule", "PipelineStage(module, ...)"),
    "pipeline of two stages per rank": ("pipeline schedule", "PipelineStage(module, ...)"),
    "PowerSGD": ("DDP module", "ddp = DistributedDataParallel(ddp.module)"),
    "FSDP, the older one": (
        "FSDP module",
        "FullyShardedDataParallel(model), and load a checkpoint",
    ),
    "DTensor": ("DTensor", "distribute_tensor(tensor, init_device_mesh(...))"),
    "three subgroups": ("process group", "dist.new_group(...)"),
    "ZeRO": ("DDP module", "ddp = DistributedDataParallel(ddp.module)"),
}
KINDS = {name: told for name, told in KINDS.items() if name in OBJECTS}  # not on each torch

CLOSED = """
def closed(group):
    return lambda: dist.broadcast(torch.ones(1), 0, group=group)
use = closed(dist.new_group())
"""

MESH = "mesh = init_device_mesh('cpu', (2, 2), mesh_dim_names=('a', 'b'))"

FUNCTIONAL = f"""
import torch.distributed._functional_collectives as functional
{MESH}
"""

ZERO = """
model = make_model()
optimizer = ZeroRedundancyOptimizer(
    model.parameters(), optimizer_class=torch.optim.Adam, lr=0.01
)
model(batch(0)).sum().backward()
def state():
    return mark(model.parameters()), []
before = state()
"""

GROUP = ("process group", "dist.new_group(...)")
ON_MESH = ("device mesh", "init_device_mesh(...)")

MORE = {
    "a group of new_group": (
        "group = dist.new_group()",
        "dist.all_reduce(torch.ones(1), group=group)",
        GROUP,
    ),
    "a group in a closure": (CLOSED, "use()", GROUP),
    "the default group, kept": (
        "group = dist.group.WORLD",
        "dist.all_reduce(torch.ones(1), group=group)",
        GROUP,
    ),
    "a mesh": (MESH, "mesh['a'].get_group()", ON_MESH),
    "a mesh of all ranks": (
        "mesh = init_device_mesh('cpu', (world_size,))",
        "dist.all_reduce(torch.ones(1), group=mesh.get_group())",
        ON_MESH,
    ),
    "a functional collective": (
        FUNCTIONAL,
        "functional.all_reduce(torch.ones(1), 'sum', (mesh, 0))",
        ON_MESH,
    ),
    "a ZeRO optimizer, before it has changed a parameter": (
        ZERO,
        "optimizer.step()",
        ("ZeroRedundancyOptimizer", "ZeroRedundancyOptimizer(model.parameters(), ...)"),
    ),
}

COMPILED = """
@torch.compile(backend='eager')
def use(group):
    return functional.all_gather_tensor(torch.ones(2), 0, group)
"""

TENSOR_PARALLEL = """
mesh = init_device_mesh('cpu', (2, 2), mesh_dim_names=('dp', 'tp'))['tp']
model = nn.Sequential(nn.Linear(24, 24), nn.Linear(24, 24))
parallelize_module(model, mesh, {'0': ColwiseParallel(), '1': RowwiseParallel()})
compiled = torch.compile(model, backend='eager')
compiled(batch(0))
"""

OLDER = """
from torch.distributed.fsdp import FullyShardedDataParallel
model = FullyShardedDataParallel(make_model(), device_id=device)
"""

ALONE = {
    "a module of columns": (
        TENSOR_PARALLEL,
        "model[0](batch(0))",
        ("tensor-parallel module", "parallelize_module(...), and load a checkpoint"),
    ),
    "a compiled tensor-parallel module": (
        TENSOR_PARALLEL,
        "compiled(batch(0))",
        ("tensor-parallel module", "parallelize_module(...), and load a checkpoint"),
    ),
    "a compiled function": (
        f"{FUNCTIONAL}{COMPILED}group = dist.new_group()\nuse(group)",
        "use(group)",
        GROUP,
    ),
    "Join": (
        "from torch.distributed.algorithms import Join\n" + OBJECTS["DDP"],
        "Join([model])",
        ("DDP module", "ddp = DistributedDataParallel(ddp.module)"),
    ),
    "the state of an older FSDP module": (
        OLDER,
        "model.state_dict()",
        ("FSDP module", "FullyShardedDataParallel(model), and load a checkpoint"),
    ),
    "a loss that an FSDP module has computed": (
        "model = fully_shard(make_model())\nloss = model(batch(0)).sum()",
        "loss.backward()",
        ("FSDP module", "fully_shard(model), and load a checkpoint"),
    ),
    "an FSDP module, wrapped again": (
        "model = fully_shard(make_model())",
        "fully_shard(model)",
        ("FSDP module", "fully_shard(model), and load a checkpoint"),
    ),
    "the parameters of an FSDP module": (
        "model = fully_shard(make_model())",
        "model.unshard()",
        ("FSDP module", "fully_shard(model), and load a checkpoint"),
    ),
}
"""What uses a group, or a part of it, without the call that most use it by."""


def change_size(session):
    session.initialize(nproc=3)


def forget(session):
    session.reset(clean=True)


def assert_says(result, origin, kind, again):
    for rank in result:
        error = result[rank].error
        assert error.ename == "StaleGroupError", error
        assert error.evalue.startswith(f"this {kind} was made {origin}")
        assert error.evalue.endswith(again)
        assert "\n" not in error.evalue
        assert len(error.traceback) < 12


@pytest.fixture(autouse=True)
def four_ranks(four):
    four.initialize(nproc=4)
    four.run("import sys\nsys.last_value = sys.last_traceback = sys.last_exc = None")


def test_every_kind_of_object_is_tried():
    assert set(KINDS) == set(OBJECTS)


@pytest.mark.parametrize("event", [change_size, forget])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.sample(every=3)
def test_an_object_that_cannot_go_on_says_what_it_is_and_what_to_write(four, name, event):
    four.run(f"{COMMON}{OBJECTS[name]}\n{STEP.format(0)}").raise_for_error()
    if name != "DTensor":  # its state is told by collectives
        four.run("before = state()").raise_for_error()
    origin = f"for generation {four.generation}"
    event(four)
    assert_says(four.run(STEP.format(1)), origin, *KINDS[name])
    if name != "DTensor":
        four.run("assert state() == before, 'a parameter has changed'").raise_for_error()


@pytest.fixture
def not_healed(four):
    """Ranks with a backend that is not healed, as NCCL is not; the next test has gloo again."""
    four.initialize("cpu:gloo")
    yield four
    four.initialize("gloo")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.sample(every=5)
def test_an_object_of_a_backend_that_is_not_healed_says_so_after_a_reset(not_healed, name):
    not_healed.run(f"{COMMON}{OBJECTS[name]}\n{STEP.format(0)}").raise_for_error()
    origin = f"for generation {not_healed.generation}"
    not_healed.reset()
    assert_says(not_healed.run(STEP.format(1)), origin, *KINDS[name])


def assert_says_after(event, four, make, use, said):
    """Make something, have its group end, use it."""
    four.run(f"{COMMON}{make}").raise_for_error()
    origin = f"for generation {four.generation}"
    event(four)
    assert_says(four.run(use), origin, *said)


@pytest.mark.parametrize("event", [change_size, forget])
@pytest.mark.parametrize("name", MORE)
@pytest.mark.sample(every=3)
def test_an_object_with_an_ended_group_says_how_to_make_it_again(four, name, event):
    make = MORE[name][0]
    assert_says_after(event, four, *MORE[name])
    if make is ZERO:
        four.run("assert state() == before, 'a parameter has changed'").raise_for_error()


@pytest.mark.slow
@pytest.mark.parametrize("event", [change_size, forget])
@pytest.mark.parametrize("name", ALONE)
def test_an_object_with_an_ended_group_says_so_in_its_other_methods(four, name, event):
    assert_says_after(event, four, *ALONE[name])


def test_an_older_fsdp_module_says_so_each_time(four):
    four.run(COMMON + OLDER).raise_for_error()
    origin = f"for generation {four.generation}"
    four.reset(clean=True)
    _, _, told = ALONE["the state of an older FSDP module"]
    for use in ("model.state_dict()", "model.state_dict()", "model.clip_grad_norm_(1.0)"):
        assert_says(four.run(use), origin, *told)


CHECKPOINT = """
import torch.distributed.checkpoint as dcp
model = fully_shard(make_model())
of_before = {path!r}
dcp.save(model.state_dict(), checkpoint_id=of_before)
"""


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_checkpoint_of_an_ended_module_is_refused_before_anything_is_written(
    four, tmp_path, ranks
):
    four.run(COMMON + CHECKPOINT.format(path=str(tmp_path))).raise_for_error()
    origin = f"for generation {four.generation}"
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    four.initialize(nproc=ranks)
    for use in (
        "dcp.save(model.state_dict(), checkpoint_id=of_before)",
        "dcp.async_save(model.state_dict(), checkpoint_id=of_before).result()",
        "dcp.load(model.state_dict(), checkpoint_id=of_before)",
    ):
        assert_says(four.run(use), origin, "DTensor", "and load a checkpoint of before")
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == content


HANDLES = """
import torch.distributed._functional_collectives as functional
def start():
    return dist.all_reduce(torch.ones(2), async_op=True)
if rank:
    work, future = start(), start().get_future()
    chained = start().get_future().then(lambda future: future.value())
    failing = start().get_future().then(lambda _: 1 / 0)
    collected = torch.futures.collect_all([start().get_future()])
    tensor = functional.all_reduce(torch.ones(2), 'sum', dist.group.WORLD)
    received, of_anyone = dist.irecv(torch.ones(2), 0), dist.irecv(torch.ones(2))
"""

USES = {
    "work.wait()": "all_reduce",
    "work.result()": "all_reduce",  # torch would return a part of the sum
    "work.is_completed()": "all_reduce",
    "work.get_future().wait()": "all_reduce",
    "future.wait()": "all_reduce",
    "future.value()": "all_reduce",
    "chained.wait()": "all_reduce",
    "collected.wait()": "all_reduce",
    "tensor + 1": "all_reduce",
    "tensor + 2": "all_reduce",  # torch would wait for it once
    "received.wait()": "recv",
    "of_anyone.wait()": "recv",  # gloo would wake nobody
}


def test_a_handle_of_a_call_that_was_cut_says_of_which_call_it_was(four):
    four.run(HANDLES).raise_for_error()
    begun = four.generation
    four.reset()
    for use, call in USES.items():
        result = four.run(use, ranks=[1, 2, 3])
        for rank in result:
            error = result[rank].error
            assert error is not None, use
            assert error.ename == "StaleGroupError", (use, error)
            assert error.evalue.startswith(f"this {call} was called in generation {begun} (cell ")
            assert error.evalue.endswith("when that ended: call it again on all of its ranks")
    assert "division by zero" in four.run("failing.wait()", ranks=[1])[1].error.evalue
    four.run("dist.barrier()").raise_for_error()
    assert four.generation == begun + 1


SCRIPT = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, world_size, device = dist.get_rank(), dist.get_world_size(), torch.device("cpu")
left = []
for make in {makes!r}:
    left.append(dict(globals()))
    exec(make, left[-1])
{end}
"""
LEFT = {
    name: (f"{COMMON}{OBJECTS[name]}\n{STEP.format(0)}", STEP.format(1), told)
    for name, told in KINDS.items()
} | {name: (f"{COMMON}{make}", use, told) for name, (make, use, told) in MORE.items()}


def assert_what_a_script_has_left_says_so(session, path, objects, end):
    # By the names that a mesh of the script's knows, it must not find one of these.
    count = 3 * len(objects)
    session.run(f"groups = [dist.new_group() for _ in range({count})]").raise_for_error()
    makes = [make for make, *_ in objects]
    path.write_text(SCRIPT.format(makes=makes, end=end))
    session.run_script(path).raise_for_error()
    for number, (_, use, told) in enumerate(objects):
        result = session.run(f"exec({use!r}, left[{number}])")
        if told[0] == "pipeline schedule":
            result.raise_for_error()  # it holds no group: each step takes the default one
        else:
            assert_says(result, f"in the script {path.name}, ", *told)
    session.run("[dist.barrier(group) for group in groups]").raise_for_error()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "dist.destroy_process_group()"])
def test_objects_that_a_script_left_with_its_own_group_say_so_when_used(four, tmp_path, end):
    path = tmp_path / "train.py"
    assert_what_a_script_has_left_says_so(four, path, [*LEFT.values()], end)


def test_a_module_and_a_mesh_that_a_script_has_left_say_so(four, tmp_path):
    few = [LEFT["DDP"], LEFT["a mesh"], LEFT["a group of new_group"]]
    path = tmp_path / "train.py"
    assert_what_a_script_has_left_says_so(four, path, few, "dist.destroy_process_group()")


def test_a_rank_that_was_left_out_for_a_while_says_so_as_the_others_do(four):
    four.run(f"{COMMON}mesh = init_device_mesh('cpu', (world_size,))").raise_for_error()
    change_size(four)
    four.initialize(nproc=4)
    result = four.run("mesh.get_group()")
    assert {result[rank].error.ename for rank in result} == {"StaleGroupError"}


@pytest.mark.slow
def test_a_function_compiled_for_another_world_size_is_compiled_again(four):
    use = "seen = use(dist.group.WORLD).numel()"
    four.run(f"{COMMON}{FUNCTIONAL}{COMPILED}{use}").raise_for_error()
    change_size(four)
    four.run(use).raise_for_error()
    assert four.pull("seen") == {0: 6, 1: 6, 2: 6}
    four.initialize(nproc=4)
    assert "diverged" not in four.carried
    four.run(use).raise_for_error()
    assert set(four.pull("seen").values()) == {8}


SAMPLERS = """
from torch.utils.data import DataLoader, DistributedSampler
class Mine(DistributedSampler):
    def __iter__(self):
        return iter(list(super().__iter__()))
loader = DataLoader(range(12), sampler=DistributedSampler(range(12)))
mine = Mine(range(12), shuffle=False)
of_a_part = DistributedSampler(range(12), num_replicas=2, rank=rank % 2)
"""


def test_a_sampler_for_another_number_of_ranks_says_so_when_it_is_iterated_over(four):
    four.run(SAMPLERS).raise_for_error()
    assert four.run("len(list(loader)), len(list(mine))")[3].result_repr == "(3, 3)"
    four.reset()
    assert four.run("len(list(loader)), len(list(mine))")[3].result_repr == "(3, 3)"
    four.run("loop = iter(loader); first = next(loop)").raise_for_error()
    change_size(four)
    made = "was made for 4 ranks, and there are 3: make it again, "
    for code, name in (
        ("list(loader)", "DistributedSampler"),
        ("next(loop)", "DistributedSampler"),
        ("list(mine)", "Mine"),
    ):
        for rank in four.run(code).values():
            assert rank.error.ename == "StaleGroupError"
            assert rank.error.evalue.startswith(f"this {name} {made}{name}(dataset)")
    checks = "isinstance(mine, Mine), len(list(of_a_part)), len(mine)"
    assert four.run(checks)[0].result_repr == "(True, 6, 3)"
    assert "istributed samplers" in four.carried
    four.run(SAMPLERS).raise_for_error()
    assert four.run("len(list(loader))")[2].result_repr == "4"


def test_an_object_that_was_made_again_as_told_works(four):
    four.run(f"{COMMON}{OBJECTS['DDP']}\n{STEP.format(0)}").raise_for_error()
    change_size(four)
    assert not four.run(STEP.format(1)).ok
    four.run(
        "model = DistributedDataParallel(model.module)\n"
        "optimizer = torch.optim.Adam(model.parameters(), lr=0.01)"
    ).raise_for_error()
    four.run(STEP.format(1)).raise_for_error()
    states = four.pull("seen")
    assert len(states) == 3
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("who", ["True", "rank == 2"])
def test_a_model_whose_step_was_cut_can_be_wrapped_again_for_another_world_size(four, who):
    def steps():
        return [seen_after(four, STEP.format(k)) for k in range(3)]

    wrap = "model = DistributedDataParallel(model.module)"
    adam = "optimizer = torch.optim.Adam(model.parameters(), lr=0.01)"
    four.run(COMMON + OBJECTS["DDP"]).raise_for_error()
    four.run(f"if {who}: halt['backward'] = 'raise'").raise_for_error()
    assert not four.run("grads(0)").ok
    change_size(four)
    assert four.run("model(batch(0))")[0].error.ename == "StaleGroupError"
    four.run(f"halt.clear()\n{wrap}\n{adam}").raise_for_error()
    taken = steps()
    four.run(f"model = DistributedDataParallel(make_model())\n{adam}").raise_for_error()
    assert taken == steps()
    four.initialize(nproc=4)
