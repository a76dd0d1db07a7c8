"""Loading a checkpoint into the modules and optimizers that all ranks have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from rankbook.distributed.copying import sharding
from rankbook.distributed.healing import stale, steps
from rankbook.errors import InputError

__all__ = ["load", "prefix_of"]

_COUNTED = "state.0."
"""How the keys of an optimizer's state begin where parameters go by number."""


def load(
    path: str, namespace: Mapping[str, Any], new: Collection[int] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Load modules and optimizers in place; call it on every rank.

    The names of the parameters lead to their keys in the checkpoint, under the variable's name or,
    where only one other prefix fits, under that.

    Args:
        path: A folder that ``torch.distributed.checkpoint.save`` has made.
        namespace: Contains the modules and optimizers.
        new: Ranks on which sharded ones have no values yet: what is not loaded there says so when
            used.

    Returns:
        The variables that were loaded, and those that the checkpoint does not have.

    Raises:
        InputError: The path is not a checkpoint.
    """
    keys = _keys(path)
    names = _names_everywhere(namespace)
    modules = {name: namespace[name] for name in names if isinstance(namespace[name], nn.Module)}
    loaded = [name for name, one in modules.items() if _load_module(path, keys, name, one)]
    optimizers = {name: namespace[name] for name in names if name not in modules}
    known = [modules[name] for name in loaded]
    loaded += [n for n, one in optimizers.items() if _load_optimizer(path, keys, n, one, known)]
    steps.begin()  # torch takes a step where an optimizer has no state yet
    missing = tuple(name for name in names if name not in loaded)
    for name in missing if dist.get_rank() in new else ():
        stale.refuse_empty(name, namespace[name], path)
    return tuple(loaded), missing


def prefix_of(name: str, parts: Sequence[str], keys: Iterable[str]) -> str | None:
    """The prefix of a variable's parts in the keys of a checkpoint.

    Args:
        name: The variable's name.
        parts: The ends of its keys, at least one.
        keys: All keys.

    Returns:
        The prefix; None if there is none, or several and none of them begins with the name.
    """
    keys = set(keys)
    first = parts[0]
    found = {key.removesuffix(first) for key in keys if key == first or key.endswith(f".{first}")}
    whole = sorted(one for one in found if all(f"{one}{part}" in keys for part in parts))
    own = [one for one in whole if one.startswith(f"{name}.")]
    if own:
        return own[0]
    return whole[0] if len(whole) == 1 else None


def _keys(path: str) -> Mapping[str, Any]:
    if not Path(path, ".metadata").is_file():
        raise InputError(
            f"{path} is not a checkpoint of torch.distributed.checkpoint: it has no .metadata"
        )
    of = import_module("torch.distributed.checkpoint")
    keys: Mapping[str, Any] = of.FileSystemReader(path).read_metadata().state_dict_metadata
    return keys


def _names_everywhere(namespace: Mapping[str, Any]) -> list[str]:
    """Modules and optimizers that every rank has, without those that are parts of others."""
    kinds = (nn.Module, torch.optim.Optimizer)
    matching = {name: one for name, one in namespace.items() if isinstance(one, kinds)}
    modules = [one for one in matching.values() if isinstance(one, nn.Module)]
    parts = {id(part) for one in modules for part in one.modules() if part is not one}
    seen: set[int] = set()
    names = []
    for name, one in matching.items():
        if not name.startswith("_") and id(one) not in parts | seen:
            names.append(name)
            seen.add(id(one))
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, names)
    return [name for name in gathered[0] if all(name in found for found in gathered)]


def _load_module(path: str, keys: Mapping[str, Any], name: str, module: nn.Module) -> bool:
    of = import_module("torch.distributed.checkpoint")
    states = import_module("torch.distributed.checkpoint.state_dict")
    state = states.get_model_state_dict(module)
    prefix = prefix_of(name, list(state), keys) if state else None
    if prefix is None:
        return not state
    loaded = {f"{prefix}{part}": value for part, value in state.items()}
    of.load(loaded, checkpoint_id=path)
    states.set_model_state_dict(module, {part: loaded[f"{prefix}{part}"] for part in state})
    return True


def _load_optimizer(
    path: str, keys: Mapping[str, Any], name: str, optimizer: Any, modules: Sequence[nn.Module]
) -> bool:
    counted = _counted_prefix(name, keys)
    if counted is not None:
        _load_counted(path, keys, counted, optimizer)
        return True
    of = import_module("torch.distributed.checkpoint")
    states = import_module("torch.distributed.checkpoint.state_dict")
    parameters = {id(one) for group in optimizer.param_groups for one in group["params"]}
    for module in modules:
        if parameters <= {id(one) for one in module.parameters()}:
            options = states.StateDictOptions(flatten_optimizer_state_dict=False)
            state = states.get_optimizer_state_dict(module, optimizer, options=options)
            parts = [
                f"state.{fqn}.{key}" for fqn, entries in state["state"].items() for key in entries
            ]
            prefix = prefix_of(name, parts, keys) if parts else None
            if prefix is not None:
                nested = _nested(prefix, state)
                of.load(nested, checkpoint_id=path)
                for part in prefix.rstrip(".").split(".") if prefix else ():
                    nested = nested[part]
                states.set_optimizer_state_dict(module, optimizer, nested, options=options)
                return True
    return False


def _nested(prefix: str, state: Any) -> dict[str, Any]:
    for part in reversed(prefix.rstrip(".").split(".")) if prefix else ():
        state = {part: state}
    return dict(state)


def _counted_prefix(name: str, keys: Mapping[str, Any]) -> str | None:
    """The prefix of ``state.0.`` in the keys of an optimizer's own ``state_dict``."""
    found = {
        key[: key.index(_COUNTED)]
        for key in keys
        if key.startswith(_COUNTED) or f".{_COUNTED}" in key
    }
    # The first part of a module may have such keys, too: those name weights.
    own = [one for one in sorted(found) if one.startswith(f"{name}.")]
    whole = own or sorted(found)
    is_one = len(whole) == 1 and any(key.startswith(f"{whole[0]}param_groups") for key in keys)
    is_counted = is_one and any(
        key.startswith(f"{whole[0]}state.0.") and key.count(".") == whole[0].count(".") + 2
        for key in keys
    )
    return whole[0] if is_counted else None


def _load_counted(path: str, keys: Mapping[str, Any], prefix: str, optimizer: Any) -> None:
    """Load an optimizer's own ``state_dict``; every rank reads all of it."""
    of = import_module("torch.distributed.checkpoint")
    flat = {key: _blank(kept) for key, kept in keys.items() if key.startswith(prefix)}
    of.load(flat, checkpoint_id=path, no_dist=True)
    state: dict[int, dict[str, Any]] = {}
    groups: dict[int, dict[str, Any]] = {}
    for key, value in flat.items():
        table, number, name = key.removeprefix(prefix).split(".", 2)
        (state if table == "state" else groups).setdefault(int(number), {})[name] = value
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    spread = {
        number: sharding.spread(entries, parameters[number]) for number, entries in state.items()
    }
    in_order = [groups[number] for number in sorted(groups)]
    optimizer.load_state_dict({"state": spread, "param_groups": in_order})


def _blank(kept: Any) -> Any:
    """An empty value into which a part of a checkpoint is loaded."""
    if hasattr(kept, "properties"):
        return torch.empty(kept.size, dtype=kept.properties.dtype)
    return None
