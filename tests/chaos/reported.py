"""Hangs that people have reported, each as a cell: what was written, and what must be said of it.

``source`` is where it was reported; the code is ours, as small as shows the kind. A line that ends
with ``# *`` must be named. Ranks are told as of the world: ``last`` is the highest one.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ALL",
    "BUT_FIRST",
    "FIRST",
    "FIRST_TWO",
    "LAST",
    "REPORTED",
    "Reported",
]

FIRST, LAST, ALL = "first", "last", "all"
SECOND, THIRD, LAST_BUT_ONE, FIRST_TWO = "second", "third", "last but one", "first two"
MIDDLE = "the first of the upper half"
UPPER_HALF = "all above the first half"
BUT_FIRST, BUT_LAST = "all but the first", "all but the last"

_DDP = """
from torch.nn.parallel import DistributedDataParallel
net = DistributedDataParallel(torch.nn.Linear(4, 4))
x = torch.ones(2, 4)
"""

_FSDP = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
fully_shard(net, mesh=init_device_mesh("cpu", (world_size,)))
"""

_DTENSOR = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
mesh = init_device_mesh("cpu", (world_size,))
sharded = distribute_tensor(torch.ones(8, 2), mesh, [Shard(0)])
"""


@dataclass(frozen=True)
class Reported:
    """A kind of hang that somebody had.

    Attributes:
        name: Of the kind.
        source: The issue, pull request or discussion that tells of it.
        code: A cell.
        verdict: ``Diagnosis.kind`` that it must get.
        culprits: ``Diagnosis.ranks`` that it must name.
        operation: What must stand in the sentence.
        ranks: How many it takes at least.
    """

    name: str
    source: str
    code: str
    verdict: str
    culprits: str
    operation: str
    ranks: int = 2

    def culprits_of(self, n: int) -> frozenset[int]:
        """The ranks to be named in a world of ``n``; where two differ, none is the odd one."""
        every = range(n)
        chosen = {
            FIRST: every[:1],
            LAST: every[-1:],
            ALL: every,
            BUT_FIRST: every[1:],
            BUT_LAST: every[:-1],
            SECOND: every[1:2],
            THIRD: every[2:3],
            MIDDLE: every[n // 2 : n // 2 + 1],
            LAST_BUT_ONE: every[-2:-1],
            FIRST_TWO: every[:2],
            UPPER_HALF: every[n // 2 + 1 :],
        }[self.culprits]
        return frozenset(every if n == 2 and self.verdict == "mismatch" else chosen)


REPORTED = [
    # Ranks that have more to do than others.
    Reported(
        "uneven inputs in DDP",
        "pytorch/pytorch#33148",
        _DDP
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
        _DDP
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
        _DDP
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
        _DDP
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
    # What only rank 0 does.
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
        _DDP
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
        _FSDP
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
        _DTENSOR
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
        _FSDP
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
        _DTENSOR
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
def step(x):  # *
    dist.all_reduce(x)
    return x * 2
step = torch.compile(step, backend="eager")
if rank == 0:
    step(torch.ones(2))
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
    # An exception that nobody sees.
    Reported(
        "a barrier in finally",
        "pytorch/torchtitan#1342",
        """
def train():
    if rank == 0:
        raise ValueError("a bad sample")  # *
    dist.all_reduce(torch.ones(2))
try:
    train()
finally:
    dist.barrier()
""",
        "raised",
        FIRST,
        "a bad sample",
    ),
    Reported(
        "a collective in except",
        "bme-chatbots/dialogue-generation#14",
        """
failed = torch.zeros(1)
try:
    if rank == 0:
        raise RuntimeError("out of memory")  # *
    dist.all_gather([torch.zeros(1)] * world_size, failed)
except RuntimeError:
    dist.broadcast(failed, src=world_size - 1)
""",
        "raised",
        FIRST,
        "out of memory",
    ),
    Reported(
        "a barrier in a destructor",
        "pytorch/pytorch#122358",
        """
