"""The variables of this rank in one pickle, for another rank to take them."""

from __future__ import annotations

import ctypes
import io
import pickle
import sys
import types
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cloudpickle
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter
from torch.utils.data.distributed import DistributedSampler

from rankbook.distributed.copying import fsdp, hooks, restoring, sharding
from rankbook.distributed.healing import buckets, meshes
from rankbook.distributed.healing.replicated import is_replica, is_replicated

__all__ = ["Copied", "dump"]

_STAYS = {
    types.GeneratorType: "a generator",
    types.CoroutineType: "a coroutine",
    io.IOBase: "an open file",
    _BaseDataLoaderIter: "a loop over a loader that has begun",
    dist.Work: "a collective that is under way",
}
"""By type, the description of a variable that cannot leave its process."""


@dataclass(frozen=True)
class Copied:
    """Pickled variables."""

    data: bytes
    names: tuple[str, ...]
    """In the order of the pickle."""
    left: Mapping[str, str]
    """By name of a variable that cannot be copied, the reason."""


class _Left(Exception):  # noqa: N818 - no error: a reason
    """The reason why something cannot be copied."""


def dump(
    namespace: Mapping[str, Any],
    names: Iterable[str],
    defined: Collection[str] = (),
    *,
    with_shards: bool = False,
) -> Copied:
    """Pickle variables.

    Args:
        namespace: Contains the variables.
        names: Names of the variables.
        defined: Names of functions and classes that the receiving rank also defines.
        with_shards: Whether sharded modules and optimizers are copied, without their values.
    """
    left: dict[str, str] = {}
    names = list(names)
    while True:
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, namespace, defined, with_shards=with_shards)
        for name in names:
            reason = _try(pickler, namespace[name])
            if reason:
                left[name] = reason
                break
        else:
            pickler.finish()
            return Copied(buffer.getvalue(), tuple(names), left)
        names.remove(name)  # start over: others may refer to what was pickled halfway


def _try(pickler: _Pickler, value: Any) -> str:
    """Pickle a value; return why that fails, empty if it does not."""
    try:
        pickler.dump(value)
    except _Left as reason:
        return str(reason)
    except RecursionError:
        return "it is nested too deeply"
    except Exception as error:  # noqa: BLE001 - __reduce__ can raise anything
        return " ".join(str(error).split()) or type(error).__name__
    return ""


