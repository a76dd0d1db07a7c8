"""Compare the start on other builds of torch: ``python benchmarks/starting.py PYTHON PYTHON ...``.

Each Python has a torch, rankbook and ipykernel of its own. They take turns: a bare
``import torch``, then a fresh kernel to the first all_reduce shown. A big build may take longer
than the first one by the difference of their bare imports, and 0.3 s. One turn beforehand, which
does not count, brings their files into the cache.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path
from statistics import median

from contenders import Rankbook
from kernel import Kernel
from measurements import Trial, first_all_reduce

_MORE = 0.3
"""Seconds by which a start may take longer beside what a bare import does."""


class Build:
    """A Python with a torch of its own, and what was measured with it."""

    def __init__(self, python: str) -> None:
        """Ask it for its versions.

        Args:
            python: Its path.
        """
        self.python = python
        code = (
            "import platform, torch; print(torch.__version__, 'Python', platform.python_version())"
        )
        self.name = subprocess.check_output([python, "-c", code], text=True).strip()
        self.imports: list[float] = []
        self.starts: list[float] = []

    def measure(self, n: int) -> None:
        """Take one turn."""
        begin = time.perf_counter()
        subprocess.run([self.python, "-c", "import torch"], check=True)
        self.imports.append(time.perf_counter() - begin)
        argv = [self.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        contender = Rankbook()
        with Kernel(argv, {"PATH": str(Path(self.python).parent)}) as kernel:
            self.starts.append(first_all_reduce(Trial(contender, n, kernel, 1))["first"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON", help="the first is the measure")
    parser.add_argument("-n", "--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    builds = [Build(python) for python in args.pythons]
    for turn in range(args.rounds + 1):
        for build in builds if turn % 2 else reversed(builds):
            build.measure(args.ranks)
        if not turn:
            for build in builds:
                build.imports.clear()
                build.starts.clear()
    print(f"{args.ranks} ranks, medians of {args.rounds} turns, seconds")
    small = builds[0]
    for build in builds:
        imported, started = median(build.imports), median(build.starts)
        allowed = median(small.starts) + max(0.0, imported - median(small.imports)) + _MORE
        target = "" if build is small else f", at most {allowed:.2f}"
        print(f"{build.name}: import torch {imported:.2f}, first all_reduce {started:.2f}{target}")
        spans = [f"{min(them):.2f} to {max(them):.2f}" for them in (build.imports, build.starts)]
        print(f"    from {spans[0]}; from {spans[1]}")


if __name__ == "__main__":
    main()
