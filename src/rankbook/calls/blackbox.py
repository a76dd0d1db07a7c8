"""The last calls of a process, in a file that outlives it.

Two rings in mapped memory: of calls, and of the lines that they come from. To write there is to
copy some bytes, and what was copied is there for others however the process ends, also by SIGKILL
or in the middle of C++.
"""

from __future__ import annotations

import mmap
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankbook.models.calls import Call, Place

if TYPE_CHECKING:
    from rankbook.calls.records import Record, Site

__all__ = ["BlackBox", "LastCalls", "read"]

_MAGIC = b"rankbook calls 1"
_HEADER = struct.Struct("<16sQ")
_SLOT = struct.Struct("<QBxxxIQQQ6i24s16s")
_SITE = struct.Struct("<QII?24s16s32s32s96s96s")
_HEADER_SIZE, _SLOT_SIZE, _SITE_SIZE = 64, 128, 320
_SLOTS, _SITES = 64, 128
_SITES_AT = _HEADER_SIZE + _SLOTS * _SLOT_SIZE
_SIZE = _SITES_AT + _SITES * _SITE_SIZE
_ENDED = struct.Struct("<Q")
_STATE_AT, _ENDED_AT = 8, 24
_NONE = -(2**31)

_ISSUED, _AWAITED, _DONE, _FAILED = range(1, 5)


class _Encoded(dict[Any, bytes]):
    """Names of dtypes, as bytes."""

    def __missing__(self, name: Any) -> bytes:
        self[name] = encoded = str(name).removeprefix("torch.").encode()
        return encoded


_ENCODED = _Encoded()


@dataclass(frozen=True)
class LastCalls:
    """What a file says of the process that wrote it."""

    pid: int
    calls: tuple[Call, ...]
    """Oldest first. Of each it is not told when it returned, nor the ranks; and its tensors are
    told as one, with all their elements."""
    awaited: int | None = None
    """Id of the latest call that was waited for; None: none was."""


class BlackBox:
    """Writes calls; one per process, for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Make the file.

        Args:
            path: Where; on a file system in memory (``/dev/shm``) nothing is written to a disk.

        Raises:
            OSError: It cannot be made.
        """
        self.path = path
        self._last = 0
        self._serial = 0
        # It names lines of a person's code: readable for this person alone.
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            os.truncate(descriptor, _SIZE)
            self._memory = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        _HEADER.pack_into(self._memory, 0, _MAGIC, os.getpid())

    def issued(self, record: Record) -> None:
        """Write a call that is about to be issued."""
        self._last, site, group = record.id, record.site, record.group
        if self._serial - site.serial >= _SITES or not site.serial:
            self._write(site)
        _SLOT.pack_into(
            self._memory,
            _HEADER_SIZE + record.id % _SLOTS * _SLOT_SIZE,
            record.id,
            _ISSUED,
            site.serial,
            record.issued,
            0,
            record.elements,
            record.number,
            _NONE if record.peer is None else record.peer,
            _NONE if record.tag is None else record.tag,
            _NONE if record.root is None else record.root,
            _NONE if record.cell is None else record.cell,
            group.generation,
            group.encoded,
            _ENCODED[record.dtypes[0]] if record.dtypes else b"",
        )

    def awaited(self, record: Record) -> None:
        """Note that a thread waits for it."""
        if self._last - record.id < _SLOTS:  # no later call has its slot
            self._memory[_HEADER_SIZE + record.id % _SLOTS * _SLOT_SIZE + _STATE_AT] = _AWAITED

    def ended(self, record: Record) -> None:
        """Note that it is done, or failed."""
        if self._last - record.id < _SLOTS:
            at = _HEADER_SIZE + record.id % _SLOTS * _SLOT_SIZE
            self._memory[at + _STATE_AT] = _FAILED if record.failed else _DONE
            _ENDED.pack_into(self._memory, at + _ENDED_AT, record.completed)

    def _write(self, site: Site) -> None:
        """Write what is the same for all calls of a line; it takes the place of an older one."""
        self._serial = site.serial = self._serial + 1
        spot, cell = site.spot, site.cell
        _SITE.pack_into(
            self._memory,
            _SITES_AT + site.serial % _SITES * _SITE_SIZE,
            site.serial,
            spot.place.line if spot else 0,
            cell.place.line if cell else 0,
            spot is not None and spot.place.is_cell,
            site.op.encode(),
            site.reduce_op.encode(),
            site.function.encode(),
            spot.place.scope.encode()[:32] if spot else b"",
            # What tells most of a path is at its end.
            spot.place.file.encode()[-96:] if spot else b"",
            cell.place.file.encode()[-96:] if cell else b"",
        )

    def close(self) -> None:
        """Forget the file; remove it, too, if it is this process's own."""
        mine = _HEADER.unpack_from(self._memory)[1] == os.getpid()
        self._memory.close()
        if mine:
            with suppress(OSError):
                self.path.unlink()

    def detach(self) -> None:
        """Forget the file, in a child that shares it with its parent."""
        self._memory.close()


def read(path: Path) -> LastCalls | None:
    """Read what a process has written, whether it lives or not.

    Returns:
        None where there is no such file, or it is none of these.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) < _SIZE or not content.startswith(_MAGIC):
        return None
    sites = {
        site[0]: site[1:]
        for index in range(_SITES)
        if (site := _SITE.unpack_from(content, _SITES_AT + index * _SITE_SIZE))[0]
    }
    slots = [
        _SLOT.unpack_from(content, _HEADER_SIZE + index * _SLOT_SIZE) for index in range(_SLOTS)
    ]
    used = sorted(slot for slot in slots if slot[1])
    awaited = [slot[0] for slot in used if slot[1] == _AWAITED]
    return LastCalls(
        _HEADER.unpack_from(content)[1],
        tuple(_call(slot, sites[slot[2]]) for slot in used if slot[2] in sites),
        awaited[-1] if awaited else None,
    )


def _call(slot: tuple[Any, ...], site: tuple[Any, ...]) -> Call:
    number, state, _, issued, ended, elements = slot[:6]
    nth, peer, tag, root, cell, generation = slot[6:12]
    group, dtype = map(_decoded, slot[12:])
    line, cell_line, is_cell = site[:3]
    op, reduce_op, function, scope, file, cell_file = map(_decoded, site[3:])
    return Call(
        number,
        op,
        function,
        group,
        generation=generation,
        number=nth,
        peer=_or_none(peer),
        tag=_or_none(tag),
        root=_or_none(root),
        reduce_op=reduce_op,
        shapes=((elements,),) if dtype else (),
        dtypes=(dtype,) if dtype else (),
        cell=_or_none(cell),
        place=Place(file, line, scope, is_cell) if file else None,
        called_from=Place(cell_file, cell_line, is_cell=True) if cell_file else None,
        issued=issued / 1e9,
        completed=ended / 1e9 if ended else None,
        failed=state == _FAILED,
    )


def _decoded(text: bytes) -> str:
    return text.rstrip(b"\0").decode(errors="replace")


def _or_none(number: int) -> int | None:
    return None if number == _NONE else number
