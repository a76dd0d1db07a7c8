"""Where an engine stands."""

from __future__ import annotations

from dataclasses import dataclass

from rankbook.models.wire import Request

__all__ = ["EngineFacts", "Gpu", "SayFacts"]


@dataclass(frozen=True)
class SayFacts(Request):
    """Say where the engine stands; the answer is :class:`EngineFacts`."""

    towards: str
    """An address of the controller: the host's address on the way there comes first."""
    op = "facts"


@dataclass(frozen=True)
class EngineFacts:
    """What one engine says about where it stands; placement is computed from these alone."""

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
    """The file on its host in which its last calls stand, also after its end; empty: there is
    none."""
    nccl: str = ""
    """The version of its torch's NCCL, ``2.30.7``; empty: there is none."""
    lacking: tuple[str, ...] = ()
    """What does not work with its torch, a sentence each."""
    unusable_gpus: str = ""
    """Why its torch can use none of the GPUs that the host has; empty: it can, or there are none,
    or they are hidden from it."""


@dataclass(frozen=True)
class Gpu:
    """A rank's GPU at one moment, as NVML reports it: whatever all processes do with it."""

    name: str
    used: int
    """Memory in use, bytes."""
    total: int
    """Memory that it has, bytes."""
    utilization: int | None = None
    """Percent of the last moment in which it computed; None where the driver does not say."""
