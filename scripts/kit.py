"""Pack rankbook and what it needs beside torch for machines without a network: ``make kit``.

The folder holds wheels for one version of Python on Linux x86-64 and an ``install.sh``. torch, and
what torch brings along, is left out: the machine has its own.

    KIT_PYTHON=3.12 make kit
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[1]
LIMIT = 60_000_000
"""Bytes that a kit may take."""

OF_TORCH = {
    "filelock",
    "fsspec",
    "jinja2",
    "markupsafe",
    "mpmath",
    "networkx",
    "setuptools",
    "sympy",
    "torch",
    "triton",
}
"""What every torch brings along, beside NVIDIA's libraries."""

OLDEST_GLIBC, NEWEST_GLIBC = 5, 35
ROUNDS = 5
"""Times that what the wheels need is looked up: each round finds what the last one brought in."""

INSTALL = Path(__file__).with_name("kit_install.sh")


def markers_of(python: str) -> dict[str, str]:
    """What environment markers say on the machine that the kit is for."""
    environment = {key: str(value) for key, value in default_environment().items()}
    return environment | {
        "extra": "",
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }


def applies(marker: Marker | None, environment: dict[str, str]) -> bool:
    """Whether a requirement with this marker is one on the kit's machine."""
    return marker is None or marker.evaluate(dict(environment))


def requirements_of(wheel: Path, environment: dict[str, str]) -> Iterator[Requirement]:
    """What a wheel needs on the kit's machine, torch's own packages left out."""
    with ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)]
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    for line in metadata.get_all("Requires-Dist") or []:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name not in OF_TORCH and applies(requirement.marker, environment):
            yield requirement


def missing(wheels: Iterable[Path], environment: dict[str, str]) -> set[str]:
    """What the wheels need and none of them is, as pip takes it."""
    wheels = list(wheels)
    there = {parse_wheel_filename(wheel.name)[0] for wheel in wheels}
    needed = (r for wheel in wheels for r in requirements_of(wheel, environment))
    return {
        f"{requirement.name}{requirement.specifier}"
        for requirement in needed
        if canonicalize_name(requirement.name) not in there
    }


def constraints_for(text: str, environment: dict[str, str]) -> str:
    """The tested versions that exist for the kit's Python, markers resolved."""
    kept = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if applies(requirement.marker, environment):
            kept.append(f"{requirement.name}{requirement.specifier}")
    return "\n".join(kept) + "\n"


def pip(*arguments: str) -> None:
    """Run pip of this Python.

    Raises:
        SystemExit: It failed; its last line is the message.
    """
    # Constraints of the caller's are for the caller's Python.
    environment = {k: v for k, v in os.environ.items() if k != "PIP_CONSTRAINT"}
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise SystemExit(f"kit: pip {arguments[0]} failed: {(lines or ['no reason given'])[0]}")


def download(names: Iterable[str], python: str, constraints: Path, folder: Path) -> None:
    """Fetch the wheels of packages, without what they need in turn, for another Python."""
    platforms = ["any", "manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"]
    platforms += [f"manylinux_2_{n}_x86_64" for n in range(OLDEST_GLIBC, NEWEST_GLIBC)]
    targets = [word for name in platforms for word in ("--platform", name)]
    target = ["--python-version", python, "--implementation", "cp", *targets]
    chosen = ["--no-deps", "--only-binary=:all:", "-c", str(constraints), "-d", str(folder)]
    pip("download", "--quiet", *target, *chosen, *sorted(names))


def pack(python: str, folder: Path) -> int:
    """Write the kit; return its size in bytes.

    Raises:
        SystemExit: Something cannot be had for that Python, or the kit is too large.
    """
    environment = markers_of(python)
    wheels = folder / "wheels"
    shutil.rmtree(folder, ignore_errors=True)
    wheels.mkdir(parents=True)
    pip("wheel", "--quiet", "--no-deps", "-w", str(wheels), str(ROOT))
    with tempfile.TemporaryDirectory() as scratch:
        constraints = Path(scratch, "constraints.txt")
        constraints.write_text(constraints_for((ROOT / "constraints.txt").read_text(), environment))
        names = {"pip"}  # a bare machine may have a Python without it
        for _ in range(ROUNDS):
            names |= missing(wheels.glob("*.whl"), environment)
            if not names:
                break
            download(names, python, constraints, wheels)
            names = set()
    if names := missing(wheels.glob("*.whl"), environment):
        raise SystemExit(f"kit: still missing after {ROUNDS} rounds: {', '.join(sorted(names))}")
    script = folder / "install.sh"
    script.write_text(INSTALL.read_text().replace("@PYTHON@", python))
    script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > LIMIT:
        raise SystemExit(f"kit: {size / 1e6:.0f} MB, more than the {LIMIT / 1e6:.0f} allowed")
    return size


def main() -> None:
    """Read the options and pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--python",
        default=os.environ.get("KIT_PYTHON") or f"{sys.version_info[0]}.{sys.version_info[1]}",
        help="version of the machine's Python, such as 3.12 (default: KIT_PYTHON, or this one's)",
    )
    parser.add_argument("--out", type=Path, help="folder (default: build/kit-pyVERSION)")
    options = parser.parse_args()
    if not re.fullmatch(r"3\.\d+", options.python):
        raise SystemExit(f"kit: {options.python!r} is no version of Python: write 3.12, say")
    folder = options.out or ROOT / "build" / f"kit-py{options.python}"
    size = pack(options.python, folder)
    count = len(list((folder / "wheels").glob("*.whl")))
    print(f"{folder}: {count} wheels for Python {options.python}, {size / 1e6:.1f} MB")
    print(f"On the machine: {folder.name}/install.sh, then python -m rankbook.selftest")


if __name__ == "__main__":
    main()
