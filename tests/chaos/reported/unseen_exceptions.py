"""An exception that nobody sees."""

from __future__ import annotations

from reported.kind import BUT_FIRST, FIRST, Reported

HANGS = [
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
]
