"""The operations that a session can request from an engine, one decorated function each.

An operation takes its :class:`~rankbook.engine.jobs.Job` and its request, and returns a model or
a value of JSON's types::

    @operation(LookAt, on=CONTROL)
    def look(job: Job, request: LookAt) -> Look: ...

To add one, write its function in a new module and add that module to :data:`ROOMS`, or to
:data:`LATER` if few sessions use it. Nothing else imports it: code that others use is in a separate
module, which does not know jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from rankbook.models.requests import Request

if TYPE_CHECKING:
    from rankbook.engine.jobs import Job

__all__ = [
    "ASIDE",
    "CONTROL",
    "LATER",
    "MAIN",
    "ROOMS",
    "Operation",
    "Repeated",
    "find",
    "operation",
    "operations_in",
]

ROOMS = (
    "rankbook.engine.cells.freeing",
    "rankbook.engine.cells.running",
    "rankbook.engine.debugging.answering",
    "rankbook.engine.group.joining",
    "rankbook.engine.host.environment",
    "rankbook.engine.host.following",
    "rankbook.engine.looking.reporting",
    "rankbook.engine.looking.standing",
    "rankbook.engine.looking.telling",
    "rankbook.engine.values.completing",
    "rankbook.engine.values.values",
)
"""The modules in which operations are that every session needs: imported once, before the engines
are forked."""

LATER = (
    "rankbook.engine.cells.clearing",
    "rankbook.engine.cells.profiling",
    "rankbook.engine.group.unfinished",
    "rankbook.engine.values.comparing",
    "rankbook.engine.values.copying",
    "rankbook.engine.values.drawing",
    "rankbook.engine.values.exchanges",
    "rankbook.engine.values.inspecting",
)
"""The other ones. An engine imports them when it is first asked for one of their operations."""

CONTROL = "control"
"""On the control thread, whatever the main thread does. It must not block: others wait."""

MAIN = "main"
"""On the main thread, in turn with cells. A signal interrupts it; an operation that awaits must
handle that itself."""

ASIDE = "aside"
"""In its own thread, whatever the main thread does: it may block, because looking at objects can
run user code. Its output is dropped. While several block, more are refused."""

_R = TypeVar("_R", bound=Request)

Repeated = tuple[float, Callable[[], float | None]]
"""The seconds before each run, and the action, which may return the seconds before the next run."""


@dataclass(frozen=True)
class Operation:
    """An operation of an engine."""

    request: type[Request]
    """The class of its requests; ``request.op`` is its name on the wire."""
    on: str
    """The thread that runs it: :data:`CONTROL`, :data:`MAIN` or :data:`ASIDE`."""
    act: Callable[[Job, Any], Any]
    """Its function, given the job and the request."""
    beside: Callable[[Job], Iterable[Repeated]]
    """The periodic work of the control thread until the answer."""


def operation(
    request: type[_R], *, on: str, beside: Callable[[Job], Iterable[Repeated]] = lambda _: ()
) -> Callable[[Callable[[Job, _R], Any]], Operation]:
    """Make an operation of a function.

    Args:
        request: The class of its requests.
        on: The thread that runs it.
        beside: The periodic work of the control thread until the answer.
    """
    return lambda act: Operation(request, on, act, beside)


@cache
def operations_in(rooms: Iterable[str]) -> dict[str, Operation]:
    """The operations of these modules, by their names on the wire; imports the modules."""
    found = [one for room in rooms for one in vars(import_module(room)).values()]
    return {one.request.op: one for one in found if isinstance(one, Operation)}


def find(name: str) -> Operation | None:
    """The operation of that name on the wire; None if there is none."""
    return operations_in(ROOMS).get(name) or operations_in(LATER).get(name)
