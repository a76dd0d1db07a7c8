"""What the table of tested versions says of the output of pytest and of the walk."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matrix
import pytest

from rankbook._version import NEWEST_TORCH

ROOT = Path(matrix.__file__).parents[1]

WALK = """\
torch 2.15.0, ipython 9.18.1
start: ok
{first}: {outcome}
after a hang: ok
{count} of 3 steps are wrong
"""


@pytest.mark.parametrize(
    ("outcome", "count", "said"),
    [
        ("ok", 0, ("3 of 3", True)),
        ("no '42': '41'", 1, ("2 of 3; wrong: a value", False)),
        ("it ended with error: 'x: ok'", 1, ("2 of 3; wrong: a value", False)),
        ("'42' is shown: '42'", 1, ("2 of 3; wrong: a value", False)),
    ],
)
def test_a_walk_is_reported_by_its_wrong_steps(outcome, count, said):
    text = WALK.format(first="a value", outcome=outcome, count=count)
    assert matrix.of_walk(text) == said


@pytest.mark.parametrize("said", ["", "Traceback\nModuleNotFoundError: No module named 'torch'"])
def test_a_walk_that_does_not_end_is_wrong(said):
    text, is_right = matrix.of_walk(said)
    assert text.startswith("did not end")
    assert not is_right


def test_tests_are_reported_by_what_failed():
    passed = "....\n====== 5150 passed, 2 skipped, 3 warnings in 80.01s (0:01:20) ======\n"
    assert matrix.of_tests(passed) == ("5150 passed, 2 skipped", True)
    failed = (
        "FAILED tests/unit/test_a.py::test_b - assert 1 == 2\n"
        "==== 1 failed, 5149 passed in 80.01s ====\n"
    )
    assert matrix.of_tests(failed) == (
        "1 failed, 5149 passed: test_a.py::test_b",
        False,
    )
    healed = (
        "FAILED tests/integration/test_a.py::test_b[TP and FSDP2 - hang] - assert 1 == 2\n"
        "= 1 failed, 60 passed, 3 deselected in 80.01s =\n"
    )
    assert matrix.of_tests(healed) == (
        "1 failed, 60 passed: test_a.py::test_b[TP and FSDP2 - hang]",
        False,
    )
    assert matrix.of_tests("Killed") == ("did not end: Killed", False)


def test_the_page_shows_what_the_file_of_results_has():
    results = json.loads(matrix.RESULTS.read_text(encoding="utf-8"))
    page = matrix.PAGE.read_text(encoding="utf-8")
    assert matrix.table(results) in page


def test_a_leg_that_was_not_run_says_so():
    row = next(line for line in matrix.table({}).splitlines() if "Colab" in line)
    assert row.count("not run") == 3


def test_the_newest_leg_has_the_newest_torch_that_is_not_warned_of():
    numbers = re.findall(r"\d+", matrix.LEGS["newest"].torch)
    assert tuple(map(int, numbers[:2])) == NEWEST_TORCH


def test_the_oldest_leg_has_the_oldest_torch_and_python_that_are_promised():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest = matrix.LEGS["oldest"]
    assert f'"torch>={".".join(oldest.torch.partition("==")[2].split(".")[:2])}"' in project
    assert f'requires-python = ">={oldest.python}"' in project
