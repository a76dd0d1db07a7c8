"""Where the file of a process's last calls lies, and who removes it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from rankbook import lastcalls


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where all files lie in this test."""
    monkeypatch.setattr(lastcalls, "_IN_MEMORY", tmp_path)
    return tmp_path / f"rankbook-{os.getuid()}"


def ended_pid():
    """The pid of a process that has just ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_file_of_the_last_calls_lies_where_its_owner_alone_can_read(folder):
    path = lastcalls.new_file("a-cluster")
    assert path == folder / f"a-cluster-{os.getpid()}.calls"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_that_others_can_read_is_not_used(folder):
    folder.mkdir(mode=0o755)
    with pytest.raises(PermissionError, match="not a folder that only you can read"):
        lastcalls.new_file("a-cluster")


def test_a_link_is_not_followed(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        lastcalls.new_file("a-cluster")


def test_files_of_processes_that_are_gone_are_removed(folder):
    lastcalls.new_file("a-cluster").touch()
    (folder / f"other-{ended_pid()}.calls").touch()
    (folder / "something-else").touch()
    lastcalls.new_file("a-cluster")
    assert sorted(path.name for path in folder.iterdir()) == [
        f"a-cluster-{os.getpid()}.calls",
        "something-else",
    ]


def test_with_a_cluster_its_files_go_and_no_others(folder):
    lastcalls.new_file("a").touch()
    lastcalls.new_file("a-b").touch()
    lastcalls.remove("a")
    assert [path.name for path in folder.iterdir()] == [f"a-b-{os.getpid()}.calls"]
    lastcalls.remove("a-b")
    assert not folder.exists()
    lastcalls.remove("a-b")


def test_without_a_file_nothing_is_known(tmp_path):
    assert lastcalls.read(tmp_path / "none") is None
