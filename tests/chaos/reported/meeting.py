"""Ranks that do not meet."""

from __future__ import annotations

from reported.kind import ALL, BUT_FIRST, FIRST, LAST, Reported

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
    Reported(
        "ports that depend on the rank",
        "helboukkouri/character-bert-pretraining#4",
        """
import os
dist.destroy_process_group()
os.environ["MASTER_ADDR"] = "localhost"
os.environ["MASTER_PORT"] = str(29561 + rank % 2)
dist.init_process_group("gloo", rank=rank, world_size=world_size)  # *
""",
        "missing_rank",
        ALL,
        "localhost:29562",
    ),
    Reported(
        "a store below a prefix of the rank's own",
        "pytorch/pytorch#67972",
        """
dist.destroy_process_group()
store = dist.TCPStore("localhost", 29563, world_size, rank == 0)
store = dist.PrefixStore(f"replica{rank % 2}", store)
dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)  # *
""",
        "missing_rank",
        ALL,
        "below the prefix replica1",
    ),
    Reported(
        "a free port that each rank finds, and serves",
        "helboukkouri/character-bert-pretraining#4",
        """
import socket
with socket.socket() as probe:
    probe.bind(("localhost", 0))
    free = probe.getsockname()[1]
store = dist.TCPStore("localhost", free, world_size, is_master=True)  # *
""",
        "missing_rank",
        ALL,
        "TCPStore",
    ),
    Reported(
        "a file of each rank's own",
        "pytorch/pytorch#8091",
        """
import tempfile
dist.destroy_process_group()
where = "file://" + tempfile.mkdtemp() + "/meet"
dist.init_process_group("gloo", where, rank=rank, world_size=world_size)  # *
""",
        "missing_rank",
        ALL,
        "/meet",
    ),
]
