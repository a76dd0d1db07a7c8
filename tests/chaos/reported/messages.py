"""Messages from one rank to another."""

from __future__ import annotations

from reported.kind import ALL, BUT_FIRST, FIRST_TWO, LAST, LAST_BUT_ONE, SECOND, THIRD, Reported

HANGS = [
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
]
