"""Measure what the timeline of collectives costs the ranks: ``python benchmarks/timeline.py``.

Two questions, each answered by medians of interleaved runs, for the machine is never quiet: what is
added to one small blocking collective by the account of calls, and what is added to a cell full
of them by somebody who collects the timeline meanwhile.
"""

from __future__ import annotations

import argparse
import threading
from statistics import median

import rankbook
from rankbook.sessions.live.collector import Timeline

_NOTING = """\
import random, time
from statistics import median
from rankbook import calls
from rankbook.distributed.stores import Interruptible

def timed(count):
    begin = time.perf_counter()
    for _ in range(count):
        dist.all_reduce(x)
    return (time.perf_counter() - begin) / count * 1e6

x = torch.ones(2)
account = calls.installed()
took = {{"with": [], "without": [], "without, again": []}}
order = random.Random(1)
for _ in range({rounds}):
    for name in order.sample(list(took), 3):
        if name == "with":
            calls.install(account, [Interruptible])
        else:
            calls.remove()
        took[name].append(timed(100))
calls.install(account, [Interruptible])
{{name: median(its) for name, its in took.items()}}"""

_CELL = """\
begin = time.perf_counter()
for _ in range({count}):
    dist.all_reduce(x)
time.perf_counter() - begin"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--cells", type=int, default=6, help="long cells of each kind")
    parser.add_argument("--count", type=int, default=60_000, help="collectives of a long cell")
    args = parser.parse_args()
    session = rankbook.start("gloo", args.ranks)
    try:
        print("one all_reduce, microseconds:", _value(session, _NOTING.format(rounds=args.rounds)))
        took: dict[str, list[float]] = {"collected": [], "not collected": []}
        timeline = Timeline(session.members)
        for cell in range(2 * args.cells):
            name = ["collected", "not collected", "not collected", "collected"][cell % 4]
            its = timeline if name == "collected" else None
            took[name].append(_cell(session, args.count, its))
        print(f"a cell of {args.count:,}, seconds:", {k: median(v) for k, v in took.items()}, took)
    finally:
        session.shutdown()


def _value(session: rankbook.Session, code: str) -> str:
    result = session.run(code)
    result.raise_for_error()
    return str(result[0].result_repr)


def _cell(session: rankbook.Session, count: int, timeline: Timeline | None) -> float:
    """Run a long cell, watched as a dashboard would; return how long it took on rank 0."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            states = session.states()
            if timeline is not None:
                timeline.collect(states, session.cells)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return float(_value(session, _CELL.format(count=count)))
    finally:
        ended.set()
        watcher.join()


if __name__ == "__main__":
    main()
