"""How many steps each optimizer has taken since the ranks last met, on each rank.

A step that was cut is lost on ranks that had not reached ``optimizer.step()``, and taken on those
that had. Replicas differ afterwards, and nothing in torch notices.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

__all__ = ["Diverged", "begin", "count", "diverged", "taken"]

Diverged = tuple[str, tuple[int, ...]]
"""Class of an optimizer, and by rank how many steps it has taken; -1 where it is new."""

_taken: MutableMapping[Any, int] = WeakKeyDictionary()
"""By optimizer, its steps."""


class _Hook:
    """The hook that counts steps."""

    handle: Any = None
    """torch's handle of it; None: steps are not counted."""


def count() -> None:
    """Count the steps of all optimizers of this process from now on."""
    if _Hook.handle is None:
        _Hook.handle = register_optimizer_step_post_hook(_note)


def _note(optimizer: Optimizer, _args: Any, _options: Any) -> None:
    _taken[optimizer] = _taken.get(optimizer, 0) + 1


def begin() -> None:
    """Count from 0 again."""
    _taken.clear()


def taken(optimizers: Collection[Any]) -> dict[str, list[int]]:
    """By class and shapes of parameters, the steps of the optimizers that have taken any.

    Args:
        optimizers: All of this process. If none of a kind has taken a step, its list is ``[0]``.
    """
    found: dict[str, list[int]] = {}
    for optimizer in optimizers:
        with suppress(AttributeError):  # it is being made
            parameters = [one for group in optimizer.param_groups for one in group["params"]]
            # Python's own hash of numbers is the same in every process.
            shapes = hash(tuple(tuple(one.shape) for one in parameters))
            found.setdefault(f"{type(optimizer).__name__} {shapes:x}", []).append(
                _taken.get(optimizer, 0)
            )
    return {kind: sorted(filter(None, steps)) or [0] for kind, steps in found.items()}


def diverged(reports: Sequence[Mapping[str, Sequence[int]] | None]) -> tuple[Diverged, ...]:
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
        if all(len(report) == 1 for report in steps) and len({report[0] for report in steps}) > 1:
            by_rank = (-1 if report is None else report.get(kind, [0])[0] for report in reports)
            found.append((kind.split()[0], tuple(by_rank)))
    return tuple(found)
