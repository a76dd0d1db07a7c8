"""What healing costs beside making the groups again: ``python benchmarks/healing.py -n 2 4 8``.

Both are measured in turns, in one session: a reset after which what was made before goes on, and a
reset that forgets it, with a cell that makes the same groups again.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import rankbook as rb

_IMPORT = """
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
module = torch.nn.Linear(8, 8)
"""

_MAKE = """
mesh = init_device_mesh("cpu", (2, world_size // 2), mesh_dim_names=("replicate", "shard"))
pairs, _ = dist.new_subgroups(2)
model = DistributedDataParallel(module)
"""

_PROVE = """
for group in (None, pairs, mesh.get_group(0)):
    dist.all_reduce(torch.ones(1), group=group)
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    print("| ranks | reset, all goes on | reset, made again | more |\n|---|---|---|---|")
    for n in args.n:
        healed, again = _compare(n, args.rounds)
        more = f"{1000 * (healed - again):+.0f} ms"
        print(f"| {n} | {1000 * healed:.0f} ms | {1000 * again:.0f} ms | {more} |", flush=True)


def _compare(n: int, rounds: int) -> tuple[float, float]:
    """Medians in seconds: with healing, and with the same groups made again."""
    session = rb.start("gloo", n)
    healed, again = [], []
    try:
        session.run(_IMPORT + _MAKE).raise_for_error()
        for _ in range(rounds):
            begin = time.perf_counter()
            session.reset()
            healed.append(time.perf_counter() - begin)
            session.run(_PROVE).raise_for_error()
            begin = time.perf_counter()
            session.reset(clean=True)
            session.run(_MAKE).raise_for_error()
            again.append(time.perf_counter() - begin)
            session.run(_PROVE).raise_for_error()
    finally:
        session.shutdown()
    return median(healed), median(again)


if __name__ == "__main__":
    main()
