"""Measure rankbook and its peers, each in fresh Jupyter kernels, seen from the front end's side."""

from __future__ import annotations

import argparse
import compileall
import os
import shlex
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from contenders import CONTENDERS, OtherRankbook
from kernel import CellError, Kernel
from measurements import MEASUREMENTS, Trial, first_all_reduce
from report import Results, markdown

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "benchmarks.md"
BEGIN, END = "<!-- begin: results -->", "<!-- end: results -->"
DEFAULT = ["rankbook", "ipyparallel", "nbdistributed", "jupyter-distributed"]
MAX_RANKS_PER_CORE = 4
SLOW = 20.0
"""Seconds beyond which a measurement is not repeated."""


def main() -> None:
    """Measure, print, and on demand write the page."""
    args = _arguments()
    # Leave nothing running when this process is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _compile(Path(find_spec("rankbook").origin).parent)
    if args.other:
        _compile(Path(OtherRankbook.source))
    results = Results()
    contenders = []
    for name in args.contenders:
        if CONTENDERS[name].is_installed():
            contenders.append(name)
        else:
            results.note(f"{name} is not installed here and takes no part.")
    skip: set[tuple[int, str, str]] = set()
    for repeat in range(args.repeats):
        for n in args.ranks:
            # Side by side, so that a busy minute of the machine falls on both.
            for name in contenders:
                print(f"repeat {repeat + 1}/{args.repeats}, {n} ranks: {name}", file=sys.stderr)
                _trial(results, name, n, args, skip)
    text = markdown(results, "python " + shlex.join(["benchmarks/run.py", *sys.argv[1:]]))
    print(text)
    if args.write:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        tail = rest.partition(END)[2]
        PAGE.write_text(f"{head}{BEGIN}\n{text}{END}{tail}", encoding="utf-8")


def _compile(folder: Path) -> None:
    """Have bytecode there, as an installed package has.

    Else every process compiles what it imports where PYTHONDONTWRITEBYTECODE is set, and of two
    checkouts the larger one seems to start later.
    """
    compileall.compile_dir(folder, quiet=1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    option = parser.add_argument
    option("--quick", action="store_true", help="2 ranks, once, fewer samples")
    option("-n", "--ranks", type=int, nargs="+", metavar="N", help="default: 2 4 8, as cores allow")
    option("--repeats", type=int, help="kernels per contender and number of ranks (default: 3)")
    option("--contenders", nargs="+", choices=CONTENDERS, default=DEFAULT, metavar="NAME")
    option("--measurements", nargs="*", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    option("--write", action="store_true", help=f"put the tables into {PAGE.name}, too")
    option(
        "--other", metavar="CHECKOUT", help="another checkout of rankbook, as one more contender"
    )
    parser.epilog = (
        f"Contenders: {', '.join(CONTENDERS)}. Measurements: {', '.join(MEASUREMENTS)}; "
        "the way to the first all_reduce is always measured."
    )
    args = parser.parse_args()
    if args.other:
        OtherRankbook.source = str(Path(args.other, "src").resolve(strict=True))
        args.contenders = [*args.contenders, OtherRankbook.name]
    most = MAX_RANKS_PER_CORE * (os.cpu_count() or 1)
    args.ranks = args.ranks or ([2] if args.quick else [n for n in (2, 4, 8) if n <= most])
    args.repeats = args.repeats or (1 if args.quick else 3)
    args.samples = 10 if args.quick else 30
    return args


def _trial(
    results: Results,
    name: str,
    n: int,
    args: argparse.Namespace,
    skip: set[tuple[int, str, str]],
) -> None:
    contender = CONTENDERS[name]()
    doing = "start"
    try:
        with Kernel(**contender.kernel(n)) as kernel:
            trial = Trial(contender, n, kernel, args.samples)
            results.add(n, name, first_all_reduce(trial))
            for doing in (m for m in MEASUREMENTS if m in args.measurements):
                if (n, name, doing) not in skip:
                    begin = time.monotonic()
                    results.add(n, name, MEASUREMENTS[doing](trial))
                    if time.monotonic() - begin > SLOW:
                        skip.add((n, name, doing))
    except (CellError, TimeoutError) as error:
        skip.add((n, name, doing))
        results.note(f"{name}, {n} ranks, {doing}: {error}.")


if __name__ == "__main__":
    main()
