"""Which backend this torch has, and which device a rank gets."""

from __future__ import annotations

import os
import warnings

import torch
import torch.distributed as dist

from rankbook.distributed.environment import Launch
from rankbook.distributed.stores import first_line
from rankbook.errors import BackendError, DeviceError

__all__ = [
    "check_backend",
    "gpu_count",
    "pick_device",
    "ranks_on",
    "share_gpus",
    "survive_timeouts",
    "uses_nccl",
    "why_not_connected",
]

SHARE_GPUS, NCCL_SHARES = "RANKBOOK_SHARE_GPUS", "NCCL_MULTI_RANK_GPU_ENABLE"
"""Variables that let several ranks share a GPU: ours, for any backend, and NCCL's, from 2.30."""

_ENDING = (
    "TORCH_NCCL_ASYNC_ERROR_HANDLING",
    "TORCH_NCCL_DUMP_ON_TIMEOUT",
    "TORCH_NCCL_ENABLE_MONITORING",
)
"""Variables that make torch end a process (read in 2.9 to 2.15 when a group is made)."""

_NO_BACKENDS = {"undefined", "fake"}  # in torch's list, but they connect no ranks


def gpu_count() -> int:
    """How many GPUs this process can compute on.

    ``torch.cuda.device_count`` alone asks NVML, which also counts GPUs where CUDA does not start,
    for example because the driver is too old for this torch.
    """
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def check_backend(backend: object) -> str:
    """Check that this torch has a backend.

    Args:
        backend: A name, or a choice per device type as in ``cpu:gloo,cuda:nccl``.

    Returns:
        The backend as torch writes it: in lower case.

    Raises:
        BackendError: It is unknown, malformed, or not in this build of torch.
        DeviceError: It is NCCL, and no GPU is visible.
    """
    name = backend.strip().lower() if isinstance(backend, str) else ""
    if uses_nccl(name) and gpu_count() == 0:
        raise DeviceError(
            f"backend {backend!r} needs a GPU for every rank, and this process sees none"
            f" (torch {torch.__version__}): use 'gloo', or check CUDA_VISIBLE_DEVICES, the driver,"
            " and that torch is a CUDA build"
        )
    if not _is_known(name):
        have = [b for b in dist.Backend.backend_list if b not in _NO_BACKENDS]
        have = [repr(b) for b in have if dist.is_backend_available(b)]
        raise BackendError(
            f"backend {backend!r} is unknown or not in this build of torch ({torch.__version__}),"
            f" which has {', '.join(have)}; for one per device type, use 'cpu:gloo,cuda:nccl'"
        )
    return name


def _is_known(name: str) -> bool:
    """Whether a backend, or every one of a choice per device type, is in this build of torch."""
    names = {"": name}
    if ":" in name:  # torch before 2.10 does not accept this as a backend
        parts = [part.partition(":") for part in name.split(",")]
        names = {device: backend for device, _, backend in parts}
        if not all(names) or len(names) < len(parts):
            return False
    return all(n and n not in _NO_BACKENDS and dist.is_backend_available(n) for n in names.values())


def uses_nccl(backend: str) -> bool:
    """Whether a backend, or one of a choice per device type, is NCCL."""
    return "nccl" in backend.replace(":", ",").split(",")


def why_not_connected(error: RuntimeError) -> str:
    """The message of torch about ranks that it could not connect, and what to do.

    NCCL's own message is below torch's.
    """
    _, _, of_nccl = str(error).partition("Last error:")
    fault = first_line(of_nccl.strip() or error)
    advice = "initialise again on every rank"
    if "/dev/shm" in fault:  # noqa: S108 - a container has 64 MB by default
        advice = "make /dev/shm larger (docker run --shm-size=1g), or set NCCL_SHM_DISABLE=1"
    return f"({fault}): {advice}"


def pick_device(backend: str, launch: Launch) -> torch.device:
    """Choose the device of this rank; all ranks of a host choose alike.

    ===========================================================  ==================================
    this process sees                                            its device
    ===========================================================  ==================================
    a GPU for every rank of its host                             ``cuda:LOCAL_RANK``
    fewer, because the launcher gave each rank its own           ``cuda:0``
    fewer, NCCL, and ``NCCL_MULTI_RANK_GPU_ENABLE=1``            ``cuda:(LOCAL_RANK modulo GPUs)``
    fewer, and ``RANKBOOK_SHARE_GPUS=1``                         ``cuda:(LOCAL_RANK modulo GPUs)``
    fewer, NCCL                                                  none: an error
    fewer, any other backend; or the backend is for CPU only     ``cpu``
    ===========================================================  ==================================

    Where the launcher did not say how many ranks share the host, NCCL counts on LOCAL_RANK being
    a GPU, and other backends take no GPU unless there is one for every rank of the job.

    Raises:
        DeviceError: NCCL, and fewer GPUs than ranks.
    """
    gpus, nccl = gpu_count(), uses_nccl(backend)
    if gpus == 0 or (":" in backend and "cuda:" not in backend):
        return torch.device("cpu")
    ranks_here = launch.local_world_size or (launch.local_rank + 1 if nccl else launch.world_size)
    if max(ranks_here, launch.local_rank + 1) <= gpus:
        return torch.device("cuda", launch.local_rank)
    if launch.own_gpus:
        return torch.device("cuda", 0)
    if os.environ.get(SHARE_GPUS) == "1" or (nccl and os.environ.get(NCCL_SHARES) == "1"):
        return torch.device("cuda", launch.local_rank % gpus)
    if not nccl:
        return torch.device("cpu")
    raise DeviceError(
        f"LOCAL_RANK={launch.local_rank} of {ranks_here} on this host, which shows this process"
        f" {gpus} GPU{'s' * (gpus > 1)}: start at most {gpus} per host, make more GPUs visible"
        " (CUDA_VISIBLE_DEVICES), or use 'gloo'"
    )


def survive_timeouts() -> None:
    """Keep torch from ending this process after the timeout of an NCCL collective.

    Its watchdog would do so a minute later; without that, the thread that watches the watchdog
    would, eight minutes later. What the user has set stays as it is.
    """
    for name in _ENDING:
        os.environ.setdefault(name, "0")
    # torch warns at every call that it uses the current device, which is the rank's.
    warnings.filterwarnings("ignore", r"barrier\(\): using the device under current context")


def share_gpus(*, shared: bool) -> None:
    """Let several ranks of this host share a GPU from the next initialisation on, or no longer.

    What the user has set for NCCL stays as it is.
    """
    if shared:
        os.environ[SHARE_GPUS] = "1"
        os.environ.setdefault(NCCL_SHARES, "1")
    elif os.environ.pop(SHARE_GPUS, None) is not None:
        os.environ.pop(NCCL_SHARES, None)


def ranks_on(device: torch.device, ranks_here: int) -> int:
    """How many ranks of this host share a device that :func:`pick_device` gave one of them.

    Args:
        device: The device of this rank.
        ranks_here: Number of ranks on this host.
    """
    if device.type != "cuda" or os.environ.get(SHARE_GPUS) != "1":
        return 1
    return len(range(device.index, ranks_here, gpu_count()))
