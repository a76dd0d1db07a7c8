"""Healthy load: no false alarm, no cost, no growth."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from statistics import median

import rankbook as rb
from rankbook.sessions.cells.watch import Watch

__all__ = ["cost", "growth", "skew"]

_SKEWED = """
import random, time
chance = random.Random({seed} + rank)
time.sleep(chance.choice([0, 0, 0.5, chance.uniform(0, 20)]))
x = torch.ones(1000)
for step in range(chance.randint(1, 1) * 20):
    dist.all_reduce(x)
    if chance.random() < 0.1:
        time.sleep(chance.uniform(0, 2))
if world_size > 1:
    right, left = (rank + 1) % world_size, (rank - 1) % world_size
    if rank % 2:
        time.sleep(chance.uniform(0, 5))
    sent = dist.isend(x, right)
    dist.recv(torch.empty(1000), left)
    sent.wait()
dist.barrier()
"""

_LATE = """
import random, threading, time
chance = random.Random({seed} + rank)
def late():
    time.sleep(chance.choice([0, 0, chance.uniform(0, 3)]))
"""

_LOADS = {
    "a thread with a group of its own": """
group = dist.new_group(list(range(world_size)))
def work():
    for _ in range(10):
        late()
        dist.all_reduce(torch.ones(100), group=group)
thread = threading.Thread(target=work)
thread.start()
for _ in range(10):
    late()
    dist.all_reduce(torch.ones(10))
thread.join()
""",
    "checkpoints in the background": """
import tempfile
import torch.distributed.checkpoint as dcp
folder = [tempfile.mkdtemp()]
dist.broadcast_object_list(folder, src=0)
saver = dist.new_group(list(range(world_size)), backend="gloo")
for step in range(2):
    saved = dcp.async_save(
        {{"x": torch.ones(100)}}, checkpoint_id=f"{{folder[0]}}/{{step}}", process_group=saver
    )
    for _ in range(3):
        late()
        dist.all_reduce(torch.ones(10))
    saved.result()
dist.barrier()
if rank == 0:
    import shutil
    shutil.rmtree(folder[0])
""",
    "Join over uneven inputs": """
from torch.distributed.algorithms.join import Join
from torch.nn.parallel import DistributedDataParallel
net = DistributedDataParallel(torch.nn.Linear(4, 4))
with Join([net]):
    for _ in range(2 + rank):
        late()
        net(torch.ones(2, 4)).sum().backward()
""",
    "functional collectives": """
import torch.distributed._functional_collectives as functional
total = torch.ones(4)
for _ in range(5):
    late()
    total = functional.all_reduce(total, "max", dist.group.WORLD)
    late()
    total.sum().item()
""",
    "compiled collectives": """
import shutil
import torch.distributed._functional_collectives as functional
def step(x):
    total = functional.all_reduce(x * 2, "sum", dist.group.WORLD)
    parts = functional.all_gather_tensor(total + rank, 0, dist.group.WORLD)
    return parts.sum()
compiled = torch.compile(step, backend="inductor" if shutil.which("g++") else "aot_eager")
for _ in range(5):
    late()
    assert compiled(torch.ones(4)) == step(torch.ones(4))
""",
    "a cell that awaits threads": """
import asyncio
group = dist.new_group(list(range(world_size)))
async def beside():
    await asyncio.sleep(chance.uniform(0, 3))
    await asyncio.to_thread(dist.barrier, group)
for _ in range(3):
    task = asyncio.create_task(beside())
    await asyncio.to_thread(late)
    await asyncio.to_thread(dist.all_reduce, torch.ones(10))
    await task
""",
    "groups made late, and keys set late": """
for step in range(3):
    late()
    group = dist.new_group([0, world_size - 1])
    if rank in (0, world_size - 1):
        dist.barrier(group=group)
store = dist.distributed_c10d._get_default_store()
for step in range(3):
    if rank == step % world_size:
        time.sleep(chance.uniform(0, 4))
        store.set(f"{seed}/{{step}}", "here")
    store.wait([f"{seed}/{{step}}"])
""",
    "a key that another thread sets": """
store = dist.distributed_c10d._get_default_store()
if rank == 0:
    def set_late():
        time.sleep(4)
        store.set("{seed}/from a thread", "here")
    threading.Thread(target=set_late).start()
else:
    store.wait(["{seed}/from a thread"])
""",
    "objects, pipelines of messages, handles kept": """
handles = {{}}
for step in range(3):
    late()
    handles[step] = dist.all_reduce(torch.ones(4), async_op=True)
    found = [None] * world_size
    dist.all_gather_object(found, rank)
if rank < world_size - 1:
    late()
    dist.send(torch.ones(2), rank + 1, tag=3)
if rank:
    dist.recv(torch.ones(2), rank - 1, tag=3)
