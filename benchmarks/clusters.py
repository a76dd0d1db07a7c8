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

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from clusters.conftest import ClusterNotebook, notebook_on
from clusters.hosts import Hosts, why_not
from kernel import CellError
from processes import wait_until

STARTS = {
    "Slurm, 2 hosts x 2": ('--slurm "partition=main time=10" --nodes 2 -n 4', 4, 6.0),
    "SSH, 2 hosts x 2": ("--ssh alpha:2,beta-2:2", 4, 8.0),
    "MPI, 2 hosts x 2": ("--mpi=alpha:2,beta-2:2", 4, 8.0),
    "SSH, 2 hosts x 8": ("--ssh alpha:8,beta-2:8", 16, 10.0),
}
"""By name: the options of ``%dist_init``, the number of ranks, and the aim in seconds."""

AIMS = {"a hang is freed": 3.0, "reset --hard": 12.0, "shutdown": 2.0}

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
                for act, seconds in measure(hosts, *STARTS[name][:2]).items():
                    taken[name][act].append(seconds)
                load.append(os.getloadavg()[0])
    print(f"medians of {args.rounds}, seconds; load {min(load):.1f} to {max(load):.1f}\n")
    print("| ranks | act | median | lowest to highest | aim | |\n|---|---|---|---|---|---|")
    for name, acts in taken.items():
        for act, seconds in acts.items():
            aim = AIMS.get(act, STARTS[name][2])
            judged = "met" if median(seconds) <= aim else "**not met**"
            span = f"{min(seconds):.2f} to {max(seconds):.2f}"
            print(f"| {name} | {act} | {median(seconds):.2f} | {span} | {aim:g} | {judged} |")


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
