"""Describing the kept values of a cell's calls so that they can be drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rankbook.calls.keeping import Kept
from rankbook.calls.records import to_call
from rankbook.engine.jobs import Job
from rankbook.engine.operations import ASIDE, operation
from rankbook.engine.values.showing import values_of
from rankbook.models.exchanges import Exchange, GetKept, KeptCalls
from rankbook.models.shown import Values

__all__ = ["get_kept"]


@operation(GetKept, on=ASIDE)
def get_kept(job: Job, _request: GetKept) -> KeptCalls:
    """Describe the values that the latest cell with ``keep_values`` kept."""
    keeper = job.engine.kept
    if keeper is None:
        return KeptCalls()
    return KeptCalls(tuple(map(_exchange, keeper.kept)), keeper.more)


def _exchange(kept: Kept) -> Exchange:
    call = to_call(kept.record)
    is_done = kept.got is not None or bool(kept.record.completed and not kept.record.failed)
    return Exchange(
        call, _side(kept.given), _side(kept.got) if is_done else None, is_done, kept.is_late
    )


def _side(tensors: Sequence[torch.Tensor] | None) -> Values | None:
    """One side of a call: several tensors are rows of one."""
    if tensors is None:
        return Values((), "", "", why="more than 1 MB")
    if not tensors:
        return None
    if len(tensors) == 1:
        return values_of(tensors[0])
    is_even = len({(tensor.shape, tensor.dtype) for tensor in tensors}) == 1
    return values_of(
        torch.stack(list(tensors)) if is_even else torch.cat([t.flatten() for t in tensors])
    )
