"""The buckets of DDP reducers: which parameters are in which; having the next one use them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from rankbook.errors import StaleGroupError

__all__ = ["as_made", "assigning", "layout", "parameters", "reduced"]

_dist: Any = import_module("torch.distributed")

_REPLACED = (
    "this DDP module cannot go on after its group was left (some of its parameters were replaced "
    "after it was wrapped): wrap the model that is in it again, "
    "ddp = DistributedDataParallel(ddp.module)"
)

_assigned: MutableMapping[Any, list[list[int]]] = WeakKeyDictionary()
"""By DDP module, the layout that its reducer was made with."""


def reduced(module: Any) -> list[Any]:
    """The parameters that the reducer of a DDP module reduces."""
    return [one for bucket in _of(module) for one in bucket] or parameters(module)[0]


def layout(module: Any) -> list[list[int]]:
    """By bucket, the indices of its parameters.

    Raises:
        StaleGroupError: The module has other parameters by now.
    """
    buckets = _of(module)
    if not buckets:
        return _assigned[module]
    with as_made(module, reduced(module)):
        every, _ = parameters(module)
    numbers = {id(parameter): number for number, parameter in enumerate(every)}
    try:
        return [[numbers[id(each)] for each in bucket] for bucket in buckets]
    except KeyError:
        module.reducer._remove_autograd_hooks()  # they would go on in a module that wraps it again
        raise StaleGroupError(_REPLACED) from None


def _of(module: Any) -> list[list[Any]]:
    """By bucket, its parameters; empty if a sparse one has had no gradient: torch does not tell."""
    try:
        return [one.parameters() for one in module.reducer._get_zeros_like_grad_buckets()]
    except RuntimeError:
        return []


def parameters(module: Any, buckets: list[list[int]] | None = None) -> tuple[list[Any], list[bool]]:
    """The parameters of a DDP module that require gradients, and whether these are sparse.

    Args:
        module: The DDP module.
        buckets: A layout, for the order of its parameters; None: that of the module.
    """
    every, are_sparse = module._build_params_for_reducer()
    if buckets is None:
        return every, are_sparse
    order = [number for bucket in buckets for number in bucket]
    return [every[number] for number in order], [are_sparse[number] for number in order]


@contextmanager
def as_made(module: Any, chosen: Iterable[Any]) -> Iterator[None]:
    """Have only these parameters of a module require gradients, as when its reducer was made.

    Some are frozen for a part of each step: a GAN's discriminator, while its generator learns. A
    reducer that was made then would leave them out.

    Args:
        module: The module.
        chosen: The parameters that its reducer reduces.
    """
    numbers = {id(one) for one in chosen}
    others = [one for one in module.parameters() if one.requires_grad != (id(one) in numbers)]
    for one in others:
        one.requires_grad_(not one.requires_grad)
    try:
        yield
    finally:
        for one in others:
            one.requires_grad_(not one.requires_grad)


@contextmanager
def assigning(module: Any, buckets: list[list[int]] | None) -> Iterator[None]:
    """Have DDP make a reducer with these buckets, of parameters in their order.

    Args:
        module: The DDP module.
        buckets: Their layout; None: torch assigns them.
    """
    compute = _dist._compute_bucket_assignment_by_size
    _assigned.pop(module, None)
    numbers = count()
    of_sizes = [[next(numbers) for _ in bucket] for bucket in buckets or ()]

    def given(*_args: Any, **_options: Any) -> Any:
        return [*reversed(of_sizes)], [0] * len(of_sizes)  # DDP reverses them

    try:
        if buckets is not None:
            _assigned[module] = buckets
            _dist._compute_bucket_assignment_by_size = given
        yield
    finally:
        _dist._compute_bucket_assignment_by_size = compute
