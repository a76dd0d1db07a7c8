"""A fresh Jupyter kernel, and what a front end sees of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import psutil
import zmq
from jupyter_client.manager import KernelManager

__all__ = ["CellError", "Kernel", "Ran"]

_MARK = "RANKBOOK_BENCHMARK"
"""Environment variable by which every process that a kernel started is recognised."""

_READY_TIMEOUT = 60.0
_BROADCASTS = ("status", "iopub_welcome")


class CellError(Exception):
    """A cell failed."""


@dataclass
class Ran:
    """What a front end saw of one cell; times are seconds since the epoch."""

    sent: float
    busy: float = 0.0
    idle: float = 0.0
    replied: float = 0.0
    outputs: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From the request to its end: the reply, and the kernel being idle again."""
        return max(self.idle, self.replied) - self.sent

    def find(self, pattern: str) -> Iterator[tuple[float, re.Match[str]]]:
        """Search everything that arrived; yield when it did, and the match."""
        for arrived, _, content in self.outputs:
            for match in re.finditer(pattern, json.dumps(content)):
                yield arrived, match

    def text(self) -> str:
        """The text that is on screen at the end; a display that was updated counts once."""
        blocks: dict[Any, str] = {}
        for i, (_, kind, content) in enumerate(self.outputs):
            if kind == "stream":
                blocks[i] = content["text"]
            elif "data" in content and "metadata" in content:
                shown = content.get("transient", {}).get("display_id", i)
                blocks[shown] = content["data"].get("text/plain", "") + "\n"
        return "".join(blocks.values())


@final
class Kernel:
    """Starts a kernel of this Python; a context manager that leaves no process behind.

    Args:
        argv: What to start instead of ipykernel.
        env: Environment variables on top of ours.
    """

    def __init__(self, argv: list[str] | None = None, env: dict[str, str] | None = None) -> None:
        self._mark = uuid.uuid4().hex
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._manager = KernelManager(kernel_name="python3", shutdown_wait_time=10)
        if argv:
            self._manager.kernel_spec.argv = argv
        bin_folder = str(Path(sys.executable).parent)
        self.started = time.time()
        self._manager.start_kernel(
            cwd=self._folder.name,
            env={
                **os.environ,
                # No person's profile takes part, and a `python` in PATH is this one.
                "IPYTHONDIR": self._folder.name,
                "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]]),
                _MARK: self._mark,
                **(env or {}),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._client = self._manager.client()
        self._client.start_channels(stdin=False, hb=False)
        self._poller = zmq.Poller()
        for channel in (self._client.iopub_channel, self._client.shell_channel):
            self._poller.register(channel.socket, zmq.POLLIN)

    def __enter__(self) -> Kernel:
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the kernel's own process."""
        return int(self._manager.provisioner.pid)

    def processes(self) -> list[psutil.Process]:
        """The kernel and everything that it started, orphans included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(_MARK) == self._mark:
                    found.append(process)
        return found

    def open_comm(self, target: str) -> None:
        """Open a comm, as the front end's part of an extension does."""
        content = {"comm_id": uuid.uuid4().hex, "target_name": target, "data": {}}
        self._client.shell_channel.send(self._client.session.msg("comm_open", content))

    def run(self, *cells: str, timeout: float = 60.0) -> list[Ran]:
        """Request cells back to back, as *Run All* does, and watch until the last one ends.

        Raises:
            CellError: A cell failed.
            TimeoutError: They took longer than ``timeout`` seconds.
        """
        rans: dict[str, Ran] = {}
        for cell in cells:
            sent = time.time()
            last = rans[self._client.execute(cell)] = Ran(sent)
        deadline = time.monotonic() + timeout
        while not all(ran.idle and ran.replied for ran in rans.values()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done within {timeout:g} s")
            for arrived, message in self._receive(0.1):
                # What a thread publishes may carry an older cell's id, or none.
                ran = rans.get(message["parent_header"].get("msg_id"), last)
                _note(ran, arrived, message["header"]["msg_type"], message["content"])
        return list(rans.values())

    def close(self) -> None:
        """End the kernel as a front end does, then whatever it left."""
        with suppress(Exception):
            self._client.stop_channels()
            self._manager.shutdown_kernel()
        left = self.processes()
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=5)
        self._folder.cleanup()

    def _wait_until_ready(self) -> None:
        """Wait for a first broadcast: what a kernel says before we are subscribed is lost."""
        deadline = time.monotonic() + _READY_TIMEOUT
        while time.monotonic() < deadline:
            self._client.kernel_info()
            for _, message in self._receive(0.5):
                if message["header"]["msg_type"] in _BROADCASTS:
                    return
        raise TimeoutError(f"the kernel did not answer within {_READY_TIMEOUT:g} s")

    def _receive(self, timeout: float) -> Iterator[tuple[float, dict[str, Any]]]:
        for socket, _ in self._poller.poll(timeout * 1000):
            _, message = self._client.session.recv(socket)
            yield time.time(), message


def _note(ran: Ran, arrived: float, kind: str, content: dict[str, Any]) -> None:
    if kind == "execute_reply":
        ran.replied = arrived
        if content["status"] != "ok":
            raise CellError(f"{content.get('ename')}: {content.get('evalue')}")
    elif kind == "status":
        ran.busy = ran.busy or arrived
        if content["execution_state"] == "idle":
            ran.idle = arrived
    elif kind not in ("execute_input", "kernel_info_reply", *_BROADCASTS):
        ran.outputs.append((arrived, kind, content))
