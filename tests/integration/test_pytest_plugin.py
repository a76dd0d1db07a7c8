"""A pytest of its own runs a library's tests on ranks; what it reports is read here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).with_name("sample_tests.py")
ENDS = re.compile(r"^(\w+) \S*?::([\w:]+(?:\[\d\])?)(?: - (.*))?$", re.MULTILINE)
SECONDS = re.compile(r"^([\d.]+)s call +\S*::(\w+)", re.MULTILINE)


def run_pytest(folder, *args, code=1, timeout=100, sample=None, **variables):
    (folder / "test_sample.py").write_text(sample or SAMPLE.read_text())
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "rankbook.pytest_plugin", "-rA"),
            *("-p", "no:cacheprovider", "--durations=0", "-vv", *args),
        ],
        cwd=folder,
        env={**os.environ, "COLUMNS": "1000", "OF_THE_SHELL": "1", **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    return run_pytest(tmp_path_factory.mktemp("sample"))


def summary(said):
    """By test, how it ended, and what the summary says of it."""
    lines = said.partition("short test summary info")[2]
    return {name: (end, text) for end, name, text in ENDS.findall(lines)}


def part(said, name):
    """What is reported of a test that failed."""
    found = re.search(rf"^_+ {name} _+\n(.*?)^(?:_+ \w|=+ )", said, re.MULTILINE | re.DOTALL)
    assert found, f"{name} is not reported:\n{said}"
    return found[1]


PASSES = (
    *("test_passes", "test_values_travel[2]", "test_values_travel[3]"),
    "TestWithAClassOfItsOwn::test_its_class_travels",
    "TestWithAClassOfItsOwn::test_each_test_gets_its_class_anew",
    *("test_finds_the_surroundings_of_a_fixture", "test_finds_the_surroundings_as_before"),
    "test_finds_the_surroundings_of_a_fixture_again",
    *("TestInAClass::test_its_instance_travels", "test_sets_a_variable", "test_finds_no_variable"),
    *("test_group_is_whole_after_a_hang", "test_warns", "test_of_two_ranks"),
    *("test_destroys_the_group", "test_group_is_there_after_it_was_destroyed"),
    *("test_rank_is_there_after_it_died", "test_meets_no_call_of_another_test"),
)


@pytest.mark.parametrize("name", PASSES)
def test_a_test_on_ranks_passes(said, name):
    assert summary(said)[name][0] == "PASSED"


def test_an_assert_is_explained_by_rank_and_output_is_merged(said):
    assert summary(said)["test_assert_fails"] == ("FAILED", "assert [1, 2, 4] == [1, 2, 3]")
    told = part(said, "test_assert_fails")
    assert "Rank 0:\n" in told
    assert "At index 2 diff: 4 != 3" in told
    assert ">       assert [1, 2, 3 if rank else 4] == [1, 2, 3]" in told
    assert re.search(r"^test_sample.py:\d+: AssertionError", told, re.MULTILINE)
    assert "[0-3] all of us" in told
    assert "[2] I am 2" in told


def test_a_hang_is_a_failure_with_its_verdict_and_line(said):
    end, text = summary(said)["test_hangs"]
    assert end == "FAILED"
    line = SAMPLE.read_text().splitlines().index("        dist.barrier()") + 1
    assert re.match(
        rf"HangError: Rank 3 never called barrier #\d+, in which ranks 0-2 waited "
        rf"\(test_sample.py:{line} in test_hangs: dist.barrier\(\)\)",
        text,
    )
    assert "ranks 0-2  waited in barrier" in part(said, "test_hangs")


def test_the_exception_of_a_rank_is_the_test_s_and_the_verdict_stands_below(said):
    assert summary(said)["test_one_raises"] == ("FAILED", "KeyError: 'lost'")
    told = part(said, "test_one_raises")
    assert '>           raise KeyError("lost")' in told
    assert "ranks 0,2-3 waited for it in barrier" in told


def test_xfail_and_skip_are_those_of_the_ranks(said):
    ends = summary(said)
    assert ends["test_expected_to_fail"][0] == "XFAIL"
    assert ends["test_raises_what_does_not_travel"][0] == "XFAIL"
    assert "SKIPPED [1] test_sample.py" in said
    assert "not today" in said
    end, text = ends["test_skips_on_some"]
    assert end == "FAILED"
    assert "Ranks 1-3 skipped this test, rank 0 did not: not today" in text


def test_a_warning_of_the_ranks_is_reported_once(said):
    assert said.count("UserWarning: mind the gap") == 1


WARNS = """
import warnings
import pytest

