"""Joining and leaving the default process group: the seed API.

A script that uses the module of the same name in NVIDIA NeMo AutoModel
(``nemo_automodel.components.distributed.init_utils``) runs unchanged with this one.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist

from rankbook.distributed import environment, meets, rendezvous, stores, teardown
from rankbook.distributed.devices import (
    check_backend,
    pick_device,
    uses_nccl,
    why_not_connected,
)
from rankbook.errors import EnvironmentVariableError, InputError, RendezvousError

__all__ = [
    "DistInfo",
    "destroy_global_state",
    "get_local_rank_preinit",
    "get_local_world_size_preinit",
    "get_rank_safe",
    "get_world_size_safe",
    "initialize_distributed",
]

logger = logging.getLogger(__name__)

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], object]


@dataclass
class DistInfo:
    """The place of this process in the process group.

    Attributes:
        backend: Backend of the group as torch reports it, such as ``gloo``, ``nccl``, or
            ``cpu:gloo,cuda:nccl``.
        rank: This process, from 0.
        world_size: Number of processes.
        device: Where this rank's tensors belong; ``cpu`` where it has no GPU of its own.
        is_main: Whether this is rank 0.
    """

    backend: str
    rank: int
    world_size: int
    device: torch.device
    is_main: bool


@dataclass(frozen=True)
class _Group:
    """What making the group changed in this process, so that leaving it can change it back."""

    device: torch.device
    pid: int
    interface: str | None  # what GLOO_SOCKET_IFNAME was set to; None if it was left alone
    hook_before: ExceptHook
    hook_after: ExceptHook
    store: object  # C++ holds only its half of it; the methods belong to the other half


_lock = threading.RLock()
_group: _Group | None = None
_exit_hook_registered = False


def get_rank_safe() -> int:
    """Return this process's rank, whether or not the process group exists yet.

    Returns:
        The group's answer if there is one, else the launcher's (torchrun, mpirun, Slurm), else 0.

    Raises:
        EnvironmentVariableError: A launcher's variable holds something impossible.
    """
    return dist.get_rank() if dist.is_initialized() else environment.read().rank


def get_world_size_safe() -> int:
    """Return the number of ranks, whether or not the process group exists yet.

    Returns:
        The group's answer if there is one, else the launcher's (torchrun, mpirun, Slurm), else 1.

    Raises:
        EnvironmentVariableError: A launcher's variable holds something impossible.
    """
    return dist.get_world_size() if dist.is_initialized() else environment.read().world_size


def get_local_rank_preinit() -> int:
    """Return this process's rank among those of its host, as the launcher says.

    Returns:
        From 0. Where only RANK, WORLD_SIZE and MASTER_ADDR are set: RANK if MASTER_ADDR is
        loopback, else 0, as for one rank per host.

    Raises:
        EnvironmentVariableError: A launcher's variable holds something impossible.
    """
    return environment.read().local_rank


def get_local_world_size_preinit() -> int:
    """Return the number of ranks on this host, as the launcher says.

    Raises:
        EnvironmentVariableError: A launcher's variable holds something impossible, or the
            launcher does not say and it cannot be derived.
    """
    size = environment.read().local_world_size
    if size is None:
        raise EnvironmentVariableError(
            "LOCAL_WORLD_SIZE is not set and cannot be derived: set it to the number of ranks on"
            " this host, or start the ranks with torchrun"
        )
    return size


def initialize_distributed(backend: str, timeout_minutes: float = 1) -> DistInfo:
    """Join the default process group, waiting for all ranks; returns at once if it exists.

    Where the ranks meet is taken from the launcher's variables (torchrun, mpirun, Slurm). Without
    any, this process is rank 0 of 1, and nothing leaves the host. The group can be destroyed and
    made again as often as you like, even with ranks that arrive seconds apart. Ctrl+C works while
    it waits for them. :func:`destroy_global_state` is registered to run at exit.

    If the group exists, the arguments have no effect: the answer describes that group.

    Args:
        backend: ``gloo``, ``nccl`` or another that this torch has; per device type as in
            ``cpu:gloo,cuda:nccl``.
        timeout_minutes: In minutes. How long to wait for the ranks, **and** how long every
            collective of the group may take before it fails: torch has one timeout for both.

    Returns:
        The place of this process in the group. With NCCL, or where each rank has a GPU of its own,
        ``device`` is that GPU, and it is made the current one; see
        :func:`rankbook.distributed.devices.pick_device`.

    Raises:
        BackendError: This torch has no such backend.
        DeviceError: NCCL without a GPU for every rank.
        EnvironmentVariableError: A launcher's variable holds something impossible.
        InputError: The timeout is not a positive number.
        RendezvousError: Some ranks did not arrive, or could not be connected. No half-made group
            is left behind.
    """
    with _lock:
        if dist.is_initialized() and not teardown.pending():
            return _info_of_existing_group(backend)
        name, timeout = check_backend(backend), _timeout(timeout_minutes)
        launch = environment.read()
        device = pick_device(name, launch)
        teardown.wait_for_last(timeout)
        meeting = rendezvous.meet(launch, timeout)
        _register_exit_hook()
        _make_group(name, timeout, launch, meeting, device)
        if launch.rank == 0:
            logger.info("initialised %s with %d ranks", dist.get_backend(), launch.world_size)
        return _info(device)


def destroy_global_state() -> None:
    """Leave the process group, if there is one, and free what depends on it.

    Safe to call twice, from any thread, and at exit. On the main thread Ctrl+C is ignored
    meanwhile. Returns within about ``2 * teardown.SECONDS``; if torch has not let go of the group
    by then (NCCL waits for its peers), a warning is logged, torch goes on in the background, and
    the next :func:`initialize_distributed` waits for it. In a forked child it does nothing: the
    group is its parent's.

    Raises:
        Exception: What ``torch.distributed.destroy_process_group`` raised.
    """
    if _group is not None and _group.pid != os.getpid():
        return
    if not _lock.acquire(timeout=teardown.SECONDS):
        logger.warning("an initialisation is under way on another thread: interrupt it first")
        return
    try:
        with teardown.ignoring_sigint():
            if dist.is_initialized():
                teardown.free_optional_buffers()
                _leave_group()
    finally:
        _lock.release()


def exchange(group: _Group | None) -> _Group | None:
    """Replace this module's record of the present group by another.

    Returns:
        The former record, to be restored later. For :mod:`rankbook.distributed.aside` only.
    """
    global _group
    former, _group = _group, group
    return former


def _make_group(
    backend: str,
    timeout: timedelta,
    launch: environment.Launch,
    meeting: rendezvous.Meeting,
    device: torch.device,
) -> None:
    global _group  # noqa: PLW0603 - one per process, like torch's default group
    if device.type == "cuda":
        torch.cuda.set_device(device)
    interface = stores.loopback_interface() if meeting.one_host else None
    if "GLOO_SOCKET_IFNAME" in os.environ:
        interface = None
    if interface is not None:
        # gloo would listen on the address of the host's name. Kept while the group lives, for
        # the groups that are made from it.
        os.environ["GLOO_SOCKET_IFNAME"] = interface
    hook = sys.excepthook
    teardown.forget_attempt()  # of a person's own, maybe
    # Threads of NCCL's use the store, too; those are better served without Python.
    store = (
        meeting.store
        if uses_nccl(backend)
        else stores.Interruptible(meeting.store, timeout, launch.world_size)
    )
    meets.stands_for(store, "the store of the first process group", launch.world_size)
    try:
        # No device_id: with it, NCCL was seen to hang (NeMo AutoModel's pull request 378).
        dist.init_process_group(
            backend,
            store=store,
            rank=launch.rank,
            world_size=launch.world_size,
            timeout=timeout,
        )
        if launch.world_size > 1:
            _barrier(backend, device)
    except BaseException as error:
        _group = _Group(device, os.getpid(), interface, hook, sys.excepthook, store)
        with teardown.ignoring_sigint():
            _leave_group()
        if isinstance(error, RuntimeError):
            raise RendezvousError(
                f"{backend} could not connect the {launch.world_size} ranks"
                f" {why_not_connected(error)}"
            ) from error
        raise
    _group = _Group(device, os.getpid(), interface, hook, sys.excepthook, store)


def _barrier(backend: str, device: torch.device) -> None:
    """Connect all ranks, waiting in Python, where Ctrl+C works."""
    ids = [device.index] if uses_nccl(backend) else None
    work = dist.barrier(async_op=True, device_ids=ids)
    if work is not None:
        stores.poll(work.is_completed, math.inf)
        work.wait()


def _leave_group() -> None:
    global _group
    group, _group = _group, None
    try:
        if dist.is_initialized():
            teardown.destroy()
        else:
            teardown.forget_attempt()
    finally:
        if group is not None:
            _restore(group)


def _restore(group: _Group) -> None:
    # torch wraps the hook at each initialisation, and would print a prefix for each.
    if sys.excepthook is group.hook_after:
        sys.excepthook = group.hook_before
    if group.interface and os.environ.get("GLOO_SOCKET_IFNAME") == group.interface:
        del os.environ["GLOO_SOCKET_IFNAME"]


def _info_of_existing_group(backend: object) -> DistInfo:
    real = dist.get_backend()
    if isinstance(backend, str) and backend.lower() != real:
        logger.warning(
            "the process group exists, with backend %s, not %s: destroy_global_state() first",
            real,
            backend,
        )
    if _group is not None:
        return _info(_group.device)
    # Other code made the group: its tensors are on CUDA's current device, if CUDA is in use.
    gpu = uses_nccl(real) or torch.cuda.is_initialized()
    return _info(torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu"))


def _info(device: torch.device) -> DistInfo:
    rank = dist.get_rank()
    return DistInfo(dist.get_backend(), rank, dist.get_world_size(), device, rank == 0)


def _register_exit_hook() -> None:
    global _exit_hook_registered  # noqa: PLW0603 - once per process
    if not _exit_hook_registered:
        _exit_hook_registered = True
        atexit.register(teardown.wait_until_freed)
        atexit.register(destroy_global_state)  # exit hooks run in reverse order


def _timeout(minutes: object) -> timedelta:
    number = isinstance(minutes, (int, float)) and not isinstance(minutes, bool)
    try:
        timeout = timedelta(minutes=minutes) if number else timedelta(0)  # type: ignore[arg-type]
    except (OverflowError, ValueError):  # inf, nan
        timeout = timedelta(0)
    if timeout < timedelta(milliseconds=1):
        raise InputError(
            f"timeout_minutes={minutes!r} is not a positive number of minutes: use, for example,"
            " timeout_minutes=1"
        )
    return timeout
