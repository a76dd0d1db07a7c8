"""Making objects with an ended process group say what they are, and what to type."""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSet,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.nn.parallel import DistributedDataParallel

from rankbook.distributed.healing import meshes, saving
from rankbook.distributed.healing.replicated import entrance, is_replica, is_replicated
from rankbook.distributed.healing.standings import is_cut
from rankbook.distributed.healing.wrappers import Found
from rankbook.errors import StaleGroupError

__all__ = [
    "Refusal",
    "lacking",
    "latest",
    "origin",
    "refuse",
    "refuse_empty",
    "refuse_for_lack",
    "refuse_replaced",
    "refused",
    "release",
    "wait",
    "wait_for",
    "waiting",
]


_origins: MutableMapping[Any, str] = WeakKeyDictionary()
"""By process group that cannot go on: where it was made, in words."""


class _Last:
    """Where the latest object that could not go on was made, in words."""

    origin = ""


def refuse(found: Found, groups: Mapping[Any, str], origin: str) -> None:
    """Make modules and meshes that cannot go on say so when used.

    Args:
        found: Those modules, and every mesh.
        groups: Groups that have ended; a mesh must find no other by their names.
        origin: Where they were made, in words: ``for generation 3``.
    """
    _Last.origin = origin
    _origins.update(dict.fromkeys(groups, origin))
    made = f"was made {origin}, whose process group has ended"
    for one, called, make in _what_runs(found):
        _refuse(one, f"this {called} {made}: {make}")
    _detach(found)
    meshes.end(found.meshes, groups.values(), origin)
    saving.refuse()


def refuse_for_lack(found: Found, lack: str) -> None:
    """Make modules say that they cannot go on because this torch lacks something.

    Args:
        found: Those modules.
        lack: What torch lacks.
    """
    for one, called, make in _what_runs(found):
        why = f"torch {torch.__version__} lacks what that takes: {lack}"
        _refuse(one, f"this {called} cannot go on after its group was left ({why}): {make}")
    _detach(found)


def _detach(found: Found) -> None:
    """Detach DDP modules from their parameters, as soon as their models are used otherwise.

    A traceback may hold them for long, and they would reduce gradients of a module that wraps the
    model again. Before, the backward of a loss that was computed with them is still to raise.
    """
    for _, module in found.ddp:
        with suppress(AttributeError):  # this torch lacks something
            if is_cut(module):  # its backward is over
                module.reducer._remove_autograd_hooks()
        _former.add(module)
    if _former and _Watch.handle is None:
        _Watch.handle = register_module_module_registration_hook(_detach_former)


_former: MutableSet[Any] = WeakSet()
"""DDP modules that cannot go on."""


class _Watch:
    handle: Any = None
    """torch's handle of the hook that sees modules being made; None: not needed yet."""


def _detach_former(owner: Any, name: str, model: Any) -> None:
    """Detach those modules whose parameters another DDP module is about to take."""
    if name != "module" or not isinstance(owner, DistributedDataParallel):
        return
    taken = {id(one) for one in model.parameters()}
    for former in {*_former} - {owner}:
        if taken & {id(one) for one in former.parameters()}:
            with suppress(AttributeError):  # this torch lacks something
                former.reducer._remove_autograd_hooks()
            _former.discard(former)


def _what_runs(found: Found) -> Iterator[tuple[Any, str, str]]:
    """Modules and the like, each with its name, and what to do after its group has ended."""
    for _, module in found.ddp:
        make = "wrap the model that is in it again, ddp = DistributedDataParallel(ddp.module)"
        if not is_replicated(begins := entrance(module)):
            yield begins, "DDP module", make
            continue
        make = "make the model again, load the state_dict() of this one, and replicate(model)"
        yield begins, "module of replicate()", make
    for _, module in found.fsdp:
        if is_replica(module):
            make = "make the model again, replicate(model), and load a checkpoint"
            yield module, "module of replicate()", make
            continue
        make = (
            "its shards have ended, too, so make the model again, fully_shard(model), and load a "
            "checkpoint"
        )
        yield module, "FSDP module", make
    for name, one, _ in found.others:
        yield one, _CALLED[name], f"make it again, {_MAKE[name]}"


_CALLED = {
    "ZeroRedundancyOptimizer": "ZeroRedundancyOptimizer",
    "FullyShardedDataParallel": "FSDP module",
    "_PipelineSchedule": "pipeline schedule",
}

_MAKE = {
    "ZeroRedundancyOptimizer": "ZeroRedundancyOptimizer(model.parameters(), ...)",
    "FullyShardedDataParallel": "FullyShardedDataParallel(model), and load a checkpoint",
    "_PipelineSchedule": "with stages for the ranks that there are, PipelineStage(module, ...)",
}


def refuse_replaced(found: Found, new: Sequence[int]) -> None:
    """Make modules say that new ranks have no part of them, and that none can be copied there.

    Args:
        found: Those modules.
        new: The new ranks.
    """
    for one, called, make in _what_runs(found):
        _refuse(one, f"{_replaced(new)} no part of this {called}: on all ranks, {make}")


