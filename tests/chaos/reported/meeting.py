"""Ranks that do not meet."""

from __future__ import annotations

from reported.kind import BUT_FIRST, FIRST, LAST, Reported

HANGS = [
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
]
