"""What is measured: each function takes a trial (a started kernel) and returns figures by row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from math import inf
from statistics import median
from typing import TYPE_CHECKING

import psutil
from kernel import CellError, Kernel, Ran

if TYPE_CHECKING:
    from contenders import Contender

__all__ = ["FLOOD_TIMEOUT", "MEASUREMENTS", "Trial", "first_all_reduce"]

FLOOD_TIMEOUT = 60.0
"""Seconds; what takes longer counts as endless."""
_MB = 2**20

_FIRST = """\
import os, time
t = torch.ones(2) * rank
dist.all_reduce(t)
print("reduced", int(t[0]))"""

_STREAM = """\
for _ in range({count}):
    {condition}print(f"printed at {{time.time():.6f}};", flush=True)
    time.sleep(0.05)
dist.barrier()"""

_FLOOD = """\
for i in range({count}):
    print(f"line {{rank}} {{i:05d}} ".ljust(100, "."))"""


@dataclass
class Trial:
    """One contender in a fresh kernel."""

    contender: Contender
    n: int
    kernel: Kernel
    samples: int
    """Of measurements that repeat a cell."""

    def run(self, code: str, timeout: float = 60.0) -> Ran:
        """Run code on all ranks."""
        return self.kernel.run(self.contender.on_ranks(code), timeout=timeout)[0]


def first_all_reduce(trial: Trial) -> dict[str, float]:
    """Start the ranks, all cells being requested at once, until an all_reduce is shown."""
    contender, kernel = trial.contender, trial.kernel
    contender.connected(kernel)
    loading = [contender.load] if contender.load else []
    cells = [*loading, *contender.start(trial.n), contender.on_ranks(_FIRST)]
    rans = kernel.run(*cells, timeout=120)
    shown = [at for at, _ in rans[-1].find(f"reduced {sum(range(trial.n))}")]
    if not shown:
        raise CellError(f"no all_reduce was shown, but {rans[-1].text()[:200]!r}")
    figures = {"first": shown[-1] - kernel.started, "first_cell": shown[-1] - rans[0].busy}
    if loading:
        figures["load"] = rans[0].seconds
    return figures


def cells(trial: Trial) -> dict[str, float]:
    """Time a trivial cell and a small all_reduce, from the request to the end of the cell."""
    return {
        "trivial": 1000 * _typical(trial, "x = 1"),
        "all_reduce": 1000 * _typical(trial, "dist.all_reduce(t)"),
    }


def streamed_lines(trial: Trial) -> dict[str, float]:
    """Compare when ranks print a line with when it arrives, by one clock."""
    return {
        "line_one": 1000 * _delay(trial, "if rank == 0: "),
        "line_all": 1000 * _delay(trial, ""),
    }


def reset(trial: Trial) -> dict[str, float]:
    """Destroy the process group and make another."""
    trial.kernel.run(trial.contender.reset)
    times = [trial.kernel.run(trial.contender.reset)[0].seconds for _ in range(3)]
    trial.run(_FIRST)
    return {"reset": median(times)}


def hang(trial: Trial) -> dict[str, float]:
    """Wait in a collective that one rank never calls, until the cell ends and the group is back."""
    if not trial.contender.hang:
        return {}
    times = [trial.kernel.run(trial.contender.hang)[0].seconds for _ in range(3)]
    trial.run(_FIRST)
    return {"hang": median(times)}


def processes(trial: Trial) -> dict[str, float]:
    """Look at the processes from outside: memory, ports, and whether the kernel loaded torch."""
    pids = {int(match[1]) for _, match in trial.run("print('pid', os.getpid())").find(r"pid (\d+)")}
    engines, helpers = [], []
    everything = trial.kernel.processes()
    for process in everything:
        if process.pid != trial.kernel.pid:
            (engines if process.pid in pids else helpers).append(process)
    maps = psutil.Process(trial.kernel.pid).memory_maps()
    return {
        "engine_memory": median(_memory(p) for p in engines),
        "helpers": len(helpers),
        "helpers_memory": sum(map(_memory, helpers)),
        "open_ports": sum(map(_open_ports, everything)),
        "torch_in_kernel": any("libtorch" in m.path for m in maps),
    }


def flood(trial: Trial) -> dict[str, float]:
    """Print thousands of different lines on every rank, and check that each is shown once."""
    figures: dict[str, float] = {"wrong_lines": 0}
    for count in (5_000, 10_000):
        try:
            ran = trial.run(_FLOOD.format(count=count), timeout=FLOOD_TIMEOUT)
        except TimeoutError:
            figures[f"flood_{count}"] = inf
            break
        figures[f"flood_{count}"] = (
            max((at for at, _ in ran.find("line 0 ")), default=inf) - ran.sent
        )
        seen = Counter(re.findall(r"line (\d+) (\d{5}) \.+", ran.text()))
        expected = trial.n * count
        figures["wrong_lines"] += expected - len(seen) + sum(seen.values()) - len(seen)
    return figures


MEASUREMENTS: dict[str, Callable[[Trial], dict[str, float]]] = {
    # The flood is last: a kernel that does not survive it can do nothing else.
    function.__name__: function
    for function in (processes, cells, streamed_lines, reset, hang, flood)
}


def _typical(trial: Trial, code: str) -> float:
    for _ in range(3):
        trial.run(code)
    return median(trial.run(code).seconds for _ in range(trial.samples))


def _delay(trial: Trial, condition: str) -> float:
    """Median seconds from a line's print to its arrival; ranks that print nothing wait."""
    ran = trial.run(_STREAM.format(count=trial.samples, condition=condition))
    first: dict[str, float] = {}
    for arrived, match in ran.find(r"printed at ([\d.]+);"):
        first.setdefault(match[1], arrived)
    return median(arrived - float(printed) for printed, arrived in first.items())


def _memory(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss / _MB)


def _open_ports(process: psutil.Process) -> int:
    """Ports that other hosts could reach."""
    listening = [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    return sum(not ip_address(c.laddr.ip).is_loopback for c in listening)
