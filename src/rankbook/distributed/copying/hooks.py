"""The hooks of modules, optimizers and tensors: those of a person travel with what has them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rankbook.distributed.healing.reducers import Begin
from rankbook.distributed.healing.sharded import OnMesh
from rankbook.distributed.healing.stale import Refusal

__all__ = ["has_ours", "of_tensor", "without_ours"]

_TABLES = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
)

_FSDP = "torch.distributed.fsdp."


def has_ours(module: Any) -> bool:
    """Whether FSDP or this package has put a hook on a module: FSDP does on each with parameters.

    FSDP's hooks refer to all that it keeps for the module that it shards.
    """
    tables = (vars(module).get(table, {}) for table in _TABLES)
    return any(_is_ours(hook) for table in tables for hook in table.values())


def without_ours(one: Any) -> dict[str, Any]:
    """The attributes of a module or an optimizer, with the hooks that a person has put there.

    Without those of FSDP and of this package, without what a scheduler has put in the place of
    ``optimizer.step`` to see its calls, and without what ``module.compile()`` has made.
    """
    state = dict(vars(one))
    state.pop("_compiled_call_impl", None)  # torch does not pickle it, either
    if hasattr(state.get("step"), "_wrapped_by_lr_sched"):
        del state["step"]
    for table in _TABLES:
        if table not in state:
            continue
        kept = {number: hook for number, hook in state[table].items() if not _is_ours(hook)}
        gone: Collection[int] = set(state[table]) - set(kept)
        state[table] = type(state[table])(kept)
        for name in (f"{table}_with_kwargs", f"{table}_always_called"):
            if name in state:
                flags = {number: flag for number, flag in state[name].items() if number not in gone}
                state[name] = type(state[name])(flags)
    return state


def of_tensor(tensor: Any) -> tuple[tuple[Any, ...], ...]:
    """What is called with the gradient of a leaf, and when that has been added up."""
    if not tensor.is_leaf:
        return (), ()
    tables = tensor._backward_hooks, tensor._post_accumulate_grad_hooks
    return tuple(tuple(table.values()) if table else () for table in tables)


def _is_ours(hook: Any) -> bool:
    hook = getattr(hook, "hook", hook)  # one for load_state_dict is wrapped
    made_in = getattr(hook, "__module__", None) or ""
    return isinstance(hook, (Begin, OnMesh, Refusal)) or made_in.startswith(_FSDP)
