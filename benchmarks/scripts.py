"""Compare %dist_run with torchrun: ``python benchmarks/scripts.py``.

Seconds from the start to the first line that a script prints, in a standing session and under
torchrun, which take turns; the script initialises a process group first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import rankbook
from rankbook.models.events import Event, Stream

_SCRIPT = """
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
print("first line", flush=True)
dist.destroy_process_group()
"""


class _FirstLine:
    """Notes when the first line of a script arrives."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.seconds = float("nan")

    def event(self, _rank: int, body: Event) -> None:
        if isinstance(body, Stream) and self.seconds != self.seconds:
            self.seconds = time.perf_counter() - self.began

    def pause(self, _running: object) -> float:
        return 1.0

    def note(self, _text: str) -> None:
        pass

    def finish(self) -> None:
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "train.py")
        script.write_text(_SCRIPT)
        for n in args.ranks:
            session = rankbook.start("gloo", n)
            try:
                _compare(session, script, n, args.rounds)
            finally:
                session.shutdown()


def _compare(session: rankbook.Session, script: Path, n: int, rounds: int) -> None:
    ours, theirs = [], []
    for turn in range(rounds):
        for side in ("%dist_run", "torchrun") if turn % 2 else ("torchrun", "%dist_run"):
            if side == "torchrun":
                theirs.append(_under_torchrun(script, n))
            else:
                first = _FirstLine()
                session.run_script(script, output=first).raise_for_error()
                ours.append(first.seconds)
    ratios = sorted(our / their for our, their in zip(ours, theirs, strict=True))
    print(
        f"{n} ranks, seconds to the first line: {median(ours):.2f} by %dist_run,"
        f" {median(theirs):.2f} under torchrun; ratio {median(ratios):.3f}"
        f" ({ratios[0]:.3f} to {ratios[-1]:.3f} in {rounds} rounds)",
        flush=True,
    )


def _under_torchrun(script: Path, n: int) -> float:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, f"--nproc-per-node={n}", str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as running:
        assert running.stdout is not None  # noqa: S101 - it is a pipe
        running.stdout.readline()
        seconds = time.perf_counter() - began
        running.communicate()
    return seconds


if __name__ == "__main__":
    main()
