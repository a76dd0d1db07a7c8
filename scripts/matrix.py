"""Run unit tests and a walk on other versions of torch, Python, Jupyter: ``make test-matrix``.

Each leg gets an environment of its own in a temporary folder, one after the other, and the folder
is removed before the next: a CUDA build of torch takes 5 GB and more. What came of each leg is
kept in ``docs/explanation/compatibility.json``, from which the page beside it is written.

    python scripts/matrix.py --list
    python scripts/matrix.py --only newest colab --write
    python scripts/matrix.py --only cuda --walk
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
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "compatibility.md"
RESULTS = PAGE.with_suffix(".json")
BEGIN, END = "<!-- begin: results -->", "<!-- end: results -->"

PYTEST = (
    "comm",
    "matplotlib",
    "nbclient",
    "nbconvert",
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "tqdm",
)
"""What unit tests and walk need where the extra ``test`` asks for a newer Jupyter."""

COLAB = ("ipython==7.34.0", "ipykernel==6.17.1", "ipywidgets==7.7.1", "jupyter_client==7.4.9")

SHOWN = ("python", "torch", "ipython", "ipykernel", "ipywidgets", "jupyter_client", "ipyparallel")
"""Whose versions stand in the table."""

LIMIT = {"install": 1800.0, "unit": 1500.0, "walk": 400.0}
"""Seconds that a part of a leg may take."""


@dataclass(frozen=True)
class Leg:
    """One combination of versions."""

    title: str
    python: str
    torch: str
    packages: tuple[str, ...] = ("{root}[test]",)
    """What is installed beside torch; ``{root}`` is the checkout."""
    is_pinned: bool = True
    """Whether constraints.txt says the versions of everything but torch."""


LEGS = {
    "newest": Leg("newest of everything", "3.13", "torch==2.15.0", is_pinned=False),
    "cuda": Leg("a CUDA build", "3.11", "torch==2.14.1"),
    "default": Leg("what `make env` installs", "3.11", "torch==2.13.0"),
    "middle": Leg("Python 3.12", "3.12", "torch==2.11.0"),
    "oldest": Leg("oldest torch, oldest Python", "3.10", "torch==2.9.0"),
    "colab": Leg(
        "Colab's Jupyter", "3.12", "torch==2.11.0", ("{root}", *COLAB, *PYTEST), is_pinned=False
    ),
    "python3.14": Leg("Python 3.14", "3.14", "torch==2.15.0", is_pinned=False),
}


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
    is_green: bool = False


class NotHereError(Exception):
    """A leg cannot be run on this machine; the message says why."""


def interpreter(version: str) -> str:
    """The path of a Python of this version, as ``3.12``."""
    installed = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    for candidate in (f"python{version}", sys.executable, *map(str, sorted(installed))):
        try:
            said = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        if said.stdout.startswith(f"Python {version}."):
            return candidate
    raise NotHereError(f"no Python {version} on this machine")


def install(leg: Leg, folder: Path) -> str:
    """Make the leg's environment; the path of its Python."""
    subprocess.run([interpreter(leg.python), "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    command = [python, "-m", "pip", "install", "-q", "--no-cache-dir", "--progress-bar", "off"]
    if leg.is_pinned:
        pins = folder / "constraints.txt"
        lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        pins.write_text("\n".join(line for line in lines if not line.startswith("torch==")))
        command += ["-c", str(pins)]
    command += [leg.torch, *(package.format(root=ROOT) for package in leg.packages)]
    # `make` hands down constraints.txt, which says another version of torch.
    environ = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=LIMIT["install"], check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotHereError(f"pip could not install it: {' '.join(errors)[:300]}")
    return python


def versions(python: str) -> dict[str, str]:
    """What is installed, by package."""
    code = (
        "import json, platform; from importlib.metadata import version; "
        f"print(json.dumps({{'python': platform.python_version()}} | "
        f"{{n: version(n) for n in {SHOWN[1:]!r}}}))"
    )
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(said.stdout))


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


def of_unit_tests(said: str) -> tuple[str, bool]:
    """What pytest's output comes to, and whether nothing has failed."""
    failed = re.findall(r"^(?:FAILED|ERROR) tests/unit/(\S+)", said, re.MULTILINE)
    last = re.findall(r"^(?:=+ )?(\d+ (?:passed|failed|error).*) in [\d.]+s", said, re.MULTILINE)
    if not last:
        return f"did not end: {said.strip().splitlines()[-1] if said.strip() else 'silent'}", False
    text = re.sub(r", \d+ warnings?", "", last[-1])
    return (text, True) if not failed else (f"{text}: {', '.join(failed)}", False)


def try_leg(leg: Leg, *, with_unit_tests: bool) -> Outcome:
    """Install a leg, run it, remove it."""
    with tempfile.TemporaryDirectory(prefix="rankbook-matrix-") as folder:
        python = install(leg, Path(folder, "env"))
        said = run(python, "tests/walk.py", limit=LIMIT["walk"])
        walked, walk_is_right = of_walk(said)
        if not walk_is_right:
            print(said[-6000:])
        unit, unit_is_right = "not run", True
        if with_unit_tests:
            # Other versions of other packages warn of one another, which is not ours to repair.
            options = ("-m", "pytest", "tests/unit", "-q", "-p", "no:cacheprovider")
            options += ("-o", "filterwarnings=default")
            said = run(python, *options, limit=LIMIT["unit"])
            unit, unit_is_right = of_unit_tests(said)
            if not unit_is_right:
                print(said[-20000:])
        date = datetime.now(timezone.utc).date().isoformat()
        return Outcome(date, versions(python), walked, unit, walk_is_right and unit_is_right)


def table(results: dict[str, dict[str, object]]) -> str:
    """The page's table."""
    head = ["", *SHOWN, "walk", "unit tests", "on"]
    rows = [head, ["---"] * len(head)]
    for name, leg in LEGS.items():
        found = results.get(name)
        if found is None:
            rows.append([leg.title, leg.python, leg.torch.partition("==")[2], *["-"] * 5])
            rows[-1] += ["not run", "not run", "-"]
        elif "reason" in found:
            rows.append([leg.title, leg.python, leg.torch.partition("==")[2], *["-"] * 5])
            rows[-1] += [f"not run: {found['reason']}", "not run", str(found["date"])]
        else:
            its = Outcome(**found)  # type: ignore[arg-type]
            had = [its.versions[package] for package in SHOWN]
            rows.append([leg.title, *had, its.walk, its.unit, its.date])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def write(results: dict[str, dict[str, object]]) -> None:
    """Keep the results, and write the table into the page."""
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n{table(results)}{END}{tail}", encoding="utf-8")


def main() -> int:
    """Run the chosen legs; 1 if something is wrong in one that could be run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    option = parser.add_argument
    option("--only", nargs="+", choices=LEGS, default=list(LEGS), metavar="LEG")
    option("--walk", action="store_true", help="leave the unit tests out")
    option("--write", action="store_true", help="keep the outcome, and write the page")
    option("--list", action="store_true", help="name the legs")
    args = parser.parse_args()
    if args.list:
        for name, leg in LEGS.items():
            print(f"{name:12} {leg.title}: Python {leg.python}, {leg.torch}")
        return 0
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    wrong = False
    for name in args.only:
        begin = time.monotonic()
        print(f"{name}: {LEGS[name].title}", flush=True)
        try:
            outcome = try_leg(LEGS[name], with_unit_tests=not args.walk)
        except NotHereError as reason:
            print(f"{name}: not run: {reason}", flush=True)
            date = datetime.now(timezone.utc).date().isoformat()
            results.setdefault(name, {"date": date, "reason": str(reason)})
        else:
            wrong |= not outcome.is_green
            results[name] = asdict(outcome)
            took = time.monotonic() - begin
            print(
                f"{name}: walk {outcome.walk}; unit tests {outcome.unit}; {took:.0f} s", flush=True
            )
        if args.write:
            write(results)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
