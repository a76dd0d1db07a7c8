"""Runs the steps of one part: ``python -m rankbook.selftest.child PART FD``.

Each begin and end of a step is written to the descriptor as a line of JSON. Standard output and
error are the part's log.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from contextlib import suppress
from typing import Any

import rankbook as rb
from rankbook.selftest.parts import named
from rankbook.selftest.steps import FAILED, NOT_RUN, PASSED, NotRunError, Part, Scene, Step

__all__ = ["main", "run"]


def main() -> None:
    """Run a part and end, whatever threads are left."""
    name, descriptor = sys.argv[1], int(sys.argv[2])
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)d ms %(name)s: %(message)s")
    with os.fdopen(descriptor, "w", buffering=1) as pipe:
        run(named(name), lambda event: pipe.write(json.dumps(event) + "\n"))


def run(part: Part, tell: Any) -> None:
    """Run the steps of a part, one after another.

    Args:
        part: Which.
        tell: Is called with ``{"begin": NAME}`` and ``{"end": NAME, "outcome": …}``.
    """
    scene = Scene()
    lost = ""
    try:
        for step in part.steps:
            tell({"begin": step.name})
            began = time.monotonic()
            outcome, detail = (NOT_RUN, lost) if lost else _take(step, scene)
            if step.vital and outcome != PASSED and not lost:
                lost = f"without this: {step.name}"
            seconds = round(time.monotonic() - began, 3)
            tell({"end": step.name, "outcome": outcome, "detail": detail, "seconds": seconds})
    finally:
        if scene.current is not None and not scene.current.is_closed:
            scene.current.shutdown()


def _take(step: Step, scene: Scene) -> tuple[str, str]:
    print(f"== {step.name}", flush=True)  # noqa: T201 - the part's log
    try:
        return PASSED, step.run(scene) or ""
    except NotRunError as reason:
        return NOT_RUN, str(reason)
    except Exception as error:  # noqa: BLE001 - that is what a check is for
        traceback.print_exc()
        _look_around(scene.current)
        # A message of ours says all; the class of another error says half of it.
        name = "" if isinstance(error, rb.RankbookError) else f"{type(error).__name__}: "
        return FAILED, f"{name}{error}".splitlines()[0]


def _look_around(session: rb.Session | None) -> None:
    """Write to the log what the ranks do, after a step has failed."""
    if session is None or session.is_closed:
        return
    with suppress(Exception):  # it only helps a reader of the log
        for state in session.states():
            print(state, flush=True)  # noqa: T201
        print(session.diagnose(), flush=True)  # noqa: T201
        for rank, lines in session.stacks().items():
            print(f"-- stack of rank {rank}\n{''.join(lines[-6:])}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
