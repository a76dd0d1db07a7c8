"""A wire whose far end is in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from fakes.engine import FakeEngine
from fakes.task import Task
from rankbook.cluster.transport.messages import Notice, Outgoing, Registered, Unregistered
from rankbook.models import GroupInfo

__all__ = ["FakeWire"]


class FakeWire:
    """Hands requests to fake engines, at once and in the thread that sends.

    Implements :class:`rankbook.cluster.transport.messages.Wire`.
    """

    address = "127.0.0.1"

    def __init__(self, all_engines: Mapping[int, FakeEngine]) -> None:
        self.lost = threading.Event()
        self.engines: list[int] = []
        self.requests: list[tuple[str, dict[int, dict]]] = []
        """What was sent together: the operation, and its arguments by engine."""
        self._all = all_engines
        self._receive: Callable[[Notice], None] = lambda notice: None

    def subscribe(self, receive: Callable[[Notice], None]) -> None:
        self._receive = receive

    def send(self, messages: Sequence[Outgoing], buffers: Sequence[bytes] = ()) -> None:
        tasks = {m.engine: Task(m, buffers, self._receive) for m in messages}
        for op in {task.op for task in tasks.values()}:
            self.requests.append((op, {number: task.args for number, task in tasks.items()}))
        engines = [self._all[number] for number in tasks]
        if any(task.op == "initialize" for task in tasks.values()) and any(
            not e.answers or e.refuses or e.stuck for e in engines
        ):
            _form_in_vain(engines, tasks)
            return
        for engine in engines:
            engine.take(tasks[engine.number])

    def route(self, engines: Mapping[int, str]) -> None:
        self.engines = sorted({*self.engines, *engines})

    def unregister(self, engine: int, after: float = 0.0) -> None:
        self.engines = [number for number in self.engines if number != engine]

    def close(self) -> None:
        self.engines = []

    # -- what the controller announces -------------------------------------------------------

    def join(self, engine: int) -> None:
        """Have an engine register."""
        self.route({engine: ""})
        self._receive(Registered(engine))

    def leave(self, engine: int) -> None:
        """Have the controller lose an engine."""
        self.unregister(engine)
        self._receive(Unregistered(engine))


def _form_in_vain(engines: Sequence[FakeEngine], tasks: Mapping[int, Task]) -> None:
    """Have engines wait for the one that does not come to the new group."""
    for engine in engines:
        task = tasks[engine.number]
        if engine.refuses or not engine.answers:
            engine.take(task)
            continue
        engine.asked.append(task.op)
        if engine.stuck is None:
            engine.info = GroupInfo("half-made", 0, 0, "cpu", is_main=False)
            engine.hang(task, "initialize")
