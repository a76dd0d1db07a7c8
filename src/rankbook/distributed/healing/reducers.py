"""DDP's reducers: bringing them to the same state on all ranks after a step that was cut.

In the second forward a reducer sorts its buckets in the order in which the gradients of the first
step arrived. Ranks that were cut around then have different buckets; ranks that were cut in a
backward wait for the rest of it.

gloo adds numbers in an order that depends on their places in a bucket. So a reducer that has sorted
its buckets is followed by one that has and keeps the same: in a later step gradients may arrive in
another order, and sums would differ in the last bit.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

import torch

from rankbook.distributed.healing import buckets, compiled, counting
from rankbook.distributed.healing.replicated import entrance
from rankbook.distributed.healing.standings import (
    Standing,
    is_to_tell,
    of_this_one,
    sign_of,
    standing,
)
from rankbook.distributed.stores import Store
from rankbook.errors import StaleGroupError

__all__ = [
    "Begin",
    "lack",
    "renew",
    "restart",
    "tell",
    "tell_nothing",
]

_dist: Any = import_module("torch.distributed")


_OF_MODULES = (
    "_build_debug_param_to_name_mapping",
    "_build_params_for_reducer",
    "_comm_hooks",
    "_ddp_init_helper",
    "_get_ddp_logging_data",
    "_has_rebuilt_buckets",
)
_OF_REDUCERS = (
    "_check_reducer_finalized",
    "_get_zeros_like_grad_buckets",
    "_push_all_rebuilt_params",
    "_rebuild_buckets",
    "_remove_autograd_hooks",
    "_set_static_graph",
    "_update_process_group",
    "get_backward_stats",
)
_OF_TORCH = ("_compute_bucket_assignment_by_size", "_register_comm_hook")


def lack(module: Any) -> str:
    """The first private name that this torch lacks for restarting a reducer.

    Checked before anything changes, so that nothing is left half done.
    """
    reducer = module.reducer
    for owner, names in ((module, _OF_MODULES), (reducer, _OF_REDUCERS), (_dist, _OF_TORCH)):
        for name in names:
            if not hasattr(owner, name):
                return f"{getattr(owner, '__name__', type(owner).__name__)}.{name}"
    return ""


def tell(module: Any, kind: str, standings: Sequence[Sequence[Standing]], store: Store) -> bool:
    """Send the buckets of a reducer to the other ranks, if they need them and this rank is first.

    Args:
        module: The DDP module.
        kind: The same on all ranks.
        standings: By rank, the states of its reducers of this kind.
        store: The store that carries them.

    Returns:
        Whether it did.
    """
    sign = sign_of([one for of_rank in standings for one in of_rank])
    if not (is_to_tell(sign, standings) and getattr(standing(module), sign)):
        return False
    if sign != "is_sorted":
        _sort_alone(module)
    try:
        found = buckets.layout(module)
    except StaleGroupError:  # the module says so itself when it is used
        return False
    store.set(f"healing/buckets/{kind}", json.dumps(found))
    return True


def tell_nothing(kind: str, standings: Sequence[Sequence[Standing]], store: Store) -> None:
    """Send that nothing is known, where the module that this rank reported is gone by now.

    Arguments as above.
    """
    if is_to_tell(sign_of([one for of_rank in standings for one in of_rank]), standings):
        store.set(f"healing/buckets/{kind}", "null")


def restart(module: Any, kind: str, standings: Sequence[Sequence[Standing]], store: Store) -> None:
    """Restart the reducer of a DDP module at the next forward, as on all ranks.

    Not before: a loss that was computed earlier may still be sent backward, and would not be
    reduced.

    Args:
        module: The DDP module.
        kind: The same on all ranks.
        standings: By rank, the states of its reducers of this kind.
        store: The store to which one rank sent its buckets, see :func:`tell`.
    """
    # If others had a step that this rank did not, its work would be done in the next one.
    if module in _due:
        _due.pop(module).remove()
    every = of_this_one(module, standings)
    counting.align(module, [one.steps for one in every])
    if len({one.gives_buffers for one in every}) > 1 or not all(one.is_done for one in every):
        module.require_forward_param_sync = True  # as after a whole step
    are_sorted = {one.is_sorted for one in every}
    have_begun = {one.has_begun for one in every}
    is_whole = False
    if len({(one.has_begun, one.is_sorted, one.would_sort) for one in every}) == 1:
        # Those that neither are sorted nor would be do not tell whether they were cut.
        tells = have_begun == {False} or are_sorted == {True} or every[0].would_sort
        # No step was cut, or none that matters: all sort in the next forward, or never.
        is_whole = tells and all(one.is_done for one in every)
    key = f"healing/buckets/{kind}"
    layout = json.loads(store.get(key)) if sign_of(every) and not is_whole else None
    begin = Begin(module, layout, are_sorted=are_sorted == {True}, is_whole=is_whole)
    compiled.leave_out(begin)
    _due[module] = entrance(module).register_forward_pre_hook(begin, prepend=True)


_due: MutableMapping[Any, Any] = WeakKeyDictionary()
"""By module whose reducer will restart, the handle of the hook that restarts it."""


@dataclass(frozen=True)
class Begin:
    """A forward hook that restarts the reducer of a DDP module once."""

    ddp: Any
    """The DDP module."""
    layout: list[list[int]] | None
    """Its buckets from then on; None: those of a first step."""
    are_sorted: bool
    """Whether the buckets of all ranks are sorted: those of this one stay."""
    is_whole: bool = False
    """Whether no step was cut that matters, except to a next one in ``no_sync``: a reducer that was
    prepared for a backward that never came would reduce there."""

    def __call__(self, module: Any, _inputs: Any) -> None:
        """Restart the reducer, and remove this hook."""
        if self.ddp not in _due:  # of a copy of the module, in which everything is new
            hooks = module._forward_pre_hooks
            for number in [number for number, hook in hooks.items() if hook is self]:
                del hooks[number]
            return
        if not (self.is_whole and self.ddp.require_backward_grad_sync):
            are_sorted = self.are_sorted or (self.is_whole and _sort_as_torch_would(self.ddp))
            _make(self.ddp, buckets.layout(self.ddp) if are_sorted else self.layout)
        _due.pop(self.ddp).remove()


def renew(module: Any) -> None:
    """Give a DDP module the reducer of a first step, for the parameters that require gradients."""
    _fill(module, None)


def _make(module: Any, layout: list[list[int]] | None) -> None:
    """Make a reducer for the parameters of the former one.

    Args:
        module: The DDP module.
        layout: Its buckets, which it keeps; None: those of a first step.
    """
    with buckets.as_made(module, buckets.reduced(module)):
        _fill(module, layout)


def _fill(module: Any, layout: list[list[int]] | None) -> None:
    """Make a reducer as ``DistributedDataParallel`` does when unpickled, with its former hooks."""
    module._has_rebuilt_buckets = layout is not None
    module._static_graph_delay_allreduce_enqueued = False
    parameters, are_sparse = buckets.parameters(module, layout)
    names = module._build_debug_param_to_name_mapping(parameters)
    module.reducer._remove_autograd_hooks()  # a traceback may hold it
    with buckets.assigning(module, layout):
        module._ddp_init_helper(parameters, are_sparse, names, module.static_graph)
    if module.static_graph:
        module.reducer._set_static_graph()
        module.logger._set_static_graph()
    for hook, state in module._comm_hooks:
        _dist._register_comm_hook(module.reducer, state, hook)
    counting.register(module)
    if layout is not None:
        module.reducer._push_all_rebuilt_params()
        _sort_alone(module)


def _sort_as_torch_would(module: Any) -> bool:
    """Sort buckets if this forward would, as on all ranks; return whether they are sorted."""
    if torch.is_grad_enabled() and module.reducer._rebuild_buckets():
        module._has_rebuilt_buckets = True
    return bool(module._has_rebuilt_buckets)


def _sort_alone(module: Any) -> None:
    """Sort the buckets of a reducer in the order in which it knows them.

    torch would have the next forward agree with other ranks, which may run none.
    """
    module.reducer._update_process_group(_alone())
    module.reducer._rebuild_buckets()
    module.reducer._update_process_group(module.process_group)


def _alone() -> Any:
    """A process group of this rank, of which torch has no account."""
    group = _dist.ProcessGroup(0, 1)
    backend = _dist.ProcessGroupGloo(_dist.HashStore(), 0, 1, timedelta(minutes=1))
    for device in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]:
        kind = _dist.ProcessGroup.BackendType.GLOO
        group._register_backend(torch.device(device), kind, backend)
    return group
