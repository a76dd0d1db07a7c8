"""What a session asks an engine for, and how an engine says that it failed.

Each operation of an engine is one class here; ``op`` is its name on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "Destroy",
    "ForgetError",
    "Free",
    "HostStore",
    "Initialize",
    "LookAt",
    "Pull",
    "Push",
    "Reach",
    "RemoteError",
    "Request",
    "Run",
    "SayFacts",
    "SayStacks",
    "SayState",
    "TellTimeline",
]


@dataclass(frozen=True)
class Request:
    """The base of all requests."""

    op: ClassVar[str]
    """Name of the operation."""


@dataclass(frozen=True)
class SayState(Request):
    """What the rank does, for a view; the answer is a :class:`RankState`."""

    op = "state"


@dataclass(frozen=True)
class LookAt(Request):
    """What the rank does, for a diagnosis; the answer is a :class:`Look`."""

    op = "look"


@dataclass(frozen=True)
class SayStacks(Request):
    """Where the main thread stands; the answer is a list of lines."""

    op = "stacks"


@dataclass(frozen=True)
class SayFacts(Request):
    """Where the engine stands; the answer is :class:`EngineFacts`."""

    towards: str
    """An address of the controller: the host's address on the way there comes first."""
    op = "facts"


@dataclass(frozen=True)
class TellTimeline(Request):
    """What the recorder has kept; see :meth:`rankbook.engine.history.History.tell`."""

    after: int | None
    """Entries up to this one are known; None asks for the time only."""
    mark: str = ""
    """Of the last answer; nothing is told where nothing has changed since."""
    op = "timeline"


@dataclass(frozen=True)
class ForgetError(Request):
    """Forget the error of the last cell: it was repaired, or another rank's."""

    op = "forget_error"


@dataclass(frozen=True)
class Free(Request):
    """Free the main thread; the answer says whether it worked for a session.

    With neither field set, it is only said that connections are about to be cut.
    """

    interrupt: bool = False
    """Send SIGINT: a ``KeyboardInterrupt`` in the Python that runs."""
    cut: bool = False
    """End the process group's connections: an error in the collective that waits."""
    op = "free"


@dataclass(frozen=True)
class Run(Request):
    """Run a cell."""

    code: str
    """IPython syntax included."""
    number: int = 0
    """What tracebacks call it: ``Cell In[number]``."""
    op = "run"


@dataclass(frozen=True)
class Pull(Request):
    """Send a variable back; the answer says whether there is one, its buffer holds the pickle."""

    name: str
    op = "pull"


@dataclass(frozen=True)
class Push(Request):
    """Set variables to what the request's buffers hold."""

    names: tuple[str, ...]
    """In the order of the buffers."""
    op = "push"


@dataclass(frozen=True)
class HostStore(Request):
    """Open a store for the ranks to meet in; the answer is its URL."""

    address: str
    """Of this host: where it listens."""
    op = "host_store"


@dataclass(frozen=True)
class Reach(Request):
    """Try to connect to a store; the answer says whether that works."""

    url: str
    op = "reaches"


@dataclass(frozen=True)
class Initialize(Request):
    """Join a generation; answered when every rank has. The answer is a :class:`GroupInfo`."""

    backend: str
    """As ``initialize_distributed`` takes it."""
    timeout_minutes: float
    """Of the initialisation and of every collective of the group."""
    url: str
    """Where the ranks meet: ``file:///path`` or ``tcp://address:port``."""
    generation: int
    """Which of the session's groups this is, from 1."""
    rank: int
    world_size: int
    local_rank: int
    """Among the ranks of this host."""
    local_world_size: int
    address: str
    """Of rank 0, reachable from here; loopback if all ranks share a host."""
    check: bool = False
    """Have every collective compared across ranks before it runs."""
    op = "initialize"


@dataclass(frozen=True)
class Destroy(Request):
    """Leave the process group, if the engine is in one."""

    op = "destroy"


@dataclass(frozen=True)
class RemoteError:
    """An exception that ended an operation on an engine."""

    kind: str
    """Its class in :mod:`rankbook.errors`; empty: it is none of ours."""
    ename: str
    evalue: str
    traceback: tuple[str, ...] = ()

    @staticmethod
    def of_ended(engine: int) -> dict[str, Any]:
        """The reply that stands for one of an engine that has ended."""
        error = {"kind": "EngineError", "ename": "EngineError"}
        return {"status": "error", "error": error | {"evalue": f"Engine {engine} has ended."}}
