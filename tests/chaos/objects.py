"""What people train with: cells that make it, and a training step that can be stopped halfway.

Every kind defines ``grads(k)``, which computes the gradients of step ``k`` and can be stopped in
``pause``, ``apply()``, and ``state()``, whose numbers are compared to the bit.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from rankbook.notebook import Session

__all__ = ["COMMON", "FORGET", "LOAD", "OBJECTS", "SAVE", "STEP", "seen_after"]

FORGET = """
import gc, sys
sys.last_value = sys.last_traceback = sys.last_exc = None
kept = {*'torch dist rank world_size local_rank device dist_info In Out get_ipython gc'.split()}
for name in [one for one in globals() if not one.startswith('_') and one not in kept]:
    del globals()[name]
gc.collect()
del gc
"""
"""Drops all names that a test has made."""

COMMON = """
import os
import signal
import time
import torch.nn as nn
from torch.nn.parallel import DistributedDataParallel
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel, RowwiseParallel, parallelize_module,
)

halt = {}  # by place, what this rank does there

def pause(place):
    what = halt.pop(place, None)
    if what == "raise":
        raise ValueError(f"in {place}")
    if what == "sleep":
        time.sleep(600)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)

class Pause(nn.Module):
    def forward(self, x):
        pause("forward")
        if x.requires_grad:
            x.register_hook(lambda gradient: pause("backward"))
        return x

def make_model():
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Linear(24, 40), nn.Tanh(), nn.Linear(40, 40), Pause(), nn.Tanh(), nn.Linear(40, 24)
    )

def batch(k):
    torch.manual_seed(100 * k + rank)
    return torch.randn(6, 24)

