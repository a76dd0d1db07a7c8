"""Answers the session, on an engine's control channel.

Requests that look (``state``, ``look``, ``timeline`` …) or free (``free``) are answered on
the control thread, whatever the main thread does. Requests that work (``run``, ``initialize``) are
handed to the main thread and wait their turn there.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, ClassVar

from rankbook import errors, protocol, values
from rankbook.engine import children, frames, gpu, state
from rankbook.engine.facts import facts
from rankbook.engine.flight import Observer
from rankbook.engine.group import Group
from rankbook.engine.history import History
from rankbook.engine.outbox import Outbox
from rankbook.engine.recorder import Recorder
from rankbook.engine.runner import Runner, interruptible
from rankbook.engine.shell import mend
from rankbook.engine.waits import Waits, hide
from rankbook.models import RankState, to_dict

__all__ = ["Agent", "install"]

_SWITCH_INTERVAL = 0.0005
"""Seconds after which the main thread, computing in Python, lets the control thread have its turn.

Python's own 5 ms would be paid several times for every answer."""

_TIDY = 0.2
"""Seconds after a group was made anew until what the former one has left is cleared away."""

_LOOK_AT_DESCRIPTORS = 0.2
"""Seconds between two looks at what a cell writes past Python."""


def install(kernel: Any) -> Agent:
    """Make an engine answer sessions.

    Args:
        kernel: An ``ipyparallel.engine.kernel.IPythonParallelKernel``.

    Returns:
        Its agent; the same one however often it is installed.
    """
    agent: Agent | None = getattr(kernel, "_rankbook_agent", None)
    if agent is None:
        agent = kernel._rankbook_agent = Agent(kernel)
    return agent


