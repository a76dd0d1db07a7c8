"""One call of ``torch.distributed``, and one wait, as the account of a process has them."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.meetings import Meets
from rankbook.models.wire import Request

__all__ = [
    "GROUPS",
    "OPENS",
    "POLL",
    "SAME_SIZE",
    "SAME_SIZE_ON_GLOO",
    "SCRIPTS",
    "Call",
    "Fingerprint",
    "GetCall",
    "GetMaking",
    "LastCalls",
    "LastOutput",
    "Making",
    "Place",
    "ReadLastCalls",
    "Slot",
    "Traffic",
    "Wait",
]

SAME_SIZE = frozenset(
    {"all_reduce", "broadcast", "reduce", "all_gather_into_tensor", "reduce_scatter_tensor"}
)
"""Operations that need equally many elements on all ranks."""

SAME_SIZE_ON_GLOO = frozenset({"all_gather", "gather", "scatter"})
"""Operations that need this with gloo, but not with other backends."""

POLL = "poll"
"""The kind of wait of a polling thread."""

OPENS = "TCPStore"
"""The operation of a rank that opens a store, and waits for the other end."""

SCRIPTS = "script/"
"""Prefix of the names of a script's groups, which distinguishes them from the session's."""

GROUPS = "groups"
"""Prefix of the name under which the making of groups is compared, like calls of a group."""


@dataclass(frozen=True)
class ReadLastCalls(Request):
    """Read the last calls of a process of this host; the answer is :class:`LastCalls`, or None.

    The process may have ended.
    """

    file: str
    """As :attr:`rankbook.models.EngineFacts.last_calls` names it."""
    op = "last_calls"


@dataclass(frozen=True)
class Place:
    """A line of user code."""

    file: str
    """Path of the file; for a cell its name, ``In [4]``."""
    line: int
    """Counted from 1."""
    scope: str = ""
    """The function around it; empty at the top level."""
    is_cell: bool = False
    """Whether it is in a cell."""

    def __str__(self) -> str:
        """The place in words: ``train.py:6 in step``, ``In [4] line 2``."""
        if self.is_cell:
            return f"{self.file} line {self.line}"
        name = self.file.rpartition("/")[2]
        return f"{name}:{self.line} in {self.scope}" if self.scope else f"{name}:{self.line}"


@dataclass(frozen=True)
class Call:
    """One call of ``torch.distributed`` on one rank, from whatever issued it."""

    id: int
    """Consecutive in its process, from 1, over all groups and threads."""
    op: str
    """The operation: ``all_reduce``, ``send`` …; the same on all ranks that take part."""
    function: str = ""
    """The torch function that the user's line called: ``isend``, ``backward`` …; empty if
    it is not known."""
    group: str = ""
    """torch's name of the process group, the same on all its ranks."""
    ranks: tuple[int, ...] = ()
    """The group's global ranks; empty: unknown."""
    generation: int = 0
    """The session's process group under which it was issued."""
    number: int = 0
    """Its number, from 1: for a collective in its group, as all its ranks count; for a send or recv
    among those between the same two ranks in the same direction with the same tag. 0: torch refused
    the call for its arguments, so no other rank meets it."""
    peer: int | None = None
    """Global rank of the other end of a send or recv; None: any, or none."""
    tag: int | None = None
    """Tag of a send or recv."""
    root: int | None = None
    """Global rank that a collective comes from or goes to; None where there is none."""
    reduce_op: str = ""
    """``sum``, ``max`` …; empty where nothing is reduced."""
    shapes: tuple[tuple[int, ...], ...] = ()
    """Shapes of this rank's inputs, or of its outputs if it has no inputs."""
    dtypes: tuple[str, ...] = ()
    """``float32`` …, in the order of ``shapes``."""
    nbytes: int = 0
    """Size of these tensors, bytes."""
    thread: int = 0
    """``threading.get_ident()`` of the thread that issued it."""
    cell: int | None = None
    """Number of the cell that ran; None if none did."""
    place: Place | None = None
    """The innermost line outside of torch and rankbook; None: issued where no Python ran."""
    called_from: Place | None = None
    """The cell's line that led there, where ``place`` is not a cell's."""
    stream_ordered: bool = False
    """Whether it is done on a device's stream: it returns, and its wait does, before it is done."""
    issued: float = 0.0
    """When it was called, seconds since the epoch."""
    returned: float | None = None
    """When torch returned its handle; None: it is still being issued, or that failed."""
    awaited: float | None = None
    """When a thread first began to wait for it; None: none has."""
    completed: float | None = None
    """When it was seen to be done: at the end of a wait for it, or later; None: not yet."""
    failed: bool = False
    """Whether issuing it, or a wait for it, raised."""
    text: str = ""
    """The text of the line where it was called; only in the answer about a single call."""
    by_main: bool = False
    """Whether the main thread issued it; only in the answer about a single call."""
    key: str = ""
    """Name of its group, distinguished from an earlier one of that name: ``0 (2)``."""

    @property
    def line(self) -> str:
        """Where it was called: ``train.py:6 in step, called from In [4] line 2``; or empty."""
        if self.called_from is None:
            return str(self.place or "")
        return f"{self.place}, called from {self.called_from}"

    @property
    def is_p2p(self) -> bool:
        """Whether it concerns two ranks of its group only."""
        return self.op in {"send", "recv"}


