"""DDP and FSDP modules of this process, which drop the step in which their group was cut.

A collective that was cut leaves a wrapper in the middle of a step. The step is lost; the next one
must begin, on every rank, as if that step had not begun.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from rankbook.distributed.healing import fsdp1, fsdp2, joins, pipelines, reducers
from rankbook.distributed.healing.standings import Standing, standing
from rankbook.distributed.stores import Store
from rankbook.heap import UNFINISHED, instances

__all__ = ["OLDER", "Found", "find", "groups_of", "restart"]

_dist: Any = import_module("torch.distributed")

Standings = Mapping[str, Sequence[Standing]]


@dataclass(frozen=True)
class Found:
    """The wrappers that are alive."""

    ddp: tuple[tuple[str, Any], ...] = ()
    """DDP modules by kind, which all ranks know: the group and the shapes of the parameters."""
    fsdp: tuple[tuple[str, Any], ...] = ()
    """FSDP2 modules by kind, roots and others: the shapes of the parameters."""
    meshes: tuple[Any, ...] = ()
    """All device meshes, also those without any of the groups."""
    others: tuple[tuple[str, Any, tuple[Any, ...]], ...] = ()
    """Other holders of groups: class name, object, and its groups; None: the default group."""
    optimizers: tuple[Any, ...] = ()
    """All optimizers, whatever they optimize, and all schedulers and gradient scalers."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of modules, in the plural."""
        named = {"DDP modules": self.ddp, "FSDP modules": self.fsdp}
        found = [name for name, objects in named.items() if objects]
        return tuple(dict.fromkeys((*found, *(_OTHERS[name] for name, *_ in self.others))))

    @property
    def standings(self) -> dict[str, tuple[Standing, ...]]:
        """By kind of DDP module, the state of each reducer, if torch tells."""
        found: dict[str, tuple[Standing, ...]] = {}
        for kind, module in self.ddp:
            if reducers.lack(module):
                continue
            found[kind] = (*found.get(kind, ()), standing(module))
        return found

    @property
    def amid(self) -> tuple[str, ...]:
        """Kinds of FSDP modules that are in the middle of a step, and of pipelines: see there."""
        asked = {OLDER: fsdp1.is_amid, _PIPELINE: pipelines.is_amid}
        others = {name for name, one, _ in self.others if name in asked and asked[name](one)}
        return *others, *(kind for kind, module in self.fsdp if fsdp2.is_amid(module))

    def split(self, groups: Collection[Any]) -> tuple[Found, Found]:
        """The wrappers whose groups are all among these, and the rest.

        Args:
            groups: Those groups; None stands for the default one.
        """
        going = self.where(lambda _kind, group: group in groups)
        return going, self.less(going)

    def apart(self, groups: Collection[Any], besides: Collection[Any]) -> tuple[Found, Found]:
        """Split as :meth:`split` does, but leave only DDP and FSDP modules in the rest.

        Args:
            groups: Those groups.
            besides: Modules that are in the rest, too, whatever their groups.
        """
        going = self.where(lambda _kind, group: group in groups)
        ddp = tuple(one for one in going.ddp if one[1] not in besides)
        fsdp = tuple(one for one in going.fsdp if one[1] not in besides)
        going = replace(self, ddp=ddp, fsdp=fsdp)
        return going, self.less(going)

    def parted(self, groups: Collection[Any]) -> tuple[Found, Found]:
        """Split off modules with a part on each rank that is never copied: the older FSDP's.

        Args:
            groups: Groups without a new rank, which leave such modules whole.
        """
        of_parts = [one for one in self.others if one[0] == OLDER]
        parted = Found(others=tuple(one for one in of_parts if not set(one[2]) <= set(groups)))
        return replace(self, others=self.less(parted).others), parted

    def without(self, known: Collection[int]) -> Found:
        """This, without the other holders of groups that are among these, by identity."""
        return replace(self, others=tuple(one for one in self.others if id(one[1]) not in known))

    def less(self, going: Found) -> Found:
        """The modules and other holders that are not in another, with all meshes."""
        ddp = tuple(one for one in self.ddp if one not in going.ddp)
        fsdp = tuple(one for one in self.fsdp if one not in going.fsdp)
        rest = tuple(one for one in self.others if one not in going.others)
        return Found(ddp, fsdp, self.meshes, rest)

    def more(self, other: Found) -> Found:
        """This, with the modules of another."""
        return replace(
            self,
            ddp=(*self.ddp, *other.ddp),
            fsdp=(*self.fsdp, *other.fsdp),
            others=(*self.others, *other.others),
        )

    def where(self, is_so: Callable[[str, Any], bool]) -> Found:
        """The modules and other holders that meet a condition.

        Args:
            is_so: The condition on a kind and a group; it must hold for each of their groups.
        """
        ddp = [one for one in self.ddp if is_so(one[0], one[1].process_group)]
        fsdp = [
            one for one in self.fsdp if all(is_so(one[0], group) for group in groups_of(one[1]))
        ]
        others = [one for one in self.others if all(is_so(one[0], group) for group in one[2])]
        return Found(tuple(ddp), tuple(fsdp), others=tuple(others))


def find(names: Mapping[Any, str]) -> Found:
    """Find the wrappers among all objects, since torch keeps no list of them; takes some 20 ms.

    Args:
        names: By group that was left, its name; modules without any of them are left out.
    """
    found = _find(names)
    if any(len(set(seen)) > 1 for seen in found.standings.values()):
        # One of the two may be from an earlier run of a cell, and not yet freed by Python.
        gc.collect()
        found = _find(names)
    return found


