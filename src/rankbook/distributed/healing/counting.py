"""Communication hooks of DDP modules that count steps: those that compress after some of them.

A step that was cut must not count, or compression begins one step early. Ranks that live tell by
their counts: those that were cut earlier in the step have not counted it. A rank that died tells
nothing. So the counts are noted with each step of an optimizer.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from torch.nn.parallel import DistributedDataParallel

__all__ = ["align", "begin", "changes", "note", "register", "steps", "uncount", "with_hooks"]

with_hooks: MutableMapping[Any, tuple[int, ...]] = WeakKeyDictionary()
"""By DDP module that has got communication hooks, the changes of its parameters until then, or
until the ranks last met."""

_noted: MutableMapping[Any, tuple[tuple[int, ...], tuple[int, ...]]] = WeakKeyDictionary()
"""By DDP module with communication hooks, their counts at the latest optimizer step, and before."""


def begin() -> None:
    """Note the modules that get communication hooks from now on."""
    cls: Any = DistributedDataParallel
    register_comm_hook = cls.register_comm_hook
    if hasattr(register_comm_hook, "__wrapped__"):
        return

    @wraps(register_comm_hook)
    def registering(module: Any, *args: Any, **options: Any) -> None:
        register_comm_hook(module, *args, **options)
        register(module)
        with_hooks[module] = changes(module)

    cls.register_comm_hook = registering


def register(module: Any) -> None:
    """Note the counts of a module from now on, if its communication hooks count."""
    if _states(module):
        _noted[module] = steps(module), steps(module)


def changes(module: Any) -> tuple[int, ...]:
    """How often each parameter that a DDP module reduces was changed, as far as torch tells."""
    reduced = [one for one in module.parameters() if one.requires_grad]
    return tuple(0 if one.is_inference() else one._version for one in reduced)


def note() -> None:
    """Note the counts of all modules: an optimizer has taken a step."""
    for module, (latest, _) in [*_noted.items()]:
        _noted[module] = steps(module), latest


def steps(module: Any) -> tuple[int, ...]:
    """The counts of the communication hooks of a DDP module."""
    return tuple(state.iter for state in _states(module))


def _states(module: Any) -> list[Any]:
    """The states of communication hooks of a DDP module that count its steps."""
    states = [state for _, state in module._comm_hooks]
    return [state for state in states if type(getattr(state, "iter", None)) is int]


def align(module: Any, every: Sequence[Sequence[int]]) -> None:
    """Have the communication hooks of all ranks agree not to count a step that was cut.

    Ranks with different counts would soon send each other different data.

    Args:
        module: The DDP module.
        every: The counts on the ranks.
    """
    states = _states(module)
    alike = [one for one in every if len(one) == len(states)]
    for state, counts in zip(states, zip(*alike, strict=True), strict=False):
        state.iter = min(counts)


def uncount(module: Any) -> None:
    """Have the hooks of a module not count a step in which another rank has died.

    Not where they have counted more than a step: then no optimizer of torch takes the steps.
    """
    latest, before = _noted.get(module, ((), ()))
    for state, count, former in zip(_states(module), latest, before, strict=False):
        if 0 < state.iter - count <= max(1, count - former):
            state.iter = count
