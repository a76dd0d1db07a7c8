"""Scripts as plain processes, forked from one that has imported torch: none imports it again.

As a program, this is the process that they are forked from.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import psutil

__all__ = ["Forking"]

IMPORTED = ("torch", "torch.distributed", "rankbook.distributed")
"""What scripts find imported."""


class Forking:
    """Runs scripts in processes that a process of its own forks; a context manager."""

    def __init__(self, **environ: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environ},
        )

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                child.kill()  # one is left only by a test that has failed
        self.process.communicate(timeout=30)

    def run(self, script: str, environs: list[dict[str, str]], *args: str) -> list[tuple[str, str]]:
        """Run a script in as many processes as there are environments; all must succeed.

        Returns:
            What each printed, and what it wrote to stderr.
        """
        with tempfile.TemporaryDirectory() as folder:
            starts = [
                {"argv": [script, *args], "environ": environ, "out": f"{folder}/{n}"}
                for n, environ in enumerate(environs)
            ]
            self.process.stdin.write(f"{json.dumps(starts)}\n")
            self.process.stdin.flush()
            statuses = json.loads(self.process.stdout.readline())
            told = [
                tuple(Path(f"{folder}/{n}.{kind}").read_text().strip() for kind in ("out", "err"))
                for n in range(len(starts))
            ]
        assert statuses == [0] * len(starts), told
        return told


def serve() -> dict | None:
    """Fork what is asked for; return what to do in a process that was forked, None at the end."""
    for line in sys.stdin:
        pids = []
        for start in json.loads(line):
            pids.append(os.fork())
            if not pids[-1]:
                return start
        ended = dict(os.wait() for _ in pids)
        sys.stdout.write(f"{json.dumps([os.waitstatus_to_exitcode(ended[p]) for p in pids])}\n")
        sys.stdout.flush()
    return None


def become(start: dict) -> None:
    """Go on as a Python process that runs a script."""
    for number, kind in ((1, "out"), (2, "err")):
        file = os.open(f"{start['out']}.{kind}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.environ.clear()
    os.environ.update(start["environ"])
    sys.argv = start["argv"]
    warnings.simplefilter("error")
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    for name in IMPORTED:
        __import__(name)
    if script := serve():
        become(script)
