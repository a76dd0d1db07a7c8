"""The selftest with its real processes, on CPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
from processes import commands

from rankbook.selftest import parent
from rankbook.selftest.parts import named
from rankbook.selftest.steps import FAILED, NOT_RUN, PASSED


@pytest.mark.slow
def test_the_selftest_walks_through_and_its_report_says_so(tmp_path):
    environ = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "rankbook.selftest", "--out", str(tmp_path), "--minutes", "1.7"],
        capture_output=True,
        text=True,
        check=False,
        timeout=115,
        env=environ,
    )
    assert done.returncode == 0, done.stdout
    found = json.loads((tmp_path / "report.json").read_text())
    walk = {c["step"]: c["outcome"] for c in found["checks"] if c["part"] == "walk"}
    assert walk == {step.name: PASSED for step in named("walk").steps}
    others = {c["outcome"] for c in found["checks"] if c["part"] != "walk"}
    assert others == {NOT_RUN}
    assert found["versions"]["torch"] != "missing"
    assert found["seconds"] < 102
    assert not (tmp_path / "ipython").exists()


def test_a_step_of_the_selftest_that_takes_too_long_ends_with_its_processes(tmp_path):
    walk = named("walk")
    hasty = replace(walk, steps=(replace(walk.steps[0], seconds=0.8), *walk.steps[1:]))
    seen = []
    outcomes = []
    for outcome in parent.run_part(hasty, tmp_path, time.monotonic() + 60):
        seen += psutil.Process().children(recursive=True)
        outcomes.append(outcome)
    assert (outcomes[0].outcome, outcomes[0].detail) == (FAILED, "it did not end within 0.8 s")
    assert {outcome.outcome for outcome in outcomes[1:]} == {NOT_RUN}
    assert seen
    _, alive = psutil.wait_procs(seen, timeout=15)
    assert commands(alive) == []
