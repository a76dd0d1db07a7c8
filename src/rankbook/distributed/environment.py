"""What the launcher told this process, read from its environment variables.

Three families of variables are understood, and exactly one is used:

========  =============================================================  =====================
launcher  variables                                                      it launched us when
========  =============================================================  =====================
torchrun  RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE                 RANK or WORLD_SIZE
mpirun    OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK, _LOCAL_SIZE          ..._RANK or ..._SIZE
slurm     SLURM_PROCID, SLURM_STEP_NUM_TASKS or SLURM_NTASKS,            see below
          SLURM_LOCALID, SLURM_STEP_TASKS_PER_NODE
========  =============================================================  =====================

The first family in this order wins as a whole: torchrun runs inside an srun step, mpirun starts
its daemons with srun, and both leave Slurm's variables in place. An empty variable counts as unset.

**Slurm's trap.** ``SLURM_NTASKS`` is also set where nothing was launched: in the shell of
``salloc``, in the script of ``sbatch``, and in a Jupyter started there. Such a process would wait
for ranks that never start, so inside a job (``SLURM_JOB_ID``) a process counts as a rank only
when it belongs to an ``srun`` step: ``SLURM_STEP_ID`` is set, and not to one of Slurm's reserved
numbers (the steps of a batch script and of an interactive shell). ``SLURM_PROCID`` is needed too.
"""

from __future__ import annotations

import ipaddress
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from rankbook.errors import EnvironmentVariableError

__all__ = ["Launch", "is_loopback", "master_address", "read"]

Environ = Mapping[str, str]

# slurm.h: 0xfffffffa (interactive), ...fb (batch), ...fc (extern), ...fd (pending): not srun steps.
_FIRST_RESERVED_SLURM_STEP = 0xFFFFFFFA

# Below Linux's range for outgoing connections (32768 and up), above the well-known ports.
_FIRST_PORT, _PORTS = 20000, 12000


@dataclass(frozen=True)
class Launch:
    """The place of this process among its ranks.

    Attributes:
        launcher: "torchrun", "mpirun", "slurm", or "none" for a single process.
        rank: This process, from 0 to ``world_size - 1``.
        world_size: Number of processes in the job.
        local_rank: This process among those of its host, from 0.
        local_world_size: Number of the job's processes on this host; None if the launcher did
            not say and it cannot be derived.
        one_host: True if every rank is known to run on this host.
        own_gpus: True if the launcher showed each rank only its own GPUs (``--gpus-per-task``).
        job: Name of the job, unique per launch as far as the launcher tells; may be empty.
    """

    launcher: str
    rank: int
    world_size: int
    local_rank: int
    local_world_size: int | None
    one_host: bool
    own_gpus: bool = False
    job: str = ""


def read(environ: Environ | None = None) -> Launch:
    """Read and check the variables of the launcher that started this process.

    Args:
        environ: The variables; ``os.environ`` if None.

    Returns:
        The place of this process; rank 0 of 1 where no launcher is recognised.

    Raises:
        EnvironmentVariableError: A variable has an impossible value, or half of a pair is set.
    """
    environ = os.environ if environ is None else environ
    if _get(environ, "RANK") or _get(environ, "WORLD_SIZE"):
        return _read_torchrun(environ)
    if _get(environ, "OMPI_COMM_WORLD_RANK") or _get(environ, "OMPI_COMM_WORLD_SIZE"):
        return _read_mpirun(environ)
    if _in_srun_step(environ):
        return _read_slurm(environ)
    return Launch("none", 0, 1, _integer(environ, "LOCAL_RANK", default=0), 1, one_host=True)


def master_address(launch: Launch, environ: Environ | None = None) -> tuple[str, int]:
    """Return where rank 0 listens: MASTER_ADDR and MASTER_PORT, or what can be derived safely.

    Under Slurm and mpirun both may be absent. The address is then loopback if all ranks run on
    one host (on several hosts the right network cannot be guessed), and the port is
    ``20000 + crc32(job) % 12000``, where *job* is ``SLURM_JOB_ID.SLURM_STEP_ID``, or mpirun's
    ``PMIX_NAMESPACE`` or ``OMPI_MCA_ess_base_jobid``: the same on every rank of a job.

    Returns:
        Host name or address, and port.

    Raises:
        EnvironmentVariableError: One is absent and cannot be derived, or the port is impossible.
    """
    environ = os.environ if environ is None else environ
    host = _get(environ, "MASTER_ADDR")
    derivable = launch.launcher in ("slurm", "mpirun")
    if not host:
        if not (derivable and launch.one_host):
            raise EnvironmentVariableError(
                f"MASTER_ADDR is not set, and {launch.world_size} ranks must meet somewhere: set it"
                " to the host of rank 0 (under Slurm: export MASTER_ADDR="
                '$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)), or use torchrun'
            )
        host = "127.0.0.1"
    if _get(environ, "MASTER_PORT"):
        return host, _integer(environ, "MASTER_PORT", low=1, high=65535)
    if not (derivable and launch.job):
        raise EnvironmentVariableError(
            "MASTER_PORT is not set: set it to a free port of rank 0's host, the same on every"
            " rank (for example 29500), or use torchrun"
        )
    return host, _FIRST_PORT + zlib.crc32(launch.job.encode()) % _PORTS


