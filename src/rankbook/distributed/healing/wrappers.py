"""DDP and FSDP modules of this process: what they had begun when their group was cut is forgotten.

A collective that was cut leaves a wrapper in the middle of a step. The step is lost; the next one
must begin, on every rank, as if it had not been.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from torch.nn.parallel import DistributedDataParallel
from torch.optim.optimizer import Optimizer

from rankbook.distributed.healing import fsdp1, fsdp2, reducers
from rankbook.distributed.healing.reducers import Standing
from rankbook.distributed.stores import Store
from rankbook.heap import instances

__all__ = ["Found", "find", "restart"]

_dist: Any = import_module("torch.distributed")

Standings = Mapping[str, Sequence[Standing]]


_TOLD = {
    f"{stage}{direction}_initialized"
    for stage in ("_stage", "_stages")
    for direction in ("", "_forward", "_backward")
}
"""What a pipeline notes when its stages know each other's shapes, in one version of torch or
another."""


_OF_A_STEP = {
    "_internal_losses",
    "backward_counter",
    "bwd_recv_ops",
    "fwd_recv_ops",
    "unshard_ops",
    "unsharded_stages",
}
"""What a pipeline fills in a step and empties at its end: losses, and of a schedule that a rank has
several stages in, what was to be received."""


@dataclass(frozen=True)
class Found:
    """The wrappers that are alive."""

    ddp: tuple[tuple[str, Any], ...] = ()
    """DDP modules; those of one kind are alike to all ranks: its group, its parameters' shapes."""
    fsdp: tuple[tuple[str, Any], ...] = ()
    """FSDP2's modules, roots and others; those of one kind have parameters of the same shapes."""
    meshes: tuple[Any, ...] = ()
    others: tuple[tuple[str, Any, tuple[Any, ...]], ...] = ()
    """What else holds groups: the name of its class, itself, and these; None: the default one."""
    optimizers: tuple[Any, ...] = ()
    """Whatever their parameters are."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What there is of modules, in the plural."""
        named = {"DDP modules": self.ddp, "FSDP modules": self.fsdp}
        found = [name for name, objects in named.items() if objects]
        return tuple(dict.fromkeys((*found, *(_OTHERS[name] for name, *_ in self.others))))

    @property
    def standings(self) -> dict[str, tuple[Standing, ...]]:
        """By kind of DDP module, where the reducer of each stands, if torch tells."""
        found: dict[str, tuple[Standing, ...]] = {}
        for kind, module in self.ddp:
            if reducers.lack(module):
                continue
            found[kind] = (*found.get(kind, ()), reducers.standing(module))
        return found

    def split(self, groups: Collection[Any]) -> tuple[Found, Found]:
        """What has all of its groups among these, and the rest.

        Args:
            groups: Those groups; None stands for the default one.
        """
        going = self.where(lambda _kind, group: group in groups)
        return going, self.less(going)

    def apart(self, groups: Collection[Any], besides: Collection[Any]) -> tuple[Found, Found]:
        """The same, but only DDP and FSDP modules are in the rest.

        Args:
            groups: Those groups.
            besides: Modules that are in the rest, too, whatever their groups.
        """
        going = self.where(lambda _kind, group: group in groups)
        ddp = tuple(one for one in going.ddp if one[1] not in besides)
        fsdp = tuple(one for one in going.fsdp if one[1] not in besides)
        going = replace(self, ddp=ddp, fsdp=fsdp)
        return going, self.less(going)

    def without(self, known: Collection[int]) -> Found:
        """It without what else holds groups and is among these, by identity."""
        return replace(self, others=tuple(one for one in self.others if id(one[1]) not in known))

    def less(self, going: Found) -> Found:
        """What of it is not in another."""
        ddp = tuple(one for one in self.ddp if one not in going.ddp)
        fsdp = tuple(one for one in self.fsdp if one not in going.fsdp)
        rest = tuple(one for one in self.others if one not in going.others)
        return Found(ddp, fsdp, self.meshes, rest)

    def more(self, other: Found) -> Found:
        """It, and the modules of another."""
        return replace(
            self,
            ddp=(*self.ddp, *other.ddp),
            fsdp=(*self.fsdp, *other.fsdp),
            others=(*self.others, *other.others),
        )

    def where(self, is_so: Callable[[str, Any], bool]) -> Found:
        """The modules of which something is so for their kind and each of their groups."""
        ddp = [one for one in self.ddp if is_so(one[0], one[1].process_group)]
        fsdp = [
            one for one in self.fsdp if all(is_so(one[0], group) for group in _groups_of(one[1]))
        ]
        others = [one for one in self.others if all(is_so(one[0], group) for group in one[2])]
        return Found(tuple(ddp), tuple(fsdp), others=tuple(others))


def find(names: Mapping[Any, str]) -> Found:
    """Look for them among all objects, for there is no list of them: some 20 ms.

    Args:
        names: By group that was left, its name; modules that hold none of them are left out.
    """
    found = _find(names)
    if any(len(set(seen)) > 1 for seen in found.standings.values()):
        # One of the two may be what an earlier run of a cell has made, and Python not freed yet.
        gc.collect()
        found = _find(names)
    return found


