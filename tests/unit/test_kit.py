"""What a kit for machines without a network holds, as far as no network is needed to tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import kit
import pytest

ROOT = Path(kit.__file__).parents[1]


def wheel(folder, name, *needs):
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
        lines += [f"Requires-Dist: {need}" for need in needs]
        archive.writestr(f"{name}-1.0.dist-info/METADATA", "\n".join(lines))
    return path


def test_what_the_wheels_need_and_are_not_is_missing(tmp_path):
    wheels = [wheel(tmp_path, "a", "b>=2", "Big_C"), wheel(tmp_path, "big_c")]
    assert kit.missing(wheels, kit.markers_of("3.12")) == {"b>=2"}


def test_torch_and_what_it_brings_is_left_out(tmp_path):
    wheels = [wheel(tmp_path, "a", "torch>=2.8", "sympy", "Jinja2>=3")]
    assert kit.missing(wheels, kit.markers_of("3.12")) == set()


@pytest.mark.parametrize(("python", "needed"), [("3.10", {"exceptiongroup"}), ("3.12", set())])
def test_markers_speak_of_the_kits_python(tmp_path, python, needed):
    wheels = [wheel(tmp_path, "a", 'exceptiongroup; python_version < "3.11"')]
    assert kit.missing(wheels, kit.markers_of(python)) == needed


@pytest.mark.parametrize("marker", ['sys_platform == "win32"', 'extra == "docs"'])
def test_what_another_system_or_an_extra_needs_is_left_out(tmp_path, marker):
    wheels = [wheel(tmp_path, "a", f"b; {marker}")]
    assert kit.missing(wheels, kit.markers_of("3.12")) == set()


def test_constraints_are_those_of_the_kits_python():
    text = '# why\n\nnumpy==2.4.6; python_full_version >= "3.11"\npsutil==7.2.2\n'
    assert kit.constraints_for(text, kit.markers_of("3.12")) == "numpy==2.4.6\npsutil==7.2.2\n"
    assert kit.constraints_for(text, kit.markers_of("3.10")) == "psutil==7.2.2\n"


def test_the_tested_versions_can_be_read():
    text = (ROOT / "constraints.txt").read_text()
    assert "ipyparallel==" in kit.constraints_for(text, kit.markers_of("3.12"))


def install(script, *arguments, python=sys.executable):
    return subprocess.run(
        ["/bin/sh", str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)},
    )


@pytest.fixture
def script(tmp_path):
    """Writes the install script of a kit for one Python."""

    def write(python):
        path = tmp_path / "install.sh"
        path.write_text(kit.INSTALL.read_text().replace("@PYTHON@", python))
        return path

    return write


def test_a_kit_for_another_python_says_so_in_one_line(script, tmp_path):
    done = install(script("3.99"), tmp_path / "env")
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert done.returncode == 1
    assert done.stderr == (
        f"This kit is for Python 3.99 and {sys.executable} is {here}: "
        f"make one with KIT_PYTHON={here} make kit.\n"
    )
    assert not (tmp_path / "env").exists()


def test_a_python_without_torch_is_refused_in_one_line(script, tmp_path):
    bare = tmp_path / "bare"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True, timeout=60
    )
    python = bare / "bin" / "python"
    done = install(
        script(f"{sys.version_info[0]}.{sys.version_info[1]}"), tmp_path / "env", python=python
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{python} has no torch: set PYTHON to the one that has.\n"


def test_an_option_that_there_is_not_shows_the_usage(script):
    done = install(script("3.12"), "--nonsense")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_a_version_that_is_none_is_refused():
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "kit.py"), "--python", "three"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "kit: 'three' is no version of Python: write 3.12, say\n"
