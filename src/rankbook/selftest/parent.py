"""Runs each part in a child process, within bounds of time, and gathers the outcomes."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rankbook.selftest.steps import FAILED, NOT_RUN, Outcome, Part, Step

__all__ = ["log_of", "run_part", "run_parts"]

SHORTEST = 3.0
"""Seconds under which a step is not begun."""

LAST = 10.0
"""Seconds for a child to end after its last step."""


def run_parts(parts: Iterable[Part], folder: Path, minutes: float, gpus: int) -> Iterator[Outcome]:
    """Run parts one after another, until the time is over.

    Args:
        parts: In the order in which they are run.
        folder: Of the report, where the logs go.
        minutes: For all of them.
        gpus: How many GPUs this machine shows.

    Yields:
        The outcome of each step, as soon as it is known; none is left out.
    """
    deadline = time.monotonic() + minutes * 60
    for part in parts:
        if part.gpus > gpus:
            needs = f"needs {part.gpus} GPU{'s' * (part.gpus > 1)}"
            reason = f"{needs}, and this machine shows {gpus or 'none'}"
            yield from _not_run(part, part.steps, reason)
        else:
            yield from run_part(part, folder, deadline)


def run_part(
    part: Part, folder: Path, deadline: float, environ: Mapping[str, str] = os.environ
) -> Iterator[Outcome]:
    """Run the steps of one part in a child process.

    A step that takes longer than it may ends with the child, which is killed; the engines that it
    has started end with it.

    Args:
        part: Which.
        folder: Of the report, where its log goes.
        deadline: On the monotonic clock; what cannot begin before it is not run.
        environ: The child's environment.
    """
    if deadline - time.monotonic() < SHORTEST:
        yield from _not_run(part, part.steps, "the minutes were over")
        return
    read, write = os.pipe()
    scratch = folder / "ipython"
    scratch.mkdir(exist_ok=True)
    with log_of(part, folder).open("wb") as log:
        # stdin is closed: a step that asks for something must fail, not wait.
        child = subprocess.Popen(
            [sys.executable, "-m", "rankbook.selftest.child", part.name, str(write)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[write],
            env={**environ, "IPYTHONDIR": str(scratch), "PYTHONUNBUFFERED": "1"},
        )
    os.close(write)
    try:
        yield from _follow(part, _Events(read), deadline)
        with suppress(subprocess.TimeoutExpired):  # then it is killed
            child.wait(max(0.0, min(LAST, deadline - time.monotonic())))
    finally:
        child.kill()
        child.wait()
        os.close(read)


def log_of(part: Part, folder: Path) -> Path:
    """The file that a part's process writes."""
    return folder / f"{part.name.replace(' ', '-')}.log"


def _follow(part: Part, events: _Events, deadline: float) -> Iterator[Outcome]:
    steps = list(part.steps)
    for position, step in enumerate(steps):
        left = deadline - time.monotonic()
        if left < SHORTEST:
            yield from _not_run(part, steps[position:], "the minutes were over")
            return
        found = events.end_of(step, min(step.seconds, left))
        if isinstance(found, str):
            if deadline - time.monotonic() <= 0:
                yield from _not_run(part, steps[position:], "the minutes were over")
                return
            seconds = round(left - (deadline - time.monotonic()), 1)
            yield Outcome(part.name, step.name, FAILED, found, seconds)
            rest = steps[position + 1 :]
            yield from _not_run(part, rest, f"its process was gone after this: {step.name}")
            return
        yield Outcome(
            part.name, step.name, found["outcome"], found["detail"], float(found["seconds"])
        )


def _not_run(part: Part, steps: Iterable[Step], reason: str) -> Iterator[Outcome]:
    for step in steps:
        yield Outcome(part.name, step.name, NOT_RUN, reason)


class _Events:
    """Lines of JSON from a child, each waited for within bounds."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        os.set_blocking(descriptor, False)

    def end_of(self, step: Step, seconds: float) -> dict[str, Any] | str:
        """What the child says of a step's end; or in words why it says nothing."""
        deadline = time.monotonic() + seconds
        while True:
            event = self._next(deadline - time.monotonic())
            if isinstance(event, str):
                return f"{event} {seconds:.3g} s" if event == "it did not end within" else event
            if event.get("end") == step.name:
                return event

    def _next(self, seconds: float) -> dict[str, Any] | str:
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._descriptor, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return "it did not end within"
                data = os.read(self._descriptor, 65536)
                if not data:
                    return "its process ended in the middle of it"
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event
