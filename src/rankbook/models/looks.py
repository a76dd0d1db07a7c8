"""What a rank reports about itself."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.brief import Brief
from rankbook.models.calls import Call, Making, Place
from rankbook.models.engines import Gpu
from rankbook.models.groups import GroupInfo
from rankbook.models.meetings import Meets, MeshMaking
from rankbook.models.wire import Request

__all__ = ["Collective", "GetStacks", "Kept", "Lines", "Look", "LookAt"]


@dataclass(frozen=True)
class LookAt(Request):
    """Report what the rank does; the answer is a :class:`Look`."""

    closely: bool = False
    """For a diagnosis: with the calls that were recorded lately, and looking twice at a rank that
    may be on its way through a call. That takes up to 60 ms."""
    calls: bool = False
    """With those calls of a rank that runs, too, which is delayed by a millisecond: another rank
    has ended, perhaps in a call that did not match."""
    op = "look"


@dataclass(frozen=True)
class GetStacks(Request):
    """Report the main thread's stack; the answer is a list of lines."""

    op = "stacks"


@dataclass(frozen=True, repr=False)
class Collective(Brief):
    """One call of ``torch.distributed`` on one rank: what it is in, or what was recorded of it."""

    op: str
    """The function's name: ``all_reduce``, ``recv`` …; ``wait`` for an unknown call."""
    group: str = ""
    """torch's name of the process group, the same on all its ranks; empty: unknown."""
    ranks: tuple[int, ...] = ()
    """The group's global ranks; empty: every rank."""
    seq: int | None = None
    """Its number in the group, as all its ranks count it; of a send or recv, among those between
    the same two ranks with the same tag. None: unknown."""
    sizes: tuple[tuple[int, ...], ...] = ()
    """Shapes of the tensors; empty: unknown, or none."""
    dtypes: tuple[str, ...] = ()
    """``float32`` …, in the order of ``sizes``."""
    peer: int | None = None
    """Global rank of the root, or of the other end of a send or recv; None: any, or none."""
    tag: int | None = None
    """Tag of a send or recv; None: unknown, or none."""
    reduce_op: str = ""
    """``sum``, ``max`` …; empty: unknown, or none."""
    done: bool = False
    """Whether it has completed on this rank."""
    since: float = 0.0
    """Seconds since it was called, at the moment of the look."""
    took: float = 0.0
    """Seconds that it took until it completed or failed; 0: it has not."""
    line: str = ""
    """Where it was called: ``train.py:6 in step``; empty: unknown."""
    in_destructor: bool = False
    """Whether a user's ``__del__`` called it."""
    makes: bool = False
    """Whether it makes ``group``, and waits for the members of ``ranks`` that have yet to come."""
    entries: tuple[str, ...] = ()
    """The keys for which it waits in a store."""
    meets: Meets | None = None
    """Where it waits for ranks with which it has no group yet; None: it does not."""

    @classmethod
    def of(cls, call: Call, now: float) -> Collective:
        """A call of the account in the form of a report.

        Args:
            call: The call.
            now: Seconds since the epoch.
        """
        return cls(
            call.op,
            call.group,
            call.ranks,
            call.number or None,
            call.shapes,
            call.dtypes,
            call.peer if call.is_p2p else call.root,
            call.tag,
            call.reduce_op,
            done=call.completed is not None or call.failed,
            since=now - call.issued,
            took=call.completed - call.issued if call.completed else 0.0,
            line=f"{call.line}: {call.text}" if call.text else call.line,
            in_destructor=call.place is not None and call.place.scope == "__del__",
        )


@dataclass(frozen=True)
class Lines:
    """Lines of user code."""

    file: str
    """As :attr:`rankbook.models.calls.Place.file` names it."""
    first: int
    last: int

    def have(self, place: Place) -> bool:
        """Whether a place is one of them."""
        return self.file == place.file and self.first <= place.line <= self.last


@dataclass(frozen=True)
class Kept:
    """An exception that was caught, and is kept: in a variable, a list, an attribute."""

    error: str
    """One line about it."""
    line: str
    """Where it was raised."""
    left: tuple[Lines, ...] = ()
    """The lines that it made the rank leave."""