class Trainer:
    def __init__(self):
        self.is_main = rank == 0
    def __del__(self):
        if self.is_main:
            dist.barrier()  # *
trainer = Trainer()
del trainer
""",
        "missing_rank",
        BUT_FIRST,
        "barrier",
    ),
    Reported(
        "a save that fails in the background",
        "ByteDance-Seed/VeOmni#1181",
        """
from concurrent.futures import ThreadPoolExecutor
def write():
    if rank == 0:
        raise OSError("no space left")
with ThreadPoolExecutor(1) as executor:
    pending = executor.submit(write)
    pending.result()
    dist.barrier()  # *
""",
        "raised",
        FIRST,
        "barrier",
    ),
    Reported(
        "an exception that is raised again after a barrier",
        "ByteDance-Seed/VeOmni#1181 (review)",
        """
class Trainer:
    def fit(self):
        error = None
        try:
            self.step()
        except Exception as its:
            error = its
        dist.barrier()
        if error is not None:
            raise error
    def step(self):
        if rank == 0:
            raise ValueError("a bad sample")  # *
        dist.all_reduce(torch.ones(1))
Trainer().fit()
""",
        "raised",
        FIRST,
        "a bad sample",
    ),
    Reported(
        "a list that torch refuses",
        "pytorch/pytorch#27440",
        """
parts = [torch.ones(1)] * (world_size - 1) if rank == 0 else None
try:
    dist.scatter(torch.zeros(1), parts, src=0)  # *
except RuntimeError as error:
    print(error)
dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "barrier",
    ),
    Reported(
        "an exit of one rank",
        "NVIDIA/Model-Optimizer#2159",
        """
import sys
if rank == 0:
    sys.exit("nothing to do")
dist.barrier()  # *
""",
        "raised",
        FIRST,
        "barrier",
    ),
    # Groups.
    Reported(
        "new_group on its members only",
        "axolotl-ai-cloud/axolotl#3533",
        """
groups = {}
def group_of(ranks):
    if ranks not in groups:
        groups[ranks] = dist.new_group(ranks)  # *
    return groups[ranks]
if rank == 0:
    group_of((0,))
dist.all_reduce(torch.ones(1), group=group_of(tuple(range(world_size))))
""",
        "mismatch",
        FIRST,
        "group",
    ),
    Reported(
        "a group of which one rank thinks otherwise",
        "pytorch/pytorch#130102",
        """
members = list(range(0 if rank == 0 else 1, world_size))
group = dist.new_group(members)  # *
dist.barrier(group=group)
""",
        "mismatch",
        FIRST,
        "group",
    ),
    Reported(
        "groups made in another order",
        "pytorch/pytorch#173608",
        """
everyone = list(range(world_size))
groups = {}
for name in ["tp", "dp"] if rank == 0 else ["dp", "tp"]:
    groups[name] = dist.new_group(everyone)
dist.all_reduce(torch.ones(1), group=groups["tp"])  # *
""",
        "mismatch",
        ALL,
        "all_reduce",
    ),
    Reported(
        "a mesh on some ranks",
        "pytorch/pytorch#162571",
        """
from torch.distributed.device_mesh import init_device_mesh
if rank == 0:
    mesh = init_device_mesh("cpu", (2, world_size // 2), mesh_dim_names=("pp", "dp"))  # *
""",
        "missing_rank",
        MIDDLE,
        "init_device_mesh",
        ranks=4,
    ),
    Reported(
        "a subgroup whose member is elsewhere",
        "pytorch/pytorch#134006",
        """
half = world_size // 2
low, high = dist.new_group(list(range(half + 1))), dist.new_group(list(range(half, world_size)))
if rank == half:
    dist.all_gather([torch.ones(1)] * (world_size - half), torch.ones(1), group=high)  # *
if rank <= half:
    dist.all_gather([torch.ones(1)] * (half + 1), torch.ones(1), group=low)
""",
        "missing_rank",
        UPPER_HALF,
        "all_gather",
        ranks=4,
    ),
    Reported(
        "subgroups made once more",
        "distdl/distdl#87",
        """
if rank == 0:
    dist.new_subgroups(2)  # *
""",
        "missing_rank",
        SECOND,
        "group",
    ),
    # Orders.
    Reported(
        "two threads of one group",
        "KempnerInstitute/KempnerForge#104",
        """
import threading
def save():
    dist.all_gather([torch.ones(1)] * world_size, torch.ones(1))  # *
saver = threading.Thread(target=save)
if rank == 0:
    saver.start()
    saver.join(0.3)
    dist.barrier()
else:
    dist.barrier()  # *
    saver.start()
saver.join()
""",
        "mismatch",
        FIRST,
        "barrier",
    ),
    Reported(
        "an executor's collective",
        "pytorch/torchtitan#313",
        """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(1) as executor:
    if rank == 0:
        executor.submit(dist.all_reduce, torch.ones(2)).result()  # *
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
    Reported(
        "a metric reduced by rank 0 between two steps",
        "vllm-project/speculators#867",
        """
for step in range(3):
    dist.all_reduce(torch.ones(3))  # *
    if rank == 0 and step == 1:
        dist.reduce(torch.ones(1), dst=0)  # *
""",
        "mismatch",
        FIRST,
        "reduce",
    ),
    Reported(
        "another root",
        "pytorch/pytorch#118593",
        """
dist.broadcast(torch.ones(2), src=world_size - 1 if rank == 0 else 0)  # *
""",
        "mismatch",
        FIRST,
        "broadcast",
    ),
    Reported(
        "experts without tokens",
        "NVIDIA/Megatron-LM#4851",
        """
tokens = torch.ones(0 if rank == 0 else world_size)
if len(tokens):
    dist.all_to_all_single(torch.empty(world_size), tokens)  # *
""",
        "missing_rank",
        FIRST,
        "all_to_all",
    ),
    Reported(
        "a synchronised layer that one rank does not call",
        "pytorch/pytorch#44957",
        """
from torch.distributed.nn.functional import all_reduce
def forward(x, with_sync):
    return all_reduce(x) if with_sync else x  # *
forward(torch.ones(2, requires_grad=True), rank != 0).sum()
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "a collective's backward on some ranks",
        "PaddlePaddle/PaddleFormers#3010",
        """
from torch.distributed.nn.functional import all_reduce
loss = all_reduce(torch.ones(2, requires_grad=True)).sum()
if rank == 0:
    loss.backward()  # *
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
    Reported(
        "a functional collective in a branch",
        "pytorch/pytorch#93173",
        """
import torch.distributed._functional_collectives as functional
total = torch.ones(2)
if rank == 0:
    total = functional.all_reduce(total, "sum", dist.group.WORLD)
    print(total.sum())  # *
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
    Reported(
        "a dict in another order",
        "NVIDIA/apex#19",
        """
owners = {"weight": 0, "bias": world_size - 1}
def share(names):
    for name in names:
        dist.broadcast(torch.ones(2), src=owners[name])  # *
share(list(owners) if rank else list(owners)[::-1])
""",
        "mismatch",
        FIRST,
        "broadcast",
    ),
    Reported(
        "a metric that one rank logs more",
        "Lightning-AI/pytorch-lightning#19106",
        """
def log_dict(metrics):
    return {name: dist.all_reduce(value) for name, value in metrics.items()}  # *
log_dict({name: torch.ones(1) for name in (["loss", "rare"] if rank == 0 else ["loss"])})
dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "barrier",
    ),
    Reported(
        "two groups in another order",
        "meta-pytorch/torchrec#4149",
        """
one, other = dist.new_group(), dist.new_group()
for group in [one, other] if rank == 0 else [other, one]:
    dist.barrier(group=group)  # *
""",
        "mismatch",
        ALL,
        "barrier",
    ),
    Reported(
        "a thread that fills a queue",
        "pytorch/pytorch#87995",
        """
import queue
import threading
ready = queue.Queue()
def load():
    for _ in range(2 if rank == 0 else 3):
        flag = torch.ones(1)
        dist.all_reduce(flag)  # *
        ready.put(flag)
    ready.put(None)
threading.Thread(target=load, daemon=True).start()
while ready.get() is not None:
    pass
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "a coroutine in a loop of another thread",
        "verl-project/verl#7423",
        """
import asyncio
import threading
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
async def update_weights():
    await asyncio.sleep(0.01)
    dist.broadcast(torch.ones(2), src=0)  # *
if rank:
    asyncio.run_coroutine_threadsafe(update_weights(), loop).result()
loop.call_soon_threadsafe(loop.stop)
""",
        "missing_rank",
        FIRST,
        "broadcast",
    ),
    Reported(
        "a coroutine that hands a broadcast to a thread",
        "verl-project/verl#7423",
        """
import asyncio
import threading
async def update_weights():
    await asyncio.to_thread(dist.broadcast, torch.ones(2), 0)
thread = threading.Thread(target=lambda: asyncio.run(update_weights()))
if rank:
    thread.start()
    thread.join()  # *
""",
        "missing_rank",
        FIRST,
        "broadcast",
    ),
    # One to another.
    Reported(
        "receive first, on both",
        "pytorch/pytorch#109401",
        """
x = torch.ones(1)
if rank < 2:
    other = 1 - rank
    dist.recv(x, src=other)  # *
    dist.send(x, dst=other)
""",
        "mismatch",
        FIRST_TWO,
        "recv",
    ),
    Reported(
        "a ring in which all receive first",
        "NVIDIA/nccl#479",
        """
x = torch.ones(1)
dist.recv(x, src=(rank - 1) % world_size)  # *
dist.send(x, dst=(rank + 1) % world_size)
""",
        "mismatch",
        ALL,
        "recv",
    ),
    Reported(
        "a batch whose other end lacks a part",
        "pytorch/PiPPy#969",
        """
x = [torch.ones(1) for _ in range(2)]
if rank == 0:
    ops = [dist.P2POp(dist.irecv, each, 1) for each in x]
    for work in dist.batch_isend_irecv(ops):
        work.wait()  # *
elif rank == 1:
    for work in dist.batch_isend_irecv([dist.P2POp(dist.isend, x[0], 0)]):
        work.wait()
""",
        "missing_rank",
        SECOND,
        "recv",
    ),
    Reported(
        "fewer microbatches than the next stage awaits",
        "pytorch/torchtitan#775",
        """
class Stage:
    def __init__(self, microbatches):
        self.microbatches, self.pending = microbatches, []
    def forward(self):
        for i in range(self.microbatches):
            if rank:
                self.pending.append(dist.irecv(torch.empty(2), src=rank - 1, tag=i))
                self.pending.pop().wait()  # *
            if rank < world_size - 1:
                dist.isend(torch.ones(2), dst=rank + 1, tag=i).wait()
Stage(2 if rank < world_size - 1 else 3).forward()
""",
        "missing_rank",
        LAST_BUT_ONE,
        "recv",
    ),
    Reported(
        "a pipeline's schedule with another number of microbatches",
        "pytorch/torchtitan#775 (comments)",
        """
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe
pair = dist.new_group([0, 1])
if rank < 2:
    layer = torch.nn.Linear(4, 4)
    stage = PipelineStage(layer, rank, 2, torch.device("cpu"), group=pair)
    schedule = ScheduleGPipe(stage, 2 if rank == 0 else 4, loss_fn=lambda y, t: (y - t).sum())
    if rank == 0:
        schedule.step(torch.ones(8, 4))
    else:
        schedule.step(target=torch.ones(16, 4))  # *
""",
        "mismatch",
        FIRST_TWO,
        "recv",
    ),
    Reported(
        "tags one apart",
        "pytorch/gloo#308",
        """
x = torch.ones(1)
for i in range(2):
    if rank == 0:
        dist.isend(x, dst=1, tag=i).wait()
    elif rank == 1:
        handle = dist.irecv(x, src=0, tag=i + 1)
        handle.wait()  # *
""",
        "mismatch",
        FIRST_TWO,
        "tag",
    ),
    Reported(
        "objects received from another rank than sends them",
        "NVIDIA/Megatron-LM#5100",
        """
objects = [None]
if rank == 0:
    dist.send_object_list([1], dst=1)
elif rank == 1:
    dist.recv_object_list(objects, src=2)  # *
""",
        "missing_rank",
        THIRD,
        "recv",
        ranks=3,
    ),
    Reported(
        "handles in a dict, waited for later",
        "pytorch/pytorch#108378",
        """
class Buckets:
    def __init__(self):
        self.handles = {}
    def start(self, name):
        self.handles[name] = dist.all_reduce(torch.ones(2), async_op=True)
    def finish(self):
        for name, handle in self.handles.items():
            handle.wait()  # *
buckets = Buckets()
for name in ["a", "b"] if rank == 0 else ["a"]:
    buckets.start(name)
buckets.finish()
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
    Reported(
        "what follows a future",
        "pytorch/pytorch#132696",
        """
if rank == 0:
    future = dist.all_reduce(torch.ones(2), async_op=True).get_future()
    mean = future.then(lambda its: its.value()[0] / world_size)
    mean.wait()  # *
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
    Reported(
        "a message too few from any rank",
        "pytorch/pytorch#47137",
        """
x = torch.ones(1)
if rank == 0:
    for _ in range(world_size - 1):
        dist.recv(x)  # *
elif rank != world_size - 1:
    dist.send(x, dst=0)
""",
        "missing_rank",
        LAST,
        "recv",
    ),
    # Meeting.
    Reported(
        "a key that nobody sets",
        "pytorch/pytorch#196082",
        """
store = dist.distributed_c10d._get_default_store()
if rank == 0:
    store.wait(["exchange/ready"])  # *
""",
        "missing_rank",
        BUT_FIRST,
        "exchange/ready",
    ),
    Reported(
        "a key below a prefix",
        "pytorch/pytorch#67972",
        """
store = dist.PrefixStore("weights", dist.distributed_c10d._get_default_store())
if rank == 0:
    store.set("of/0", "1")
else:
    store.get(f"of/{rank}")  # *
""",
        "missing_rank",
        FIRST,
        "of/",
    ),
    Reported(
        "a barrier with a monitor, on some",
        "pytorch/pytorch#132003",
        """
if rank != world_size - 1:
    dist.monitored_barrier()  # *
""",
        "missing_rank",
        LAST,
        "monitored_barrier",
    ),
    Reported(
        "a second default group on some ranks",
        "ultralytics/yolov5#4574",
        """
dist.destroy_process_group()
if rank == 0:
    dist.init_process_group("gloo")  # *
""",
        "missing_rank",
        BUT_FIRST,
        "init_process_group",
    ),
    Reported(
        "a group destroyed by one rank",
        "pytorch/pytorch#75097",
        """
group = dist.new_group(list(range(world_size)))
dist.all_reduce(torch.ones(1), group=group)
if rank == 0:
    dist.destroy_process_group(group)
else:
    dist.all_reduce(torch.ones(1), group=group)  # *
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    # Kinds that were added later.
    Reported(
        "a metric computed by the main process",
        "Lightning-AI/torchmetrics#938",
        """
class Accuracy:
    def __init__(self):
        self.correct, self.total = torch.tensor(0.0), torch.tensor(0.0)
    def update(self, preds, target):
        self.correct += (preds == target).sum()
        self.total += target.numel()
    def compute(self):
        sums = []
        for state in (self.correct, self.total):
            gathered = [torch.zeros_like(state) for _ in range(dist.get_world_size())]
            dist.all_gather(gathered, state)  # *
            sums.append(torch.stack(gathered).sum())
        return (sums[0] / sums[1]).item()
metric = Accuracy()
metric.update(torch.tensor([1, 0, 1]), torch.tensor([1, 1, 1]))
if dist.get_rank() == 0:
    print(f"test accuracy: {metric.compute():.3f}")
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    Reported(
        "gather_object in the main process",
        "huggingface/accelerate#2733",
        """
texts = [f"answer {i} of rank {dist.get_rank()}" for i in range(2)]
if dist.get_rank() == 0:
    outputs = [None] * dist.get_world_size()
    dist.gather_object(texts, outputs, dst=0)  # *
    print(outputs[0])
""",
        "missing_rank",
        BUT_FIRST,
        "gather",
    ),
    Reported(
        "a rank without metrics leaves early",
        "bo-ke/llm-internal-medicine#45",
        """
def gather_and_aggregate(metrics):
    if not metrics:
        return {}
    gathered = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, metrics)  # *
    return {name: values for part in gathered for name, values in part.items()}
layers = [] if rank == world_size - 1 else ["layer.0"]
aggregated = gather_and_aggregate({name: 0.5 for name in layers})
""",
        "missing_rank",
        LAST,
        "gather",
    ),
    Reported(
        "a rank without gradients leaves the clipping",
        "NVIDIA/Model-Optimizer#1621",
        """
def clip_grad_norm_(parameters, max_norm):
    grads = [p.grad for p in parameters if p.grad is not None]
    if not grads:
        return torch.tensor(0.0)
    total = torch.stack([g.norm() ** 2 for g in grads]).sum()
    dist.all_reduce(total, op=dist.ReduceOp.SUM)  # *
    for g in grads:
        g.mul_(torch.clamp(max_norm / (total.sqrt() + 1e-6), max=1.0))
    return total.sqrt()
expert = torch.nn.Linear(4, 4)
if rank != 0:
    expert(torch.ones(2, 4)).sum().backward()
clip_grad_norm_(expert.parameters(), 1.0)
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "each rank decides by a reduced loss whether to save",
        "pytorch/pytorch#77562",
        """
def save(weights):
    shards = [torch.empty(4) for _ in range(dist.get_world_size())]
    dist.all_gather(shards, weights)  # *
best, weights = 1.0, torch.ones(4)
for epoch in range(3):
    total = torch.tensor(1.0)
    dist.reduce(total, dst=0)
    loss = total.item() / dist.get_world_size()
    if loss < best:
        best = loss
        save(weights)
    dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "all_gather",
    ),
    Reported(
        "a checkpoint when training fails",
        "Lightning-AI/pytorch-lightning#6430",
        """
def fit():
    for batch in range(3):
        if rank == world_size - 1 and batch == 1:
            raise RuntimeError("CUDA out of memory")  # *
        dist.all_reduce(torch.ones(2))
try:
    fit()
except RuntimeError:
    path = ["last.ckpt"]
    dist.broadcast_object_list(path, src=0)
    raise
""",
        "raised",
        LAST,
        "CUDA out of memory",
    ),
    Reported(
        "shapes that do not match on one rank",
        "pytorch/torchtitan#1790",
        """
def forward(x, y):
    if x.shape[2:] != y.shape[2:]:
        print(f"RANK {torch.distributed.get_rank()}: SPATIAL DIM MISMATCH!")
        raise ValueError(f"{x.shape[2:]=}, {y.shape[2:]=}")  # *
    return torch.cat([x, y], dim=1)
y = torch.ones(1, 2, 3 if rank == 0 else 4, 4)
out = forward(torch.ones(1, 2, 4, 4), y)
dist.all_reduce(out)
""",
        "raised",
        FIRST,
        "ValueError",
    ),
    Reported(
        "a batch of messages with one more on one side",
        "NVIDIA/nccl#2130",
        """
x, y = torch.ones(1), torch.zeros(1)
if rank == 0:
    ops = [dist.P2POp(dist.isend, x, 1), dist.P2POp(dist.irecv, y, 1)]
elif rank == 1:
    ops = [dist.P2POp(dist.irecv, y, 0)]
if rank < 2:
    for work in dist.batch_isend_irecv(ops):
        work.wait()  # *
""",
        "missing_rank",
        SECOND,
        "recv",
    ),
    Reported(
        "ranks that agree on failures too late",
        "huggingface/trl#6862",
        """
def compute_loss(batch):
    if rank == world_size - 1:
        raise ValueError("image tokens do not match")  # *
    loss = batch.mean()
    dist.all_reduce(loss)
    return loss
forward_error = None
try:
    loss = compute_loss(torch.ones(4))
except ValueError as e:
    forward_error = e
failed = torch.tensor([float(forward_error is not None)])
failed_anywhere = [torch.zeros(1) for _ in range(dist.get_world_size())]
dist.all_gather(failed_anywhere, failed)
if forward_error is not None:
    raise forward_error
""",
        "raised",
        LAST,
        "ValueError",
    ),
    Reported(
        "an expert's path that depends on its tokens",
        "vllm-project/vllm#43547",
        """
def combine(hidden, tokens):
    if tokens == 0:
        parts = [torch.empty_like(hidden) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, hidden)  # *
        return torch.stack(parts).sum(0)
    dist.all_reduce(hidden)  # *
    return hidden
combine(torch.ones(14, 8), tokens=0 if rank == world_size - 1 else 14)
""",
        "mismatch",
        LAST,
        "all_gather",
    ),
    Reported(
        "a backward without tokens",
        "NVIDIA-NeMo/Automodel#1365",
        """
class Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()
    @staticmethod
    def backward(ctx, grad):
        dist.all_reduce(grad)  # *
        return grad
weight = torch.ones(3, requires_grad=True)
tokens = torch.ones(0 if rank == 0 else 4, 3)
bias = torch.zeros((), requires_grad=True)
loss = (tokens @ Copy.apply(weight)).sum() if len(tokens) else bias * 0.0
loss.backward()
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    Reported(
        "the optimizer's state gathered on one rank",
        "EleutherAI/bergson#380",
        _FSDP
        + """
optimizer = torch.optim.Adam(net.parameters())
net(torch.ones(2, 8)).sum().backward()
optimizer.step()
def save_optimizer_state(optimizer):
    return {
        i: {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in state.items()}  # *
        for i, state in enumerate(optimizer.state.values())
    }
if dist.get_rank() == 0:
    save_optimizer_state(optimizer)
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    Reported(
        "a model saved by the main process",
        "kyuz0/amd-strix-halo-llm-finetuning#6",
        _FSDP
        + """
import io
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
net(torch.ones(2, 8)).sum().backward()
is_main = dist.get_rank() == 0
if is_main:
    state = get_model_state_dict(net, options=StateDictOptions(full_state_dict=True))  # *
    torch.save(state, io.BytesIO())
""",
        "missing_rank",
        BUT_FIRST,
        "gather",
    ),
    Reported(
        "experts and data in two groups, in two orders",
        "NVIDIA/Megatron-LM#5749",
        """
experts = dist.new_group(list(range(world_size)))
data = dist.new_group(list(range(world_size)))
tokens, grads = torch.ones(world_size), torch.ones(4)
def dispatch():
    dist.all_to_all_single(torch.empty_like(tokens), tokens, group=experts)  # *
def reduce():
    dist.all_reduce(grads, group=data)  # *
for step in (reduce, dispatch) if rank == 0 else (dispatch, reduce):
    step()
""",
        "mismatch",
        ALL,
        "all_to_all",
    ),
    Reported(
        "a save in the middle of others' steps",
        "huggingface/accelerate#3250",
        """
def get_state_dict(weights):
    full = [torch.empty_like(p) for p in weights for _ in range(dist.get_world_size())]
    for i, p in enumerate(weights):
        n = dist.get_world_size()
        dist.all_gather(full[i * n : (i + 1) * n], p)  # *
    return full
weights = [torch.ones(3), torch.ones(2)]
for step in range(6):
    dist.all_reduce(torch.ones(3))  # *
    if step == 4 and dist.get_rank() == 0:
        get_state_dict(weights)
""",
        "mismatch",
        FIRST,
        "all_gather",
    ),
]
