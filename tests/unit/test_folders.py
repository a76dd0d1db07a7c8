"""A disk that is full is said with its folder, and what to do."""

from __future__ import annotations

import errno
import os
import tempfile

import pytest

from rankbook import folders


def failed(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "error",
    [
        failed(errno.ENOSPC),
        failed(errno.EDQUOT),
        RuntimeError("put: No space left on device (C++)"),
    ],
)
def test_the_folder_whose_disk_is_full_is_named(tmp_path, error):
    free = {str(tmp_path): 0, tempfile.gettempdir(): 2**30}
    said = folders.where_full(error, {"IPYTHONDIR": tmp_path}, lambda path: free[str(path)])
    assert said == (
        f"no space is left in {tmp_path}: free some, or set IPYTHONDIR to another folder"
    )


def test_while_no_disk_seems_full_all_folders_are_named(tmp_path):
    said = folders.where_full(failed(errno.EDQUOT), {"IPYTHONDIR": tmp_path}, lambda _: 2**30)
    assert said.startswith(f"no space is left in {tmp_path} or {tempfile.gettempdir()}: ")
    assert said.endswith("set IPYTHONDIR or TMPDIR to another folder")


def test_of_other_errors_nothing_is_said():
    assert folders.where_full(failed(errno.EACCES)) == ""
    assert folders.where_full(ValueError("no")) == ""


def test_a_folder_that_is_gone_has_no_space(tmp_path):
    assert folders.free_space(tmp_path) > 0
    assert folders.free_space(tmp_path / "gone") == 0
