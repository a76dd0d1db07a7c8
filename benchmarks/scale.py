"""How the session's own work grows with the ranks: ``python benchmarks/scale.py``.

The ranks are simulated: engines of the unit tests' fakes, in this process, that answer at once. So
what is measured is what a notebook's kernel does for its ranks, and neither engines nor a network.
Seconds, medians of some rounds; the exponent says how the time grows from one size to the next.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fakes import FakePool

from rankbook.display.table import Table
from rankbook.models import Collective
from rankbook.sessions.session import Session

SIZES = (8, 64, 512, 4096)
ROUNDS = 5
_ENOUGH = 20.0
"""Seconds after which an act is not repeated."""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    sizes = parser.parse_args().sizes
    taken = {size: measure(size) for size in sizes}
    print(f"{'':24}" + "".join(f"{size:>9}" for size in sizes) + "   exponents")
    for act in taken[sizes[0]]:
        seconds = [taken[size][act] for size in sizes]
        print(f"{act:24}{''.join(f'{each:9.3f}' for each in seconds)}   {_growth(sizes, seconds)}")


def measure(size: int) -> dict[str, float]:
    """Seconds for each act on so many ranks."""
    pool = FakePool(size, hosts="abcdefgh")
    session = Session(pool)
    found = {"first group": _once(lambda: session.initialize("gloo"))}
    found["cell"] = _typical(lambda: session.run("x = 1"))
    found["status, as a table"] = _typical(lambda: Table(session.snapshot()).__repr__())
    ranks = tuple(range(size))
    for number in ranks[:-1]:
        engine = pool[number]
        engine.stuck, engine.waiting = object(), Collective("all_reduce", "0", ranks, 1, since=5.0)
    found["why"] = _typical(session.diagnose)
    for number in ranks:
        pool[number].stuck = pool[number].waiting = None
    found["reset"] = _typical(session.reset)
    session.shutdown()
    return found


def _typical(act: Callable[[], object]) -> float:
    """The median of some rounds; of fewer where each takes long."""
    seconds: list[float] = []
    while len(seconds) < ROUNDS and sum(seconds) < _ENOUGH:
        seconds.append(_once(act))
    return median(seconds)


def _once(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _growth(sizes: list[int], seconds: list[float]) -> str:
    """From each size to the next: 1 is in proportion to the ranks, 2 to their square."""
    pairs = zip(sizes, sizes[1:], seconds, seconds[1:], strict=False)
    return "  ".join(
        f"{math.log(later / earlier) / math.log(more / fewer):.1f}"
        for fewer, more, earlier, later in pairs
    )


if __name__ == "__main__":
    main()
