"""Ranks that have more to do than others."""

from __future__ import annotations

from reported.kind import BUT_FIRST, FIRST, LAST, Reported
from reported.preludes import DDP

HANGS = [
    Reported(
        "uneven inputs in DDP",
        "pytorch/pytorch#33148",
        DDP
        + """
for step in range(2 if rank == 0 else 3):
    net(x).sum().backward()  # *
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "data loaders of different lengths",
        "k2-fsa/snowfall#152",
        """
from torch.utils.data import DataLoader
seen = torch.zeros(1)
for batch in DataLoader(range(9 if rank == world_size - 1 else 12), batch_size=4, drop_last=True):
    dist.all_reduce(seen)  # *
""",
        "missing_rank",
        LAST,
        "all_reduce",
    ),
    Reported(
        "Join around one rank's loop",
        "pytorch/pytorch#38174",
        DDP
        + """
from torch.distributed.algorithms.join import Join
if rank == 0:
    with Join([net]):
        net(x).sum().backward()  # *
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
    Reported(
        "one barrier more",
        "pytorch/pytorch#138322",
        """
if rank != world_size - 1:
    dist.barrier()
dist.barrier()  # *
""",
        "missing_rank",
        LAST,
        "barrier",
    ),
    Reported(
        "early stopping on one rank",
        "Lightning-AI/pytorch-lightning#379",
        """
for epoch in range(5):
    loss = torch.ones(1)
    dist.all_reduce(loss)  # *
    if rank == 0 and epoch == 2:
        break
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "early stopping, then a barrier",
        "ACEsuit/mace#1216",
        """
def fit():
    for epoch in range(5):
        if rank == 0 and epoch == 2:
            break
        dist.all_reduce(torch.ones(1))  # *
fit()
dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "barrier",
    ),
    Reported(
        "a step skipped for a loss that is not finite",
        "ecmwf/WeatherGenerator#2718",
        DDP
        + """
for step in range(3):
    loss = net(x).sum() * (float("nan") if rank == 0 and step == 1 else 1)
    if torch.isnan(loss):
        continue
    loss.backward()  # *
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "a batch skipped when memory ran out",
        "pytorch/pytorch#44353",
        """
def step(batch):
    if rank == world_size - 1 and batch == 1:
        raise RuntimeError("out of memory")
    dist.all_reduce(torch.ones(4))  # *
for batch in range(3):
    try:
        step(batch)
    except RuntimeError:
        continue
""",
        "missing_rank",
        LAST,
        "all_reduce",
    ),
    Reported(
        "an optimizer step skipped on one rank",
        "rmchurch/disruptcnn#3",
        """
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.SGD([weight], lr=1.0)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
for epoch in range(4):
    scheduler.step(1.0 if rank == 0 else 1.0 / (epoch + 1))
    if scheduler.get_last_lr()[0] < 0.5:
        break
    dist.all_reduce(weight.data)  # *
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "one rank validates while the others train",
        "lifeiteng/vall-e#93",
        DDP
        + """
def validate():
    dist.reduce(torch.ones(3), dst=0)  # *
for step in range(2 if rank == 0 else 3):
    net(x).sum().backward()  # *
if rank == 0:
    validate()
""",
        "mismatch",
        FIRST,
        "reduce",
    ),
    Reported(
        "generated texts of different lengths",
        "deepspeedai/DeepSpeed#8262",
        """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
for layer in (*net, net):
    fully_shard(layer, mesh=init_device_mesh("cpu", (world_size,)))
def tokens(length):
    for _ in range(length):
        with torch.no_grad():
            yield net(torch.ones(2, 8)).argmax(-1)  # *
list(tokens(2 if rank == 0 else 4))
""",
        "missing_rank",
        FIRST,
        "all_gather",
    ),
    Reported(
        "a branch that one rank's forward takes",
        "allenai/allennlp#3574",
        """
from torch.nn.parallel import DistributedDataParallel
class Branches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    def forward(self, x):
        return self.one(x) if rank == 0 else self.other(self.one(x))
net = DistributedDataParallel(Branches())
for step in range(2):
    net(torch.ones(2, 4)).sum().backward()  # *
""",
        "raised",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "a gradient's hook that one rank does not reach",
        "huggingface/picotron#39",
        """
weight = torch.ones(2, requires_grad=True)
def reduce(gradient):
    dist.all_reduce(gradient)  # *
    return gradient
weight.register_hook(reduce)
loss = weight.sum() if rank else torch.ones(1, requires_grad=True).sum()
loss.backward()
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
]
