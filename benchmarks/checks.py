"""Measure what comparing before each call costs: ``python benchmarks/checks.py [-n RANKS]``.

Blocking all_reduces of gloo: as they are, compared by the account (``%dist_init --check``), and
compared by torch (``TORCH_DISTRIBUTED_DEBUG=DETAIL``), in turns, for the machine is never quiet.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import DebugLevel, set_debug_level

from rankbook import calls
from rankbook.calls.boards import FileBoard
from rankbook.calls.checks import Check

_BLOCK = 50
_SIZES = (4, 1_000_000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--ranks", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(1, args.ranks):
            if not (child := os.fork()):
                _measure(rank, args.ranks, args.blocks, Path(folder))
                os._exit(0)
            children.append(child)
        _measure(0, args.ranks, args.blocks, Path(folder))
        for child in children:
            os.waitpid(child, 0)


def _measure(rank: int, size: int, blocks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    set_debug_level(DebugLevel.DETAIL)
    detailed = dist.new_group()
    set_debug_level(DebugLevel.OFF)
    ledger = calls.Ledger()
    check = Check(FileBoard(str(folder / "board-{}"), rank), rank, 60)
    for count in _SIZES:
        x = torch.zeros(count)
        took: dict[str, list[float]] = {"plain": [], "account": [], "check": [], "DETAIL": []}
        for _ in range(blocks):
            for kind, its in took.items():
                ledger.check = check if kind == "check" else None
                if kind in ("account", "check"):
                    calls.install(ledger)
                group = detailed if kind == "DETAIL" else None
                block = _BLOCK if count == _SIZES[0] else _BLOCK // 5
                _block(x, group, 3)
                its.append(_block(x, group, block))
                calls.remove()
        if not rank:
            plain, *others = (statistics.median(its) for its in took.values())
            said = ", ".join(
                f"{kind} {median - plain:+.0f} us"
                for kind, median in zip([*took][1:], others, strict=True)
            )
            print(f"all_reduce of {count}, {size} ranks: {plain:.0f} us; {said}", flush=True)
    check.close()
    dist.destroy_process_group()


def _block(x: torch.Tensor, group: dist.ProcessGroup | None, count: int) -> float:
    """Microseconds for one call, on average over some."""
    begin = time.perf_counter()
    for _ in range(count):
        dist.all_reduce(x, group=group)
    return (time.perf_counter() - begin) / count * 1e6


if __name__ == "__main__":
    main()