pytestmark = pytest.mark.ranks(2)


def test_passes(rank, world_size):
    assert rank < world_size


def test_warns():
    warnings.warn("mind the gap")


def test_expects_it():
    with pytest.raises(UserWarning):
        warnings.warn("mind the gap")


@pytest.mark.filterwarnings("ignore:mind:UserWarning:test_sample")
def test_ignores_it():
    warnings.warn("mind the gap")


@pytest.mark.filterwarnings("default::UserWarning:test_sample")
def test_tells_it():
    warnings.warn("stand clear")
"""


@pytest.mark.parametrize(
    ("args", "variables"),
    [
        (("-W", "error"), {}),
        (("-o", "filterwarnings=error"), {}),
        ((), {"PYTHONWARNINGS": "error"}),
    ],
    ids=["command line", "ini", "environment"],
)
def test_where_warnings_are_errors_only_those_of_a_test_fail_it(tmp_path, args, variables):
    # pytest-asyncio warns where one of its settings is missing.
    said = run_pytest(tmp_path, "-p", "no:asyncio", *args, sample=WARNS, **variables)
    ends = {name: end for name, (end, _) in summary(said).items()}
    assert ends == {
        "test_passes": "PASSED",
        "test_warns": "FAILED",
        "test_expects_it": "PASSED",
        "test_ignores_it": "PASSED",
        "test_tells_it": "PASSED",
    }
    assert summary(said)["test_warns"][1] == "UserWarning: mind the gap"
    assert re.search(r"^test_sample.py:\d+: UserWarning", part(said, "test_warns"), re.MULTILINE)
    assert said.count("UserWarning: stand clear") == 1


def test_a_death_is_a_failure_that_says_how(said):
    assert "Rank 1 ended with exit code 3" in summary(said)["test_dies"][1]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("test_takes_too_long", "Interrupted after 0.5 s: ranks 0-1 were still computing"),
        (
            "test_takes_what_stays_here",
            "'capsys' (CaptureFixture) cannot be sent: it belongs to pytest's",
        ),
        ("test_computes_too_early", "'rank' is known on the ranks only"),
        ("test_asks", "a test on ranks cannot ask"),
        ("test_raises_without_words", "Wordless"),
        ("test_has_no_time", "timeout= is a positive number of seconds"),
        ("test_has_no_backend", "backend= is a name"),
    ],
)
def test_impossible_requests_of_tests_are_refused_in_one_line(said, name, why):
    assert why in summary(said)[name][1]


def test_a_test_takes_milliseconds_once_there_are_ranks(said):
    """Stated for a quiet machine: 60 ms; the median here, of short tests."""
    seconds = sorted(float(s) for s, name in SECONDS.findall(said) if name == "test_values_travel")
    assert seconds[0] < 0.3


@pytest.mark.slow
@pytest.mark.timeout(300)  # eight ranks start at once
def test_workers_of_xdist_have_ranks_of_their_own(tmp_path):
    pytest.importorskip("xdist")
    said = run_pytest(tmp_path, "-n2", timeout=250)
    assert {name for name, (end, _) in summary(said).items() if end == "PASSED"} >= set(PASSES)
    assert "Rank 3 never called barrier" in summary(said)["test_hangs"][1]
    assert summary(said)["test_one_raises"] == ("FAILED", "KeyError: 'lost'")


@pytest.mark.slow
def test_the_first_failure_ends_a_run_that_is_to_end_there(tmp_path):
    said = run_pytest(tmp_path, "-x", "-k", "assert_fails or whole")
    assert [end for end, _ in summary(said).values()] == ["FAILED"]
