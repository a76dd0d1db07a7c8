"""What the pytest plugin refuses before there are any ranks, and what it costs who uses none."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "ipyparallel", "IPython", "cloudpickle", "numpy")


def run_pytest(folder, text, *args):
    (folder / "test_sample.py").write_text(f"import pytest\n{text}")
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "rankbook.pytest_plugin"),
            *("-p", "no:cacheprovider", "-q", "-W", "ignore", *args),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_project_without_tests_on_ranks_imports_nothing_for_them(tmp_path):
    text = f"""
import sys
def test_plain():
    assert [name for name in {HEAVY} if name in sys.modules] == []
    assert "rankbook.pytest_plugin" in sys.modules
    assert [name for name in sys.modules if name.startswith("rankbook.testing")] == []
"""
    done = run_pytest(tmp_path, text)
    assert done.returncode == 0, done.stdout


MARKED = "@pytest.mark.ranks(2)\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def test_x(rank): pass", "'rank' is for tests on ranks: add @pytest.mark.ranks(2)."),
        ("def test_x(device): pass", "'device' is for tests on ranks"),
        ("@pytest.mark.ranks\ndef test_x(): pass", "Give the number of ranks"),
        ("@pytest.mark.ranks(0)\ndef test_x(): pass", "Give the number of ranks"),
        ("@pytest.mark.ranks(2, many=1)\ndef test_x(): pass", "Give the number of ranks"),
        (f"{MARKED}async def test_x(): pass", "An async test does not run on ranks"),
        (
            f"import unittest\nclass T(unittest.TestCase):\n  {MARKED}  def test_x(self): pass",
            "Only functions and methods of plain classes run on ranks.",
        ),
        *(
            (f"{MARKED}def test_x({name}): pass", "cannot be sent: it belongs to pytest's own")
            for name in (
                "capsys",
                "caplog",
                "recwarn",
                "record_property",
                "request",
                "pytestconfig",
            )
        ),
    ],
)
def test_a_test_that_cannot_run_on_ranks_fails_in_a_line(tmp_path, text, why):
    done = run_pytest(tmp_path, text)
    assert done.returncode == 1, done.stdout
    assert why in done.stdout


HYPOTHESIS = """
import sys
from types import ModuleType, SimpleNamespace

class Settings:
    def __init__(self, parent=None, derandomize=False, suppress_health_check=()):
        self.derandomize = parent.derandomize if parent else derandomize
        self.suppress_health_check = suppress_health_check

sys.modules["hypothesis"] = hypothesis = ModuleType("hypothesis")
hypothesis.settings = Settings
hypothesis.HealthCheck = SimpleNamespace(function_scoped_fixture="its scope")

def given(**how):
    def decorate(function):
        function._hypothesis_internal_use_settings = Settings(None, **how)
        return function
    return decorate
"""
"""As much of Hypothesis as the plugin looks at."""


def test_a_test_that_draws_other_examples_on_each_rank_is_refused_in_a_line(tmp_path):
    done = run_pytest(tmp_path, f"{HYPOTHESIS}\n{MARKED}@given()\ndef test_x(rank): pass")
    assert done.returncode == 1, done.stdout
    assert "Each rank would draw other examples: add @settings(derandomize=True)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "suppressed"), [("rank, world_size", ["its scope"]), ("rank, tmp_path", [])]
)
def test_fixtures_of_ranks_need_not_be_made_again_for_each_example(tmp_path, arguments, suppressed):
    (tmp_path / "conftest.py").write_text("""
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    settings = pyfuncitem.function._hypothesis_internal_use_settings
    print("suppressed:", list(settings.suppress_health_check))
    return True
""")
    text = f"{HYPOTHESIS}\n{MARKED}@given(derandomize=True)\ndef test_x({arguments}): pass"
    done = run_pytest(tmp_path, text, "-s")
    assert f"suppressed: {suppressed}" in done.stdout


@pytest.mark.parametrize("option", ["--pdb", "--trace"])
def test_a_debugger_is_refused_in_a_line(tmp_path, option):
    done = run_pytest(tmp_path, f"{MARKED}def test_x(): pass", option)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    [line] = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
    assert f"{option} cannot stop on a rank, and 1 of these tests runs on ranks" in line


def test_a_debugger_works_where_no_test_is_on_ranks(tmp_path):
    assert run_pytest(tmp_path, "def test_x(): pass", "--pdb").returncode == 0
