"""How many steps each optimizer and scheduler has taken since the ranks last met, on each rank.

A step that was cut is lost on ranks that had not reached ``optimizer.step()``, and taken on those
that had. Replicas differ afterwards, and nothing in torch notices. So do their next steps where a
scheduler has changed the learning rate on some ranks only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from rankbook.distributed.healing import counting
from rankbook.heap import UNFINISHED

__all__ = ["Diverged", "begin", "count", "diverged", "taken"]

Diverged = tuple[str, tuple[float, ...]]
"""Class of an optimizer or a scheduler, and by rank how many steps it has taken; -1 where new, and
half a step where the last was cut."""

_taken: MutableMapping[Any, int] = WeakKeyDictionary()
"""By optimizer, its steps."""

_begun: MutableMapping[Any, int] = WeakKeyDictionary()
"""By scheduler, its steps when the ranks last met."""


class _Hook:
    """The hook that counts steps."""

    handle: Any = None
    """torch's handle of it; None: steps are not counted."""


def count() -> None:
    """Count the steps of all optimizers of this process from now on."""
    if _Hook.handle is None:
        _Hook.handle = register_optimizer_step_post_hook(_note)
        counting.begin()


def _note(optimizer: Optimizer, _args: Any, _options: Any) -> None:
    _taken[optimizer] = _taken.get(optimizer, 0) + 1
    counting.note()


def begin(schedulers: Collection[Any] = ()) -> None:
    """Count from 0 again.

    Args:
        schedulers: All of this process, optimizers among them; if none are given, their steps are
            counted on.
    """
    _taken.clear()
    _begun.update({one: one.last_epoch for one in schedulers if _is_scheduler(one)})


def taken(optimizers: Collection[Any]) -> dict[str, list[float]]:
    """By class and shapes of parameters, the steps of optimizers and schedulers that have any.

    Args:
        optimizers: All of this process, and all schedulers. If none of a kind has taken a step, its
            list is ``[0]``.
    """
    inner = {id(one.optim) for one in optimizers if _is_sharded(one)}
    counts = [
        (one, one.optimizer, one.last_epoch - _begun.get(one, 0))
        if _is_scheduler(one)
        else (one, one, _count(one))
        for one in optimizers
        if id(one) not in inner
    ]
    found: dict[str, list[float]] = {}
    for one, optimizer, count in counts:
        with suppress(UNFINISHED):
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            # Python's own hash of numbers is the same in every process.
            shapes = hash(tuple(tuple(each.shape) for each in parameters))
            found.setdefault(f"{type(one).__name__} {shapes:x}", []).append(count)
    return {kind: sorted(filter(None, steps)) or [0] for kind, steps in found.items()}


def _count(optimizer: Any) -> float:
    """The steps of an optimizer.

    In a step of ZeRO a rank steps its own part of the parameters, then sends it to the others: if
    that is cut, each has a part that is newer than what it has of others.
    """
    if not _is_sharded(optimizer):
        return _taken.get(optimizer, 0)
    own = _taken.get(optimizer.optim, 0)
    return own - 0.5 if own > _taken.get(optimizer, 0) else own


def _is_sharded(one: Any) -> bool:
    """Whether it is a ZeRO optimizer, and not just being made."""
    names = (cls.__name__ for cls in type(one).__mro__)
    return "ZeroRedundancyOptimizer" in names and isinstance(vars(one).get("optim"), Optimizer)


def _is_scheduler(one: Any) -> bool:
    """Whether it is one, and not just being made."""
    return isinstance(one, LRScheduler) and {"optimizer", "last_epoch"} <= set(vars(one))


def diverged(reports: Sequence[Mapping[str, Sequence[float]] | None]) -> tuple[Diverged, ...]:
    """The optimizers whose number of steps differs between ranks.

    Args:
        reports: By rank, its :func:`taken`; None: the rank is new.
    """
    known = [report for report in reports if report is not None]
    found = []
    for kind in dict.fromkeys(kind for report in known for kind in report):
        # A rank without such an optimizer has another part of the model: it is not a replica.
        steps = [report.get(kind, []) for report in known]
        # With several of a kind, one may be garbage that Python has freed on some ranks only.
        if not all(len(report) == 1 for report in steps):
            continue
        if len(counts := {report[0] for report in steps}) > 1 or any(one % 1 for one in counts):
            by_rank = (-1 if report is None else report.get(kind, [0])[0] for report in reports)
            found.append((kind.split()[0], tuple(by_rank)))
    return tuple(found)
