"""More forms of hangs, found by trying what people's code does; as in ``reported``."""

from __future__ import annotations

from reported import ALL, BUT_FIRST, FIRST, FIRST_TWO, LAST, Reported

__all__ = ["FORMS"]

_DDP = """
from torch.nn.parallel import DistributedDataParallel
net = DistributedDataParallel(torch.nn.Linear(4, 4))
x = torch.ones(2, 4)
"""


def _form(
    name: str,
    code: str,
    verdict: str,
    culprits: str,
    operation: str,
    source: str = "ours",
    ranks: int = 2,
) -> Reported:
    return Reported(name, source, code, verdict, culprits, operation, ranks)


FORMS = [
    _form(
        "a lock held across a collective",
        """
import threading
lock, has_begun = threading.Lock(), threading.Event()
def log_metrics():
    with lock:
        has_begun.set()
        dist.all_reduce(torch.ones(1))  # *
if rank == 0:
    threading.Thread(target=log_metrics).start()
    has_begun.wait()
with lock:
    dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "barrier",
    ),
    _form(
        "an event that is set after a collective",
        """
import threading
ready = threading.Event()
def prefetch():
    dist.broadcast(torch.ones(2), src=0)  # *
    ready.set()
if rank == 0:
    threading.Thread(target=prefetch, daemon=True).start()
    ready.wait()
dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "broadcast",
    ),
    _form(
        "split sizes that do not agree",
        """
if rank < 2:
    sent = [1] * world_size
    if rank == 1:
        sent[:2] = [0, 2]
    wanted = [1] * world_size
else:
    sent = wanted = [1] * world_size
x, y = torch.ones(sum(sent)), torch.empty(sum(wanted))
dist.all_to_all_single(y, x, wanted, sent)  # *
""",
        "mismatch",
        ALL,
        "all_to_all",
        "pytorch/pytorch#117486",
    ),
    _form(
        "a loader's worker that fails on one rank",
        """
from torch.utils.data import DataLoader, IterableDataset
class Samples(IterableDataset):
    def __iter__(self):
        for i in range(4):
            if rank == world_size - 1 and i == 2:
                raise OSError("corrupt sample")
            yield torch.ones(1)
for batch in DataLoader(Samples(), num_workers=1):  # *
    dist.all_reduce(batch)  # *
""",
        "raised",
        LAST,
        "corrupt sample",
    ),
    _form(
        "a signal handler that calls a collective",
        """
import os, signal
def save(signum, frame):
    dist.barrier()  # *
signal.signal(signal.SIGUSR1, save)
if rank == 0:
    os.kill(os.getpid(), signal.SIGUSR1)
dist.all_reduce(torch.ones(2))  # *
""",
        "mismatch",
        FIRST,
        "barrier",
    ),
    _form(
        "a handle that one rank has forgotten",
        """
if rank == 0:
    dist.all_reduce(torch.ones(3), async_op=True)
dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "all_reduce",
    ),
    _form(
        "a timeout of its own that is far",
        """
from datetime import timedelta
if rank == 0:
    dist.monitored_barrier(timeout=timedelta(minutes=10))  # *
""",
        "missing_rank",
        BUT_FIRST,
        "monitored_barrier",
    ),
    _form(
        "large messages sent first on both",
        """
x = torch.ones(16_000_000)
if rank < 2:
    dist.send(x, dst=1 - rank)  # *
    dist.recv(x, src=1 - rank)
""",
        "mismatch",
        FIRST_TWO,
        "send",
    ),
    _form(
        "an object that one rank cannot pickle",
        """
import threading
state = {"lock": threading.Lock() if rank == world_size - 1 else None}
found = [None] * world_size
dist.all_gather_object(found, state)  # *
""",
        "raised",
        LAST,
        "cannot pickle",
    ),
    _form(
        "a closure that an optimizer calls more often on others",
        _DDP
        + """
steps = 3 if rank == 0 else 6
optimizer = torch.optim.LBFGS(
    net.parameters(), max_iter=steps, tolerance_grad=0, tolerance_change=0
)
def closure():
    optimizer.zero_grad()
    loss = net(x).pow(2).sum()
    loss.backward()  # *
    return loss
optimizer.step(closure)
dist.barrier()  # *
""",
        "mismatch",
        FIRST,
        "barrier",
    ),
    _form(
        "a generator that one rank leaves early",
        """
def batches():
    try:
        yield from range(3)
    finally:
        dist.barrier()  # *
for i in batches():
    if rank == 0 and i == 1:
        break
    dist.all_reduce(torch.ones(1))  # *
""",
        "mismatch",
        FIRST,
        "barrier",
    ),
    _form(
        "a cached function that gathers",
        """
import functools
@functools.lru_cache
def vocabulary(language):
    found = [None] * world_size
    dist.all_gather_object(found, language)  # *
    return found
for language in ["de", "en" if rank == 0 else "de"]:
    vocabulary(language)
""",
        "missing_rank",
        BUT_FIRST,
        "all_gather",
    ),
    _form(
        "a recomputation that reduces",
        """
from torch.utils.checkpoint import checkpoint
def block(x):
    dist.all_reduce(x.detach().clone())  # *
    return x * x
x = torch.ones(3, requires_grad=rank != 0)
y = checkpoint(block, x, use_reentrant=False).sum()
if y.requires_grad:
    y.backward()
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    _form(
        "FSDP2 that accumulates on one rank",
        """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
net = torch.nn.Linear(8, 8)
fully_shard(net, mesh=init_device_mesh("cpu", (world_size,)))
net.set_requires_gradient_sync(rank != 0)
net(torch.ones(2, 8)).sum().backward()  # *
""",
        "missing_rank",
        FIRST,
        "reduce_scatter",
    ),
    _form(
        "the norm of a sharded tensor printed by rank 0",
        """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
mesh = init_device_mesh("cpu", (world_size,))
norm = distribute_tensor(torch.ones(8, 2), mesh, [Shard(0)]).norm()
if rank == 0:
    print("norm", norm.full_tensor())  # *
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
    _form(
        "a default group destroyed by one rank",
        """
def cleanup():
    dist.destroy_process_group()
if rank == 0:
    cleanup()
else:
    dist.barrier()  # *
""",
        "missing_rank",
        FIRST,
        "barrier",
        "pytorch/pytorch#78531 (comments)",
    ),
    _form(
        "a sampler that does not pad",
        """
from torch.utils.data import DataLoader, Sampler
class EvalSampler(Sampler):
    def __init__(self, data):
        self.n = len(data)
    def __iter__(self):
        return iter(range(rank, self.n, world_size))
    def __len__(self):
        return len(range(rank, self.n, world_size))
data = list(range(2 * world_size - 1))
for batch in DataLoader(data, sampler=EvalSampler(data), num_workers=1):
    found = [torch.zeros_like(batch) for _ in range(world_size)]
    dist.all_gather(found, batch)  # *
""",
        "missing_rank",
        LAST,
        "all_gather",
        "SeungjunNah/DeepDeblur-PyTorch#44",
    ),
    _form(
        "accumulated gradients, and fewer batches",
        _DDP
        + """
import contextlib
for i in range(3 if rank == 0 else 4):
    is_last = i % 2 == 1
    with contextlib.nullcontext() if is_last else net.no_sync():
        net(x).sum().backward()  # *
""",
        "missing_rank",
        FIRST,
        "all_reduce",
        "pytorch/pytorch#38174 (comments)",
    ),
    _form(
        "a property that reduces, in what rank 0 prints",
        """
class Meter:
    @property
    def mean(self):
        total = torch.ones(1)
        dist.all_reduce(total)  # *
        return total.item() / world_size
meter = Meter()
if rank == 0:
    print(f"loss {meter.mean:.3f}")
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
    _form(
        "hooks on gradients of layers that one rank has frozen",
        """
net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
def reduce(parameter):
    dist.all_reduce(parameter.grad)  # *
for parameter in net.parameters():
    parameter.register_post_accumulate_grad_hook(reduce)
if rank == 0:
    net[0].requires_grad_(False)
net(torch.ones(1, 2)).sum().backward()
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    _form(
        "a checkpoint loaded on rank 0",
        """
import tempfile
import torch.distributed.checkpoint as dcp
folder = [tempfile.mkdtemp()]
dist.broadcast_object_list(folder, src=0)
state = {"weight": torch.ones(3)}
dcp.save(state, checkpoint_id=folder[0])
if rank == 0:
    dcp.load(state, checkpoint_id=folder[0])  # *
""",
        "missing_rank",
        BUT_FIRST,
        "gather",
    ),
    _form(
        "objects scattered from another rank",
        """
found = [None]
objects = list(range(world_size))
dist.scatter_object_list(found, objects, src=1 if rank == 0 else 0)  # *
""",
        "mismatch",
        FIRST,
        "broadcast",
    ),
    _form(
        "a list to gather into that is too short",
        """
x = torch.ones(2)
parts = [torch.empty(2)] * (world_size - 1)
dist.gather(x, parts if rank == 0 else None, dst=0)  # *
""",
        "raised",
        FIRST,
        "gather",
    ),
    _form(
        "a loop that ends with its iterator",
        """
batches = iter(range(2 if rank == 0 else 3))
while True:
    try:
        batch = next(batches)
    except StopIteration:
        break
    dist.all_reduce(torch.tensor([float(batch)]))  # *
found = [None] * world_size
dist.all_gather_object(found, rank)  # *
""",
        "mismatch",
        FIRST,
        "all_gather",
        "argonne-lcf/dlio_benchmark#339",
    ),
    _form(
        "a thread that logs, and gathers",
        """
import queue, threading
metrics = queue.Queue()
def log():
    while (item := metrics.get()) is not None:
        dist.gather_object(item, [None] * world_size, dst=0)  # *
        metrics.task_done()
if rank == 0:
    threading.Thread(target=log, daemon=True).start()
    metrics.put({"loss": 1.0})
    metrics.join()
""",
        "missing_rank",
        BUT_FIRST,
        "gather",
    ),
    _form(
        "a context manager that waits at its end",
        """
class Timer:
    def __enter__(self):
        return self
    def __exit__(self, *raised):
        dist.barrier()  # *
def work():
    if rank == world_size - 1:
        return
    with Timer():
        sum(range(10))
work()
""",
        "missing_rank",
        LAST,
        "barrier",
    ),
    _form(
        "any() that ends with the first",
        """
def is_bad(flag):
    seen = torch.tensor([float(flag)])
    dist.all_reduce(seen, op=dist.ReduceOp.MAX)  # *
    return flag
any(is_bad(flag) for flag in ([True, False] if rank == 0 else [False, False]))
""",
        "missing_rank",
        FIRST,
        "all_reduce",
    ),
    _form(
        "keys that ranks wait for in a circle",
        """
store = dist.distributed_c10d._get_default_store()
if rank == 0:
    store.wait(["trainer"])  # *
    store.set("sampler", "1")
else:
    store.wait(["sampler"])  # *
    store.set("trainer", "1")
""",
        "mismatch",
        ALL,
        "no rank sets",
    ),
    _form(
        "a mesh of another shape on one rank",
        """
from torch.distributed.device_mesh import init_device_mesh
half = world_size // 2
mesh = init_device_mesh("cpu", (world_size,) if rank == 0 else (2, half))  # *
dist.barrier()
""",
        "mismatch",
        FIRST,
        "mesh of shape",
        ranks=4,
    ),
    _form(
        "dimensions of a mesh in another order",
        """
from torch.distributed.device_mesh import init_device_mesh
names = ("tp", "dp") if rank == 0 else ("dp", "tp")
mesh = init_device_mesh("cpu", (2, world_size // 2), mesh_dim_names=names)  # *
dist.all_reduce(torch.ones(1), group=mesh.get_group("dp"))
""",
        "mismatch",
        FIRST,
        "tp=2",
        ranks=4,
    ),
    _form(
        "a branch of compiled code",
        """
import torch.distributed._functional_collectives as functional
def step(x):
    total = functional.all_reduce(x, "sum", dist.group.WORLD)
    if rank == 0:
        total = functional.all_reduce(total, "max", dist.group.WORLD)  # *
    return total + 1
float(torch.compile(step, backend="eager")(torch.ones(3)).sum())
""",
        "missing_rank",
        BUT_FIRST,
        "all_reduce",
    ),
]
