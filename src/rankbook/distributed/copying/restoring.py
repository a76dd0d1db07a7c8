"""The functions that a pickle of another rank's variables calls on the receiving rank."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from rankbook.distributed.copying import fsdp, places
from rankbook.distributed.healing import buckets, reducers
from rankbook.errors import InputError

__all__ = [
    "blank",
    "function",
    "group",
    "load",
    "named",
    "set_attributes",
    "set_ddp",
    "set_mesh",
    "set_module",
    "set_sampler",
    "set_tensor",
    "storage",
    "tensor",
]

_parallel: Any = import_module("torch.nn.parallel.distributed")


class _Here:
    """The namespace into which variables are being loaded."""

    namespace: MutableMapping[str, Any]


def load(
    data: bytes | memoryview, names: Sequence[str], namespace: MutableMapping[str, Any], source: int
) -> str:
    """Set variables to another rank's pickled values; all of them or none.

    Args:
        data: What :func:`~rankbook.distributed.copying.dump` gave there.
        names: In the order of the pickle.
        namespace: Where they are set; it has the definitions of cells.
        source: The other rank.

    Returns:
        The name of a variable that could not be set and the reason; empty if all were set.
    """
    _Here.namespace = namespace
    values: dict[str, Any] = {}
    unpickler = pickle.Unpickler(io.BytesIO(data))  # noqa: S301 - from a rank of this session
    with places.taking_the_place_of(source), fsdp.replacing():
        name = ""
        try:
            for name in names:
                values[name] = unpickler.load()
            fsdp.set_prefetched(unpickler.load())
        except Exception as error:  # noqa: BLE001 - __setstate__ can raise anything
            return f"{name}: {' '.join(str(error).split()) or type(error).__name__}"
    namespace.update(values)
    return ""


def blank(cls: type) -> Any:
    """An object without attributes; these come once other objects can refer to it."""
    return object.__new__(cls)


def named(name: str) -> Any:
    """A function or a class that a cell has defined."""
    first, *more = name.split(".")
    if first not in _Here.namespace:
        raise InputError(f"{first} is not defined here")
    found = _Here.namespace[first]
    for part in more:
        found = getattr(found, part)
    return found


def function(make: Callable[..., Any], code: Any, *more: Any) -> Any:
    """A function of a cell that no name leads to: a lambda, a closure."""
    return make(code, _Here.namespace, *more)


def group(name: str) -> Any:
    """The process group of this rank that corresponds to another rank's group of a name."""
    return places.group_named(places.group_here(name))


def storage(data: bytes) -> Any:
    """Memory that tensors may share, and that torch may resize, as ``resize_`` and FSDP do."""
    made = torch.UntypedStorage(len(data))
    if data:
        made.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8).untyped_storage())
    return made


def tensor(
    kept: Any,
    dtype: torch.dtype,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,  # noqa: FBT001
    is_parameter: bool,  # noqa: FBT001
    is_cuda: bool,  # noqa: FBT001
) -> Any:
    """A view of shared memory, on this rank's GPU if the original was on a GPU."""
    made = torch.empty(0, dtype=dtype).set_(kept, offset, size, stride)
    if is_cuda:
        made = made.cuda()
    return nn.Parameter(made, requires_grad) if is_parameter else made.requires_grad_(requires_grad)


def set_tensor(made: Any, state: tuple[Any, dict[str, Any], Sequence[Any], Sequence[Any]]) -> None:
    """Give a tensor its gradient, attributes and hooks."""
    made.grad, more, hooks, after = state
    vars(made).update(more)
    if hooks or after:
        needs = made.requires_grad
        made.requires_grad_()  # or it takes none
        for hook in hooks:
            made.register_hook(hook)
        for hook in after:
            made.register_post_accumulate_grad_hook(hook)
        made.requires_grad_(needs)


def set_attributes(made: Any, state: dict[str, Any]) -> None:
    """Give an object its attributes, in slots or not."""
    for name, value in state.items():
        object.__setattr__(made, name, value)


def set_module(module: Any, state: dict[str, Any]) -> None:
    """Give a module its attributes."""
    module.__setstate__(state)


def set_ddp(module: Any, state: tuple[dict[str, Any], Any, str, Sequence[Any]]) -> None:
    """Give a DDP module its attributes and a reducer, without asking other ranks.

    Raises:
        InputError: On this rank it would belong to other ranks, with other parameters.
    """
    attributes, process_group, name, reduced = state
    if places.group_here(name) != name:
        others = [
            one for one in dist.get_process_group_ranks(process_group) if one != dist.get_rank()
        ]
        raise InputError(
            f"here it is replicated on other ranks than on rank {places.source_rank()}: "
            + (f"--from {others[0]} copies it" if others else "make it again")
        )
    attributes["broadcast_buffers"] = attributes.get("forward_sync_buffers", True)
    inner = attributes["_modules"]["module"]
    with buckets.as_made(inner, reduced), _default_group(process_group):
        module.__setstate__(attributes)
        reducers.renew(module)


@contextmanager
def _default_group(process_group: Any) -> Iterator[None]:
    """Have DDP take another group for the default one, as it does when unpickled."""
    get = _parallel._get_default_group
    _parallel._get_default_group = lambda: process_group
    try:
        yield
    finally:
        _parallel._get_default_group = get


def set_mesh(mesh: Any, state: dict[str, Any]) -> None:
    """Give a device mesh its attributes, with this rank's place in it."""
    state = dict(state, _rank=dist.get_rank(), _hash=None)
    if state.get("_dim_group_names"):
        state["_dim_group_names"] = [places.group_here(one) for one in state["_dim_group_names"]]
    vars(mesh).update(state)
    if hasattr(mesh, "__setstate__"):
        mesh.__setstate__(state)
    place = (mesh.mesh == dist.get_rank()).nonzero()
    # Some torch versions have a list of coordinates, others a tuple.
    is_list = isinstance(state.get("_coordinate_on_dim"), list)
    coordinates = place[0].tolist() if len(place) else None
    mesh._coordinate_on_dim = coordinates if is_list or not coordinates else tuple(coordinates)


def set_sampler(sampler: Any, state: dict[str, Any]) -> None:
    """Give a ``DistributedSampler`` its attributes, and this rank's part of the data."""
    vars(sampler).update(state)
    if sampler.num_replicas > 1:
        sampler.rank = dist.get_rank()
