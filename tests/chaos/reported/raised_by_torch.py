"""What torch refuses on one rank, for which the others wait."""

from __future__ import annotations

from reported.kind import FIRST, SECOND, Reported

HANGS = [
    Reported(
        "tensors of different sizes to scatter",
        "pytorch/pytorch#84566",
        """
def distribute(samples):
    mine = torch.zeros(13)
    parts = [torch.zeros(len(s)) for s in samples] if rank == 0 else None
    dist.scatter(mine, parts)  # *
    return mine
distribute([range(13)] * (world_size - 1) + [range(6)])
""",
        "raised",
        FIRST,
        "invalid tensor size",
    ),
    Reported(
        "layers that one rank leaves out once",
        "pytorch/pytorch#43259",
        """
from torch.nn.parallel import DistributedDataParallel
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    def forward(self, x, with_head):
        x = self.body(x)
        return self.head(x) if with_head else x
net = DistributedDataParallel(Net())
for step in range(3):
    output = net(torch.ones(2, 4), with_head=rank != 0 or step != 1)  # *
    output.sum().backward()
""",
        "raised",
        FIRST,
        "Expected to have finished reduction",
    ),
    Reported(
        "a hook of DDP that fails",
        "ours",
        """
from torch.nn.parallel import DistributedDataParallel
net = DistributedDataParallel(torch.nn.Linear(4, 4))
def hook(state, bucket):
    if rank == 1:
        raise ValueError("bad bucket")  # *
    reduced = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return reduced.then(lambda its: its.value()[0])
net.register_comm_hook(None, hook)
net(torch.ones(2, 4)).sum().backward()
""",
        "raised",
        SECOND,
        "bad bucket",
    ),
    Reported(
        "a message to itself",
        "ours",
        """
token = torch.zeros(1)
if rank == 0:
    leader = 0
    dist.send(token, dst=leader)  # *
dist.barrier()
""",
        "raised",
        FIRST,
        "Invalid destination rank",
    ),
]
