"""Running clusters of this user, kept or not, and their owners."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from rankbook.cluster.keeping.kept import all_kept

__all__ = ["Owner", "Running", "all_running", "runs_kernel"]

_CLIENT = "ipcontroller-{}-client.json"
_KERNEL = {"ipykernel", "ipykernel_launcher", "ipykernel_launcher.py"}
"""Modules and files that run a kernel, where SIGINT ends a cell. It may end other processes."""


@dataclass(frozen=True)
class Owner:
    """A process whose session uses a cluster."""

    pid: int
    command: str
    folder: str = ""
    is_kernel: bool = False
    """Whether a SIGINT ends its cell, not the process."""

    def __str__(self) -> str:
        what = "a notebook's kernel" if self.is_kernel else self.command
        return f"{what} (pid {self.pid}{self.folder and f' in {self.folder}'})"


@dataclass(frozen=True)
class Running:
    """A running cluster."""

    name: str
    """Its id, by which ``%dist_init --cluster-id`` joins it."""
    host: str
    """The host of its controller."""
    connection_file: str
    """The file from which clients learn how to reach its controller."""
    since: float
    """Seconds since 1970."""
    is_kept: bool = False
    """Whether it stays when its notebook ends."""
    users: tuple[str, ...] = ()
    """The users of a kept cluster: pid and folder of each notebook."""
    owners: tuple[Owner, ...] = ()
    """The live processes of this host that use it; empty if none does."""


def all_running(folders: Sequence[Path]) -> list[Running]:
    """The clusters that are noted in some folders ``security``, oldest first.

    ipyparallel notes those that it started, with the process of their controller; one whose
    controller has ended on this host is left out.
    """
    kept = {each.name: each for each in all_kept(folders)}
    found = []
    for note in sorted(path for folder in folders for path in folder.glob("cluster-*.json")):
        try:
            cluster = json.loads(note.read_text())
            name, pid = cluster["cluster"]["cluster_id"], cluster["controller"]["state"]["pid"]
            controller = psutil.Process(pid)
            begun, parent = controller.create_time(), controller.ppid()
            noted = note.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):  # its controller is gone
            continue
        path = note.with_name(_CLIENT.format(name))
        if not path.exists() or begun > noted + 1:  # the pid now belongs to another process
            continue
        if name in kept:  # its users announce themselves
            users = kept[name].users or ()
            pids = [int(user.split()[1]) for user in users]
        else:  # its controller ends with the process that started it
            users, pids = (), [parent]
        owners = tuple(owner for owner in map(_owner, pids) if owner is not None)
        host = socket.gethostname()
        found.append(Running(name, host, str(path), begun, name in kept, users, owners))
    return sorted(found, key=lambda each: each.since)


def _owner(pid: int) -> Owner | None:
    try:
        process = psutil.Process(pid)
        words, folder = [word for word in process.cmdline() if word], process.cwd()
    except psutil.Error:
        return None
    return Owner(pid, " ".join(words), folder, runs_kernel(words))


def runs_kernel(words: Sequence[str]) -> bool:
    """Whether a command line runs a notebook's kernel: ``python -m ipykernel_launcher``."""
    # Options of the interpreter may precede it: -Xfrozen_modules=off, in VS Code.
    first = next((word for word in words[1:] if not word.startswith("-")), "")
    return Path(first).name in _KERNEL
