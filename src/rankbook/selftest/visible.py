"""What ``CUDA_VISIBLE_DEVICES`` may hold."""

from __future__ import annotations

import os
from typing import Any

from rankbook.driver import nvml
from rankbook.selftest.notebook import run
from rankbook.selftest.steps import NotRunError, Part, Scene, Step, check, expect

__all__ = ["VISIBLE"]

CELL = "(torch.cuda.device_count(), str(torch.cuda.get_device_properties(0).uuid))"
SECONDS = 60


def first_uuid() -> str:
    """NVML's name of the first GPU: ``GPU-…``.

    Raises:
        NotRunError: NVML does not tell.
    """
    try:
        with nvml() as library:
            return str(library.nvmlDeviceGetUUID(library.nvmlDeviceGetHandleByIndex(0)))
    except Exception as error:
        raise NotRunError(f"NVML does not answer: {error}") from error


def seen_with(variable: str, cell: str = CELL, **start: Any) -> dict[str, Any]:
    """What a notebook finds that is started under a value of the variable."""
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": variable}
    return run(cell, environ=environ, seconds=SECONDS, **start)


def number(scene: Scene) -> str:
    """A number."""
    return _one(scene, "0")


def uuid(scene: Scene) -> str:
    """A UUID."""
    return _one(scene, first_uuid())


def beginning(scene: Scene) -> str:
    """The beginning of a UUID."""
    return _one(scene, first_uuid()[: len("GPU-") + 8])


def _one(scene: Scene, variable: str) -> str:
    del scene
    uuid = first_uuid().removeprefix("GPU-")
    found = seen_with(variable)
    expect(found["error"], "", "the error")
    expect((found["backend"], found["values"]), ("nccl", [f"(1, '{uuid}')"]), "what the rank sees")
    return variable


def none(scene: Scene) -> str:
    """Nothing: NCCL is refused in one line, and the default is gloo on CPUs."""
    del scene
    refused = seen_with("", backend="nccl")["error"]
    check(refused.startswith("DeviceError: "), f"nccl is refused by a DeviceError ({refused})")
    found = seen_with("", "str(device)")
    expect((found["backend"], found["values"]), ("gloo", ["'cpu'"] * 2), "what is started")
    return str(refused)


VISIBLE = Part(
    "CUDA_VISIBLE_DEVICES",
    (
        Step("empty", none, 2 * SECONDS),
        Step("a number", number, SECONDS),
        Step("a UUID", uuid, SECONDS),
        Step("the beginning of a UUID", beginning, SECONDS),
    ),
    gpus=1,
)
