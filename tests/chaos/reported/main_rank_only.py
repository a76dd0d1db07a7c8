"""What only rank 0 does."""

from __future__ import annotations

from reported.kind import BUT_FIRST, FIRST, LAST, Reported
from reported.preludes import DDP, DTENSOR, FSDP

HANGS = [
    Reported(
        "validation through DDP on rank 0, a barrier on the others",
        "pytorch/pytorch#54059",
        """
from torch.nn.parallel import DistributedDataParallel
net = DistributedDataParallel(torch.nn.BatchNorm1d(4))
if rank == 0:
    with torch.no_grad():
        for _ in range(3):
            net(torch.ones(2, 4))
dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "broadcast",
    ),
    Reported(
        "inference through DDP on the others",
        "pytorch/pytorch#143647",
        """
from torch.nn.parallel import DistributedDataParallel
net = DistributedDataParallel(torch.nn.BatchNorm1d(4)).eval()
if rank:
    with torch.inference_mode():
        net(torch.ones(2, 4))  # *
""",
        "missing_rank",
        FIRST,
        "broadcast",
    ),
    Reported(
        "a model wrapped on one rank",
        "pytorch/pytorch#89716",
        """
from torch.nn.parallel import DistributedDataParallel
if rank == 0:
    net = DistributedDataParallel(torch.nn.Linear(4, 4))  # *
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    Reported(
        "no_sync on one rank",
        "pytorch/pytorch#38174 (comments)",
        DDP
        + """
from contextlib import nullcontext
with net.no_sync() if rank == 0 else nullcontext():
    net(x).sum().backward()  # *
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "no parameter used on one rank",
        "pytorch/pytorch#40566",
        """
from torch.nn.parallel import DistributedDataParallel
class Branches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
    def forward(self, x):
        return self.layer(x) if rank else x.clone().requires_grad_()
net = DistributedDataParallel(Branches(), find_unused_parameters=True)
net(torch.ones(2, 4)).sum().backward()  # *
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "consolidate_state_dict on rank 0",
        "open-mmlab/mmengine#551",
        """
from torch.distributed.optim import ZeroRedundancyOptimizer
net = torch.nn.Linear(4, 4)
optimizer = ZeroRedundancyOptimizer(net.parameters(), torch.optim.Adam, lr=0.1)
if rank == 0:
    optimizer.consolidate_state_dict(to=0)  # *
""",
        "missing_rank",
        BUT_FIRST,
        "broadcast",
    ),
    Reported(
        "a full state dict on rank 0",
        "pytorch/pytorch#169448",
        FSDP
        + """
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
if rank == 0:
    get_model_state_dict(net, options=StateDictOptions(full_state_dict=True))  # *
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    Reported(
        "a checkpoint saved on rank 0",
        "huggingface/accelerate#2000",
        """
import tempfile
import torch.distributed.checkpoint as dcp
def save(state):
    with tempfile.TemporaryDirectory() as folder:
        dcp.save(state, checkpoint_id=folder)  # *
if rank == 0:
    save({"x": torch.ones(2)})
""",
        "missing_rank",
        BUT_FIRST,
        "gather",
    ),
    Reported(
        "a checkpoint saved on rank 0, a barrier on the others",
        "pytorch/pytorch#143536",
        """
import tempfile
import torch.distributed.checkpoint as dcp
if rank == 0:
    with tempfile.TemporaryDirectory() as folder:
        dcp.save({"x": torch.ones(2)}, checkpoint_id=folder)  # *
dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "barrier",
    ),
    Reported(
        "full_tensor on rank 0",
        "areal-project/AReaL#187",
        DTENSOR
        + """
if rank == 0:
    print(sharded.full_tensor())  # *
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    Reported(
        "the norm of a gradient on rank 0",
        "dylanyunlon/Neuron_SP#152",
        FSDP
        + """
net(torch.ones(2, 8)).sum().backward()
if rank == 0:
    for parameter in net.parameters():
        print("norm", parameter.grad.full_tensor().norm().item())  # *
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    Reported(
        "redistribute on some ranks",
        "pytorch/pytorch#115310",
        DTENSOR
        + """
def gathered(tensor):
    return tensor.redistribute(mesh, [Replicate()])  # *
if rank != world_size - 1:
    gathered(sharded).to_local().sum().item()
""",
        "missing_rank",
        LAST,
        "all_gather",
    ),
    Reported(
        "a metric computed on rank 0",
        "Lightning-AI/torchmetrics#2684",
        """
def rank_zero_only(function):
    return lambda *args: function(*args) if rank == 0 else None
class Metric:
    def compute(self):
        found = [None] * world_size
        dist.all_gather_object(found, 1)  # *
        return sum(found)
@rank_zero_only
def on_validation_end(metric):
    print(metric.compute())
on_validation_end(Metric())
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    Reported(
        "a logger that reduces, on rank 0",
        "Lightning-AI/pytorch-lightning#4529",
        """
def make_logger(group):
    def log(name, value):
        dist.reduce(value, dst=0, group=group)  # *
        print(name, value.item())
    return log
log = make_logger(dist.group.WORLD)
if rank == 0:
    log("loss", torch.ones(1))
""",
        "missing_rank",
        BUT_FIRST,
        "reduce",
    ),
    Reported(
        "a file that only some ranks see",
        "KempnerInstitute/KempnerForge#50",
        """
import pathlib
state = [None]
if rank or pathlib.Path("/no/such/train_state.pt").exists():
    dist.broadcast_object_list(state, src=0)  # *
""",
        "missing_rank",
        FIRST,
        "broadcast",
    ),
    Reported(
        "the main process first, and it fails",
        "foundation-model-stack/fms-hf-tuning#458",
        """
from contextlib import contextmanager
@contextmanager
def main_process_first():
    if rank:
        dist.barrier()  # *
    yield
    if rank == 0:
        dist.barrier()
with main_process_first():
    if rank == 0:
        raise FileNotFoundError("no dataset")
""",
        "raised",
        FIRST,
        "barrier",
    ),
    Reported(
        "objects scattered by nobody",
        "pytorch/pytorch#118359",
        """
mine = [None]
if rank:
    dist.scatter_object_list(mine, None, src=0)  # *
""",
        "missing_rank",
        FIRST,
        "broadcast",
    ),
    Reported(
        "a progress bar that computes a metric",
        "Lightning-AI/pytorch-lightning#21264",
        """
class Trainer:
    @property
    def progress_bar_metrics(self):
        values = [torch.zeros(1) for _ in range(world_size)]
        dist.all_gather(values, torch.ones(1))  # *
        return {"loss": sum(values).item()}
def set_postfix(**metrics):
    print(metrics)
trainer = Trainer()
if rank == 0:
    set_postfix(**trainer.progress_bar_metrics)
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    Reported(
        "experts that the main process alone evaluates",
        "yiqiao-yin/deepspeed-course#28",
        """
class Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.empty_like(x)
        dist.all_to_all_single(y, x)  # *
        return y
    @staticmethod
    def backward(ctx, gradient):
        return gradient
class Experts(torch.nn.Module):
    def forward(self, x):
        return Exchange.apply(x)
if rank == 0:
    Experts().eval()(torch.ones(world_size, 2, requires_grad=True))
""",
        "missing_rank",
        BUT_FIRST,
        "all_to_all",
    ),
    Reported(
        "an asynchronous checkpoint of one rank",
        "PrimeIntellect-ai/prime-rl#2354",
        """
import tempfile
import torch.distributed.checkpoint as dcp
steps = [450] if rank == 0 else []
with tempfile.TemporaryDirectory() as folder:
    for step in steps:
        saving = dcp.async_save({"x": torch.ones(2)}, checkpoint_id=folder)
        saving.result()  # *
""",
        "missing_rank",
        BUT_FIRST,
        "gather",
    ),
    Reported(
        "a function that one rank compiles and calls",
        "pytorch/pytorch#126846",
        """
def step(x):
    dist.all_reduce(x)  # *
    return x * 2
step = torch.compile(step, backend="eager")
if rank == 0:
    step(torch.ones(2))
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
]
