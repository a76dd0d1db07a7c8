"""Saying what this rank does."""

from __future__ import annotations

import os
import socket
import time

from rankbook.engine import frames, gpu, state
from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.models import Look, RankState
from rankbook.models.requests import LookAt, Run, SayStacks, SayState

__all__ = ["look", "say_stacks", "say_state"]


@operation(LookAt, on=CONTROL)
def look(job: Job, _request: LookAt) -> Look:
    """What the rank does, for a diagnosis."""
    engine = job.engine
    return engine.observer.look(engine.doing, engine.runner.cell, engine.group.since)


@operation(SayStacks, on=CONTROL)
def say_stacks(_job: Job, _request: SayStacks) -> list[str]:
    """Where the main thread stands."""
    return frames.stack()


@operation(SayState, on=CONTROL)
def say_state(job: Job, _request: SayState) -> RankState:
    """What the rank does, for a view."""
    engine = job.engine
    runner, info, doing = engine.runner, engine.group.info, engine.doing
    now = state.snapshot(runner.cell)
    since = time.time() - runner.started if runner.cell is not None else 0.0
    if now["state"] == "collective":
        since = min(since, engine.age.of(frames.position()))
    if doing and doing != Run.op:
        now = {"state": "running", "activity": doing}
    return RankState(
        engine=engine.id,
        info=info,
        host=socket.gethostname(),
        pid=os.getpid(),
        since=since,
        cell=runner.cell,
        memory=state.memory(),
        memory_total=state.memory_total(),
        gpu_memory=state.gpu_memory(info),
        gpu=gpu.current(info),
        last_error=runner.last_error,
        **now,
    )
