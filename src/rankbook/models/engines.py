"""The facts of an engine."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.wire import Request

__all__ = ["EngineFacts", "GetFacts", "Gpu"]


@dataclass(frozen=True)
class GetFacts(Request):
    """Report the facts of the engine; the answer is :class:`EngineFacts`."""

    towards: str
    """An address of the controller: the host's address on that route comes first."""
    op = "facts"


@dataclass(frozen=True)
class EngineFacts:
    """The facts of one engine, from which alone placement is computed."""

    engine: int
    """Its id in the cluster."""
    host: str
    """Host name. Engines with the same one share GPUs and count local ranks together."""
    addresses: tuple[str, ...]
    """IPv4 addresses of the host, the likeliest first, loopback left out."""
    pid: int
    gpus: tuple[str, ...]
    """Names of the GPUs the process may use, by local index."""
    cwd: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    """Pairs of a package and its version: python, torch, rankbook."""
    last_calls: str = ""
    """The file on its host with its last calls, even after its end; empty if there is none."""
    nccl: str = ""
    """The version of its torch's NCCL, ``2.30.7``; empty if there is none."""
    lacking: tuple[str, ...] = ()
    """What does not work with its torch, one sentence each."""
    unusable_gpus: str = ""
    """Why its torch cannot use the host's GPUs; empty if it can, there are none, or they are hidden
    from it."""


@dataclass(frozen=True)
class Gpu:
    """A rank's GPU at one moment, as NVML reports it for all processes."""

    name: str
    used: int
    """Memory in use, bytes."""
    total: int
    """Total memory, bytes."""
    utilization: int | None = None
    """Percent of the last moment in which it computed; None where the driver does not say."""
