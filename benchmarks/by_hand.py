"""Compare ``%dist_bench`` with the same loop by hand: ``python benchmarks/by_hand.py [-n RANKS]``.

One cell measures a size by hand, as a user does: a barrier, a loop of some 20 ms, the time on the
slowest rank, the median. It and ``Session.bench`` take turns, and each is the first in every other
turn, for the machine is never quiet; what counts is the ratio, turn by turn.
"""

from __future__ import annotations

import argparse
from statistics import median

import rankbook

_LOOP = """
import math, time
x = torch.zeros({nbytes} // 4, device=device)


def seconds(count):
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(count):
        dist.all_reduce(x)
    return (time.perf_counter() - begin) / count


for _ in range(5):
    first = torch.tensor(seconds(1), dtype=torch.float64)
dist.all_reduce(first, dist.ReduceOp.MAX)
count = max(1, min(200, math.ceil(0.02 / first.item())))
slowest = torch.tensor([seconds(count) for _ in range({rounds})], dtype=torch.float64)
dist.all_reduce(slowest, dist.ReduceOp.MAX)
del x
sorted(slowest.tolist())[{rounds} // 2]
"""

_SIZES = (4 << 10, 1 << 20, 16 << 20)
"""Bytes."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--ranks", type=int, default=4)
    parser.add_argument("--turns", type=int, default=6, help="of each kind, for each size")
    parser.add_argument("--rounds", type=int, default=20, help="repetitions within a turn")
    options = parser.parse_args()
    session = rankbook.start("gloo", options.ranks)

    def by_hand(nbytes: int) -> float:
        result = session.run(_LOOP.format(nbytes=nbytes, rounds=options.rounds))
        result.raise_for_error()
        return float(result[0].result_repr or "nan")

    def ours(nbytes: int) -> float:
        [row] = session.bench("all_reduce", str(nbytes), rounds=options.rounds).rows
        return row.seconds

    try:
        for nbytes in _SIZES:
            times: dict[str, list[float]] = {"by hand": [], "ours": []}
            for turn in range(options.turns):
                ways = [("by hand", by_hand), ("ours", ours)]
                for name, way in reversed(ways) if turn % 2 else ways:
                    times[name].append(way(nbytes))
            hand, took = times["by hand"], times["ours"]
            ratio = median(a / b for a, b in zip(took, hand, strict=True))
            print(
                f"all_reduce of {nbytes >> 10:6} KiB on {options.ranks} ranks: by hand "
                f"{1e6 * median(hand):8.0f} us, %dist_bench "
                f"{1e6 * median(took):8.0f} us, ratio {ratio:.2f}"
            )
    finally:
        session.shutdown()


if __name__ == "__main__":
    main()
