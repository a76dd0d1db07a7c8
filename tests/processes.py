"""Watching processes that tests start: which belong together, when they are gone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil


def wait_until(
    condition: Callable[[], object],
    timeout: float = 20,
    pause: float = 0.01,
    why: Callable[[], object] = str,
) -> None:
    """Wait for a condition, with a bound.

    Args:
        condition: What is waited for.
        timeout: The bound, in seconds.
        pause: Seconds between two looks.
        why: Tells more, should it not come.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {timeout} s {why()}"
        time.sleep(pause)


def let_pass(seconds: float) -> None:
    """Let time pass where that is what is tried: a moment, or somebody who takes their time."""
    time.sleep(seconds)


def waits_for(sign: Path) -> str:
    """Code that goes on when a file is there."""
    return f"import os, time\nwhile not os.path.exists({str(sign)!r}): time.sleep(0.01)\n"


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to take note."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # also between two looks at it
        return True


def family(process: psutil.Process) -> list[psutil.Process]:
    """All processes below one."""
    return process.children(recursive=True)


def commands(processes: Iterable[psutil.Process]) -> list[str]:
    """What processes run, without those that have ended meanwhile."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.append(" ".join(process.cmdline()))
    return found


def child_that_runs(module: str) -> psutil.Process:
    """The one child of this process that runs a module of ours."""
    [found] = [
        child for child in psutil.Process().children() if module in " ".join(commands([child]))
    ]
    return found


def listening(processes: list[psutil.Process]) -> set[str]:
    """The addresses on which processes listen."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            connections = process.net_connections(kind="inet")
            found |= {its.laddr.ip for its in connections if its.status == psutil.CONN_LISTEN}
    return found


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own; return what it printed.

    Raises:
        subprocess.CalledProcessError: It did not end well.
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