def _find(names: Mapping[Any, str]) -> Found:
    sharded = _class("torch.distributed.fsdp", "FSDPModule")
    mesh = _class("torch.distributed.device_mesh", "DeviceMesh")
    others = {cls: name for name, cls in _others()}
    ddp, shards, meshes, rest, optimizers = [], [], [], [], []
    kinds = (DistributedDataParallel, sharded, mesh, *_STEPPING, *others)
    for one in instances(*filter(None, kinds)) if names else ():
        # By its class only: reading an attribute of some objects has side effects.
        cls = type(one)
        if issubclass(cls, _STEPPING):
            optimizers.append(one)
        if issubclass(cls, DistributedDataParallel):
            with suppress(UNFINISHED):  # or it has no torch reducer
                if isinstance(one.reducer, _dist.Reducer) and one.process_group in names:
                    ddp.append((_kind(one, names[one.process_group]), one))
        elif issubclass(cls, sharded):
            with suppress(UNFINISHED):  # it is not finished
                if any(group in names for group in groups_of(one)):
                    shards.append((_kind(one, "shards"), one))
        elif issubclass(cls, mesh):
            meshes.append(one)
        elif issubclass(cls, tuple(others)):
            with suppress(UNFINISHED):  # it is not finished
                name = next(others[base] for base in cls.__mro__ if base in others)
                groups = _groups_of_other(one)
                if any(group is None or group in names for group in groups):
                    rest.append((name, one, groups))
    return Found(tuple(ddp), tuple(shards), tuple(meshes), tuple(rest), tuple(optimizers))


_STEPPING = (Optimizer, LRScheduler, GradScaler)

OLDER = "FullyShardedDataParallel"
"""Also its kind, for all of them: their parameters differ between ranks."""

_PIPELINE = "_PipelineSchedule"

_OTHERS = {
    "ZeroRedundancyOptimizer": "ZeRO optimizers",
    OLDER: "FSDP modules",
    _PIPELINE: "pipelines",
}
"""By class of another holder of groups, its name in the plural."""


def _others() -> Iterator[tuple[str, Any]]:
    """The classes that have been imported."""
    for module, name in (
        ("torch.distributed.optim", "ZeroRedundancyOptimizer"),
        ("torch.distributed.fsdp", "FullyShardedDataParallel"),
        ("torch.distributed.pipelining.schedules", "_PipelineSchedule"),
    ):
        if found := _class(module, name):
            yield name, found


def _groups_of_other(one: Any) -> tuple[Any, ...]:
    """The groups of another holder; None stands for the default one."""
    if hasattr(one, "process_group"):
        held = {one.process_group, getattr(one, "_inter_node_pg", None)}  # FSDP's hybrid shards
        return tuple(held - {None}) or (None,)
    return tuple({stage.group for stage in pipelines.stages(one)})


def _class(module: str, name: str) -> Any:
    """A torch class, or nothing where that has not been imported."""
    return getattr(sys.modules.get(module), name, ())


def restart(
    found: Found, reports: Sequence[Standings], cut: Collection[str], store: Store, *, is_new: bool
) -> list[tuple[Found, str]]:
    """Have the next step of each begin as if the step that was cut had not begun.

    Args:
        found: The wrappers of this rank.
        reports: By rank, its :attr:`Found.standings`.
        cut: Kinds of FSDP modules whose step was cut on some rank, and of pipelines.
        store: The store in which the ranks exchange more.
        is_new: Whether a rank is new.

    Returns:
        The wrappers that cannot, each with the private name that this torch lacks for it.
    """
    kinds = dict.fromkeys(kind for report in reports for kind in report)
    standings = {kind: [[*report.get(kind, ())] for report in reports] for kind in kinds}
    hindered = [(Found(ddp=(one,)), reducers.lack(one[1])) for one in found.ddp]
    ddp = [one for one in found.ddp if not reducers.lack(one[1])]
    told: set[str] = set()
    for kind, module in ddp:
        # One of a kind: another may have other buckets, and ranks would read either.
        if kind not in told and reducers.tell(module, kind, standings[kind], store):
            told.add(kind)
    for kind in standings.keys() - told:
        reducers.tell_nothing(kind, standings[kind], store)
    for kind, module in ddp:
        reducers.restart(module, kind, standings[kind], store)
    for _, module in found.ddp:
        joins.leave(module)
    for kind, module in found.fsdp:
        lack = fsdp2.hindrance(module, was_cut=kind in cut)
        hindered.append((Found(fsdp=((kind, module),)), lack))
    for one in found.others:
        name, holder, _ = one
        if name == OLDER:
            lack = fsdp1.hindrance(holder, was_cut=OLDER in cut)
        elif name == _PIPELINE:
            lack = pipelines.restart(holder, was_cut=is_new or _PIPELINE in cut)
        else:
            lack = joins.leave(holder)
        hindered.append((Found(others=(one,)), lack))
    return [(one, lack) for one, lack in hindered if lack]


_OF_MESH_INFO = "shard", "replicate", "reduce_scatter"
"""How the names of the groups of an FSDP2 module begin."""


def groups_of(module: Any) -> list[Any]:
    """The groups that a DDP module holds, or an FSDP2 module and the modules in it."""
    if isinstance(module, DistributedDataParallel):
        return [module.process_group]
    held: list[Any] = []
    for one in module.modules():
        for group in fsdp2.param_groups(one) if hasattr(one, "_get_fsdp_state") else ():
            info = group.mesh_info
            held.extend(getattr(info, f"{name}_process_group", None) for name in _OF_MESH_INFO)
    return [group for group in held if group is not None]


def _kind(module: Any, group: str) -> str:
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    hooks = [hook for hook, _ in getattr(module, "_comm_hooks", ())]
    names = (getattr(hook, "__qualname__", type(hook).__qualname__) for hook in hooks)
    # Python's own hash of numbers is the same in every process.
    return " ".join((group, f"{hash(tuple(shapes)):x}", *names))
