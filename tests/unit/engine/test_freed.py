"""Memory that a step has freed serves the next one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_PAGE_FAULTS = """
import resource
from rankbook.engine.host import freed
freed.keep()
def step():
    for tensor in [bytearray(4 * 2**20) for _ in range(5)]:
        tensor[::4096] = bytes(1024)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
before = faults()
for _ in range(10):
    step()
    {between}
print((faults() - before) // 10)
"""

_A_STEP = 5 * 1024
"""Pages that a step writes to."""


def page_faults(between: str = "pass", **variables: str) -> int:
    """Page faults of one step in a process of its own, in which freed memory is kept."""
    ran = subprocess.run(
        [sys.executable, "-c", _PAGE_FAULTS.format(between=between)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(ran.stdout)


def test_a_step_uses_the_memory_that_the_last_one_freed():
    assert page_faults() < _A_STEP / 100


@pytest.mark.parametrize(
    "variables",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_limits_that_the_user_has_set_stay(variables):
    assert page_faults(**variables) > _A_STEP / 2


def test_release_returns_what_was_kept():
    assert page_faults("freed.release()") > _A_STEP / 2
