"""Whether a GPU's memory is free again after everything that can end a session."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

import rankbook as rb
from rankbook.driver import nvml
from rankbook.selftest.notebook import begin
from rankbook.selftest.steps import (
    NotRunError,
    Part,
    Scene,
    Step,
    check,
    expect,
    gone,
    until,
    values,
)

__all__ = ["MEMORY"]

GIB = 1 << 30
CELL = f"big = torch.empty({GIB}, dtype=torch.uint8, device='cuda:0'); torch.cuda.synchronize()"
SLACK = 64 << 20
"""Bytes by which the driver's own share may differ."""


def used() -> int:
    """Bytes in use on the first GPU, whatever process uses them.

    Raises:
        NotRunError: NVML does not tell.
    """
    try:
        with nvml() as library:
            handle = library.nvmlDeviceGetHandleByIndex(0)
            return int(library.nvmlDeviceGetMemoryInfo(handle, library.nvmlMemory_v2).used)
    except Exception as error:
        raise NotRunError(f"NVML does not answer: {error}") from error


@contextmanager
def given_back() -> Iterator[int]:
    """A block that takes more than 1 GiB of the GPU and gives all of it back; yields what was used.

    Raises:
        TimeoutError: Something stays in use.
    """
    before = used()
    yield before
    until(
        lambda: used() < before + SLACK, 15, f"the GPU is as empty as before ({before >> 20} MiB)"
    )


def after_shutdown(scene: Scene) -> str:
    """Shutdown gives the memory back."""
    with given_back() as before:
        scene.current = rb.start("nccl", 1)
        values(scene.session, CELL)
        taken = used() - before
        check(taken > GIB, "the cell takes more than 1 GiB")
        scene.session.shutdown()
    return f"{taken >> 20} MiB"


def after_reset(scene: Scene) -> str:
    """A hard reset gives the memory of the old processes back."""
    with given_back():
        scene.current = rb.start("nccl", 1)
        small = used()
        values(scene.session, CELL)
        scene.session.reset(hard=True)
        until(lambda: used() < small + SLACK, 15, "the old process's memory is free")
        scene.session.shutdown()
    return f"a rank without tensors takes {small >> 20} MiB in all"


def after_death_of_a_rank(scene: Scene) -> None:
    """A rank that is killed leaves nothing on the GPU."""
    with given_back():
        scene.current = rb.start("nccl", 1)
        values(scene.session, CELL)
        before = used()
        pid = scene.session.states()[0].pid
        psutil.Process(pid).kill()
        until(lambda: scene.session.dead_ranks, 10, "the death is noticed")
        until(lambda: used() < before - GIB + SLACK, 15, "its memory is free")
        scene.session.restart_ranks()
        expect(
            values(scene.session, "torch.ones(1, device=device).item()"), ["1.0"], "the new rank"
        )
        scene.session.shutdown()


def after_kill_of_the_notebook(scene: Scene) -> str:
    """A notebook that is killed by SIGKILL leaves no process and nothing on the GPU."""
    del scene
    with given_back() as before:
        notebook = begin(CELL, environ=os.environ, stay=True, backend="nccl", nproc=1)
        try:
            found = _first_line(notebook, 60)
            expect(found["error"], "", "the cell's error")
            below = psutil.Process(notebook.pid).children(recursive=True)
            check(set(found["pids"]) <= {p.pid for p in below}, "the ranks are its children")
            taken = used() - before
            check(taken > GIB, "the cell takes more than 1 GiB")
        finally:
            notebook.kill()
            notebook.wait()
        gone(below, 15)
    return f"{len(below)} processes and {taken >> 20} MiB were gone"


def _first_line(notebook: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    if notebook.stdout is None or not select.select([notebook.stdout], [], [], seconds)[0]:
        raise TimeoutError(f"the notebook said nothing within {seconds:g} s")
    found: dict[str, Any] = json.loads(notebook.stdout.readline())
    return found


MEMORY = Part(
    "memory",
    (
        Step("a killed notebook leaves nothing on the GPU", after_kill_of_the_notebook, 100),
        Step("shutdown gives the memory back", after_shutdown, 60),
        Step("a killed rank leaves nothing on the GPU", after_death_of_a_rank, 60),
        Step("a hard reset gives the memory back", after_reset, 60),
    ),
    gpus=1,
)
