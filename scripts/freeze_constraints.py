"""Print constraints.txt: the versions installed in the environment that runs this."""

from __future__ import annotations

from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

HEADER = """\
# The versions that rankbook is tested with, for `make env` and everyone who passes
# `-c constraints.txt`. Without them a fresh install takes the newest of everything; for torch
# that can mean several gigabytes of CUDA libraries.
#
# To update: upgrade what you want (`.venv/bin/pip install -U PACKAGE`), run `make test`, then
# `make constraints`. The markers leave alone the Pythons that a version does not support.
"""
OLDEST_PYTHON = Version("3.10")
NOT_OURS = {"pip", "rankbook", "setuptools", "wheel"}


def marker(requires_python: str | None) -> str:
    """Return the marker that hides a version from the Pythons it does not support.

    Args:
        requires_python: The distribution's ``Requires-Python``, if it has one.

    Returns:
        An empty string where the oldest Python that rankbook supports will do.
    """
    bounds = [Version(s.version) for s in SpecifierSet(requires_python or "") if s.operator == ">="]
    oldest = max(bounds, default=OLDEST_PYTHON)
    return f'; python_full_version >= "{oldest}"' if oldest > OLDEST_PYTHON else ""


def constraints() -> list[str]:
    """Return one sorted line for each installed distribution that is not ours."""
    lines = {}
    for dist in distributions():
        name = canonicalize_name(dist.metadata["Name"])
        # A local label as in 2.13.0+cpu names a build, which other machines do not have.
        version = Version(dist.version).public
        lines[name] = f"{name}=={version}{marker(dist.metadata['Requires-Python'])}"
    return [lines[name] for name in sorted(lines.keys() - NOT_OURS)]


if __name__ == "__main__":
    print(HEADER)
    print("\n".join(constraints()))
