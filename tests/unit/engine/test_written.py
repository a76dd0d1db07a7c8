"""Files that a script leaves open are as complete as after the end of a process."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
from pathlib import Path

import pytest

from rankbook.engine.cells.written import OpenFiles, close_standard


def test_what_open_files_still_hold_is_written(tmp_path):
    files = OpenFiles()
    text, data = (tmp_path / "text").open("w"), (tmp_path / "data").open("wb")
    table = (tmp_path / "table").open("w", newline="")
    text.write("a line\n")
    data.write(b"123")
    csv.writer(table).writerow([1, 2])
    files.complete()
    assert (tmp_path / "text").read_text() == "a line\n"
    assert (tmp_path / "data").read_bytes() == b"123"
    assert (tmp_path / "table").read_text() == "1,2\n"
    text.write("more")  # the names of a script stay
    text.close()
    data.close()
    table.close()


@pytest.mark.parametrize("library", [gzip, bz2, lzma])
@pytest.mark.parametrize("mode", ["wt", "wb"])
def test_packed_files_can_be_read(tmp_path, library, mode):
    files = OpenFiles()
    packed = library.open(tmp_path / "packed", mode)
    packed.write("text" if mode == "wt" else b"text")
    files.complete()
    with library.open(tmp_path / "packed", "rt") as file:
        assert file.read() == "text"
    packed.close()


def test_files_that_were_open_before_are_left_alone(tmp_path):
    with gzip.open(tmp_path / "packed", "wt") as packed, (tmp_path / "text").open("w") as text:
        text.write("a line\n")
        OpenFiles().complete()
        assert not (tmp_path / "text").read_text()
        assert not packed.closed


def test_a_file_that_cannot_be_written_is_passed_over(tmp_path):
    files = OpenFiles()
    full = Path("/dev/full").open("w")  # noqa: SIM115
    text = (tmp_path / "text").open("w")
    full.write("lost")
    text.write("kept")
    files.complete()
    assert (tmp_path / "text").read_text() == "kept"
    text.close()
    with pytest.raises(OSError, match="No space"):
        full.close()


class Tee:
    """As many scripts have one."""

    def __init__(self, file):
        self.file = file


@pytest.mark.parametrize("hold", [lambda one: one, lambda one: [one], lambda one: {"f": one}, Tee])
def test_files_of_a_script_on_standard_descriptors_are_closed_while_they_can_be_restored(hold):
    kept = os.dup(1)
    try:
        mine = os.fdopen(1, "w")
        close_standard({"held": hold(mine)})
        assert mine.closed
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def test_other_files_stay_open(tmp_path):
    mine = (tmp_path / "text").open("w")
    shared = open(1, "w", closefd=False)  # noqa: SIM115 - it does not close the descriptor
    wrapper = io.TextIOWrapper(io.BytesIO())
    close_standard({"mine": mine, "shared": shared, "wrapper": wrapper, "os": os, "Tee": Tee})
    assert not any(file.closed for file in (mine, shared, wrapper))
    mine.close()