class _Pickler(cloudpickle.Pickler):
    """Pickles process groups, and objects that hold them, as descriptions."""

    def __init__(
        self,
        file: io.BytesIO,
        namespace: Mapping[str, Any],
        defined: Collection[str],
        *,
        with_shards: bool,
    ) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._namespace = namespace
        self._defined = defined
        self._with_shards = with_shards
        self._storages: dict[int, Any] = {}
        self._shards = fsdp.shards()
        self._prefetched: list[Any] = []

    def finish(self) -> None:
        """Pickle what is set once all objects are there."""
        self.dump(self._prefetched)

    def reducer_override(self, obj: Any) -> Any:
        """How to reduce an object; called for all but Python's own simple types."""
        if isinstance(obj, (type, types.FunctionType)):
            return self._definition(obj)
        for kind, reason in _STAYS.items():
            if isinstance(obj, kind):
                raise _Left(reason)
        found = sharding.stays(obj)
        if found:
            raise _Left(found)
        for base, reduce in _REDUCERS.items():
            if isinstance(obj, base):
                return reduce(self, obj)
        if isinstance(obj, getattr(sys.modules.get(_POWER_SGD), "PowerSGDState", ())):
            return self._compression(obj)
        return super().reducer_override(obj)

    # -- definitions of cells ----------------------------------------------------------------

    def _definition(self, obj: Any) -> Any:
        if obj.__module__ == "__main__" and self._named(obj.__qualname__) is obj:
            return restoring.named, (obj.__qualname__,)
        if isinstance(obj, types.FunctionType) and obj.__globals__ is self._namespace:
            make, (code, _, *more), state, *rest = self._dynamic_function_reduce(obj)
            state[1]["__globals__"] = {}  # the receiving rank's
            return (restoring.function, (make, code, *more), state, *rest)
        return super().reducer_override(obj)

    def _named(self, name: str) -> Any:
        first, *more = name.split(".")
        found = self._namespace.get(first) if first in self._defined else None
        for part in more:
            found = getattr(found, part, None)
        return found

    # -- torch -------------------------------------------------------------------------------

    def _group(self, obj: Any) -> Any:
        name = dist.distributed_c10d._world.pg_names.get(obj)
        if name is None:
            raise _Left("a process group that has ended")
        return restoring.group, (name,)

    def _tensor(self, obj: Any) -> Any:
        called = hooks.of_tensor(obj)
        if any(called) and (id(obj) in self._shards or sharding.is_dtensor(obj)):
            raise _Left("a sharded parameter has hooks: make the model again on all ranks")
        if id(obj) in self._shards:
            if not fsdp.has_values(self._shards[id(obj)]):
                self._need_shards()
            return fsdp.reduce_parameter(obj, self._shards[id(obj)])
        if sharding.is_dtensor(obj):
            if not sharding.is_replicated(obj):
                if not isinstance(obj, nn.Parameter):
                    raise _Left("a DTensor, whose parts are on their ranks: make it again on all")
                self._need_shards()
            return sharding.reduce_dtensor(obj)
        is_parameter = isinstance(obj, nn.Parameter)
        if obj.layout is not torch.strided or type(obj) not in (torch.Tensor, nn.Parameter):
            return super().reducer_override(obj)
        if obj.is_quantized or obj.is_meta or obj.is_conj() or obj.is_neg():
            return super().reducer_override(obj)
        storage = obj.untyped_storage()
        kept = self._storages.setdefault(storage._cdata, storage)
        view = (obj.dtype, obj.storage_offset(), tuple(obj.size()), obj.stride())
        grad = obj.grad if obj.is_leaf else None
        made = (kept, *view, obj.requires_grad, is_parameter, obj.is_cuda)
        state = grad, dict(vars(obj)), *called
        return restoring.tensor, made, state, None, None, restoring.set_tensor

    def _storage(self, obj: Any) -> Any:
        data = obj.cpu()
        return restoring.storage, (ctypes.string_at(data.data_ptr(), data.nbytes()),)

    def _ddp(self, obj: Any) -> Any:
        own = ("process_group", "reducer", "logger")
        attributes = {
            name: value for name, value in hooks.without_ours(obj).items() if name not in own
        }
        name = dist.distributed_c10d._world.pg_names.get(obj.process_group)
        state = attributes, obj.process_group, name, buckets.reduced(obj)
        return restoring.blank, (type(obj),), state, None, None, restoring.set_ddp

    def _module(self, obj: Any) -> Any:
        if is_replicated(obj):
            raise _Left("a module of replicate(): make it again on all ranks")
        if fsdp.is_sharded(obj):
            if not is_replica(obj):
                self._need_shards()
            if reason := fsdp.why_not(obj):
                raise _Left(reason)
            self._prefetched.extend(fsdp.prefetched(obj))
            cls, state, terms = fsdp.reduce_module(obj, hooks.without_ours(obj))
            return restoring.blank, (cls,), (state, terms), None, None, fsdp.set_module
        if hooks.has_ours(obj):
            return (
                restoring.blank,
                (type(obj),),
                hooks.without_ours(obj),
                None,
                None,
                restoring.set_module,
            )
        return super().reducer_override(obj)

    def _optimizer(self, obj: Any) -> Any:
        if sharding.is_zero(obj):
            if sharding.zero_has_state(obj):
                self._need_shards()
            made = sharding.reduce_zero(obj)
            return restoring.blank, (type(obj),), made, None, None, sharding.set_zero
        if "defaults" not in vars(obj):
            # It wraps another optimizer; torch's __getstate__ takes the inner one's content.
            state = dict(vars(obj))
            return restoring.blank, (type(obj),), state, None, None, restoring.set_attributes
        # Its __getstate__ leaves out hooks, and what an optimizer like LBFGS keeps besides.
        state = hooks.without_ours(obj)
        kept = {
            one: entries
            for one, entries in state["state"].items()
            if not any(map(self._is_part, (one, *entries.values())))
        }
        state["state"] = defaultdict(dict, kept)
        return restoring.blank, (type(obj),), state, None, None, fsdp.set_optimizer

    def _is_part(self, value: Any) -> bool:
        """Whether other ranks have other parts of it."""
        if id(value) in self._shards:
            return not fsdp.has_values(self._shards[id(value)])
        return sharding.is_dtensor(value) and not sharding.is_replicated(value)

    def _mesh(self, obj: Any) -> Any:
        if not meshes.is_whole(obj, dist.distributed_c10d._world.pg_names.values()):
            raise _Left("a device mesh whose process groups have ended: make it again on all ranks")
        # Not by its __getstate__, which torch has from 2.13 on.
        state = {name: value for name, value in vars(obj).items() if name != "_pg_registry"}
        return restoring.blank, (type(obj),), state, None, None, restoring.set_mesh

    def _compression(self, obj: Any) -> Any:
        # Not by its __getstate__, which leaves the group out and later takes the default one.
        state = {name: getattr(obj, name) for name in type(obj).__slots__}
        return restoring.blank, (type(obj),), state, None, None, restoring.set_attributes

    def _sampler(self, obj: Any) -> Any:
        if obj.num_replicas > 1 and (obj.num_replicas, obj.rank) != (
            dist.get_world_size(),
            dist.get_rank(),
        ):
            raise _Left("it samples for this rank's place in a group of its own")
        return restoring.blank, (type(obj),), dict(vars(obj)), None, None, restoring.set_sampler

    def _loader(self, obj: Any) -> Any:
        if obj.num_workers:
            raise _Left("a loader with worker processes")
        return super().reducer_override(obj)

    def _need_shards(self) -> None:
        if not self._with_shards:
            raise _Left("sharded: --checkpoint PATH loads it on all ranks")


_REDUCERS: Mapping[type, Any] = {
    dist.ProcessGroup: _Pickler._group,
    torch.Tensor: _Pickler._tensor,
    torch.UntypedStorage: _Pickler._storage,
    DistributedDataParallel: _Pickler._ddp,
    nn.Module: _Pickler._module,
    torch.optim.Optimizer: _Pickler._optimizer,
    sharding.DeviceMesh: _Pickler._mesh,
    DistributedSampler: _Pickler._sampler,
    DataLoader: _Pickler._loader,
}
"""By type, how to reduce it; the first match counts."""

_POWER_SGD = "torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook"
