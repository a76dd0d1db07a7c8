"""Groups that not all ranks make, or not in the same way."""

from __future__ import annotations

from reported.kind import ALL, FIRST, MIDDLE, SECOND, UPPER_HALF, Reported

HANGS = [
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
]
