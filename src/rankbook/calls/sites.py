"""The operation and the line of user code of a call, found quickly where it was called before.

To walk up the stack, frame by frame, is a quarter of what the account adds to a call. Where the
same instruction led to the same operation before, through as many frames, only three frames are
compared: that of the user's code, and the two that it called.
"""

from __future__ import annotations

from sys import _getframe
from types import CodeType, FrameType

from rankbook.calls.places import Spot, cell_above, spot, spot_of
from rankbook.calls.records import Site

__all__ = ["Sites"]

_MOST = 4096

_SITES_OF_A_LINE = 64
_COMPARED = 3
"""How many frames are compared: the fields of a :class:`_Line`."""

_WAYS = 3
"""How many numbers of frames between an operation and the user's code are remembered: Python calls
it directly and through torch's objects, C++ calls it in a backward."""


class _Line:
    """An instruction of user code that led to an operation, and what it called for that."""

    __slots__ = ("below", "called", "code", "function", "is_in_cell", "sites", "spot")

    def __init__(
        self, spot: Spot, function: str, code: CodeType, called: CodeType, below: CodeType
    ) -> None:
        self.code = code  # keeps its id from being reused
        self.called = called
        self.below = below
        self.spot = spot
        self.function = function
        self.is_in_cell = spot.place.is_cell
        self.sites: dict[tuple[str, Spot | None], Site] = {}
        """By reduce operation, and the line of the cell that led there."""


class Sites:
    """The sites of a process, each once while it is remembered."""

    def __init__(self, most: int = _MOST) -> None:
        """Start without any.

        Args:
            most: How many sites, and how many lines, are remembered.
        """
        self._most = most
        self._sites: dict[tuple[object, ...], Site] = {}
        self._lines: dict[tuple[str, int, int, int], _Line] = {}
        self._depths: dict[str, tuple[int, ...]] = {}

    def of_caller(self, op: str, reduce_op: str) -> Site:
        """The site of an operation that the caller's caller issues.

        Args:
            op: The operation.
            reduce_op: Name of its reduce operation.
        """
        for depth in self._depths.get(op, ()):
            try:
                frame = _getframe(depth)
            except ValueError:  # the stack is not that deep
                continue
            code = frame.f_code
            line = self._lines.get((op, depth, id(code), frame.f_lasti))
            if (
                line is not None
                and line.code is code
                and line.called is _getframe(depth - 1).f_code
                and line.below is _getframe(depth - 2).f_code
            ):
                cell = None if line.is_in_cell else cell_above(frame)
                site = line.sites.get((reduce_op, cell))
                return self._of_line(line, op, reduce_op, cell) if site is None else site
        return self._search(op, reduce_op)

    def _search(self, op: str, reduce_op: str) -> Site:
        """Walk up the stack, and remember the way."""
        found, cell, function = spot(_getframe(3))
        frame: FrameType | None = _getframe(1)
        way: list[CodeType] = []
        while found is not None and frame is not None:
            way.append(frame.f_code)
            if frame.f_code is found.code:
                if spot_of(frame) is found:  # not so in compiled code, which has lines of its own
                    line = _Line(found, function, *way[: -_COMPARED - 1 : -1])
                    self._remember((op, len(way) - 1, id(line.code), frame.f_lasti), line)
                break
            frame = frame.f_back
        return self._site(op, reduce_op, function, found, cell)

    def _remember(self, key: tuple[str, int, int, int], line: _Line) -> None:
        if len(self._lines) >= self._most:
            self._lines.clear()
        self._lines[key] = line
        op, depth, *_ = key
        others = [each for each in self._depths.get(op, ()) if each != depth]
        self._depths[op] = (depth, *others[: _WAYS - 1])

    def _of_line(self, line: _Line, op: str, reduce_op: str, cell: Spot | None) -> Site:
        site = self._site(op, reduce_op, line.function, line.spot, cell)
        if len(line.sites) >= _SITES_OF_A_LINE:  # a function that many cells call
            line.sites.clear()
        line.sites[reduce_op, cell] = site
        return site

    def _site(
        self, op: str, reduce_op: str, function: str, found: Spot | None, cell: Spot | None
    ) -> Site:
        key = (op, reduce_op, function, found, cell)
        site = self._sites.get(key)
        if site is None:
            if len(self._sites) >= self._most:
                self._sites.clear()
            site = self._sites[key] = Site(op, reduce_op, function, found, cell)
        return site