[handle.wait() for handle in handles.values()]
""",
}
"""Cells that end well, whose ranks come late; by what is in them."""


@dataclass
class Skew:
    """What ranks that are merely late have met."""

    seconds: float = 0.0
    cells: int = 0
    loads: Counter[str] = field(default_factory=Counter)
    alarms: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nobody was touched."""
        return not self.alarms

    def lines(self) -> list[str]:
        """The report in words."""
        kinds = ", ".join(f"{n} {load}" for load, n in sorted(self.loads.items()))
        load = f"healthy load for {self.seconds:.0f} s, ranks up to 20 s apart ({kinds})"
        return [
            f"{load}: {self.cells} cells, {len(self.alarms)} false alarms",
            *(f"  FAULT {alarm}" for alarm in self.alarms),
        ]


def skew(seconds: float, random: Random, n: int = 4) -> Skew:
    """Run cells whose ranks are seconds apart; none of them may be touched."""
    report = Skew()
    session = rb.start("gloo", n)
    begin = time.perf_counter()
    try:
        while (now := time.perf_counter() - begin) < seconds:
            name = random.choice(["skew", *_LOADS])
            code = _SKEWED if name == "skew" else _LATE + _LOADS[name]
            result = session.run(code.format(seed=random.randrange(10**6)))
            report.cells += 1
            report.loads[name] += 1
            told = [one for one in (result.diagnosis, *result.mismatches, *result.left_out) if one]
            if told or not result.ok:
                said = [one.summary for one in told]
                report.alarms.append(f"after {now:.0f} s, {name}: {result} {said}")
    finally:
        session.shutdown()
    report.seconds = time.perf_counter() - begin
    return report


def cost(rounds: int = 300, n: int = 2) -> list[str]:
    """Compare cells that are watched with cells that are not, in turns."""
    session = rb.start("gloo", n)
    pause = Watch.pause
    cells = {
        "a trivial cell": ("x = 1", rounds),
        "a tiny all_reduce": ("dist.all_reduce(t)", rounds),
        "8,000 all_reduces in one cell": ("for _ in range(8000): dist.all_reduce(t)", 10),
    }
    lines = []
    try:
        session.run("t = torch.ones(2)")
        for name, (code, count) in cells.items():
            times: dict[bool, list[float]] = {True: [], False: []}
            for i in range(2 * count):
                watched = bool(i % 2)
                Watch.pause = pause if watched else lambda *_: 1.0  # type: ignore[method-assign]
                begin = time.perf_counter()
                session.run(code).raise_for_error()
                times[watched].append(time.perf_counter() - begin)
            on, off = median(times[True]), median(times[False])
            lines.append(
                f"  {name}: {1000 * on:.2f} ms watched, {1000 * off:.2f} ms not: {on / off:.3f}"
            )
    finally:
        Watch.pause = pause  # type: ignore[method-assign]
        session.shutdown()
    return [f"cost of watching, medians of {rounds} cells in turns (the long one of 10)", *lines]


_SIZES = """
import os
with open("/proc/self/status") as status:
    words = dict(line.split(":", 1) for line in status)
(len(os.listdir("/proc/self/fd")), int(words["Threads"]), int(words["VmRSS"].split()[0]))
"""


@dataclass
class Growth:
    """Descriptors, threads and memory of an engine over many generations."""

    generations: int
    before: tuple[int, int, int]
    after: tuple[int, int, int]

    @property
    def is_good(self) -> bool:
        """Whether nothing has grown (memory: by less than 5 %)."""
        return (
            self.after[0] <= self.before[0]
            and self.after[1] <= self.before[1]
            and self.after[2] <= 1.05 * self.before[2]
        )

    def lines(self) -> list[str]:
        """The report in words."""
        memory = f"{self.before[2] / 1024:.1f} → {self.after[2] / 1024:.1f} MB"
        return [
            f"{self.generations} generations, every tenth after a hang (the largest engine)",
            f"  descriptors: {self.before[0]} → {self.after[0]}",
            f"  threads: {self.before[1]} → {self.after[1]}",
            f"  resident memory: {memory}",
        ]


def growth(generations: int = 100, n: int = 2) -> Growth:
    """Make many generations, some of them after a hang, and see what gathers."""
    session = rb.start("gloo", n)

    def sizes() -> tuple[int, int, int]:
        result = session.run(_SIZES)
        each = [tuple(map(int, (r.result_repr or "")[1:-1].split(","))) for r in result.values()]
        return tuple(map(max, *each))  # type: ignore[return-value]

    try:
        for _ in range(10):  # what is made once is made by then
            _generation(session, hang=True)
        before = sizes()
        for i in range(generations):
            _generation(session, hang=i % 10 == 0)
        return Growth(generations, before, sizes())
    finally:
        session.shutdown()


def _generation(session: rb.Session, *, hang: bool) -> None:
    if hang:
        session.run("if rank == 0: dist.barrier()")
    else:
        session.reset()
    session.run("dist.all_reduce(torch.ones(10))").raise_for_error()
