"""``!command`` on a rank: its output appears in the cell's output, while it runs.

The command has a terminal, so that it writes line by line, with colours and progress bars. This
terminal leaves line ends as they are, so that lines of several ranks are equal, and merge.
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
"""Seconds between two checks whether the command has ended."""

_GRACE = 2.0
"""Seconds for an interrupted command to end."""


def run(command: str) -> int:
    """Run a shell command; return its exit code, minus the signal if one ended it.

    Raises:
        OSError: It would run in the background.
    """
    if command.rstrip().endswith("&"):
        raise OSError("Background processes not supported: start it by subprocess.Popen.")
    near, far = _terminal()
    try:
        shell = os.environ.get("SHELL") or "/bin/sh"
        try:
            process = subprocess.Popen(
                [shell, "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=far,
                stderr=far,
                start_new_session=True,  # an interrupt must reach all its children
            )
        finally:
            os.close(far)
        try:
            _show(near, process)
        except KeyboardInterrupt:  # the cell goes on, as in IPython
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
    """Copy the command's output until the command has ended, whatever it left running."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        has_ended = process.poll() is not None
        if select.select([near], [], [], 0 if has_ended else _MOMENT)[0]:
            data = b""
            with suppress(OSError):  # the other end is closed
                data = os.read(near, 65536)
            if not data:
                return
            sys.stdout.write(decoder.decode(data))
        elif has_ended:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(process.pid, signum)
        with suppress(subprocess.TimeoutExpired):  # the next signal is stronger
            process.wait(_GRACE)
            return
