"""Measure what the account of calls costs: ``python benchmarks/calls.py [-n RANKS]``.

Small collectives of gloo, with and without the account in turns, for the machine is never quiet:
the median of the blocks of each kind, and what the account adds to one call.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional

from rankbook import calls

_BLOCK = 200


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--ranks", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=40)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(args.ranks):
            child = os.fork() if rank else 0
            if rank and not child:
                _measure(rank, args.ranks, args.blocks, Path(folder))
                os._exit(0)
            children.append(child)
        _measure(0, args.ranks, args.blocks, Path(folder))
        for child in filter(None, children):
            os.waitpid(child, 0)


def _measure(rank: int, size: int, blocks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    memory = Path("/dev/shm")  # noqa: S108 - where a session keeps it
    ledger = calls.Ledger(file=memory / f"rankbook-benchmark-{os.getpid()}")
    x = torch.ones(4)

    def wait_for_functional() -> None:
        functional.wait_tensor(functional.all_reduce(x, "sum", dist.group.WORLD))

    kinds: dict[str, Callable[[], object]] = {
        "all_reduce": lambda: dist.all_reduce(x),
        "asynchronous all_reduce": lambda: dist.all_reduce(x, async_op=True).wait(),  # type: ignore[union-attr]
        "barrier": dist.barrier,
        "functional all_reduce": wait_for_functional,
    }
    for name, call in kinds.items():
        took: dict[bool, list[float]] = {False: [], True: []}
        _block(call)
        for _ in range(blocks):
            for is_told, blocks_of_it in took.items():
                if is_told:
                    calls.install(ledger)
                else:
                    calls.remove()
                _block(call)
                blocks_of_it.append(_block(call))
        if not rank:
            without, told = (statistics.median(took[is_told]) for is_told in took)
            least = min(took[True]) - min(took[False])
            print(
                f"{name:24} {without:7.1f} us, with the account {told:7.1f} us:"
                f" {told - without:+5.1f} us ({least:+.1f} us between the quickest blocks)"
            )
    calls.remove()
    dist.destroy_process_group()
    if ledger.box:
        ledger.box.close()


def _block(call: Callable[[], object]) -> float:
    """Microseconds for one call, on average over some."""
    begin = time.perf_counter()
    for _ in range(_BLOCK):
        call()
    return (time.perf_counter() - begin) / _BLOCK * 1e6


if __name__ == "__main__":
    main()
