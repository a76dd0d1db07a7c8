"""How many steps each optimizer and scheduler has taken since the ranks last met, on each rank.

A step that was cut is lost on ranks that had not reached ``optimizer.step()``, and taken on those
that had. Replicas differ afterwards, and nothing in torch notices. So do their later steps where a
scheduler has changed the learning rate on some ranks only, or a scaler has counted a step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, MutableSet
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from rankbook.distributed.healing import counting, hooked, scalers
from rankbook.heap import UNFINISHED

__all__ = ["begin", "begin_cell", "count", "taken", "taken_by_hooks", "taken_in_cell"]

_taken: MutableMapping[Any, int] = WeakKeyDictionary()
"""By optimizer, its steps."""

_taken_in_cell: MutableMapping[Any, int] = WeakKeyDictionary()
"""The same since the present cell began."""

_stepping: MutableSet[Any] = WeakSet()
"""Optimizers whose latest step has not come to its end."""

_with_closure: MutableMapping[Any, int] = WeakKeyDictionary()
"""By optimizer whose step with a closure has not come to its end, how often its parameters had been
changed before. Some call the closure several times, and change them in between (LBFGS)."""

_in_backward: MutableSet[Any] = WeakSet()
"""Optimizers that took their latest step in a backward, as a hook of a parameter does (it updates
that one only), and the backward has not come to its end."""

_begun: MutableMapping[Any, int] = WeakKeyDictionary()
"""By scheduler and scaler, its steps when the ranks last met."""


class _Hook:
    """The hook that counts steps."""

    handle: Any = None
    """torch's handle of it; None: steps are not counted."""


def count() -> None:
    """Count the steps of all optimizers of this process from now on."""
    if _Hook.handle is None:
        register_optimizer_step_pre_hook(_note_begin)
        _Hook.handle = register_optimizer_step_post_hook(_note)
        counting.begin()


def _note_begin(optimizer: Optimizer, args: Any, options: Any) -> None:
    if len(args) == 1 and not options:  # they begin with the optimizer
        _stepping.add(optimizer)
    else:  # a closure may raise before anything has changed
        _with_closure[optimizer] = _changes(optimizer)


def _note(optimizer: Optimizer, _args: Any, _options: Any) -> None:
    for taken in (_taken, _taken_in_cell):
        taken[optimizer] = taken.get(optimizer, 0) + 1
    _stepping.discard(optimizer)
    _with_closure.pop(optimizer, None)
    if torch._C._current_graph_task_id() != _NO_BACKWARD:
        _in_backward.add(optimizer)
        end = partial(_in_backward.discard, optimizer)
        torch.autograd.Variable._execution_engine.queue_callback(end)
    counting.note()


_NO_BACKWARD = -1


def begin_cell() -> None:
    """Count the steps of the next cell from 0."""
    _taken_in_cell.clear()
    _with_closure.clear()  # what has changed since then may have been loaded


def begin(schedulers: Collection[Any] = ()) -> None:
    """Count from 0 again.

    Args:
        schedulers: All of this process, optimizers and scalers among them; if none are given, their
            steps are counted on.
    """
    _taken.clear()
    _stepping.clear()
    _with_closure.clear()
    _in_backward.clear()
    hooked.begin()
    _begun.update({one: _counted(one) for one in schedulers if _counts_itself(one)})


def taken(optimizers: Collection[Any]) -> dict[str, list[float]]:
    """By class and shapes of parameters, the steps of all that take any.

    Args:
        optimizers: All of this process, and all schedulers and scalers. If none of a kind has taken
            a step, its list is ``[0]``.
    """
    counts = _counts(optimizers, _taken)
    counts += [
        (one, getattr(one, "optimizer", None), _counted_since(one, _begun.get(one, 0)))
        for one in optimizers
        if _counts_itself(one)
    ]
    return _by_kind(counts)


def taken_by_hooks(modules: Collection[tuple[str, Any]]) -> dict[str, list[float]]:
    """The same of communication hooks that change parameters.

    Args:
        modules: The kinds of the DDP modules of this process, and these.
    """
    groups = [group for one in {*_taken, *_stepping} for group in one.param_groups]
    return hooked.taken(modules, {id(each) for group in groups for each in group["params"]})


def taken_in_cell(optimizers: Collection[Any]) -> dict[str, list[float]]:
    """The same of optimizers only, since the present cell began."""
    return _by_kind(_counts(optimizers, _taken_in_cell))


def _by_kind(counts: Collection[tuple[Any, Any, float]]) -> dict[str, list[float]]:
    """By class and shapes, the counts of these.

    Args:
        counts: Each with the optimizer that has its parameters, and its steps; a scaler has none.
    """
    found: dict[str, list[float]] = {}
    for one, optimizer, count in counts:
        with suppress(UNFINISHED):
            groups = optimizer.param_groups if optimizer is not None else ()
            parameters = [each for group in groups for each in group["params"]]
            # Python's own hash of numbers is the same in every process.
            shapes = hash(tuple(tuple(each.shape) for each in parameters))
            found.setdefault(f"{type(one).__name__} {shapes:x}", []).append(count)
    return {kind: sorted(filter(None, steps)) or [0] for kind, steps in found.items()}


def _counts(optimizers: Collection[Any], taken: Mapping[Any, int]) -> list[tuple[Any, Any, float]]:
    """Each optimizer, twice, and its steps."""
    inner = {id(one.optim) for one in optimizers if _is_sharded(one)}
    return [
        (one, one, _count(one, taken))
        for one in optimizers
        if isinstance(one, Optimizer) and id(one) not in inner
    ]


def _count(optimizer: Any, taken: Mapping[Any, int]) -> float:
    """The steps of an optimizer; one that was cut has changed some parameters: it is half a step.

    In a step of ZeRO a rank steps its own part of the parameters, then sends it to the others: if
    that is cut, each has a part that is newer than what it has of others. And a backward that is
    cut leaves the steps of its hooks, of some parameters only.
    """
    own = optimizer.optim if _is_sharded(optimizer) else optimizer
    count = taken.get(own, 0)
    if own in _stepping or (own in _with_closure and _with_closure[own] < _changes(own)):
        return count + 0.5
    is_part = own in _in_backward or count > taken.get(optimizer, 0)
    return count - 0.5 if is_part and count else count


def _changes(optimizer: Any) -> int:
    """How often the parameters of an optimizer have been changed, as far as torch tells."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    return sum(each._version for each in parameters if not each.is_inference())


def _is_sharded(one: Any) -> bool:
    """Whether it is a ZeRO optimizer, and not just being made."""
    names = (cls.__name__ for cls in type(one).__mro__)
    return "ZeroRedundancyOptimizer" in names and isinstance(vars(one).get("optim"), Optimizer)


def _counts_itself(one: Any) -> bool:
    """Whether it is a scheduler or a scaler, and not just being made."""
    is_scheduler = isinstance(one, LRScheduler) and {"optimizer", "last_epoch"} <= set(vars(one))
    return is_scheduler or scalers.is_scaler(one)


def _counted_since(one: Any, begun: int) -> int:
    counted = _counted(one)
    return counted - begun if counted >= begun else counted  # a scaler has begun at 0 again


def _counted(one: Any) -> int:
    """The steps that a scheduler or a scaler has counted."""
    return scalers.count(one) if scalers.is_scaler(one) else int(one.last_epoch)
