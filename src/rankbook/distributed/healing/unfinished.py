"""Steps that were cut though no connection was: every rank raised, or was interrupted, in Python.

torch notices nothing. The next step of a DDP module may raise; that of an FSDP module computes with
gradients of the former one, or never reduces its own. So the ranks are asked after a cell that
failed, and their groups healed as if a connection had been cut.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from rankbook.distributed.healing import accumulated, fsdp1, fsdp2, joins, reducers, steps, wrappers
from rankbook.distributed.healing.account import note
from rankbook.distributed.healing.standings import is_cut
from rankbook.models.groups import Unfinished

if TYPE_CHECKING:
    from torch.nn.parallel import DistributedDataParallel

__all__ = ["unfinished"]


def unfinished(*, was_interrupted: bool) -> Unfinished:
    """What the latest cell has left amid a step.

    Args:
        was_interrupted: Whether it was interrupted. Then a forward counts, too: some ranks may have
            gathered parameters that others would gather with them in the next step.
    """
    account = note()
    if account is None:
        return Unfinished()
    found = wrappers.find({one.group: one.terms.name for one in account.held})
    accumulated.drop_with_zero_grad([module for _, module in found.fsdp], found.optimizers)
    ddp = tuple(one for one in found.ddp if _is_cut(one[1]))
    fsdp = tuple(one for one in found.fsdp if _is_amid(fsdp2, one[1], also_forward=was_interrupted))
    others = tuple(
        (name, holder, held)
        for name, holder, held in found.others
        if joins.is_in(holder)
        or (name == wrappers.OLDER and _is_amid(fsdp1, holder, also_forward=was_interrupted))
        # An older FSDP module that a forward has left so refuses no_sync(), state_dict() and more.
        or (name == wrappers.OLDER and fsdp1.is_amid(holder))
    )
    cut = wrappers.Found(ddp, fsdp, others=others)
    taken = steps.taken_in_cell(found.optimizers)
    return Unfinished(cut.kinds, {kind: tuple(counts) for kind, counts in taken.items()})


def _is_cut(module: DistributedDataParallel) -> bool:
    # In a Join that an error has left, a forward on one rank only would wait for the others.
    return joins.is_in(module) or (not reducers.lack(module) and is_cut(module))


def _is_amid(family: ModuleType, module: Any, *, also_forward: bool) -> bool:
    if also_forward and (family.is_amid(module) or family.is_gathered(module)):
        return True
    return bool(family.is_in_backward(module))
