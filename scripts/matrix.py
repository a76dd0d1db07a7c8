"""Run tests and a walk on other versions of torch, Python, Jupyter: ``make test-matrix``.

Each leg gets an environment of its own in a temporary folder, one after the other, and the folder
is removed before the next: a CUDA build of torch takes 5 GB and more. What came of each leg is
kept in ``docs/explanation/compatibility.json``, from which the page beside it is written.

    python scripts/matrix.py --list
    python scripts/matrix.py --only newest colab --write
    python scripts/matrix.py --only cuda --walk
    python scripts/matrix.py --only oldest --keep /tmp/envs
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from legs import LEGS, ROOT, SHOWN, Leg, NotHereError, install, versions

PAGE = ROOT / "docs" / "explanation" / "compatibility.md"
RESULTS = PAGE.with_suffix(".json")
BEGIN, END = "<!-- begin: results -->", "<!-- end: results -->"

LIMIT = {"unit": 1500.0, "healing": 1500.0, "walk": 400.0}
"""Seconds that a part of a leg may take."""

TESTS = {
    "unit": ("tests/unit",),
    "healing": (
        *(f"tests/integration/test_{name}.py" for name in ("healing", "healing_oddities")),
        *(f"tests/integration/test_{name}.py" for name in ("replacing", "stale")),
    ),
}
"""What pytest is given; the second: whether objects go on after a hang, a reset, a death."""


@dataclass(frozen=True)
class Outcome:
    """What came of one leg."""

    date: str
    versions: dict[str, str]
    """By package, of :data:`SHOWN`."""
    walk: str
    """``49 of 49``, or with the names of the steps that went wrong."""
    unit: str = "not run"
    """pytest's own last words, or with the names of what failed."""
    healing: str = "not run"
    """The same."""
    is_green: bool = False


def run(python: str, *arguments: str, limit: float) -> str:
    """Run Python in the checkout; all that it says."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    bin_folder = str(Path(python).parent)
    environ["PATH"] = f"{bin_folder}{os.pathsep}{environ['PATH']}"
    try:
        done = subprocess.run(
            [python, *arguments],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        return f"{text}\nended after {limit:.0f} s"
    return done.stdout


def of_walk(said: str) -> tuple[str, bool]:
    """What the walk's output comes to, and whether all of it is right."""
    total = re.search(r"(\d+) of (\d+) steps are wrong", said)
    if total is None:
        return f"did not end: {said.strip().splitlines()[-1] if said.strip() else 'silent'}", False
    wrong = re.findall(r"^(.+?): (?!ok$)(?:it ended with|no '|').*$", said, re.MULTILINE)
    count, steps = int(total[1]), int(total[2])
    text = f"{steps - count} of {steps}"
    return (text, True) if not count else (f"{text}; wrong: {', '.join(wrong)}", False)


def of_tests(said: str) -> tuple[str, bool]:
    """What pytest's output comes to, and whether nothing has failed."""
    failed = re.findall(
        r"^(?:FAILED|ERROR) tests/\w+/(\S+?(?:\[.*?\])?)(?: - .*)?$", said, re.MULTILINE
    )
    last = re.findall(r"^(?:=+ )?(\d+ (?:passed|failed|error).*) in [\d.]+s", said, re.MULTILINE)
    if not last:
        return f"did not end: {said.strip().splitlines()[-1] if said.strip() else 'silent'}", False
    text = re.sub(r", \d+ (?:warnings?|deselected)", "", last[-1])
    return (text, True) if not failed else (f"{text}: {', '.join(failed)}", False)


def try_leg(leg: Leg, folder: Path, tests: Mapping[str, Sequence[str]]) -> Outcome:
    """Install a leg in a folder, and run the walk and these tests."""
    python = install(leg, folder)
    said = run(python, "tests/walk.py", limit=LIMIT["walk"])
    walked, is_green = of_walk(said)
    if not is_green:
        print(said[-6000:])
    told = {}
    for part, arguments in tests.items():
        # Other versions of other packages warn of one another, which is not ours to repair.
        options = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default")
        said = run(python, *options, *arguments, limit=LIMIT[part])
        told[part], is_right = of_tests(said)
        is_green &= is_right
        if not is_right:
            print(said[-20000:])
    date = datetime.now(timezone.utc).date().isoformat()
    return Outcome(date, versions(python), walked, **told, is_green=is_green)


def table(results: dict[str, dict[str, object]]) -> str:
    """The page's table."""
    head = ["", *SHOWN, "walk", "unit tests", "healing", "on"]
    rows = [head, ["---"] * len(head)]
    for name, leg in LEGS.items():
        found = results.get(name, {"date": "-"})
        if "versions" in found:
            its = Outcome(**found)  # type: ignore[arg-type]
            had = [its.versions[package] for package in SHOWN]
            rows.append([leg.title, *had, its.walk, its.unit, its.healing, its.date])
        else:
            rows.append([leg.title, leg.python, leg.torch.partition("==")[2], *["-"] * 5])
            why = f": {found['reason']}" if "reason" in found else ""
            rows[-1] += [f"not run{why}", "not run", "not run", str(found["date"])]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def write(results: dict[str, dict[str, object]]) -> None:
    """Keep the results, and write the table into the page."""
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n{table(results)}{END}{tail}", encoding="utf-8")


def _home(kept: Path | None) -> AbstractContextManager[str | Path]:
    """Where environments are made: a folder that is removed afterwards, or one that is kept."""
    return nullcontext(kept) if kept else tempfile.TemporaryDirectory(prefix="rankbook-matrix-")


def main() -> int:
    """Run the chosen legs; 1 if something is wrong in one that could be run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    option = parser.add_argument
    option("--only", nargs="+", choices=LEGS, default=list(LEGS), metavar="LEG")
    option("--walk", action="store_true", help="leave the tests out")
    option("--slow", action="store_true", help="every case of healing, and not a part (10 minutes)")
    option("--write", action="store_true", help="keep the outcome, and write the page")
    option("--keep", type=Path, metavar="FOLDER", help="keep the environments there, and use them")
    option("--list", action="store_true", help="name the legs")
    args = parser.parse_args()
    if args.list:
        for name, leg in LEGS.items():
            print(f"{name:12} {leg.title}: Python {leg.python}, {leg.torch}")
        return 0
    tests = {} if args.walk else {**TESTS, "healing": (*TESTS["healing"], *["--slow"] * args.slow)}
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    wrong = False
    for name in args.only:
        begin = time.monotonic()
        print(f"{name}: {LEGS[name].title}", flush=True)
        try:
            with _home(args.keep) as home:
                outcome = try_leg(LEGS[name], Path(home, name), tests)
        except NotHereError as reason:
            print(f"{name}: not run: {reason}", flush=True)
            date = datetime.now(timezone.utc).date().isoformat()
            results.setdefault(name, {"date": date, "reason": str(reason)})
        else:
            wrong |= not outcome.is_green
            results[name] = asdict(outcome)
            took = time.monotonic() - begin
            print(f"{name}: walk {outcome.walk}; unit tests {outcome.unit}", flush=True)
            print(f"{name}: healing {outcome.healing}; {took:.0f} s", flush=True)
        if args.write:
            write(results)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
