"""Makes engines by forking one warm process: ``python -m rankbook.engine.starting.server``.

Importing torch takes a second or two of CPU and 130 MB; here that is paid once, and the engines
share its pages. The launcher and this process exchange JSON lines over stdin and stdout:

- ``{"fork": 4, "first": 0, "argv": [...], "cwd": "...", "env": {...}, "log": "path-{index}.log"}``
  forks four engines; each says ``{"event": "ready", "engine": 0, "uuid": "..."}`` as soon as it
  answers requests, which is some heartbeats before ipyparallel's hub would announce it;
- ``{"kill": [0, 2]}`` kills engines;
- ``{"reach": ["10.0.0.5", 41000]}`` connects to the controller and says ``{"event": "reached",
  "problem": ""}``, or why that was not possible: before engines wait for it in vain;
- ``{"ping": true}`` is answered by ``{"event": "pong"}``: the way there and back is open;
- when an engine ends, ``{"event": "ended", "index": 0, "pid": 123, "status": -9}`` says so; the
  status is that of ``subprocess``: an exit code, or minus the signal.
- when SIGTERM from elsewhere than the kernel ends this process, ``{"event": "leaving"}`` says so,
  before the engines end.

Where ``log`` is empty, the notebook may be on another host, and engines have logs without a name,
which nothing outlives. The event of an engine's end then has its last lines, as ``"words": [...]``,
and unless it was ended from here what it called and printed last, as ``"last": {...}``.

stdin is also the lifeline: when it closes, because the notebook's kernel has ended in any way, this
process ends all engines. When it forks, it has not touched CUDA and has one thread.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from rankbook.engine.cells.tail import LOG_VARIABLE
from rankbook.engine.processes import orphans
from rankbook.engine.starting import files
from rankbook.engine.starting.loading import load_and_listen
from rankbook.engine.starting.lookout import Lookout

__all__ = ["Server", "load_and_serve", "main", "run_engine", "tell"]

_MOMENT = 0.05
"""Seconds between two looks for engines that were killed."""

_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL when all engines are ended."""

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Import what engines need, then serve until stdin closes."""
    load_and_serve(Lookout())
    os._exit(0)  # unloading torch would take a third of a second


def load_and_serve(lookout: Lookout) -> None:
    """Import what engines need, then serve until stdin closes; see :class:`Server`."""
    left = load_and_listen(0, lambda command: _answer(lookout, command))
    Server(lookout).serve(left)


def _answer(lookout: Lookout, command: dict[str, Any]) -> dict[str, Any]:
    """Do what needs no engines, and so nothing imported; return the rest of a command."""
    if "reach" in command:
        tell({"event": "reached", "problem": lookout.reach(*command["reach"])})
    if "ping" in command:
        tell({"event": "pong"})
    return {name: value for name, value in command.items() if name not in ("reach", "ping")}


class Server:
    """Forks engines, waits for them, ends them.

    Args:
        lookout: Knows whether the notebook is gone although stdin is open.
    """

    def __init__(self, lookout: Lookout) -> None:
        self._lookout = lookout
        self._kernel = os.getppid()
        self._engines: dict[int, int] = {}
        orphans.adopt()
        self._logs: dict[int, int] = {}
        """By process, the descriptor of its log, if that has no name."""
        self._is_ending = False
        self._ended: set[int] = set()
        """Processes that were killed from here: nobody asks what they did last."""
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        signal.set_wakeup_fd(self._wake_w)
        # With a wakeup fd the handlers do nothing: the signal numbers arrive there.
        for signum in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(signum, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def serve(self, received: bytes = b"") -> None:
        """Obey commands until stdin closes, then end every engine.

        Args:
            received: What was read of stdin before.
        """
        rest = self._obey_lines(received)
        while True:
            pause = None if self._engines else self._lookout.seconds_to_next()
            ready, _, _ = select.select([0, self._wake_r], [], [], pause)
            if not ready and self._lookout.is_left():
                break
            if self._wake_r in ready and signal.SIGTERM in self._signals():
                break
            if 0 in ready:
                data = os.read(0, 65536)
                if not data:
                    break
                rest = self._obey_lines(rest + data)
        self._end_all()

    def _obey_lines(self, received: bytes) -> bytes:
        """Obey all commands that are whole; return what there is of another."""
        *lines, rest = received.split(b"\n")
        for line in lines:
            self._obey(_answer(self._lookout, json.loads(line)))
        return rest

    def _signals(self) -> bytes:
        """Read the signals that have arrived; reap if one says that an engine has ended."""
        with suppress(BlockingIOError):
            numbers = os.read(self._wake_r, 4096)
            if signal.SIGTERM in numbers and not self._is_ending:
                tell({"event": "leaving"})  # before what has ended by the same signal
            if signal.SIGCHLD in numbers:
                self._reap()
            return numbers
        return b""

    def _obey(self, command: dict[str, Any]) -> None:
        if "fork" in command:
            os.environ.update(command["env"])
            for index in range(command["first"], command["first"] + command["fork"]):
                self._fork(index, command)
        chosen = command.get("kill", ())
        for pid in [pid for pid, index in self._engines.items() if index in chosen]:
            self._ended.add(pid)
            os.kill(pid, signal.SIGKILL)

    def _fork(self, index: int, command: dict[str, Any]) -> None:
        parent = os.getpid()
        path = command["log"].replace("{index}", str(index))
        log = files.open_named(path) if path else files.open_unnamed()
        pid = os.fork()
        if pid:
            self._engines[pid] = index
            if path:
                os.close(log)
            else:
                self._logs[pid] = log
            return
        status = 1
        try:
            events = os.dup(1)
            _become_child(parent, log)
            os.close(self._wake_r)
            os.close(self._wake_w)
            orphans.mark(index)
            os.environ[LOG_VARIABLE] = path or files.OWN
            with suppress(OSError):  # another host need not have the notebook's folder
                os.chdir(command["cwd"])
            argv = [a.replace("{index}", str(index)) for a in command["argv"]]
            status = run_engine(argv, events)
        except BaseException:  # noqa: BLE001 - the child must never go on as a second server
            import traceback

            traceback.print_exc(file=sys.__stderr__)
        finally:
            for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
                with suppress(OSError, ValueError):  # it is closed, or nobody reads it
                    stream.flush()
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            files.remove_profile(pid)  # the engine may have ended before removing it itself
            if (index := self._engines.pop(pid, None)) is not None:
                orphans.end(pid, index, self._engines)
                event = {"event": "ended", "index": index, "pid": pid}
                event["status"] = os.waitstatus_to_exitcode(status)
                if (log := self._logs.pop(pid, None)) is not None:
                    event["words"] = files.last_lines(log)
                    event["last"] = None if pid in self._ended else files.last_calls(pid)
                    os.close(log)
                tell(event)

    def _end_all(self) -> None:
        self._is_ending = True
        self._ended.update(self._engines)
        deadline = time.monotonic() + _GRACE
        # An engine obeys SIGTERM after its cell; idle engines ignore SIGINT.
        self._signal_all(signal.SIGINT)
        self._signal_all(signal.SIGTERM)
        self._reap()
        while self._engines and (left := deadline - time.monotonic()) > 0:
            select.select([self._wake_r], [], [], left)
            self._signals()
        self._signal_all(signal.SIGKILL)
        deadline = time.monotonic() + _GRACE
        while self._engines and time.monotonic() < deadline:
            self._reap()
            select.select([self._wake_r], [], [], _MOMENT)
        if os.getppid() != self._kernel:
            files.remove_all()  # the kernel was killed and cannot

    def _signal_all(self, signum: int) -> None:
        for pid in self._engines:
            with suppress(ProcessLookupError):  # it has ended
                os.kill(pid, signum)


def tell(event: dict[str, Any], to: int = 1) -> None:
    """Write an event for the notebook's kernel."""
    data = memoryview(json.dumps(event).encode() + b"\n")
    # The pipe is broken when the notebook's kernel is gone; the engines must still be ended.
    with suppress(OSError):
        while data:
            data = data[os.write(to, data) :]


