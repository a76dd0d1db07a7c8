"""Reporting the facts of this engine, and what its process runs with."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.distributed as dist

from rankbook.engine.host.facts import facts_of
from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.masking import masked, secret_values
from rankbook.models import EngineFacts
from rankbook.models.environment import Environment, relevant
from rankbook.models.requests import GetEnvironment, GetFacts

__all__ = ["get_environment", "get_facts"]

_LOOPBACK = "127.0.0.1"
_MISSING = "not in this torch"


@operation(GetFacts, on=CONTROL)
def get_facts(job: Job, request: GetFacts) -> EngineFacts:
    """Report the facts of this engine."""
    return facts_of(job.engine, request.towards)


@operation(GetEnvironment, on=CONTROL)
def get_environment(job: Job, _request: GetEnvironment) -> Environment:
    """Report what this process runs with."""
    where = facts_of(job.engine, _LOOPBACK)
    variables, _ = masked(relevant(os.environ), secret_values(os.environ.items()))
    return Environment(
        facts=where,
        versions={
            **dict(where.versions),
            "CUDA": torch.version.cuda or _MISSING,
            "NCCL": where.nccl or _MISSING,
            "gloo": "in this torch" if dist.is_gloo_available() else _MISSING,
        },
        threads=_threads(),
        interop_threads=torch.get_num_interop_threads(),
        variables=variables,
    )


def _threads() -> int:
    """The main thread's ``torch.get_num_threads()``.

    A thread reads the setting of the process when it first asks, and never again, so a new thread
    asks.
    """
    with ThreadPoolExecutor(1, "rankbook-threads") as fresh:
        return fresh.submit(torch.get_num_threads).result()
