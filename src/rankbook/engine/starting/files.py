"""Files of a cluster: logs of engines, named on the notebook's host and unnamed elsewhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from rankbook import folders, lastcalls

__all__ = [
    "OWN",
    "last_calls",
    "last_lines",
    "new_profile",
    "open_named",
    "open_unnamed",
    "remove_all",
    "remove_profile",
]

OWN = "/proc/self/fd/1"
"""The path by which a process opens its own log, if that has no name."""

_TAIL = 65536
"""How many bytes of a log are read after an engine's end."""


def open_named(path: str) -> int:
    """Open a log to append to it; it stays until the session removes it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def open_unnamed() -> int:
    """Open a file that disappears when all processes that have it open have ended.

    It is in memory where no temporary folder is writable, for example because the disk is full.
    """
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"\n")  # a full disk creates the file, but cannot store data
            file.flush()
            return os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDWR | os.O_APPEND)
    except OSError:
        return os.memfd_create("rankbook-engine")


def last_lines(log: int) -> list[str]:
    """The last non-empty lines of a log, oldest first.

    Args:
        log: Its descriptor.
    """
    size = os.fstat(log).st_size
    text = os.pread(log, _TAIL, max(0, size - _TAIL)).decode(errors="replace")
    return [line for line in text.split("\n") if line.strip()]


def last_calls(pid: int) -> dict[str, Any] | None:
    """What an engine of this process's cluster called and printed last, in JSON's types."""
    from rankbook.models import to_dict

    found = lastcalls.read(lastcalls.file_of(os.environ.get("IPP_CLUSTER_ID", ""), pid))
    return to_dict(found) if found is not None else None


def remove_all() -> None:
    """Remove the files that this process's cluster left."""
    cluster, profile = os.environ.get("IPP_CLUSTER_ID"), os.environ.get("IPP_PROFILE_DIR")
    if cluster:
        lastcalls.remove(cluster)
        for path in Path(tempfile.gettempdir()).glob(f"{folders.begin_of(cluster)}*"):
            shutil.rmtree(path, ignore_errors=True)
    if cluster and profile:
        for path in Path(profile).glob(f"*/*{cluster}*"):
            with suppress(OSError):  # somebody else has removed it
                path.unlink()


def new_profile() -> str:
    """Make a folder that serves this process as its IPython profile."""
    return tempfile.mkdtemp(prefix=f"rankbook-engine-{os.getpid()}-")


def remove_profile(pid: int) -> None:
    """Remove the folder that a process of this host made with :func:`new_profile`, if it exists."""
    for path in Path(tempfile.gettempdir()).glob(f"rankbook-engine-{pid}-*"):
        shutil.rmtree(path, ignore_errors=True)
