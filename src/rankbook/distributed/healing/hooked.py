"""Communication hooks of DDP modules that change parameters, as torch's fused optimizers do.

A hook is called for each bucket of a backward. Ranks that are cut in one have changed parameters of
different buckets, and no optimizer has taken a step.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rankbook.distributed.healing.counting import changes, with_hooks
from rankbook.distributed.healing.standings import standing

__all__ = ["begin", "taken"]


def begin() -> None:
    """Count from 0 again."""
    for module in [*with_hooks]:
        with_hooks[module] = changes(module)


def taken(modules: Collection[tuple[str, Any]], stepped: Collection[int]) -> dict[str, list[float]]:
    """By class and kind, the steps that hooks of modules have taken since the ranks last met.

    Args:
        modules: The kinds of the DDP modules, and these.
        stepped: The identities of parameters that an optimizer has changed, which counts its steps.
    """
    found: dict[str, list[float]] = {}
    for kind, module in modules:
        if module in with_hooks and not any(id(one) in stepped for one in module.parameters()):
            found.setdefault(f"{type(module).__name__} {kind}", []).append(_count(module))
    return found


def _count(module: Any) -> float:
    """The steps of a module's hooks; half of one if only some parameters have got theirs."""
    pairs = zip(changes(module), with_hooks[module], strict=False)
    changed = [now - before for now, before in pairs]
    most = max(changed, default=0)
    is_part = min(changed, default=0) < most and not standing(module).is_done
    return most - 0.5 if is_part else most
