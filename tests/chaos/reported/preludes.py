"""What several of them begin with."""

from __future__ import annotations

DDP = """
from torch.nn.parallel import DistributedDataParallel
net = DistributedDataParallel(torch.nn.Linear(4, 4))
x = torch.ones(2, 4)
"""

FSDP = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
fully_shard(net, mesh=init_device_mesh("cpu", (world_size,)))
"""

DTENSOR = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
mesh = init_device_mesh("cpu", (world_size,))
sharded = distribute_tensor(torch.ones(8, 2), mesh, [Shard(0)])
"""
