"""Boards on which ranks post their next calls for the others to read, without waiting.

On one host a board is a file in memory that the others map: posting copies eight bytes, and so does
reading. Ranks on several hosts post in the store in which they met.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rankbook.calls.records import Group

__all__ = ["PASSED", "FileBoard", "StoreBoard"]

PASSED = -1
"""Stands for an old call that is no longer known, because the rank has called many since."""

_GROUPS, _RING = 512, 256
_HEADER = 16
_COUNTS_AT = _HEADER + 8 * _GROUPS
_RINGS_AT = _COUNTS_AT + 8 * _GROUPS
_SIZE = _RINGS_AT + 8 * _RING * _GROUPS
_WORD = struct.Struct("<Q")
_FULL = 1


class FileBoard:
    """Boards of ranks of one host: a table of groups, each with a ring of its latest calls.

    Args:
        pattern: Path of the files; ``{}`` stands for the rank.
        rank: This rank.

    Raises:
        OSError: Its file cannot be made.
    """

    def __init__(self, pattern: str, rank: int) -> None:
        self._pattern = pattern
        self._rank = rank
        self._path = Path(pattern.format(rank))
        self._own = _made(self._path)
        self._used = 0
        self._places: dict[Group, int | None] = {}
        self._ids: dict[Group, bytes] = {}
        self._others: dict[int, mmap.mmap] = {}
        self._found: dict[tuple[int, bytes], int] = {}

    def post(self, group: Group, number: int, key: int) -> None:
        """Post the next call of this rank; one thread at a time for each group."""
        place = self._places.get(group, -1)
        if place == -1:
            place = self._places[group] = self._take(group)
        if place is not None:
            ring = _RINGS_AT + 8 * (_RING * place + number % _RING)
            _WORD.pack_into(self._own, ring, key)
            # Last, because a reader that sees the count reads the ring.
            _WORD.pack_into(self._own, _COUNTS_AT + 8 * place, number)

    def read(self, rank: int, group: Group, number: int) -> int | None:
        """What another rank has posted; None: nothing yet."""
        memory = self._others.get(rank) or self._map(rank)
        if memory is None:
            return None
        name = self._ids.get(group) or self._name(group)
        place = self._found.get((rank, name))
        if place is None:
            at = memory.find(name, _HEADER, _COUNTS_AT)
            if at < 0:
                return PASSED if memory[0] == _FULL else None
            place = self._found[rank, name] = (at - _HEADER) // 8
        if _WORD.unpack_from(memory, _COUNTS_AT + 8 * place)[0] < number:
            return None
        key: int = _WORD.unpack_from(memory, _RINGS_AT + 8 * (_RING * place + number % _RING))[0]
        latest = _WORD.unpack_from(memory, _COUNTS_AT + 8 * place)[0]
        return key if latest - number < _RING - 1 else PASSED

    def close(self) -> None:
        """Remove this rank's file; the others may still read it."""
        with suppress(OSError):  # it was never made, or is removed already
            self._path.unlink()

    def _take(self, group: Group) -> int | None:
        """Give a group a place in the table; None if the table is full."""
        if self._used == _GROUPS:
            self._own[0] = _FULL
            return None
        place, self._used = self._used, self._used + 1
        at = _HEADER + 8 * place
        self._own[at : at + 8] = self._name(group)
        return place

    def _name(self, group: Group) -> bytes:
        self._ids[group] = name = _id_of(group)
        return name

    def _map(self, rank: int) -> mmap.mmap | None:
        try:
            descriptor = os.open(self._pattern.format(rank), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # that rank has made none yet
            return None
        try:
            if os.fstat(descriptor).st_size < _SIZE:
                return None
            self._others[rank] = mmap.mmap(descriptor, _SIZE, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        return self._others[rank]


class StoreBoard:
    """Boards of ranks of several hosts: keys in their store.

    Args:
        store: The store in which all ranks of the session meet.
        rank: This rank.
    """

    def __init__(self, store: Any, rank: int) -> None:
        self._store = store
        self._rank = rank
        self._posted: dict[Group, list[str]] = {}

    def post(self, group: Group, number: int, key: int) -> None:
        """Post the next call of this rank."""
        name = self._key(self._rank, group, number)
        self._store.set(name, str(key))
        posted = self._posted.setdefault(group, [])
        posted.append(name)
        if len(posted) > _RING:
            # Others that still ask get an answer, without the call itself.
            self._store.set(posted.pop(0), str(PASSED))

    def read(self, rank: int, group: Group, number: int) -> int | None:
        """What another rank has posted; None: nothing yet."""
        key = self._key(rank, group, number)
        return int(self._store.get(key)) if self._store.check([key]) else None

    def close(self) -> None:
        """Do nothing: the store goes with the group."""

    def _key(self, rank: int, group: Group, number: int) -> str:
        return f"check/{_id_of(group).hex()}/{rank}/{number}"


def _id_of(group: Group) -> bytes:
    identity: Sequence[object] = (group.generation, group.key, group.ranks)
    return hashlib.blake2b(repr(identity).encode(), digest_size=8).digest()


def _made(path: Path) -> mmap.mmap:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    path.unlink(missing_ok=True)
    descriptor = os.open(path, flags, 0o600)
    try:
        os.truncate(descriptor, _SIZE)
        return mmap.mmap(descriptor, _SIZE)
    finally:
        os.close(descriptor)
