"""Sending this rank's variables to a replaced rank, and taking those of another."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader

from rankbook.distributed import copying, healing
from rankbook.distributed.copying import kept, places
from rankbook.distributed.copying.places import group_named
from rankbook.engine.context import Engine
from rankbook.engine.host import path
from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, MAIN, operation
from rankbook.engine.values import definitions
from rankbook.errors import InputError
from rankbook.models.copies import Copies, Holdings, Settled
from rankbook.models.requests import Copy, GetDigests, GetHoldings, Settle, Take

__all__ = ["copy", "digests", "holdings", "settle", "take"]

_OURS = {"torch", "dist", "rank", "world_size", "local_rank", "device", "dist_info"}
_OF_OTHERS = re.compile(r"_+|_i+|_i?\d+|In|Out|_[io]h|_dh|exit|quit|get_ipython|__\w+")
"""Names of IPython, of Python, and those that ``torch.compile`` puts next to what it compiles."""

_FIRST = (nn.Module, torch.optim.Optimizer, DataLoader)
"""Kinds of values that are named first."""

_DEFINED = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


@operation(GetHoldings, on=CONTROL)
def holdings(job: Job, _request: GetHoldings) -> Holdings:
    """Report the variables."""
    found = {name: value for name, value in _variables(job.engine) if not _is_defined(value)}
    order = {
        name: next((at for at, kind in enumerate(_FIRST) if isinstance(value, kind)), len(_FIRST))
        for name, value in found.items()
    }
    held = kept.find(job.engine.namespace, definitions.names(job.engine.runner.cells))
    return Holdings(tuple(sorted(found, key=order.__getitem__)), _groups(job.engine), held)


@operation(Copy, on=MAIN)
def copy(job: Job, request: Copy) -> Copies:
    """Send the variables."""
    engine = job.engine
    cells = dict(engine.runner.cells)
    defined = definitions.names(cells)
    names = [
        name
        for name, value in _variables(engine)
        if name not in request.without
        and not isinstance(value, (types.ModuleType, dist.ProcessGroup))
        and not (name in defined and _is_defined(value))
    ]
    copied = copying.dump(engine.namespace, names, defined, with_shards=request.with_shards)
    job.attachments.append(copied.data)
    unbound = tuple(definitions.unbound(cells, engine.namespace))
    found_in = tuple(map(str, sys.path))
    return Copies(copied.names, copied.left, cells, _groups(engine), unbound, found_in)


@operation(Take, on=MAIN)
def take(job: Job, request: Take) -> Copies:
    """Set variables to another rank's, or none of them."""
    engine = job.engine
    path.extend(request.path)
    with kept.standing_in():
        failed = dict(definitions.run(request.cells, engine.runner.shell))
    here = {place: _group_of_mine(names, request.source) for place, names in request.kept.items()}
    kept.put(engine.namespace, definitions.names(request.cells), here)
    engine.runner.remember(request.cells)
    reason = copying.load(job.buffers[0], request.names, engine.namespace, request.source)
    if reason:
        name, _, why = reason.partition(": ")
        return Copies(left={name: why})
    healing.wait_for_others()
    for name, groups in request.groups.items():
        engine.namespace[name] = _group_of_mine(groups, request.source)
    taken = (name for name in request.names if not _is_defined(engine.namespace[name]))
    return Copies((*taken, *request.groups), failed)


@operation(GetDigests, on=MAIN)
def digests(job: Job, request: GetDigests) -> dict[str, str]:
    """Return digests of variables, to compare them with those of other ranks."""
    namespace = job.engine.namespace
    found = {name: copying.digest(namespace.get(name)) for name in request.names}
    return {name: value for name, value in found.items() if value}


@operation(Settle, on=MAIN)
def settle(_job: Job, _request: Settle) -> Settled:
    """Have objects that waited for a replaced rank go on."""
    return Settled(*healing.settle())


def _variables(engine: Engine) -> Iterator[tuple[str, Any]]:
    hidden = engine.runner.shell.user_ns_hidden
    for name, value in list(engine.namespace.items()):
        is_hidden = name in hidden and hidden[name] is value
        if not is_hidden and name not in _OURS and not _OF_OTHERS.fullmatch(name):
            yield name, value


def _is_defined(value: Any) -> bool:
    """Whether it comes from an import or a definition, and is not data."""
    return isinstance(value, _DEFINED)


def _groups(engine: Engine) -> dict[str, str]:
    """By variable that holds a process group, the group's name."""
    names = dist.distributed_c10d._world.pg_names
    held = ((n, v) for n, v in _variables(engine) if isinstance(v, dist.ProcessGroup))
    return {name: names[group] for name, group in held if group in names}


def _group_of_mine(names: tuple[str, ...], source: int) -> Any:
    """This rank's counterpart of the group that others have under a variable's name.

    Where there is none, the value that ``new_group`` gives to non-members.
    """
    own = {one.name for held in healing.roster() for one in held if dist.get_rank() in one.ranks}
    with places.taking_the_place_of(source), suppress(InputError):  # this rank is in none of them
        found = next((one for one in names if one in own), None) or places.group_here(names[0])
        return group_named(found)
    return dist.GroupMember.NON_GROUP_MEMBER