def _read_torchrun(environ: Environ) -> Launch:
    rank, world_size = _rank_and_size(environ, "RANK", "WORLD_SIZE")
    local_rank, local_size = _local(environ, "LOCAL_RANK", "LOCAL_WORLD_SIZE", world_size)
    one_host = (
        is_loopback(_get(environ, "MASTER_ADDR")) or world_size == 1
        if local_size is None
        else local_size == world_size
    )
    if one_host:
        local_rank, local_size = rank if local_rank is None else local_rank, world_size
    elif local_rank is None:
        # Neither is set and the ranks are on several hosts: launchers of containers do this,
        # with one rank per host.
        local_rank, local_size = 0, local_size or 1
    run = _get(environ, "TORCHELASTIC_RUN_ID")
    job = f"{run}.{_get(environ, 'TORCHELASTIC_RESTART_COUNT') or 0}" if run else ""
    return Launch("torchrun", rank, world_size, local_rank, local_size, one_host, job=job)


def _read_mpirun(environ: Environ) -> Launch:
    prefix = "OMPI_COMM_WORLD_"
    rank, world_size = _rank_and_size(environ, prefix + "RANK", prefix + "SIZE")
    local_rank, local_size = _local(
        environ, prefix + "LOCAL_RANK", prefix + "LOCAL_SIZE", world_size
    )
    one_host = world_size in (1, local_size)
    job = _get(environ, "PMIX_NAMESPACE") or _get(environ, "OMPI_MCA_ess_base_jobid")
    return Launch("mpirun", rank, world_size, local_rank or 0, local_size, one_host, job=job)


def _read_slurm(environ: Environ) -> Launch:
    size_name = "SLURM_STEP_NUM_TASKS" if _get(environ, "SLURM_STEP_NUM_TASKS") else "SLURM_NTASKS"
    rank, world_size = _rank_and_size(environ, "SLURM_PROCID", size_name)
    local_size = _slurm_tasks_here(environ)
    nodes_name = "SLURM_STEP_NUM_NODES" if _get(environ, "SLURM_STEP_NUM_NODES") else "SLURM_NNODES"
    if local_size is None and _integer(environ, nodes_name, default=0, low=0) == 1:
        local_size = world_size
    if local_size is None and _get(environ, "SLURM_NTASKS_PER_NODE"):
        local_size = min(_integer(environ, "SLURM_NTASKS_PER_NODE", low=1), world_size)
    high = (local_size or world_size) - 1
    local_rank = _integer(environ, "SLURM_LOCALID", default=0, high=high)
    own_gpus = bool(_get(environ, "SLURM_GPUS_PER_TASK")) or "gpu" in _get(
        environ, "SLURM_TRES_PER_TASK"
    )
    job = _get(environ, "SLURM_JOB_ID")
    job = job and f"{job}.{_get(environ, 'SLURM_STEP_ID') or 0}"
    one_host = world_size in (1, local_size)
    return Launch("slurm", rank, world_size, local_rank, local_size, one_host, own_gpus, job)


def _in_srun_step(environ: Environ) -> bool:
    if not _get(environ, "SLURM_PROCID"):
        return False
    step = _get(environ, "SLURM_STEP_ID") or _get(environ, "SLURM_STEPID")
    if not step:
        return not _get(environ, "SLURM_JOB_ID")
    return not (step.isdigit() and int(step) >= _FIRST_RESERVED_SLURM_STEP)


def _slurm_tasks_here(environ: Environ) -> int | None:
    """Number of the step's tasks on this node, from a form such as ``2(x3),1``."""
    name = "SLURM_STEP_TASKS_PER_NODE"
    text = _get(environ, name)
    if not text:
        return None
    tasks: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([1-9]\d*)(?:\(x([1-9]\d{0,6})\))?\s*", part)
        if match is None:
            raise EnvironmentVariableError(
                f"{name}={text!r} is not of the form 2(x3),1: start the ranks with srun,"
                " or set RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE yourself"
            )
        tasks += [int(match[1])] * int(match[2] or 1)
    if len(set(tasks)) == 1:
        return tasks[0]
    if not _get(environ, "SLURM_NODEID"):
        return None
    return tasks[_integer(environ, "SLURM_NODEID", high=len(tasks) - 1)]


def _rank_and_size(environ: Environ, rank_name: str, size_name: str) -> tuple[int, int]:
    for present, absent in ((rank_name, size_name), (size_name, rank_name)):
        if not _get(environ, absent):
            raise EnvironmentVariableError(
                f"{present}={_get(environ, present)!r} is set but {absent} is not:"
                f" set both, or neither to run as a single process"
            )
    world_size = _integer(environ, size_name, low=1)
    rank = _integer(environ, rank_name)
    if rank >= world_size:
        raise EnvironmentVariableError(
            f"{rank_name}={rank} does not fit {size_name}={world_size}:"
            f" ranks are numbered from 0 to {world_size - 1}"
        )
    return rank, world_size


def _local(
    environ: Environ, rank_name: str, size_name: str, world_size: int
) -> tuple[int | None, int | None]:
    """Local rank and local world size, each None where its variable is not set."""
    size = None
    if _get(environ, size_name):
        size = _integer(environ, size_name, low=1, high=world_size)
    if not _get(environ, rank_name):
        return None, size
    return _integer(environ, rank_name, high=(size or world_size) - 1), size


def _integer(
    environ: Environ,
    name: str,
    *,
    default: int | None = None,
    low: int = 0,
    high: int | None = None,
) -> int:
    text = _get(environ, name)
    if not text and default is not None:
        return default
    bounds = f"from {low} to {high}" if high is not None else f"of at least {low}"
    # int() alone would also take "1_0", "+1" and digits of other scripts.
    number = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
    if number is None or number < low or (high is not None and number > high):
        fault = "is not an integer" if number is None else "is out of range"
        raise EnvironmentVariableError(
            f"{name}={text!r} {fault}: set it to a number {bounds}, or let torchrun, srun"
            " or mpirun set it"
        )
    return number


def _get(environ: Environ, name: str) -> str:
    return environ.get(name, "").strip()


def is_loopback(host: str) -> bool:
    """Whether a host name or address, as written, means this host to a process that reads it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
