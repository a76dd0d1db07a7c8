import subprocess
import sys

import pytest

from rankbook.engine.starting import lean


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that takes ``Big`` from its module ``big``; its name."""
    name = f"lean_{tmp_path.name}".replace("-", "_")
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("from .big import Big\nsmall = 1\n")
    (tmp_path / name / "big.py").write_text("class Big: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    for module in [name, f"{name}.big"]:
        sys.modules.pop(module, None)


def test_a_module_that_is_left_out_is_imported_when_it_is_asked_for(package):
    lean.leave_out(package, "big", ("Big",))
    found = sys.modules[package]
    assert found.small == 1
    assert f"{package}.big" not in sys.modules
    assert found.Big is found.big.Big is sys.modules[f"{package}.big"].Big
    with pytest.raises(AttributeError, match="has no attribute 'tiny'"):
        found.tiny  # noqa: B018


def test_nothing_is_left_out_of_a_package_that_is_there(package):
    whole = __import__(package)
    big = whole.Big
    lean.leave_out(package, "big", ("Big",))
    assert whole.Big is big is sys.modules[f"{package}.big"].Big


def test_an_absent_module_can_be_imported_afterwards(package):
    with lean.absent(package), pytest.raises(ImportError):
        __import__(package)
    assert __import__(package).small == 1
    with lean.absent(package):
        assert __import__(package).small == 1


def test_the_controller_imports_neither_numpy_nor_what_starts_clusters():
    code = (
        "import sys, rankbook.cluster.processes.controller; "
        "print({'numpy', 'ipyparallel.cluster', 'torch'} & {*sys.modules})"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "set()\n"
