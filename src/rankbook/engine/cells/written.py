"""Completing and closing files that a script has left open, as the end of its process would.

Python writes what a file still holds when the file goes. In a rank the script's names stay, and its
files with them: their last lines would be missing until somebody replaces the names, and might be
written over what the next run of the script has written.
"""

from __future__ import annotations

import bz2
import fcntl
import gc
import gzip
import io
import lzma
import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from types import ModuleType
from typing import Any

__all__ = ["OpenFiles", "close_standard"]

_PLAIN = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
_PACKED = (gzip.GzipFile, bz2.BZ2File, lzma.LZMAFile)
"""Files that are complete only when they are closed."""

_FILES = (*_PLAIN, io.BufferedReader, io.FileIO)


class OpenFiles:
    """The files that were open for writing when this was made."""

    def __init__(self) -> None:
        self._before = _written()

    def complete(self) -> None:
        """Write what the files hold that were opened since."""
        numbers = {number for number, _, _ in _written() - self._before}
        if not numbers:  # looking at all objects takes a tenth of a second
            return
        kinds = (*_PLAIN, *_PACKED)
        # Not isinstance: it asks objects for their class, and some import things then.
        found: list[Any] = [one for one in gc.get_objects() if issubclass(type(one), kinds)]
        for some in (io.TextIOWrapper, _PACKED, _PLAIN):  # each writes into those that follow
            for file in found:
                if isinstance(file, some):
                    with suppress(Exception):  # it is closed, or its disk is full
                        if file.fileno() in numbers:
                            (file.close if isinstance(file, _PACKED) else file.flush)()


def close_standard(names: dict[str, Any]) -> None:
    """Close a script's own files on the standard descriptors: ``os.fdopen(1, "w")``.

    Such a file closes its descriptor when it goes, which could be in the middle of the next run.
    The caller restores the descriptors.

    Args:
        names: The script's, with their values; what these hold is looked at, too.
    """
    own = [_raw(one) for one in (sys.__stdin__, sys.__stdout__, sys.__stderr__)]
    found = [sys.stdin, sys.stdout, sys.stderr, *names.values()]
    for value in [*names.values()]:
        if not isinstance(value, (type, ModuleType)):
            with suppress(Exception):  # a person's objects may be anything
                found += _held(value)
    for file in found:
        with suppress(Exception):  # it is closed
            if issubclass(type(file), _FILES) and file.fileno() in range(3):
                raw = _raw(file)
                if raw.closefd and raw not in own:
                    file.close()


def _held(value: Any) -> Iterable[Any]:
    if issubclass(type(value), dict):
        return [*value.values()]
    return [*(value if type(value) in (list, tuple, set) else vars(value).values())]


def _raw(file: Any) -> Any:
    buffer = getattr(file, "buffer", file)
    return getattr(buffer, "raw", buffer)


def _written() -> set[tuple[int, int, int]]:
    """The descriptors open for writing, with the device and the number of their files."""
    found = set()
    for name in _descriptors():
        number = int(name)
        with suppress(OSError):  # the one with which the folder was read
            state = os.fstat(number)
            mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
            if stat.S_ISREG(state.st_mode) and mode != os.O_RDONLY:
                found.add((number, state.st_dev, state.st_ino))
    return found


def _descriptors() -> list[str]:
    with suppress(OSError):  # this system has none
        return os.listdir("/dev/fd")  # noqa: PTH208 - on Linux a link to /proc/self/fd
    return []
