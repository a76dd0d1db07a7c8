"""A process from which engines are forked, seen from the notebook's kernel.

This module imports next to nothing: that process is started first, and imports torch while this
one imports ipyparallel.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

from rankbook import folders
from rankbook.cluster import isolated

__all__ = ["WarmProcess"]

_GRACE = 5.0
"""Seconds for it to end its engines and itself; it gives its engines less."""


LOCAL = tuple(isolated.command("rankbook.engine.server"))


class WarmProcess:
    """A running :mod:`rankbook.engine.server`, here or behind a command that reaches another host.

    It ends when its stdin closes: by :meth:`close`, or with this process.

    Args:
        command: What runs it.
        env: Its environment; None: as it is here.
    """

    def __init__(
        self, command: Sequence[str] = LOCAL, env: Mapping[str, str] | None = None
    ) -> None:
        # A file without a name: nothing is left behind, however this process ends.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        self.process = Popen(
            list(command),
            env=None if env is None else dict(env),
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._log,
            cwd=folders.here() or "/",  # the folder may be gone
            start_new_session=True,  # the terminal's Ctrl-C is the kernel's alone
        )
        # Held forever by what closes stdout: a pipe must not be closed while another thread
        # reads it. That is the thread that reads it, or close() where none does.
        self._stdout_owner = threading.Lock()

    def lines(self) -> Iterator[bytes]:
        """What it writes to its standard output, line by line, until it ends.

        One thread can read it, once.
        """
        if self.process.stdout is not None and self._stdout_owner.acquire(blocking=False):
            with self.process.stdout as stdout:
                yield from stdout

    def tell(self, command: Mapping[str, Any]) -> None:
        """Give it a command.

        Raises:
            OSError: It has ended.
        """
        if self.process.stdin is None or self.process.stdin.closed:
            raise BrokenPipeError
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def errors(self) -> list[str]:
        """The lines that it wrote to its standard error, without empty ones; none once closed."""
        if self._log.closed:
            return []
        size = os.fstat(self._log.fileno()).st_size
        lines = os.pread(self._log.fileno(), size, 0).decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]

    def last_words(self) -> str:
        """The last line that it wrote to its standard error."""
        return (self.errors() or ["it left no message"])[-1]

    def abandon(self) -> None:
        """Kill what runs here: what is behind it does not answer. Its output ends by that."""
        self.process.kill()

    def close(self) -> None:
        """Make it end, and wait for that; idempotent."""
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()
        if self.process.stdout is not None and self._stdout_owner.acquire(blocking=False):
            self.process.stdout.close()
        try:
            self.process.wait(_GRACE)
        except TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
