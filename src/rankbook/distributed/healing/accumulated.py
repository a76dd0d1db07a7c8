"""Gradients that FSDP2 modules keep where ``zero_grad()`` does not see them.

Between two parts of a step, as in gradient accumulation or the microbatches of a pipeline, they are
kept apart from the sharded parameters. If the step ends there on all ranks, none is in the middle
of a collective, and the next step would add its gradients to these.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakSet

from torch.optim.optimizer import Optimizer

from rankbook.distributed.healing import fsdp2

__all__ = ["drop_with_zero_grad"]


def drop_with_zero_grad(modules: Collection[Any], ones: Iterable[Any]) -> None:
    """Have the next ``zero_grad()`` drop such gradients, too.

    Until then they are kept: the person may go on with the step, as after a mistyped cell.

    Args:
        modules: The FSDP2 modules.
        ones: The optimizers, and other objects.
    """
    with suppress(AttributeError):  # this torch lacks something, which a restart says
        keeping = [module for module in modules if _keeps(module)]
        for module in modules if keeping else ():
            inner = {id(one) for one in module.modules()}
            _arm(module, [one for one in keeping if id(one) in inner], lambda _: True)
        for one in ones if keeping else ():
            if isinstance(one, Optimizer):
                _arm(one, keeping, partial(_is_of, one))


def _arm(one: Any, keeping: Iterable[Any], is_its: Callable[[Any], bool]) -> None:
    """Replace the method of this object until it is called."""
    if its := [each for each in keeping if any(map(is_its, _parameters(each)))]:
        one.zero_grad = partial(_zero_grad, one, WeakSet(its), is_its)


def _zero_grad(
    one: Any, modules: Iterable[Any], is_its: Callable[[Any], bool], *args: Any, **options: Any
) -> Any:
    """Called once, instead of the method."""
    vars(one).pop("zero_grad", None)
    for module in modules:
        _drop(module, is_its)
    return one.zero_grad(*args, **options)


def _is_of(optimizer: Any, parameter: Any) -> bool:
    """Whether an FSDP2 parameter is one of an optimizer's."""
    ours = (each for group in optimizer.param_groups for each in group["params"])
    return any(each is parameter.sharded_param for each in ours)


def _parameters(module: Any) -> list[Any]:
    return [one for group in fsdp2.param_groups(module) for one in group.fsdp_params]


def _keeps(module: Any) -> bool:
    reduced = [group._partial_reduce_output for group in fsdp2.param_groups(module)]
    kept = [fsdp2.kept_gradient(one) for one in _parameters(module)]
    return any(one is not None for one in (*reduced, *kept))


def _drop(module: Any, is_its: Callable[[Any], bool]) -> None:
    for group in fsdp2.param_groups(module):
        if its := [one for one in group.fsdp_params if is_its(one)]:
            fsdp2.drop_partly_reduced(group)
        for parameter in its:
            fsdp2.drop_kept_gradient(parameter)