class Agent:
    """One per engine. Owns the runner of cells and the engine's place in the group."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._session = kernel.session
        self._stream = kernel.control_stream
        self._control = kernel.control_thread.io_loop
        self._main = asyncio.get_event_loop()
        self._turn = asyncio.Lock()
        self._doing = ""
        self._waiting: set[_Request] = set()
        """Cells that have yet to begin."""
        sys.setswitchinterval(_SWITCH_INTERVAL)
        children.install()
        self.runner = Runner(kernel)
        self.group = Group(kernel.shell.user_ns)
        recorder, waits = Recorder(), Waits()
        waits.install()
        hide(kernel.shell.InteractiveTB)
        self._observer = Observer(recorder, self.group.silent_for)
        self._history = History(recorder, waits)
        self._age = frames.Age()
        mend(kernel.shell)
        # Straight from the stream: ipykernel would publish 'busy' and 'idle' around each request,
        # two broadcasts through the controller that nobody needs, and would answer one control
        # message at a time. Other clients' messages go the way they always went.
        self._control.add_callback(self._stream.on_recv, self._on_message, copy=False)

    # -- on the control thread ---------------------------------------------------------------

    def _on_message(self, frames: list[Any]) -> Any:
        if not protocol.is_ours(frames):
            return self._kernel.dispatch_control(frames)
        idents, parts = self._session.feed_identities(frames, copy=False)
        try:
            message = self._session.deserialize(parts, content=True, copy=False)
        except ValueError as error:  # a bad signature: not from this cluster
            print(f"rankbook: refused a message: {error}", file=sys.__stderr__)
            return None
        request = _Request(self, idents, message)
        name, args = message["content"].get("op"), message["content"].get("args", {})
        if name in self._LOOK:
            request.answer(lambda: self._LOOK[name](self, **args))
        elif name == "run" or name in self._WORK:
            if name == "run":
                self._waiting.add(request)
                self._watch_descriptors(request)
            self._main.call_soon_threadsafe(
                lambda: asyncio.ensure_future(self._work(request, name, args))
            )
        else:
            request.answer(lambda: _unknown(name))
        return None

    def _free(self, *, interrupt: bool, cut: bool) -> bool:
        """Free the main thread; tell whether it works for a session.

        Args:
            interrupt: Send this process SIGINT: ``KeyboardInterrupt`` in what runs.
            cut: End the process group's connections: an error in the collective that waits.

        With neither, it is only said that connections are about to be cut.
        """
        doing = bool(self._doing)
        capture = self.runner.capture
        capture.freed = doing
        capture.cut |= doing and (cut or not interrupt)
        if cut:
            self.group.cut()
        if interrupt:
            # What has not begun shall not begin after it was ended.
            for request in list(self._waiting):
                request.is_dropped = True
        if interrupt and doing:
            os.kill(os.getpid(), signal.SIGINT)
        return doing

    def ends(self) -> None:
        """Take what ends the cell that runs for the end of this process, no error of its own."""
        self.runner.capture.freed = self.runner.capture.cut = True

    def _forget_error(self) -> None:
        self.runner.last_error = ""

    def _look(self) -> dict[str, Any]:
        return to_dict(self._observer.look(self._doing, self.runner.cell, self.group.since))

    def _state(self) -> dict[str, Any]:
        runner, doing = self.runner, self._doing
        now = state.snapshot(runner.cell)
        since = time.time() - runner.started if runner.cell is not None else 0.0
        if now["state"] == "collective":
            since = min(since, self._age.of(frames.position()))
        if doing and doing != "run":
            now = {"state": "running", "activity": doing}
        return to_dict(
            RankState(
                engine=self._kernel.engine_id,
                info=self.group.info,
                host=socket.gethostname(),
                pid=os.getpid(),
                since=since,
                cell=runner.cell,
                memory=state.memory(),
                memory_total=state.memory_total(),
                gpu_memory=state.gpu_memory(self.group.info),
                gpu=gpu.current(self.group.info),
                last_error=runner.last_error,
                **now,
            )
        )

    def _timeline(self, after: int | None, mark: str = "") -> dict[str, Any]:
        return self._history.tell(self.group.epochs, after, mark)

    def _stacks(self) -> list[str]:
        return frames.stack()

    def _facts(self, towards: str) -> dict[str, Any]:
        return to_dict(facts(self._kernel.engine_id, towards))

    # -- on the main thread ------------------------------------------------------------------

    async def _work(self, request: _Request, name: str, args: dict[str, Any]) -> None:
        async with self._turn:
            self._observer.forget()
            self._doing = name
            self._waiting.discard(request)
            # Comm messages of widgets made in the cell are addressed through the parent request.
            self._kernel.set_parent(request.idents, request.message, channel="shell")
            try:
                if request.is_dropped:
                    raise KeyboardInterrupt  # noqa: TRY301 - as what runs gets it
                if name == "run":
                    self.group.before_cell()
                    value = await self.runner.run(request.outbox, **args)
                else:
                    with interruptible():
                        value = self._WORK[name](self, request, **args)
                content = {"status": "ok", "value": value}
            except BaseException as error:  # noqa: BLE001 - the session gets to know it
                content = _failed(error)
            # Before the answer: who gets it may look at once.
            self._doing = ""
            request.reply(content)
            if name == "initialize" and len(self.group.epochs) > 1:
                self._main.call_later(_TIDY, self._tidy)

    def _tidy(self) -> None:
        """Let go of the former group.

        Tracebacks, and what IPython makes of them, hold each other and that group with its threads
        and sockets until Python happens to look for such circles.
        """
        gc.collect()

    def _watch_descriptors(self, request: _Request) -> None:
        """Look now and then, until the cell has ended, at what is written past Python."""

        def look() -> None:
            if request.is_open:
                self.runner.show_descriptors(request.outbox)
                self._watch_descriptors(request)

        self._control.call_later(_LOOK_AT_DESCRIPTORS, look)

    def _pull(self, request: _Request, name: str) -> bool:
        """Send a variable back, if there is one of that name; tell whether there is."""
        namespace = self._kernel.shell.user_ns
        if name in namespace:
            request.buffers = [values.dumps(namespace[name], name)]
        return name in namespace

    def _push(self, request: _Request, names: list[str]) -> None:
        data = request.message["buffers"]
        # All or nothing: a value that does not unpickle here leaves the others unset as well.
        self._kernel.shell.user_ns.update(
            {name: values.loads(its) for name, its in zip(names, data, strict=True)}
        )

    _LOOK: ClassVar[dict[str, Callable[..., Any]]] = {
        "state": _state,
        "stacks": _stacks,
        "facts": _facts,
        "look": _look,
        "timeline": _timeline,
        "forget_error": _forget_error,
        "free": _free,
    }
    _WORK: ClassVar[dict[str, Callable[..., Any]]] = {
        "pull": _pull,
        "push": _push,
        "host_store": lambda self, _, **args: self.group.host_store(**args),
        "reaches": lambda self, _, **args: self.group.reaches(**args),
        "initialize": lambda self, _, **args: self.group.initialize(**args),
        "destroy": lambda self, _: self.group.destroy(),
    }

    def send(self, request: _Request, kind: str, content: dict[str, Any]) -> None:
        """Send one message; on the control thread only, which owns the socket."""
        buffers = request.buffers if kind == protocol.REPLY else None

        def send(content: dict[str, Any]) -> None:
            self._session.send(
                self._stream,
                kind,
                content,
                parent=request.message,
                ident=request.idents,
                buffers=buffers,
            )

        try:
            send(content)
        except (TypeError, ValueError):  # a person's text or display need not be JSON
            send(protocol.as_json(content))

    def on_control(self, call: Callable[[], None]) -> None:
        """Have the control thread make a call."""
        self._control.add_callback(call)


class _Request:
    """One request on its way through the agent, and the way back to whoever asked."""

    def __init__(self, agent: Agent, idents: list[bytes], message: dict[str, Any]) -> None:
        self.idents = idents
        self.message = message
        self.buffers: list[bytes] = []
        self.is_open = True
        self.is_dropped = False
        self.outbox = Outbox(lambda: agent.on_control(self._drain))
        self._agent = agent

    def answer(self, look: Callable[[], Any]) -> None:
        """Reply with what ``look`` returns or raises; on the control thread."""
        try:
            content = {"status": "ok", "value": look()}
        except Exception as error:  # noqa: BLE001 - the session gets to know it
            content = _failed(error)
        self._agent.send(self, protocol.REPLY, content)

    def reply(self, content: dict[str, Any]) -> None:
        """End the request, after everything that is still in the outbox; from any thread."""

        def finish() -> None:
            self.is_open = False
            self._drain()
            self.outbox.close()
            self._agent.send(self, protocol.REPLY, content)

        self._agent.on_control(finish)

    def _drain(self) -> None:
        while events := self.outbox.take():
            self._agent.send(self, protocol.EVENTS, {"events": events})


def _unknown(name: str) -> None:
    raise errors.EngineError(
        f"The engine on {socket.gethostname()} does not know {name!r}: "
        "install the same version of rankbook there as in the notebook."
    )


def _failed(error: BaseException) -> dict[str, Any]:
    kind = type(error).__name__
    return {
        "status": "error",
        "error": {
            "kind": kind if isinstance(error, errors.RankbookError) else "",
            "ename": kind,
            "evalue": str(error),
            "traceback": traceback.format_exception(error),
        },
    }
