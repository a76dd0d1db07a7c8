"""Calls in different orders."""

from __future__ import annotations

from reported.kind import ALL, BUT_FIRST, FIRST, Reported

HANGS = [
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
]