def _become_child(parent: int, log: int) -> None:
    """Cut what a forked child shares with the server: signals, terminal, streams."""
    os.setsid()
    if sys.platform == "linux":
        # If the server is killed, the engines end with it; on other systems heartbeats end them.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(null)
    os.close(log)


def run_engine(argv: list[str], events: int) -> int:
    """Be an engine until it is ended; return its exit code.

    Args:
        argv: Its command line.
        events: The descriptor for the event that it is ready.
    """
    from rankbook.engine.app import RankEngine, ignore_warnings

    gc.enable()
    ignore_warnings()
    # On a crash, write the line of the cell into the log.
    faulthandler.enable()
    # Without a notebook that has a profile, the user's own stays as it is.
    if is_alone := "IPP_PROFILE_DIR" not in os.environ:
        os.environ["IPP_PROFILE_DIR"] = files.new_profile()

    def on_ready(engine: int, uuid: str) -> None:
        tell({"event": "ready", "engine": engine, "uuid": uuid}, events)
        os.close(events)
        if is_alone:  # an engine reads it at its start; so nothing is left, however it ends
            files.remove_profile(os.getpid())

    app = RankEngine.instance()
    app.on_ready = on_ready
    app.initialize(argv)
    try:
        app.start()
    except RuntimeError as error:
        # asyncio raises this where ipyparallel stopped the loop on SIGTERM.
        if "Event loop stopped" not in str(error):
            raise
    return 0


if __name__ == "__main__":
    main()
