"""The environments of ``matrix.py``: which there are, and making one from nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LEGS", "ROOT", "SHOWN", "Leg", "NotHereError", "install", "versions"]

ROOT = Path(__file__).parents[1]

PYTEST = (
    "comm",
    "matplotlib",
    "nbclient",
    "nbconvert",
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "tqdm",
)
"""What the tests and the walk need where the extra ``test`` asks for a newer Jupyter."""

COLAB = ("ipython==7.34.0", "ipykernel==6.17.1", "ipywidgets==7.7.1", "jupyter_client==7.4.9")

SHOWN = ("python", "torch", "ipython", "ipykernel", "ipywidgets", "jupyter_client", "ipyparallel")
"""Whose versions stand in the table."""

_SECONDS = 1800.0
"""That an installation may take."""


@dataclass(frozen=True)
class Leg:
    """One combination of versions."""

    title: str
    python: str
    torch: str
    packages: tuple[str, ...] = ("{root}[test]",)
    """What is installed beside torch; ``{root}`` is the checkout."""
    is_pinned: bool = True
    """Whether constraints.txt says the versions of everything but torch."""


LEGS = {
    "newest": Leg("newest of everything", "3.13", "torch==2.15.0", is_pinned=False),
    "cuda": Leg("a CUDA build", "3.11", "torch==2.14.1"),
    "default": Leg("what `make env` installs", "3.11", "torch==2.13.0"),
    "middle": Leg("Python 3.12", "3.12", "torch==2.11.0"),
    "oldest": Leg("oldest torch, oldest Python", "3.10", "torch==2.9.0"),
    "colab": Leg(
        "Colab's Jupyter", "3.12", "torch==2.11.0", ("{root}", *COLAB, *PYTEST), is_pinned=False
    ),
    "python3.14": Leg("Python 3.14", "3.14", "torch==2.15.0", is_pinned=False),
}


class NotHereError(Exception):
    """A leg cannot be run on this machine; the message says why."""


def interpreter(version: str) -> str:
    """The path of a Python of this version, as ``3.12``."""
    installed = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    for candidate in (f"python{version}", sys.executable, *map(str, sorted(installed))):
        try:
            said = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        if said.stdout.startswith(f"Python {version}."):
            return candidate
    raise NotHereError(f"no Python {version} on this machine")


def install(leg: Leg, folder: Path) -> str:
    """Make the leg's environment; where it is there, only install this checkout into it again.

    Args:
        leg: Whose.
        folder: Which it is, or will be; a file in it says that nothing is missing.

    Returns:
        The path of its Python.

    Raises:
        NotHereError: There is no such Python here, or pip could not install something.
    """
    python, is_whole = folder / "bin" / "python", folder / "is-whole"
    command = [python, "-m", "pip", "install", "-q", "--no-cache-dir", "--progress-bar", "off"]
    if is_whole.exists():
        command += ["--force-reinstall", "--no-deps", ROOT]
    else:
        subprocess.run([interpreter(leg.python), "-m", "venv", "--clear", folder], check=True)
        command += [leg.torch, *(package.format(root=ROOT) for package in leg.packages)]
    if leg.is_pinned:
        pins = folder / "constraints.txt"
        lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        pins.write_text("\n".join(line for line in lines if not line.startswith("torch==")))
        command += ["-c", pins]
    # `make` hands down constraints.txt, which says another version of torch.
    environ = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotHereError(f"pip could not install it: {' '.join(errors)[:300]}")
    is_whole.touch()
    return str(python)


def versions(python: str) -> dict[str, str]:
    """What is installed, by package."""
    code = (
        "import json, platform; from importlib.metadata import version; "
        f"print(json.dumps({{'python': platform.python_version()}} | "
        f"{{n: version(n) for n in {SHOWN[1:]!r}}}))"
    )
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(said.stdout))
