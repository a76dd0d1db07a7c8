"""How quick ranks on other hosts are: ``python benchmarks/clusters.py``.

The hosts are those of ``tests/clusters``: three network namespaces of this machine with real Slurm,
sshd and Open MPI, which share its cores. Each round has a fresh notebook: it starts ranks until an
``all_reduce`` is shown, hangs and is freed, replaces all engines, and shuts down. A job's wait in
the queue does not count. Needs Linux, root, and the packages that ``.ci/run`` installs.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from clusters.conftest import ClusterNotebook, notebook_on
from clusters.hosts import Hosts, why_not
from kernel import CellError
from processes import wait_until


class Start(NamedTuple):
    """A way to start ranks, and the aims in seconds; None: there is none."""

    options: str
    """Of ``%dist_init``."""
    ranks: int
    reduced: float | None
    """The first ``all_reduce``."""
    freed: float = 3.0
    """A hang."""


STARTS = {
    "Slurm, 2 hosts x 2": Start('--slurm "partition=main time=10" --nodes 2 -n 4', 4, 6.0),
    "SSH, 2 hosts x 2": Start("--ssh alpha:2,beta-2:2", 4, 8.0),
    "MPI, 2 hosts x 2": Start("--mpi=alpha:2,beta-2:2", 4, 8.0),
    "SSH, 2 hosts x 8": Start("--ssh alpha:8,beta-2:8", 16, 10.0),
    "SSH, 2 hosts x 32": Start("--ssh alpha:32,beta-2:32", 64, None, freed=4.0),
}

REDUCE = "%%dist\nx = torch.ones(1)\ndist.all_reduce(x)\nprint('reduced', int(x))"
HANG = "%%dist\nif rank != 1:\n    dist.all_reduce(x)"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=STARTS, nargs="+", default=list(STARTS), metavar="NAME")
    args = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    taken: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in args.only}
    load = [os.getloadavg()[0]]
    with three_hosts() as hosts:
        for _ in range(args.rounds):
            for name in args.only:
                start = STARTS[name]
                for act, seconds in measure(hosts, start.options, start.ranks).items():
                    taken[name][act].append(seconds)
                load.append(os.getloadavg()[0])
    print(f"medians of {args.rounds}, seconds; load {min(load):.1f} to {max(load):.1f}\n")
    print("| ranks | act | median | lowest to highest | aim | |\n|---|---|---|---|---|---|")
    for name, acts in taken.items():
        start = STARTS[name]
        aims = {
            "first all_reduce": start.reduced,
            "a hang is freed": start.freed,
            "reset --hard": 12.0,
            "shutdown": 2.0,
        }
        for act, seconds in acts.items():
            print(f"| {name} | {act} | {judged(seconds, aims[act])} |")


def judged(seconds: list[float], aim: float | None) -> str:
    """Cells of a table: the median, lowest and highest, the aim, and whether it is met."""
    found = f"{median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f}"
    if aim is None:
        return f"{found} | |"
    return f"{found} | {aim:g} | {'met' if median(seconds) <= aim else '**not met**'}"


def measure(hosts: Hosts, options: str, ranks: int) -> dict[str, float]:
    """Seconds for each act of one round."""
    with TemporaryDirectory() as folder, notebook_on(hosts, "login", Path(folder)) as notebook:
        begun = time.monotonic()
        granted = JobStart(hosts) if "--slurm" in options else None
        run(notebook, f"%dist_init gloo {options} --no-dashboard")
        run(notebook, REDUCE, shows=f"reduced {ranks}")
        found = {"first all_reduce": time.monotonic() - (granted.at() if granted else begun)}
        found["a hang is freed"] = timed(notebook, HANG, "HangError")
        found["reset --hard"] = timed(notebook, "%dist_reset --hard")
        run(notebook, REDUCE, shows=f"reduced {ranks}")
        begun = time.monotonic()
        run(notebook, "%dist_shutdown")
        wait_until(lambda: not hosts.ask("squeue", "--noheader"))
        found["shutdown"] = time.monotonic() - begun
        return found


class JobStart:
    """Notes when the next job starts."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._at = 0.0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def at(self) -> float:
        """When that was, on the monotonic clock."""
        self._thread.join()
        return self._at

    def _watch(self) -> None:
        wait_until(lambda: "RUNNING" in self._hosts.ask("squeue", "-h", "-o", "%T"), 60)
        self._at = time.monotonic()


def timed(notebook: ClusterNotebook, code: str, error: str = "") -> float:
    """Seconds of a cell, which raises an error or works."""
    begun = time.monotonic()
    run(notebook, code, error)
    return time.monotonic() - begun


def run(notebook: ClusterNotebook, code: str, error: str = "", shows: str = "") -> None:
    """Run a cell.

    Raises:
        CellError: It did not end as it must, with this error or none, and with this text.
    """
    reply = notebook.run(code, 120)
    if reply.get("ename", "") != error or shows not in notebook.stdout:
        raise CellError(f"{code}: {reply.get('evalue')} {notebook.stdout} {notebook.stderr}")


@contextmanager
def three_hosts() -> Iterator[Hosts]:
    """The hosts, their daemons running."""
    with TemporaryDirectory(prefix="rankbook-bench-hosts-") as folder:
        hosts = Hosts(Path(folder))
        try:
            hosts.up()
            yield hosts
        finally:
            hosts.down()


if __name__ == "__main__":
    main()