def refuse_empty(name: str, module: Any, path: str) -> None:
    """Make a sharded module without values say so when used."""
    parameters = module.parameters() if isinstance(module, nn.Module) else ()
    if any(hasattr(one, "placements") for one in parameters):
        _refuse(module, f"{name} is sharded, and {path} does not have its values: load them")


def wait(found: Found, new: Collection[int]) -> None:
    """Make modules refuse to run until new ranks have them, too, and those that lacked them before.

    Args:
        found: Those modules.
        new: The new ranks; if there are none, modules wait as they did before.
    """
    if new:
        wait_for(found, lambda _kind, module: {*new, *_waiting.get(module, (None, ()))[1]})


def wait_for(found: Found, lack: Callable[[str, Any], Collection[int]]) -> None:
    """Make modules refuse to run until other ranks have them, too.

    Args:
        found: Those modules.
        lack: By kind and module, the ranks that do not have it; where there are none, it waits
            no more and no less than before.
    """
    for kind, module in (*found.ddp, *found.fsdp):
        ranks = frozenset(lack(kind, module))
        handle, for_these = _waiting.get(module, (None, frozenset()))
        if not ranks or ranks == for_these:
            continue
        if handle is not None:
            handle.remove()
        why = _why_it_waits(module, sorted(ranks))
        _waiting[module] = _refuse(entrance(module), why), ranks


def _replaced(new: Sequence[int]) -> str:
    verb = "was" if len(new) == 1 else "were"
    have = "has" if len(new) == 1 else "have"
    return f"rank{'s' * (len(new) > 1)} {','.join(map(str, new))} {verb} replaced and {have}"


def _why_it_waits(module: Any, new: Sequence[int]) -> str:
    """Say that ranks have no such module, and what to do so that they have it, too."""
    again, restart = "make it again on all ranks", f"%dist_restart {','.join(map(str, new))} --from"
    if not isinstance(module, DistributedDataParallel):
        first = next(rank for rank in range(len(new) + 1) if rank not in new)
        called, load = "FSDP module", " --checkpoint PATH"
        if is_replica(module):
            called, load = "module of replicate()", ""
        return (
            f"{_replaced(new)} no such {called}: {restart} {first}{load} makes it there, or {again}"
        )
    if is_replicated(entrance(module)):
        return f"{_replaced(new)} no such module of replicate(): {again}"
    # Other ranks may have an equally built module with other parameters.
    members = dist.get_process_group_ranks(module.process_group)
    source = next((rank for rank in sorted(members) if rank not in new), None)
    return f"{_replaced(new)} no such DDP module: {restart} {source} makes it there, or {again}"


def release(found: Found) -> tuple[str, ...]:
    """Let modules run that waited for others of their kind; return the kinds that still wait."""
    for _, module in (*found.ddp, *found.fsdp):
        handle, _ = _waiting.pop(module, (None, ()))
        if handle is not None:
            handle.remove()
            _refused.pop(entrance(module), None)
    kinds = ("DDP modules", DistributedDataParallel), ("FSDP modules", object)
    left = [next(name for name, cls in kinds if isinstance(one, cls)) for one in _waiting]
    return tuple(sorted(set(left)))


def lacking() -> tuple[int, ...]:
    """Ranks that do not have modules that wait for them."""
    return tuple(sorted({rank for _, ranks in _waiting.values() for rank in ranks}))


def waiting() -> set[Any]:
    """Modules that wait for others of their kind."""
    return set(_waiting)


_waiting: MutableMapping[Any, tuple[Any, frozenset[int]]] = WeakKeyDictionary()
"""By waiting module, the handle of the hook that makes it wait, and the ranks that lack it."""


@dataclass(frozen=True)
class Refusal:
    """A hook that raises."""

    why: str

    def __call__(self, *_args: Any, **_options: Any) -> None:
        """Raise."""
        raise StaleGroupError(self.why)


def origin(group: Any) -> str:
    """Where a process group that cannot go on was made, in words; empty for anything else."""
    return _origins.get(group, "") if isinstance(group, dist.ProcessGroup) else ""


def latest() -> str:
    """Where the latest object that could not go on was made, in words; empty if all went on."""
    return _Last.origin


def refused() -> dict[int, str]:
    """By identity of an object that does not run: why."""
    return {id(one): why for one, why in _refused.items()}


_refused: MutableMapping[Any, str] = WeakKeyDictionary()
"""By object that does not run: why."""


def _refuse(one: Any, why: str) -> Any:
    """Make a module, an optimizer or a pipeline schedule say why it cannot run."""
    if _refused.get(one) == why:
        return None
    _refused[one] = why
    if isinstance(one, nn.Module):
        return one.register_forward_pre_hook(Refusal(why), prepend=True)
    if isinstance(one, torch.optim.Optimizer):
        return one.register_step_pre_hook(Refusal(why))
    one.step = Refusal(why)
    return None
