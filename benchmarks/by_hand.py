"""Compare ``%dist_bench`` with the same loop by hand: ``python benchmarks/by_hand.py [-n RANKS]``.

One cell measures a size by hand, as a user does: a barrier, a loop, the time on the slowest
rank, the median. It and ``Session.bench`` take turns, for the machine is never quiet; what counts
is the ratio, turn by turn.
"""

from __future__ import annotations

import argparse
from statistics import median

import rankbook

_LOOP = """
import time
x = torch.zeros({nbytes} // 4, device=device)
for _ in range(3):
    dist.all_reduce(x)
times = []
for _ in range({rounds}):
    dist.barrier()
    begin = time.perf_counter()
    for _ in range({count}):
        dist.all_reduce(x)
    times.append((time.perf_counter() - begin) / {count})
slowest = torch.tensor(times, dtype=torch.float64, device=device)
dist.all_reduce(slowest, dist.ReduceOp.MAX)
sorted(slowest.tolist())[len(times) // 2]
"""

_SIZES = {4 << 10: 50, 1 << 20: 10, 16 << 20: 2}
"""By bytes, operations of one repetition by hand."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--ranks", type=int, default=4)
    parser.add_argument("--turns", type=int, default=5, help="of each kind, for each size")
    parser.add_argument("--rounds", type=int, default=20, help="repetitions within a turn")
    options = parser.parse_args()
    session = rankbook.start("gloo", options.ranks)
    try:
        for nbytes, count in _SIZES.items():
            pairs = []
            for _ in range(options.turns):
                loop = _LOOP.format(nbytes=nbytes, count=count, rounds=options.rounds)
                by_hand = float(session.run(loop)[0].result_repr or "nan")
                [row] = session.bench("all_reduce", str(nbytes), rounds=options.rounds).rows
                pairs.append((by_hand, row.seconds))
            hand, ours = (median(times) for times in zip(*pairs, strict=True))
            ratio = median(ours / by_hand for by_hand, ours in pairs)
            print(
                f"all_reduce of {nbytes >> 10:6} KiB on {options.ranks} ranks: by hand "
                f"{1e6 * hand:8.0f} us, %dist_bench {1e6 * ours:8.0f} us, ratio {ratio:.2f}"
            )
    finally:
        session.shutdown()


if __name__ == "__main__":
    main()
