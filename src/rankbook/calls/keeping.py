"""Keeping what the calls of a cell put in and what they got out, to look at it afterwards.

Only where a person asks for it: each tensor is copied before its call, and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import torch

from rankbook.calls.records import Record, handle_of
from rankbook.calls.taps import tensors_of

__all__ = ["Keeper", "Kept"]

_LARGEST = 1_000_000
"""Bytes of the tensors of a call, on each of its sides, up to which they are kept."""

_MOST = 200
"""Calls of a cell that are kept."""


@dataclass
class Kept:
    """A call, and copies of its tensors."""

    record: Record
    given: Sequence[torch.Tensor] | None = ()
    """What was put in; None: more than is kept."""
    got: Sequence[torch.Tensor] | None = None
    """What came out; None while that is not known, and where it is more than is kept."""
    is_late: bool = False
    """Whether ``got`` was copied at the end of the cell only: nobody has waited for the call."""
    _results: Sequence[torch.Tensor] = field(default=(), repr=False)

    def expect(self, tensors: Sequence[torch.Tensor]) -> None:
        """Name the tensors that will hold what comes out."""
        self._results = tensors

    def take(self, *, is_late: bool) -> None:
        """Copy what has come out."""
        self.got, self.is_late = _copies(self._results), is_late
        self._results = ()


class Keeper:
    """What was called in one cell.

    Attributes:
        kept: The calls, oldest first.
        more: How many calls there were beyond those.
    """

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.more = 0
        self._open: dict[int, Kept] = {}

    def before(self, record: Record, args: Sequence[Any]) -> None:
        """Copy what a call is about to put in.

        Args:
            record: The call.
            args: As torch takes them: results first, then what is put in, if these are two.
        """
        if len(self.kept) >= _MOST:
            self.more += 1
            return
        sides = [tensors_of(arg) for arg in args[:2] if _has_tensors(arg)]
        op = record.site.op
        call = Kept(record, _copies(sides[-1]) if sides and op != "recv" else ())
        call.expect(sides[0] if sides and op != "send" else ())
        self.kept.append(call)
        self._open[record.id] = call

    def gave(self, record: Record, tensors: Sequence[Any]) -> None:
        """Note that a functional call has given tensors, which hold the result after a wait."""
        if (call := self._open.get(record.id)) is not None:
            call.expect(tensors)

    def after(self, record: Record) -> bool:
        """Copy what a call has got, in the thread that has waited for it.

        Another thread may see its end first, while that one goes on and changes the tensors.

        Returns:
            Whether nothing more is to be heard of the call.
        """
        if record.thread != get_ident():
            return record.id not in self._open
        if (call := self._open.pop(record.id, None)) is not None:
            call.take(is_late=False)
        return True

    def finish(self) -> None:
        """Copy what else has come out, at the end of the cell."""
        for call in self._open.values():
            work = handle_of(call.record)
            is_done = work.is_completed() if work is not None else bool(call.record.completed)
            if is_done and not call.record.failed:
                call.take(is_late=True)
            if call.record.completed:
                call.record.work = call.record.seen = None
        self._open.clear()


def _has_tensors(arg: Any) -> bool:
    if isinstance(arg, (list, tuple)):
        return not arg or _has_tensors(arg[0])
    return isinstance(arg, torch.Tensor)


def _copies(tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor] | None:
    """Copies of tensors on the CPU; None where that is too much, or cannot be done."""
    with suppress(Exception), torch.no_grad():  # a call never fails because of this
        if sum(tensor.numel() * tensor.element_size() for tensor in tensors) <= _LARGEST:
            return [tensor.detach().clone().cpu() for tensor in tensors]
    return None
