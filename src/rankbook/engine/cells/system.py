"""``!command`` on a rank: its output is the cell's, in its place and while it runs.

The command has a terminal, so that it writes line by line, with colours and progress bars, but one
that leaves line ends as they are: those of several ranks are then equal, and merge.
"""

from __future__ import annotations

import codecs
import os
import select
import signal
import subprocess
import sys
import termios
from contextlib import suppress

__all__ = ["run"]

_MOMENT = 0.05
"""Seconds between two looks whether the command has ended."""

_GRACE = 2.0
"""Seconds for a command to end that was interrupted."""


def run(command: str) -> int:
    """Run a command of the shell; return its exit code, minus the signal if one ended it.

    Raises:
        OSError: It is to go on in the background.
    """
    if command.rstrip().endswith("&"):
        raise OSError("Background processes not supported: start it by subprocess.Popen.")
    near, far = _terminal()
    try:
        shell = os.environ.get("SHELL") or "/bin/sh"
        process = subprocess.Popen(
            [shell, "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=far,
            stderr=far,
            start_new_session=True,  # an interrupt is for all that it has started
        )
        os.close(far)
        try:
            _show(near, process)
        except KeyboardInterrupt:  # as in IPython the cell goes on after it
            _end(process)
        return process.wait()
    finally:
        os.close(near)


def _terminal() -> tuple[int, int]:
    near, far = os.openpty()
    attributes = termios.tcgetattr(far)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(far, termios.TCSANOW, attributes)
    return near, far


def _show(near: int, process: subprocess.Popen[bytes]) -> None:
    """Write what the command writes, until it has ended, whatever it has left running."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        has_ended = process.poll() is not None
        if select.select([near], [], [], 0 if has_ended else _MOMENT)[0]:
            data = b""
            with suppress(OSError):  # nobody has the other end any more
                data = os.read(near, 65536)
            if not data:
                return
            sys.stdout.write(decoder.decode(data))
        elif has_ended:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
            return
