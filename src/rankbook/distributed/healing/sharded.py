"""Modules and optimizers whose parameters are DTensors on a mesh that has ended.

Some of their operations use no other rank: they would go on with this rank's part alone, and give
a result without the parts of others.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from torch import nn
from torch.optim.optimizer import Optimizer

from rankbook.distributed.healing import meshes
from rankbook.errors import StaleGroupError
from rankbook.heap import UNFINISHED, instances

__all__ = ["OnMesh", "refuse"]


def refuse(origin: str, besides: Collection[Any]) -> tuple[str, ...]:
    """Make modules and optimizers on an ended mesh say so when used.

    Args:
        origin: Where they were made, in words.
        besides: Modules that say so already, as do the modules in them.

    Returns:
        The kinds of modules found now, in the plural.
    """
    if "torch.distributed.tensor" not in sys.modules:
        return ()
    for module in besides:
        _refused.update(module.modules())
    known = {*map(id, _refused)}
    made = f"was made {origin}, and the mesh of its parameters has ended"
    found = False
    for one in instances(nn.Module, Optimizer):
        cls = type(one)  # reading an attribute of some objects has side effects
        if id(one) in known:
            continue
        if issubclass(cls, nn.Module) and _has_ended(_own(one)):
            found = True
            _refused.add(one)
            why = (
                f"this tensor-parallel module {made}: make the model again, parallelize_module(...)"
            )
            one.register_forward_pre_hook(OnMesh(f"{why}, and load a checkpoint"), prepend=True)
        elif issubclass(cls, Optimizer) and _has_ended(_stepped(one)):
            _refused.add(one)
            again = f"{cls.__name__}(model.parameters(), ...)"
            why = f"this {cls.__name__} {made}: make it again with its model, {again}"
            one.register_step_pre_hook(OnMesh(why))
    return ("tensor-parallel modules",) if found else ()


_refused: WeakSet[Any] = WeakSet()
"""Modules and optimizers that need no hook: they have one, or another reason not to run."""


@dataclass(frozen=True)
class OnMesh:
    """A hook that lets nothing run while there are parameters on a mesh that has ended."""

    why: str

    def __call__(self, one: Any, *_args: Any) -> None:
        """Raise."""
        if _has_ended(_stepped(one) if isinstance(one, Optimizer) else _own(one)):
            raise StaleGroupError(self.why)


def _own(module: Any) -> list[Any]:
    """The parameters of a module itself."""
    with suppress(UNFINISHED):  # it is not finished
        return list(module.parameters(recurse=False))
    return []


def _stepped(optimizer: Any) -> list[Any]:
    groups = getattr(optimizer, "param_groups", ())
    return [parameter for group in groups for parameter in group["params"]]


def _has_ended(parameters: Iterable[Any]) -> bool:
    """Whether any of them is on a mesh that has ended."""
    return any(
        meshes.has_ended(parameter.device_mesh)
        for parameter in parameters
        if hasattr(type(parameter), "device_mesh")
    )
