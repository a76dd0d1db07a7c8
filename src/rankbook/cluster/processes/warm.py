"""The process that forks engines, seen from the notebook's kernel.

This module imports almost nothing: that process is started first, and imports torch while this one
imports ipyparallel.
"""

from __future__ import annotations

import json
import os
import queue
import selectors
import socket
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

from rankbook import folders
from rankbook.cluster.processes import isolated, lifelines

__all__ = ["WarmProcess"]

_GRACE = 5.0
"""Seconds for it to end its engines and itself; it gives its engines less."""

_MOST = 65536
"""How many bytes are read at once."""

LOCAL = tuple(isolated.command("rankbook.engine.starting.server"))


class WarmProcess:
    """A running :mod:`rankbook.engine.starting.server`, here or behind a command for another host.

    It ends when its stdin closes: by :meth:`close`, or with this process.

    Args:
        command: The command that runs it.
        env: Its environment; None: this process's.
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
        assert self.process.stdin is not None  # noqa: S101 - it is a pipe
        lifelines.hold(self.process.stdin)
        # Held forever by the thread that closes stdout: a pipe must not be closed while another
        # thread reads it. That is the reading thread, or the one in close() if none reads.
        self._stdout_owner = threading.Lock()
        self._bell, self._ring = socket.socketpair()
        self._relays: queue.SimpleQueue[tuple[socket.socket, threading.Event]]
        self._relays = queue.SimpleQueue()
        self._relay: socket.socket | None = None
        self.is_left = False  # to the borrower

    def lines(self) -> Iterator[bytes]:
        """What it writes to its standard output, line by line, until it ends.

        One thread can read it, once. While it is lent, the lines are those of the borrower.
        """
        if self.process.stdout is None or not self._stdout_owner.acquire(blocking=False):
            return
        with self.process.stdout as stdout, self._bell:
            while not self.is_left and (yield from _lines(stdout.fileno(), self._bell)):
                self._relay, is_lent = self._relays.get()
                is_lent.set()
                with self._relay:
                    yield from _lines(self._relay.fileno())
        if not self.is_left:
            # Its output is closed a moment before it has ended, and the reader may ask how it did.
            with suppress(TimeoutExpired):
                self.process.wait(_GRACE)

    def fds(self) -> tuple[int, int]:
        """The descriptors of its commands and of its events.

        Raises:
            OSError: It was closed.
        """
        if self.process.stdin is None or self.process.stdout is None:
            raise BrokenPipeError
        try:
            return self.process.stdin.fileno(), self.process.stdout.fileno()
        except ValueError as error:
            raise BrokenPipeError from error

    def lend(self) -> socket.socket:
        """Have another process be the only reader of its output.

        Returns:
            The descriptor to which the borrower passes it on. Once all have closed that, the output
            is read here again.

        Raises:
            OSError: It has ended, or its output is not read here.
        """
        ours, theirs = socket.socketpair()
        is_lent = threading.Event()
        self._relays.put((ours, is_lent))
        try:
            self._ring.send(b"\0")
        except OSError:  # the reader is gone
            ours.close()
            theirs.close()
            raise
        if not is_lent.wait(_GRACE):
            theirs.close()
            raise TimeoutError
        return theirs

    def leave(self) -> None:
        """Leave the lent process to the borrower, so that it does not end with this process."""
        self.is_left = True
        if self.process.stdin is not None:
            with suppress(OSError):  # the process has ended
                self.process.stdin.close()
        if self._relay is not None:
            with suppress(OSError):  # the other end is closed
                self._relay.shutdown(socket.SHUT_RDWR)

    def tell(self, command: Mapping[str, Any]) -> None:
        """Send it a command.

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
        """Kill the process that runs here: the host behind it does not answer. Ends its output."""
        self.process.kill()

    def close(self) -> None:
        """Make it end, and wait for that; idempotent."""
        if self.process.stdin is not None:
            with suppress(OSError):  # the process has ended
                self.process.stdin.close()
        if self.process.stdout is not None and self._stdout_owner.acquire(blocking=False):
            self.process.stdout.close()
            self._bell.close()
        self._ring.close()
        try:
            self.process.wait(_GRACE)
        except TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


def _lines(fd: int, bell: socket.socket | None = None) -> Generator[bytes, None, bool]:
    """The lines that can be read from a descriptor.

    Returns:
        Whether the bell rang, at the end of a line; otherwise there is nothing more to read.
    """
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        if bell is not None:
            selector.register(bell, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if rest or fd in ready:
                data = os.read(fd, _MOST)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                yield from (line + b"\n" for line in lines)
            elif bell is not None:
                if bell.recv(1):
                    return True
                selector.unregister(bell)
                bell = None
    if rest:
        yield rest
    return False
