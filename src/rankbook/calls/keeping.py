"""Keeping the inputs and outputs of a cell's calls, to look at them afterwards.

Only where the user asks for it: each tensor is copied before its call, and after.
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
"""The most bytes of a call's inputs, and of its outputs, that are kept."""

_MOST = 200
"""How many calls of a cell are kept."""


@dataclass
class Kept:
    """A call, and copies of its tensors."""

    record: Record
    given: Sequence[torch.Tensor] | None = ()
    """The inputs; None if they are too large."""
    got: Sequence[torch.Tensor] | None = None
    """The outputs; None while unknown, or if they are too large."""
    is_late: bool = False
    """Whether ``got`` was copied only at the end of the cell: no code waited for the call."""
    _results: Sequence[torch.Tensor] = field(default=(), repr=False)

    def expect(self, tensors: Sequence[torch.Tensor]) -> None:
        """Note the tensors that will hold the outputs."""
        self._results = tensors

    def take(self, *, is_late: bool) -> None:
        """Copy the outputs."""
        self.got, self.is_late = _copies(self._results), is_late
        self._results = ()


class Keeper:
    """The calls of one cell.

    Attributes:
        kept: The calls, oldest first.
        more: How many calls there were beyond those.
    """

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.more = 0
        self._open: dict[int, Kept] = {}

    def before(self, record: Record, args: Sequence[Any]) -> None:
        """Copy the inputs of a call before it is issued.

        Args:
            record: The call.
            args: torch's arguments: outputs first, then inputs, if they are separate.
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
        """Note the tensors of a functional call, which hold the result after a wait."""
        if (call := self._open.get(record.id)) is not None:
            call.expect(tensors)

    def after(self, record: Record) -> bool:
        """Copy the outputs of a call, in the thread that waited for it.

        Another thread may see its end first, while that one goes on and changes the tensors.

        Returns:
            Whether the call needs no further attention.
        """
        if record.thread != get_ident():
            return record.id not in self._open
        if (call := self._open.pop(record.id, None)) is not None:
            call.take(is_late=False)
        return True

    def finish(self) -> None:
        """Copy the remaining outputs, at the end of the cell."""
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
    """Copies of tensors on the CPU; None where they are too large, or copying fails."""
    with suppress(Exception), torch.no_grad():  # a call never fails because of this
        if sum(tensor.numel() * tensor.element_size() for tensor in tensors) <= _LARGEST:
            return [tensor.detach().clone().cpu() for tensor in tensors]
    return None
