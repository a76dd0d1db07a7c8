"""Sizes as a user writes them: ``1K:64M``, ``1K:64M:2``, ``4K,1M``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rankbook.errors import InputError

__all__ = ["in_words", "parse"]

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"(\d+)\s*([KMG]?)(?:i?B)?", re.IGNORECASE)
_FACTOR = 4
_LARGEST = 8 << 30


def parse(text: str) -> tuple[int, ...]:
    """Read sizes.

    Args:
        text: ``FROM:TO`` in steps of four times, ``FROM:TO:FACTOR``, or a list. K, M and G are
            1024, 1024**2 and 1024**3 bytes.

    Returns:
        Bytes, ascending.

    Raises:
        InputError: It cannot be read.
    """
    try:
        first, *rest = text.split(":")
        if rest:
            last, by = rest if len(rest) > 1 else (*rest, str(_FACTOR))
            sizes = tuple(_range(_size(first), _size(last), int(by)))
        else:
            sizes = tuple(sorted({_size(each) for each in text.split(",")}))
    except ValueError:
        sizes = ()
    if not sizes or sizes[0] < 4 or sizes[-1] > _LARGEST:  # noqa: PLR2004 - one float32
        raise InputError(
            f"{text!r} is not a size: use 1K:64M, 1K:64M:2 or 4K,1M, from 4 bytes to 8G."
        )
    return sizes


def in_words(nbytes: float) -> str:
    """A size as it is written: ``64 KiB``, ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:  # noqa: PLR2004
            return f"{round(nbytes, 1):g} {unit}"
        nbytes /= 1024
    return f"{round(nbytes, 1):g} GiB"


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return int(match[1]) * _UNITS[match[2].upper()]


def _range(first: int, last: int, factor: int) -> Iterator[int]:
    size = first
    while 0 < size <= last and factor > 1:
        yield size
        size *= factor
