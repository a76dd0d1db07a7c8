"""The selftest on this machine's GPUs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rankbook.selftest.parts import named
from rankbook.selftest.steps import FAILED, PASSED

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selftest")
    subprocess.run(
        [sys.executable, "-m", "rankbook.selftest", "--gpu", "--minutes", "4", "--out", folder],
        check=False,
        timeout=280,
    )
    return json.loads((folder / "report.json").read_text())


@pytest.mark.timeout(300)
def test_no_step_of_the_selftest_fails_on_a_gpu(report):
    assert [check for check in report["checks"] if check["outcome"] == FAILED] == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["nccl", "memory", "CUDA_VISIBLE_DEVICES"])
def test_what_one_gpu_is_enough_for_is_run(report, part):
    outcomes = {c["step"]: c["outcome"] for c in report["checks"] if c["part"] == part}
    assert outcomes == {step.name: PASSED for step in named(part).steps}
