"""The command line: ``python -m rankbook.selftest [--gpu] [--minutes M] [--out DIR]``."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from rankbook.selftest import machine, report
from rankbook.selftest.parent import log_of, run_parts
from rankbook.selftest.parts import order
from rankbook.selftest.steps import FAILED, Outcome

__all__ = ["main"]

WITHOUT_GPU, WITH_GPU = 2.0, 5.0
"""Minutes, where none are given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check this machine and write the report.

    Returns:
        0 if nothing failed, 1 if something did, 2 for options that make no sense, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    gpus = machine.gpu_count()
    if options.gpu and not gpus:
        return _refuse("--gpu needs a GPU, and this machine shows none")
    minutes = options.minutes
    if minutes is None:
        minutes = WITH_GPU if gpus else WITHOUT_GPU
    if not 0 < minutes < math.inf:
        return _refuse(f"--minutes {minutes:g} is not a time: use 2, for example")
    try:
        folder = _folder(options.out)
    except OSError as error:
        return _refuse(f"--out {options.out}: {error.strerror}")
    began = time.monotonic()
    about = {"when": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC", **machine.describe()}
    minutes -= (time.monotonic() - began) / 60
    outcomes: list[Outcome] = []
    interrupted = False
    try:
        _run(outcomes, gpu_first=options.gpu, folder=folder, minutes=minutes, gpus=gpus)
    except KeyboardInterrupt:
        interrupted = True
    about["seconds"] = round(time.monotonic() - began, 1)
    path = report.write(folder, about, outcomes, _logs(outcomes, folder))
    shutil.rmtree(folder / "ipython", ignore_errors=True)
    print(f"\n{report.counted(outcomes)}, in {about['seconds']:g} s\nReport: {path}")  # noqa: T201
    if interrupted:
        return 130
    return int(any(outcome.outcome == FAILED for outcome in outcomes))


def _run(
    outcomes: list[Outcome], *, gpu_first: bool, folder: Path, minutes: float, gpus: int
) -> None:
    for outcome in run_parts(order(gpu_first=gpu_first), folder, minutes, gpus):
        for line in report.lines(outcome, outcomes[-1] if outcomes else None):
            print(line, flush=True)  # noqa: T201 - what a command line is for
        outcomes.append(outcome)


def _logs(outcomes: Sequence[Outcome], folder: Path) -> dict[str, str]:
    """By part in which something failed, its log."""
    from rankbook.selftest.parts import named

    failed = dict.fromkeys(o.part for o in outcomes if o.outcome == FAILED)
    return {part: log_of(named(part), folder).read_text(errors="replace") for part in failed}


def _folder(out: Path | None) -> Path:
    if out is None:
        return Path(tempfile.mkdtemp(prefix="rankbook-selftest-"))
    out.mkdir(parents=True, exist_ok=True)
    return out.resolve()


def _refuse(why: str) -> int:
    print(f"rankbook.selftest: {why}", file=sys.stderr)  # noqa: T201
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rankbook.selftest",
        description="Start ranks on this machine, hang them, kill them, and report what works.",
    )
    parser.add_argument("--gpu", action="store_true", help="begin with the GPUs; there must be one")
    parser.add_argument(
        "--minutes",
        type=float,
        help=f"longest time (default: {WITHOUT_GPU:g}, and {WITH_GPU:g} with GPUs)",
    )
    parser.add_argument("--out", type=Path, help="folder for the report (default: a new one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
