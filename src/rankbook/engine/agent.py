"""Answers sessions: passes requests to their operations, and sends the answers back.

Requests arrive on the control channel, which has its own thread. Operations that look or free run
there, whatever the main thread does; operations that work are passed to the main thread and wait
their turn. See :mod:`rankbook.engine.operations`.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import sys
from collections.abc import Callable
from typing import Any

from rankbook.distributed import torch_build  # noqa: F401 - first: it refuses an unusable torch
from rankbook.engine.cells.interrupting import interruptible
from rankbook.engine.context import Engine
from rankbook.engine.control import Control
from rankbook.engine.host import freed
from rankbook.engine.jobs import Job, raised, returned
from rankbook.engine.operations import ASIDE, CONTROL, Operation, find
from rankbook.errors import EngineError
from rankbook.heap import uncollected
from rankbook.models import load

__all__ = ["Agent", "install"]

_SWITCH_INTERVAL = 0.0005
"""Seconds after which the main thread, computing in Python, lets the control thread have its turn.

Python's default of 5 ms would delay every answer several times."""


def install(kernel: Any) -> Agent:
    """Make an engine answer sessions.

    Args:
        kernel: An ``ipyparallel.engine.kernel.IPythonParallelKernel``.

    Returns:
        Its agent; repeated calls return the same one.
    """
    agent: Agent | None = getattr(kernel, "_rankbook_agent", None)
    if agent is None:
        sys.setswitchinterval(_SWITCH_INTERVAL)
        freed.keep()
        agent = Agent(Engine(kernel), Control(kernel), find)
        kernel._rankbook_agent = agent
    return agent


class Agent:
    """The agent of an engine.

    Attributes:
        engine: The engine that the operations work on.
    """

    def __init__(
        self, engine: Engine, control: Control, find: Callable[[str], Operation | None]
    ) -> None:
        """Begin to answer; call on the main thread.

        Args:
            engine: The engine that the operations work on.
            control: The source of requests.
            find: Returns the operation of a name, None for an unknown one.
        """
        self.engine = engine
        self._control = control
        self._find = find
        self._main = asyncio.get_event_loop()
        self._turn = asyncio.Lock()
        control.listen(self._on_request)

    def _on_request(self, idents: list[bytes], message: dict[str, Any]) -> None:
        """Take a request; on the control thread."""
        job = Job(self.engine, self._control, idents, message)
        try:
            operation = self._find(job.name)
        except Exception as error:  # noqa: BLE001 - the session gets to know it
            job.finish(raised(error))
            return
        if operation is None:
            job.finish(raised(_unknown(job.name)))
        elif operation.on == CONTROL:
            try:
                with uncollected():  # here finalizers would stop all answers until they end
                    answer = returned(operation.act(job, load(operation.request, job.arguments)))
            except Exception as error:  # noqa: BLE001 - the session gets to know it
                answer = raised(error)
            job.finish(answer)
        elif operation.on == ASIDE:
            self._do_aside(job, operation)
        else:
            self.engine.waiting.add(job)
            # Sent from here: the main thread would have to wake this thread.
            job.stops += [self._control.repeat(*each) for each in operation.beside(job)]
            self._main.call_soon_threadsafe(
                lambda: asyncio.ensure_future(self._work(job, operation))
            )

    def _do_aside(self, job: Job, operation: Operation) -> None:
        """Run an operation in its own thread; refuse if too many of those block."""

        def work() -> None:
            try:
                answer = returned(operation.act(job, load(operation.request, job.arguments)))
            except BaseException as error:  # noqa: BLE001 - the session gets to know it
                answer = raised(error)
            self._control.call(lambda: job.finish(answer))

        try:
            self.engine.asides.start(work)
        except EngineError as error:
            job.finish(raised(error))

    async def _work(self, job: Job, operation: Operation) -> None:
        """Run an operation on the main thread, in its turn."""
        async with self._turn:
            self.engine.begin(job)
            try:
                if job.is_dropped:
                    raise KeyboardInterrupt  # noqa: TRY301 - as in running code
                request = load(operation.request, job.arguments)
                if inspect.iscoroutinefunction(operation.act):
                    value = await operation.act(job, request)
                else:
                    with interruptible():
                        value = operation.act(job, request)
                answer = returned(value)
            except BaseException as error:  # noqa: BLE001 - the session gets to know it
                answer = raised(error)
            # Before the answer: its receiver may look at once.
            self.engine.end()
            self._control.call(lambda: job.finish(answer))
            for seconds, act in job.later:
                self._main.call_later(seconds, self._do, act)

    def _do(self, act: Callable[[], None]) -> None:
        # A frame of this file tells rankbook.engine.looking.frames that the rank itself is idle.
        act()


def _unknown(name: str) -> EngineError:
    return EngineError(
        f"The engine on {socket.gethostname()} does not know {name!r}: "
        "install the same version of rankbook there as in the notebook."
    )
