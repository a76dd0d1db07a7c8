"""The account's record of a recent call: quick to make, read as a ``Call``."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from rankbook.calls.fingerprints import Running
from rankbook.calls.places import Spot
from rankbook.calls.taps import reduction
from rankbook.models.calls import SAME_SIZE, SAME_SIZE_ON_GLOO, Call

__all__ = [
    "P2P",
    "REFUSED",
    "Group",
    "Record",
    "Site",
    "handle_of",
    "is_from_anyone",
    "is_open",
    "measure",
    "nbytes",
    "site_of",
    "to_call",
    "what_must_agree",
]

P2P = {"send", "recv"}

REFUSED = 0
"""The number of a call that torch refused."""

_SHAPES = 64
"""How many tensors of a call have their shapes kept."""


class Group:
    """One process group, as the account counts its calls."""

    __slots__ = (
        "_pairs",
        "encoded",
        "fingerprint",
        "generation",
        "has_failed",
        "is_gloo",
        "issued",
        "key",
        "made_in",
        "name",
        "ranks",
        "ref",
    )

    def __init__(
        self,
        pg: Any,
        name: str,
        ranks: tuple[int, ...],
        generation: int,
        nth: int = 1,
        *,
        is_gloo: bool = False,
    ) -> None:
        self.ref = weakref.ref(pg)
        self.name = name
        self.key = f"{name} ({nth})" if nth > 1 else name
        self.is_gloo = is_gloo
        self.encoded = name.encode()
        self.ranks = ranks
        self.generation = self.made_in = generation
        self.issued = 0
        self.has_failed = False
        """Whether a call has failed under way: its backend has ended connections then."""
        self.fingerprint = Running()
        self._pairs: dict[tuple[str, int | None, int | None], count[int]] = {}

    def next_of_pair(self, op: str, peer: int | None, tag: int | None) -> int:
        """Count a send or recv."""
        numbers = self._pairs.get((op, peer, tag))
        if numbers is None:
            numbers = self._pairs[op, peer, tag] = count(1)
        return next(numbers)

    def give_back(self, record: Record) -> None:
        """Reuse the number of a call that torch refused for the next call.

        Unless another thread has called meanwhile.
        """
        if record.site.op in P2P:
            self._pairs[record.site.op, record.peer, record.tag] = count(record.number)
            record.number = REFUSED
        elif record.number == self.issued:
            self.issued -= 1
            record.number = REFUSED

    def to_global(self, rank: int) -> int:
        """Translate a rank of the group."""
        return self.ranks[rank] if 0 <= rank < len(self.ranks) else rank


class Site:
    """One operation at one line: the common part of its calls there."""

    __slots__ = ("cell", "function", "known", "op", "others", "reduce_op", "serial", "spot")

    def __init__(
        self, op: str, reduce_op: str, function: str, spot: Spot | None, cell: Spot | None
    ) -> None:
        self.op = op
        self.reduce_op = reduce_op
        self.function = function
        self.spot = spot
        self.cell = cell
        self.serial = 0
        """Its number in the file of the last calls; 0 if it is not there."""
        self.known: tuple[int, Any, int | None, bool, tuple[int, int]] | None = None
        """The size of its latest call with one tensor or none, and values derived from it."""
        self.others: dict[str, Site] = {}
        """The same line with other reduce operations."""

    def reducing_by(self, reduce_op: str) -> Site:
        """The same line with a reduce operation."""
        if reduce_op == self.reduce_op:
            return self
        if reduce_op not in self.others:
            self.others[reduce_op] = Site(self.op, reduce_op, self.function, self.spot, self.cell)
        return self.others[reduce_op]


class Record:
    """A call; unknown parts are filled in later, by any thread."""

    __slots__ = (
        "awaited",
        "cell",
        "completed",
        "dtypes",
        "elements",
        "failed",
        "group",
        "id",
        "issued",
        "number",
        "peer",
        "reduces",
        "returned",
        "root",
        "seen",
        "shapes",
        "site",
        "stream_ordered",
        "tag",
        "thread",
        "work",
    )

    id: int
    site: Site
    group: Group
    number: int
    peer: int | None
    tag: int | None
    root: int | None
    reduces: Any
    """The reduce operation as C++ gave it, if nobody has asked yet: see :func:`site_of`."""
    shapes: tuple[Any, ...]
    dtypes: tuple[Any, ...]
    elements: int
    stream_ordered: bool
    thread: int
    cell: int | None
    issued: int
    """ns since the epoch, as are the other times; 0: not yet."""
    returned: int
    awaited: int
    """When a thread first began to wait for it."""
    completed: int
    failed: bool
    work: Any
    """The ``Work`` of a call that is not known to be done; None where it is, or ``seen`` has it."""
    seen: Callable[[], Any] | None
    """Returns the ``Work`` of a call on a stream, while a reference to it exists."""


def site_of(record: Record) -> Site:
    """The line and the operation of a call.

    To read a reduce operation of C++ takes long between the kernels of a training step, and less
    afterwards. DDP adds, so that is assumed of it until somebody asks here.
    """
    if (given := record.reduces) is not None:
        record.reduces, record.site = None, record.site.reducing_by(reduction(given))
    return record.site


def nbytes(record: Record) -> int:
    """Size of the tensors of a call, bytes."""
    if len(record.dtypes) == 1:
        return int(record.elements * record.dtypes[0].itemsize)
    sizes = zip(record.shapes, record.dtypes, strict=True)
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in sizes)


def what_must_agree(record: Record) -> tuple[object, ...]:
    """The part of a collective that must be equal on all ranks."""
    site = site_of(record)
    is_even = site.op in SAME_SIZE or (record.group.is_gloo and site.op in SAME_SIZE_ON_GLOO)
    sized = record.elements if is_even else None
    dtype = record.dtypes[0] if record.dtypes else None
    return site.op, site.reduce_op, record.root, dtype, sized


def to_call(record: Record) -> Call:
    """The record in a form that others may keep."""
    group, site = record.group, site_of(record)
    return Call(
        id=record.id,
        op=site.op,
        function=site.function,
        group=group.name,
        key=group.key,
        ranks=group.ranks,
        generation=group.generation,
        number=record.number,
        peer=record.peer,
        tag=record.tag,
        root=record.root,
        reduce_op=site.reduce_op,
        shapes=tuple(map(tuple, record.shapes)),
        dtypes=tuple(str(dtype).removeprefix("torch.") for dtype in record.dtypes),
        nbytes=nbytes(record),
        thread=record.thread,
        cell=record.cell,
        place=site.spot.place if site.spot else None,
        called_from=site.cell.place if site.cell else None,
        stream_ordered=record.stream_ordered,
        issued=record.issued / 1e9,
        returned=record.returned / 1e9 if record.returned else None,
        awaited=record.awaited / 1e9 if record.awaited else None,
        completed=record.completed / 1e9 if record.completed else None,
        failed=record.failed,
    )


def measure(record: Record, tensors: Sequence[Any]) -> None:
    """Note how much a call moves that has no tensor, or several."""
    if not tensors:
        record.shapes = record.dtypes = ()
        record.elements, record.stream_ordered = 0, False
        return
    few = tensors[:_SHAPES]
    record.shapes = tuple([tensor.shape for tensor in few])
    record.dtypes = tuple([tensor.dtype for tensor in few])
    record.elements = sum([tensor.numel() for tensor in tensors])
    record.stream_ordered = any(not tensor.is_cpu for tensor in few)


def handle_of(record: Record) -> Any:
    """The ``Work`` of a call; None where it is gone."""
    seen = record.seen  # another thread may drop it
    return record.work if seen is None else seen()


def is_from_anyone(record: Record) -> bool:
    """Whether a call receives from any rank, by gloo."""
    return record.site.op == "recv" and record.peer is None and record.group.is_gloo


def is_open(record: Record) -> bool:
    """Whether a call is not known to be done, and its end may still be seen."""
    if record.completed:
        return False
    return (
        record.stream_ordered
        or not record.returned
        or ((work := handle_of(record)) is not None and not work.is_completed())
    )