@dataclass(frozen=True, repr=False)
class Look(Brief):
    """One rank at one moment: what it does, and in which process.

    Its engine says most of this. The session adds what an engine cannot say: that there is no
    answer or that it has ended, and how, and whether the present cell has raised.
    """

    state: str
    """``idle``, ``running`` (Python), ``waiting`` (in torch.distributed), ``stopped`` (at a
    prompt); the session adds ``no answer`` and ``gone``."""
    line: str = ""
    """Its place: ``In [4] line 3: dist.all_reduce(x)``, ``train.py:6 in step, called from In
    [4] line 2: dist.all_reduce(x)``; or what it does instead."""
    cell: int | None = None
    """Number of the running cell, None if none runs."""
    waiting: Collective | None = None
    """The call in which the main thread waits, if it does."""
    recent: tuple[Collective, ...] = ()
    """The latest calls that the flight recorder kept, of every group, the newest last; only where
    it was looked closely."""
    still: float = 0.0
    """Seconds for which, as far as was seen, the main thread neither moved nor computed."""
    quiet: float = 0.0
    """Seconds for which, as far as was seen, no thread of the process computed."""
    silent: float | None = None
    """Seconds for which no data went to or came from another rank; None where none can, where the
    system does not say, or where it was not looked closely."""
    since: float = 0.0
    """Seconds for which it has been doing that: since the collective was called, the wait began,
    or the cell did."""
    in_wait: float = 0.0
    """Seconds for which the main thread has been in one wait for a handle, in C++: it has not moved
    in it, whether or not it was looked at; 0 where it waits for something else."""
    overdue: float = 0.0
    """Seconds by which ``waiting`` has taken longer than the group allows; 0 where torch itself
    counts them."""
    in_thread: bool = False
    """Whether a thread of the cell's waits in ``waiting``, and the main one for that thread."""
    may_end: bool = False
    """Whether the wait may end though no other rank does anything: by a deadline of its own, by
    another thread or coroutine, or by a process that is no rank."""
    has_children: bool = False
    """Whether processes that code has started there may come to where it ``meets`` others."""
    gives_up: float | None = None
    """Seconds until its own deadline ends it; None: it has none."""
    polls: bool = False
    """Whether the main thread polls for ``waiting`` instead of waiting for it."""
    groups: tuple[Making, ...] = ()
    """The latest groups that it made, or is making; only after a close look."""
    meshes: tuple[MeshMaking, ...] = ()
    """The latest device meshes, likewise."""
    threads: int = 0
    """Threads of user code besides the main one; only after a close look."""
    raised: str = ""
    """One line about the exception that ended the cell on this rank, empty if it did not."""
    handles: str = ""
    """One line about an exception that has not ended the cell: the rank still runs an ``except``, a
    ``finally`` or the like for it; empty if there is none."""
    raised_at: str = ""
    """Where that was raised."""
    kept: tuple[Kept, ...] = ()
    """Exceptions that it has caught and kept, and goes on; only where it waits."""
    path: tuple[Place, ...] = ()
    """All its lines of user code, the innermost first; only where it waits."""
    ended: str = ""
    """For a rank that is gone, how its process ended: ``was killed by SIGKILL``."""
    last_words: tuple[str, ...] = ()
    """For a rank that is gone, the last lines of its standard error."""
    engine: int | None = None
    """Id in the cluster."""
    info: GroupInfo | None = None
    """Its place in the session's process group; None where the engine is not a rank."""
    in_group: bool = True
    """Whether it has a process group at this moment: a cell may have destroyed it."""
    host: str = ""
    pid: int = 0
    memory: int = 0
    """Resident memory of the process, bytes."""
    memory_total: int = 0
    """Memory of its host, bytes; 0: unknown."""
    gpu_memory: int | None = None
    """Memory allocated by torch on the rank's GPU, bytes; None without a GPU in use."""
    gpu: Gpu | None = None
    """The rank's GPU; None without one, or without NVML."""
    last_error: str = ""
    """One line about the last exception, empty if the last cell ended well."""
    failed_at: str = ""
    """Where that was raised."""
    ran: str = ""
    """Name of the running or last cell: ``In [4]``, ``cell 3``; empty before the first."""
    is_script: bool = False
    """Whether that is a script."""