def full(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

def local(tensor):
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor

def mark(tensors):
    return [local(t.detach()).double().sum().item().hex() for t in tensors]

def grads(k):
    optimizer.zero_grad()
    loss = model(batch(k)).pow(2).sum()
    pause("between")
    loss.backward()

def apply():
    optimizer.step()

def moments(of):
    # Not in the order of the state, which is another one once it was loaded.
    states = [of.state[p] for group in of.param_groups for p in group['params'] if p in of.state]
    found = (v for s in states for _, v in sorted(s.items()))
    return [v for v in found if isinstance(v, torch.Tensor)]

def state():
    return mark(model.parameters()), mark(moments(optimizer))
"""

_ADAM = "optimizer = torch.optim.Adam(model.parameters(), lr=0.01)"

_FSDP = f"""
model = make_model()
for layer in model:
    if isinstance(layer, nn.Linear):
        fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
{_ADAM}
"""

_PIPED = """
def grads(k):
    optimizer.zero_grad()
    torch.manual_seed(k)
    x, y = torch.randn(2 * world_size, 24), torch.randn(2 * world_size, 24)
    first, last = rank == 0, rank == world_size - 1
    pause("between")
    schedule.step(*([x] if first else []), **({'target': y, 'losses': []} if last else {}))
"""

OBJECTS = {
    "DDP": f"model = DistributedDataParallel(make_model())\n{_ADAM}",
    "DDP with buffers and unused parameters": f"""
model = DistributedDataParallel(
    nn.Sequential(make_model(), nn.BatchNorm1d(24)), find_unused_parameters=True
)
{_ADAM}
""",
    "DDP static_graph": f"""
model = DistributedDataParallel(make_model(), static_graph=True)
{_ADAM}
""",
    "FSDP2": f"mesh = init_device_mesh('cpu', (world_size,))\n{_FSDP}",
    "FSDP2 on a 2-D mesh": f"""
mesh = init_device_mesh('cpu', (2, 2), mesh_dim_names=('replicate', 'shard'))
{_FSDP}
""",
    "TP and FSDP2": f"""
mesh = init_device_mesh('cpu', (2, 2), mesh_dim_names=('dp', 'tp'))
model = make_model()
parallelize_module(model, mesh['tp'], {{'0': ColwiseParallel(), '2': RowwiseParallel()}})
fully_shard(model, mesh=mesh['dp'])
{_ADAM}

def batch(k):
    torch.manual_seed(100 * k + mesh['dp'].get_local_rank())
    return torch.randn(6, 24)
""",
    "pipeline": f"""
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe
torch.manual_seed(7 + rank)
model = nn.Sequential(nn.Linear(24, 24), Pause(), nn.Tanh())
stage = PipelineStage(model, rank, world_size, device)
schedule = ScheduleGPipe(stage, world_size, loss_fn=nn.functional.mse_loss)  # torch 2.9: not fewer
{_ADAM}
{_PIPED}
""",
    "pipeline of two stages per rank": f"""
from torch.distributed.pipelining import PipelineStage, ScheduleInterleaved1F1B
torch.manual_seed(7 + rank)
model = nn.ModuleList([nn.Sequential(nn.Linear(24, 24), Pause(), nn.Tanh()) for _ in range(2)])
numbers = rank, rank + world_size
stages = [
    PipelineStage(part, at, 2 * world_size, device) for at, part in zip(numbers, model)
]
schedule = ScheduleInterleaved1F1B(stages, world_size, loss_fn=nn.functional.mse_loss)
{_ADAM}
{_PIPED}
""",
    "PowerSGD": f"""
from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook
everybody = dist.new_group()
model = DistributedDataParallel(make_model(), process_group=everybody)
compression = powerSGD_hook.PowerSGDState(everybody, start_powerSGD_iter=4, min_compression_rate=1)
model.register_comm_hook(compression, powerSGD_hook.powerSGD_hook)
{_ADAM}
""",
    "FSDP, the older one": f"""
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
model = FullyShardedDataParallel(
    make_model(), auto_wrap_policy=ModuleWrapPolicy({{nn.Linear}}), device_id=device,
    use_orig_params=True,
)
{_ADAM}
""",
    "DTensor": """
mesh = init_device_mesh('cpu', (2, 2), mesh_dim_names=('a', 'b'))
torch.manual_seed(7)
weight = distribute_tensor(torch.randn(8, 8), mesh, [Shard(0), Shard(1)])
update = None

def grads(k):
    global update
    x = distribute_tensor(batch(k)[:, :8].contiguous(), mesh, [Shard(0), Replicate()])
    y = (x @ weight).redistribute(mesh, [Replicate(), Replicate()])
    pause("forward")
    update = y.T @ y
    pause("between")
    update = update.redistribute(mesh, [Shard(0), Shard(1)])
    pause("backward")
    dist.all_reduce(torch.ones(1), group=mesh.get_group('a'))

def apply():
    global weight
    weight = weight + 0.001 * update

def state():
    return mark([weight]), mark([weight.full_tensor()])
""",
    "three subgroups": """
pairs, _ = dist.new_subgroups(2)
evens = dist.new_group([0, 2])
odds = dist.new_group([1, 3])
torch.manual_seed(7 + rank)
weight, update = torch.randn(30), None

def grads(k):
    global update
    update = weight * batch(k)[0, 0]
    dist.all_reduce(update, group=pairs)
    pause("forward")
    dist.broadcast(update, rank % 2, group=odds if rank % 2 else evens)
    pause("between")
    dist.all_reduce(update, dist.ReduceOp.MAX)
    pause("backward")
    dist.all_reduce(update)

def apply():
    global weight
    weight = weight + 0.01 * update

def state():
    return mark([weight]), []
""",
    "ZeRO": """
model = DistributedDataParallel(make_model())
optimizer = ZeroRedundancyOptimizer(
    model.parameters(), optimizer_class=torch.optim.Adam, lr=0.01
)

def state():
    return mark(model.parameters()), mark(moments(optimizer.optim))
""",
}

STEP = "grads({0}); apply(); seen = state()"

_SHARDS = """
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict
of_model, of_optimizer = get_state_dict(model, optimizer)
dcp.save({{'model': of_model, 'optimizer': of_optimizer}}, checkpoint_id={0!r})
del of_model, of_optimizer
"""

_PIPELINES = ("pipeline", "pipeline of two stages per rank")

SAVE = {
    "FSDP2": _SHARDS,
    "FSDP2 on a 2-D mesh": _SHARDS,
    "TP and FSDP2": _SHARDS,
    "ZeRO": """
import torch.distributed.checkpoint as dcp
optimizer.consolidate_state_dict(0)
both = [optimizer.state_dict() if rank == 0 else None]
dist.broadcast_object_list(both)
dcp.save({{'model': model.state_dict(), 'optimizer': both.pop()}}, checkpoint_id={0!r})
""",
    **dict.fromkeys(
        _PIPELINES,
        "torch.save([model.state_dict(), optimizer.state_dict()], f'{0}/{{rank}}')",
    ),
    "DTensor": """
parts = [None if one is None else local(one) for one in (weight, update)]
torch.save(parts, f'{0}/{{rank}}')
""",
    "three subgroups": "torch.save([weight, update], f'{0}/{{rank}}')",
}
"""By object, saves what every rank has a part of."""

LOAD = {
    name: f"""
{OBJECTS[name].replace("{", "{{").replace("}", "}}")}
of_model, of_optimizer = torch.load(f'{{0}}/{{{{rank}}}}')
model.load_state_dict(of_model)
optimizer.load_state_dict(of_optimizer)
"""
    for name in _PIPELINES
} | {
    "DTensor": """
def spread(part):
    return None if part is None else DTensor.from_local(part, mesh, [Shard(0), Shard(1)])
weight, update = map(spread, torch.load(f'{0}/{{rank}}'))
""",
    "three subgroups": "weight, update = torch.load(f'{0}/{{rank}}')",
}
"""By object, loads on a new rank what ``%dist_restart --from`` cannot copy."""

if tuple(map(int, version("torch").split(".")[:2])) < (2, 11):
    # Its first messages cross those about their shapes, and gloo aborts, under torchrun as well.
    for table in (OBJECTS, SAVE, LOAD):
        for name in _PIPELINES:
            del table[name]


def seen_after(session: Session, code: str) -> dict[int, Any]:
    """Run a cell; return by rank what it has left as ``seen``."""
    session.run(code).raise_for_error()
    return session.pull("seen")
