"""ipyparallel's controller, for a local cluster: a process that runs this module.

It ends when its stdin closes, so that it never outlives the notebook's kernel. Each line that it
reads before is a command, as a JSON list of words, that it runs at that time: to end things on
other hosts, such as a job, that a killed kernel cannot end.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from zmq.devices import ThreadMonitoredQueue

from rankbook.engine.starting import files
from rankbook.engine.starting.lean import absent, import_ipyparallel

import_ipyparallel()
with absent("numpy"):  # it takes a quarter of all imports, for a scheduler that we do not use
    from ipyparallel.controller.app import IPController

__all__ = ["Controller", "Queue", "main"]

_PR_SET_PDEATHSIG = 1

_PATIENCE = 20.0
"""Seconds for a command that runs at the end."""


class Queue(ThreadMonitoredQueue):
    """A queue between client and engines, in a C++ thread.

    ipyparallel's queues report each message to the hub. The hub discards reports from the control
    channel, which carries all our messages, but takes CPU time from client and engines: a trivial
    cell would take a tenth longer.
    """

    def connect_mon(self, addr: str) -> None:
        """Connect to the hub, unless this is the control channel's queue."""
        if self._in_prefix != b"incontrol":
            super().connect_mon(addr)


class Controller(IPController):
    """ipyparallel's controller with our queues; it reserves its ports and obeys signals at once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._reserved: list[socket.socket] = []

    def next_port(self, pool_name: str = "common") -> int:
        """Choose a port, and reserve it until the controller listens on it.

        That is a tenth of a second later. When many clusters start at once, as in a class, another
        one could take a port that is free but not reserved. The queue without a port would go
        unnoticed, and engines would never answer.
        """
        if sys.platform != "linux":  # elsewhere the controller could not listen on a reserved port
            return int(super().next_port(pool_name))
        keeper = socket.socket()
        # As ZeroMQ does: two sockets with this option may share a port while one of them listens.
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("", 0))  # the controller may listen on several addresses
        self._reserved.append(keeper)
        return int(keeper.getsockname()[1])

    def init_schedulers(self) -> None:
        """Make the queues."""
        self.mq_class = f"{Queue.__module__}.{Queue.__name__}"
        super().init_schedulers()

    def init_hub(self) -> None:
        """Make the hub, and have it write no list of engines, which nobody restores.

        It writes the file whenever an engine comes or goes: also when the cluster ends, and its
        files have been removed already.
        """
        super().init_hub()
        self.hub.engine_state_file = ""

    def init_signal(self) -> None:
        """Handle signals in the loop, which they wake up.

        A plain Python handler runs only when Python code runs again. A signal that arrives just as
        the loop goes to sleep would wait until something else wakes it: half a minute.
        """
        for signum in (signal.SIGINT, signal.SIGABRT, signal.SIGTERM):
            self.loop.asyncio_loop.add_signal_handler(signum, self.handle_signal, signum, None)


def main() -> None:
    """Run a controller until SIGTERM, or until stdin closes."""
    if sys.platform == "linux":
        # Its heart monitor, a forked process, must end with it even if it is killed.
        os.register_at_fork(after_in_child=_die_with_parent)
    threading.Thread(target=_watch, args=(os.dup(0),), daemon=True).start()
    # The heart monitor, a child by multiprocessing, must not hold the lifeline.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    Controller.launch_instance(sys.argv[1:])


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch(lifeline: int) -> None:
    with os.fdopen(lifeline, "rb") as lines:
        commands = [json.loads(line) for line in lines]
    for command in commands:
        with suppress(OSError, subprocess.TimeoutExpired):  # the others are run, too
            subprocess.run(command, timeout=_PATIENCE, capture_output=True, check=False)
    files.remove_all()  # a kernel that was killed cannot
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
