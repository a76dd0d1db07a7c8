"""A notebook in a process of its own: ``python -m rankbook.selftest.notebook SPECIFICATION``.

The specification is JSON: arguments of ``start``, a cell, and whether to stay until killed. What
came of it is one line of JSON on standard output.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import rankbook as rb

__all__ = ["begin", "run"]


def begin(
    cell: str, *, environ: Mapping[str, str], stay: bool = False, **start: Any
) -> subprocess.Popen[str]:
    """Start such a process.

    Args:
        cell: Runs on all ranks.
        environ: Its environment.
        stay: Whether it goes on until it is killed.
        **start: Arguments of :func:`rankbook.start`.
    """
    message = json.dumps({"start": start, "cell": cell, "stay": stay})
    return subprocess.Popen(
        [sys.executable, "-m", "rankbook.selftest.notebook", message],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(environ),
    )


def run(cell: str, *, environ: Mapping[str, str], seconds: float, **start: Any) -> dict[str, Any]:
    """Have such a process run a cell, and return what came of it.

    Raises:
        TimeoutExpired: It took longer.
    """
    with begin(cell, environ=environ, **start) as notebook:
        try:
            out, _ = notebook.communicate(timeout=seconds)
        finally:
            notebook.kill()
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def main() -> None:
    """Do as told."""
    message = json.loads(sys.argv[1])
    try:
        session = rb.start(**message["start"])
    except rb.RankbookError as error:
        _say(error=f"{type(error).__name__}: {error}")
        return
    result = session.run(message["cell"])
    pids = [state.pid for state in session.states()]
    values = [result[rank].result_repr for rank in sorted(result)]
    errors = [result[rank].error for rank in sorted(result)]
    _say(
        backend=session.backend,
        pids=pids,
        values=values,
        error=next((f"{e.ename}: {e.evalue}" for e in errors if e), ""),
    )
    if message["stay"]:
        signal.pause()
    session.shutdown()


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201 - the parent process reads it


if __name__ == "__main__":
    main()
