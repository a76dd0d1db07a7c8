"""torch functions that keep, as a default argument, the default group of their import.

A script imports them before it makes a group: their default is then None, which means the group at
the time of the call. On a rank a group already exists.
"""

from __future__ import annotations

import functools
from types import FunctionType, ModuleType

from torch.distributed import ProcessGroup

from rankbook.engine.imports import when_imported

__all__ = ["install"]

_MODULES = (
    "torch.distributed.fsdp.sharded_grad_scaler",
    "torch.distributed.nn.functional",
    "torch.distributed.optim.zero_redundancy_optimizer",
)


@functools.cache
def install() -> None:
    """Have these functions use the present group, as they do in a script."""
    for name in _MODULES:
        when_imported(name, _forget_group)


def _forget_group(module: ModuleType) -> None:
    owners = [module, *(each for each in vars(module).values() if isinstance(each, type))]
    functions = [each for owner in owners for each in vars(owner).values()]
    for each in functions:
        if isinstance(each, FunctionType) and each.__module__ == module.__name__:
            given = each.__defaults__ or ()
            if any(isinstance(value, ProcessGroup) for value in given):
                each.__defaults__ = tuple(
                    None if isinstance(value, ProcessGroup) else value for value in given
                )
