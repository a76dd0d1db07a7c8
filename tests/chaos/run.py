"""Counts how hangs, deaths and healthy load go: ``make chaos``, or with options of one's own."""

from __future__ import annotations

import argparse
import sys
from random import Random, randrange

import acts
import hangs
import healing
import health
import kills


def main() -> int:
    """Run what is asked for, print what happened, and fail if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hangs", type=int, default=100, metavar="N")
    parser.add_argument("--kills", type=int, default=30, metavar="N")
    parser.add_argument("--healthy", type=float, default=600, metavar="SECONDS")
    parser.add_argument("--healings", type=int, default=100, metavar="N")
    parser.add_argument("--generations", type=int, default=100, metavar="N")
    parser.add_argument("--acts", type=float, default=120, metavar="SECONDS")
    parser.add_argument("--cost", type=int, default=300, metavar="CELLS")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4, 8], metavar="RANKS")
    parser.add_argument("--seed", type=int, default=randrange(10**6))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    random = Random(args.seed)
    trials = []
    if args.hangs:
        trials.append(lambda: hangs.run(args.hangs, random, tuple(args.sizes)))
    if args.kills:
        trials.append(lambda: kills.run(args.kills, random))
    if args.healings:
        trials.append(lambda: healing.run(args.healings, random))
    if args.generations:
        trials.append(lambda: health.growth(args.generations))
    if args.healthy:
        trials.append(lambda: health.skew(args.healthy, random))
    if args.acts:
        trials.append(lambda: acts.run(args.acts, random))
    good = True
    for trial in trials:
        report = trial()
        print("\n".join(report.lines()), flush=True)
        good = good and report.is_good
    if args.cost:
        print("\n".join(health.cost(args.cost)), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