def _find(names: Mapping[Any, str]) -> Found:
    sharded = _class("torch.distributed.fsdp", "FSDPModule")
    mesh = _class("torch.distributed.device_mesh", "DeviceMesh")
    others = {cls: name for name, cls in _others()}
    ddp, shards, meshes, rest, optimizers = [], [], [], [], []
    kinds = (DistributedDataParallel, sharded, mesh, Optimizer, *others)
    for one in instances(*filter(None, kinds)) if names else ():
        # Of its own class only: asking some objects for anything has effects.
        cls = type(one)
        if issubclass(cls, Optimizer):
            optimizers.append(one)
        if issubclass(cls, DistributedDataParallel):
            with suppress(AttributeError):  # it is being made, or has no reducer of torch's
                if isinstance(one.reducer, _dist.Reducer) and one.process_group in names:
                    ddp.append((_kind(one, names[one.process_group]), one))
        elif issubclass(cls, sharded):
            with suppress(AttributeError):  # it is being made
                if any(group in names for group in _groups_of(one)):
                    shards.append((_kind(one, "shards"), one))
        elif issubclass(cls, mesh):
            meshes.append(one)
        elif issubclass(cls, tuple(others)):
            with suppress(AttributeError):  # it is being made
                name = next(others[base] for base in cls.__mro__ if base in others)
                groups = _groups_of_other(one)
                if any(group is None or group in names for group in groups):
                    rest.append((name, one, groups))
    return Found(tuple(ddp), tuple(shards), tuple(meshes), tuple(rest), tuple(optimizers))


_OTHERS = {
    "ZeroRedundancyOptimizer": "ZeRO optimizers",
    "FullyShardedDataParallel": "FSDP modules",
    "_PipelineSchedule": "pipelines",
}
"""By class of what else holds groups, what it is called in the plural."""


def _others() -> Iterator[tuple[str, Any]]:
    """Those classes that there are."""
    for module, name in (
        ("torch.distributed.optim", "ZeroRedundancyOptimizer"),
        ("torch.distributed.fsdp", "FullyShardedDataParallel"),
        ("torch.distributed.pipelining.schedules", "_PipelineSchedule"),
    ):
        if found := _class(module, name):
            yield name, found


def _groups_of_other(one: Any) -> tuple[Any, ...]:
    """The groups of such an object; None stands for the default one."""
    if hasattr(one, "process_group"):
        return (one.process_group,)
    return tuple({stage.group for stage in _stages(one)})


def _stages(schedule: Any) -> list[Any]:
    return list(schedule._stages) if hasattr(schedule, "_stages") else [schedule._stage]


def _class(module: str, name: str) -> Any:
    """A class of torch's, nothing where that has not been imported."""
    return getattr(sys.modules.get(module), name, ())


def restart(found: Found, reports: Sequence[Standings], store: Store) -> list[tuple[Found, str]]:
    """Have the next step of each begin as if the one that was cut had not been.

    Args:
        found: Of this rank.
        reports: By rank, its :attr:`Found.standings`.
        store: In which the ranks tell each other more.

    Returns:
        What cannot, because this torch lacks a private name that it takes; each with that.
    """
    standings = {kind: [[*report.get(kind, ())] for report in reports] for kind, _ in found.ddp}
    hindered = [(Found(ddp=(one,)), reducers.lack(one[1])) for one in found.ddp]
    for act in (reducers.tell, reducers.restart):
        for kind, module in found.ddp:
            if not reducers.lack(module):
                act(module, kind, standings[kind], store)
    hindered += [(Found(fsdp=(one,)), fsdp2.hindrance(one[1])) for one in found.fsdp]
    hindered += [
        (Found(others=(one,)), _RESTARTS[one[0]](one[1]))
        for one in found.others
        if one[0] in _RESTARTS
    ]
    return [(one, lack) for one, lack in hindered if lack]


def _restart_schedule(schedule: Any) -> str:
    """Forget a step that was cut, as far as a pipeline does not when the next one begins.

    Its stages tell each other the shapes again, for one of them may be new, or have been cut while
    it was told.
    """
    for name in _OF_A_STEP & set(vars(schedule)):
        getattr(schedule, name).clear()
    for name in _TOLD & set(vars(schedule)):
        setattr(schedule, name, False)
    for stage in _stages(schedule):
        for infos in (*stage.args_recv_info.values(), *stage.grad_recv_info.values()):
            for info in infos:
                # From torch 2.15 on it keeps what was to be received, and receives nothing more
                # while it does: the connections by which it would have come are gone.
                if hasattr(info, "take_buffer"):
                    info.buffer = None
    return ""


_RESTARTS = {
    "FullyShardedDataParallel": fsdp1.hindrance,
    "_PipelineSchedule": _restart_schedule,
}
"""By name in :data:`_OTHERS`, what has it begin with the next step, and tells what torch lacks for
that. Of others a cut leaves nothing."""


def _groups_of(module: Any) -> list[Any]:
    """The groups that an FSDP2 module holds, and the modules in it."""
    held: list[Any] = []
    for one in module.modules():
        for group in fsdp2.param_groups(one) if hasattr(one, "_get_fsdp_state") else ():
            info = group.mesh_info
            names = ("shard_process_group", "replicate_process_group")
            held.extend(getattr(info, name, None) for name in names)
    return [group for group in held if group is not None]


def _kind(module: Any, group: str) -> str:
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    hooks = [hook for hook, _ in getattr(module, "_comm_hooks", ())]
    names = (getattr(hook, "__qualname__", type(hook).__qualname__) for hook in hooks)
    # Python's own hash of numbers is the same in every process.
    return " ".join((group, f"{hash(tuple(shapes)):x}", *names))