@dataclass(frozen=True)
class Wait:
    """The wait of one thread."""

    kind: str
    """``work`` (a handle's ``wait``), ``future``, ``tensor``, ``issue`` (torch has yet to return
    a handle), ``check`` (other ranks have yet to call it), ``store`` (in which the ranks meet),
    ``other store``, ``device`` (a stream, an event, a whole device), ``poll`` (the thread does not
    wait, but asks again and again)."""
    thread: int
    began: float
    """Seconds since the epoch."""
    call: Call | None = None
    """The awaited call, where known."""
    timeout: float | None = None
    """Seconds after which it ends by itself, if the caller said so."""
    entries: tuple[str, ...] = ()
    """The keys of a wait in a store."""
    line: str = ""
    """Where the thread polls, as :attr:`Making.line`; empty: it waits."""
    may_end: bool = False
    """Whether it may end by itself: soon by its timeout, or by another exit of its loop."""


@dataclass(frozen=True)
class Making:
    """A process group that a rank made, is making, or knows as a non-member."""

    name: str
    """torch's name: a number that each rank counts for itself, or a hash."""
    ranks: tuple[int, ...]
    """Its members, global ranks."""
    nth: int = 0
    """How many groups the rank had made before, or had."""
    epoch: int = 0
    """How many default groups there were; names start over with each."""
    line: str = ""
    """Where it was made, as :attr:`Call.line`, with the text of the line."""
    done: bool = False
    number: int = 0
    """From 1, among the groups that every rank has to make alike; 0: it is none of these."""
    destroyed: str = ""
    """Where the rank has destroyed it, as ``line``; empty: it has not."""
    meets: Meets | None = None
    """Where its ranks meet, if it is a default group and that is known."""
    backends: str = ""
    """Its backends by device: ``cpu:gloo,cuda:nccl``; empty: unknown."""


@dataclass(frozen=True)
class LastOutput:
    """The output of a process's latest cell to a stream when the process ended."""

    stream: str
    """``stdout`` or ``stderr``."""
    cell: int
    """Its number."""
    characters: int
    """How many characters it had written."""
    text: str
    """The last of them."""


@dataclass(frozen=True)
class LastCalls:
    """The content of a file of last calls."""

    pid: int
    calls: tuple[Call, ...]
    """Oldest first. They lack the time of return and the ranks; their tensors appear as one, with
    all their elements."""
    awaited: int | None = None
    """Id of the latest call that was waited for; None: none was."""
    outputs: tuple[LastOutput, ...] = ()
    log: tuple[str, ...] | None = None
    """The last lines that bypassed Python since its latest cell began, or ended; None: this file
    does not know them."""


@dataclass(frozen=True)
class Slot:
    """One collective's number in a group, whatever its members call there."""

    group: str
    """As :class:`Fingerprint` names it."""
    ranks: tuple[int, ...]
    generation: int
    number: int
    """In its group."""


@dataclass(frozen=True)
class GetCall(Request):
    """Report one collective; the answer is a :class:`Call`, or None if it is no longer kept."""

    slot: Slot
    op = "call"


@dataclass(frozen=True)
class GetMaking(Request):
    """Report the making of one group; the answer is a :class:`Making`, or None if it is not kept.

    It is numbered like calls.
    """

    slot: Slot
    op = "making"


@dataclass(frozen=True)
class Fingerprint:
    """How far a rank has come in a group, with hashes of its calls there."""

    group: str
    """torch's name of the group; ``name (2)`` for the second one of that name and those members."""
    ranks: tuple[int, ...]
    """Its members."""
    generation: int
    count: int
    """Number of collectives so far."""
    hashes: str
    """Hashes of the latest counts, as :mod:`rankbook.fingerprints` packs them."""


@dataclass(frozen=True)
class Traffic:
    """What one cell did over the groups of one rank."""

    calls: int = 0
    nbytes: int = 0
    waiting: float = 0.0
    """Seconds in waits, of all threads."""
    computing: float = 0.0
    """Seconds of the cell in which it did not wait."""
