"""The working directory, which may be gone; temporary folders; folders whose disk is full."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["begin_of", "free_space", "here", "where_full"]

_LITTLE = 2**18
"""Bytes, far more than our files need; with less space, a write may have failed."""


def here() -> str:
    """The working directory; empty if it is gone."""
    with suppress(OSError):  # it was removed
        return os.getcwd()  # noqa: PTH109 - before every cell, and a path would be made a string
    return ""


def begin_of(cluster_id: str) -> str:
    """How the names of a cluster's temporary folders begin.

    Args:
        cluster_id: Of a cluster that was joined by its connection file it is the file's path.
    """
    return f"rankbook-{Path(cluster_id).name}-"


def free_space(path: str | Path) -> int:
    """How many bytes can be written into a folder; 0 if it is gone."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


def where_full(
    error: BaseException,
    others: Mapping[str, str | Path] | None = None,
    free: Callable[[str | Path], int] = free_space,
) -> str:
    """Say which disk is full, and what to do, if that caused an error; else nothing.

    Args:
        error: The error of a write into the folder for temporary files or into another one.
        others: Further folders that may have been written to, by the variable that names each.
        free: Returns how many bytes can be written into a folder.
    """
    if not any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
        return ""
    folders = {**(others or {}), "TMPDIR": tempfile.gettempdir()}
    full = {name: path for name, path in folders.items() if free(path) < _LITTLE} or folders
    paths = " or ".join(map(str, full.values()))
    return f"no space is left in {paths}: free some, or set {' or '.join(full)} to another folder"
