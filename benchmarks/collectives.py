"""Compare collectives in cells with those under torchrun: ``python benchmarks/collectives.py``.

Ranks of torchrun wait beside the session's, and blocks of both take turns, for the machine is never
quiet: told are the medians of the differences, pair by pair, and the quickest of each. Blocks of
500 calls are timed by rank 0; a cell of 10,000 by who asked for it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import rankbook

_DEFINE = """
import time
import torch.distributed._functional_collectives as functional
x = torch.ones(4)
def all_reduce(): dist.all_reduce(x)
def functional_all_reduce():
    functional.wait_tensor(functional.all_reduce(x, "sum", dist.group.WORLD))
def block(call, count):
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(count): call()
    return time.perf_counter() - begin
"""

_Run = Callable[[str, int], float]

_WORKER = f"""
import sys
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
{_DEFINE}
folder, rank = sys.argv[1], dist.get_rank()
with open(f"{{folder}}/ask-{{rank}}") as asked, open(f"{{folder}}/told-{{rank}}", "w") as told:
    for line in asked:
        name, count = line.split()
        print(block(globals()[name], int(count)), file=told, flush=True)
dist.destroy_process_group()
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--blocks", type=int, default=30)
    args = parser.parse_args()
    for n in args.ranks:
        with tempfile.TemporaryDirectory() as folder:
            _compare(n, args.blocks, Path(folder))


class _Torchrun:
    """Ranks of torchrun that run a block when they are asked."""

    def __init__(self, n: int, folder: Path) -> None:
        for rank in range(n):
            os.mkfifo(folder / f"ask-{rank}")
            os.mkfifo(folder / f"told-{rank}")
        script = folder / "worker.py"
        script.write_text(_WORKER)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        self._process = subprocess.Popen(
            [*torchrun, f"--nproc-per-node={n}", str(script), str(folder)],
            stderr=subprocess.DEVNULL,
        )
        self._asks = [(folder / f"ask-{rank}").open("w") for rank in range(n)]
        self._tells = [(folder / f"told-{rank}").open() for rank in range(n)]

    def block(self, name: str, count: int) -> float:
        """Seconds that a block takes on rank 0."""
        for ask in self._asks:
            ask.write(f"{name} {count}\n")
            ask.flush()
        of_rank_0, *_ = [float(told.readline()) for told in self._tells]
        return of_rank_0

    def close(self) -> None:
        """Have the ranks end."""
        for pipe in (*self._asks, *self._tells):
            pipe.close()
        self._process.wait()


def _compare(n: int, blocks: int, folder: Path) -> None:
    session, torchrun = rankbook.start("gloo", n), _Torchrun(n, folder)
    try:
        session.run(_DEFINE).raise_for_error()

        def in_cell(name: str, count: int) -> float:
            return float(session.run(f"block({name}, {count})")[0].result_repr or "nan")

        def of_a_cell(name: str, count: int) -> float:
            begin = time.perf_counter()
            session.run(f"for _ in range({count}): {name}()").raise_for_error()
            return time.perf_counter() - begin

        for name in ("all_reduce", "functional_all_reduce"):
            _report(n, name, 500, blocks, in_cell, torchrun.block)
        _report(n, "all_reduce", 10_000, max(3, blocks // 5), of_a_cell, torchrun.block)
    finally:
        torchrun.close()
        session.shutdown()


def _report(
    n: int, name: str, count: int, blocks: int, in_cell: _Run, under_torchrun: _Run
) -> None:
    in_cell(name, count), under_torchrun(name, count)
    pairs = [(in_cell(name, count), under_torchrun(name, count)) for _ in range(blocks)]
    ours, theirs = (1e6 * median(times) / count for times in zip(*pairs, strict=True))
    quickest = [1e6 * min(times) / count for times in zip(*pairs, strict=True)]
    more = 1e6 * median(a - b for a, b in pairs) / count
    what = f"{n} rank{'s' * (n > 1)}, {name}, {blocks} blocks of {count:,}"
    print(
        f"{what}: {ours:.1f} us a call in cells, {theirs:.1f} under torchrun: "
        f"{more:+.1f} us, {100 * more / theirs:+.0f} %; the quickest blocks {quickest[0]:.1f} and "
        f"{quickest[1]:.1f} us",
        flush=True,
    )


if __name__ == "__main__":
    main()
