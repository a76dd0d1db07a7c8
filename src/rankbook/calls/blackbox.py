"""Writing the last calls of a process into a file that outlives it.

Writing into mapped memory copies some bytes, which survive however the process ends, even by
SIGKILL or in the middle of C++. ``rankbook.lastcalls`` reads them.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankbook.lastcalls import (
    AWAITED,
    DONE,
    ENDED,
    ENDED_AT,
    FAILED,
    HEADER,
    HEADER_SIZE,
    ISSUED,
    MAGIC,
    NONE,
    SITE,
    SITE_SIZE,
    SITES,
    SITES_AT,
    SIZE,
    SLOT,
    SLOT_SIZE,
    SLOTS,
    STATE_AT,
)

if TYPE_CHECKING:
    from rankbook.calls.records import Record, Site

__all__ = ["BlackBox"]


class _Encoded(dict[Any, bytes]):
    """Names of dtypes, as bytes."""

    def __missing__(self, name: Any) -> bytes:
        self[name] = encoded = str(name).removeprefix("torch.").encode()
        return encoded


_ENCODED = _Encoded()


class BlackBox:
    """Writes calls; one per process, for one thread at a time.

    Attributes:
        path: The path of the file.
        memory: Its content.
    """

    def __init__(self, path: Path) -> None:
        """Create the file.

        Args:
            path: Its path; in ``/dev/shm``, which is in memory, nothing is written to disk.

        Raises:
            OSError: It cannot be created.
        """
        self.path = path
        self._last = 0
        self._serial = 0
        # It names lines of user code: readable for this user alone.
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            # Reserve all of it now: a write to a full file system would end the process with
            # SIGBUS.
            os.posix_fallocate(descriptor, 0, SIZE)
            self.memory = mmap.mmap(descriptor, SIZE)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        HEADER.pack_into(self.memory, 0, MAGIC, os.getpid())

    def issued(self, record: Record) -> None:
        """Write a call that is about to be issued."""
        self._last, site, group = record.id, record.site, record.group
        if self._serial - site.serial >= SITES or not site.serial:
            self._write(site)
        SLOT.pack_into(
            self.memory,
            HEADER_SIZE + record.id % SLOTS * SLOT_SIZE,
            record.id,
            ISSUED,
            site.serial,
            record.issued,
            0,
            record.elements,
            record.number,
            NONE if record.peer is None else record.peer,
            NONE if record.tag is None else record.tag,
            NONE if record.root is None else record.root,
            NONE if record.cell is None else record.cell,
            group.generation,
            group.encoded,
            _ENCODED[record.dtypes[0]] if record.dtypes else b"",
        )

    def forget(self) -> None:
        """Forget what was issued so far: calls are counted from 1 again."""
        size = SLOTS * SLOT_SIZE
        self.memory[HEADER_SIZE : HEADER_SIZE + size] = bytes(size)

    def awaited(self, record: Record) -> None:
        """Note that a thread waits for it."""
        if self._last - record.id < SLOTS:  # no later call has its slot
            self.memory[HEADER_SIZE + record.id % SLOTS * SLOT_SIZE + STATE_AT] = AWAITED

    def ended(self, record: Record) -> None:
        """Note that it is done, or failed."""
        if self._last - record.id < SLOTS:
            at = HEADER_SIZE + record.id % SLOTS * SLOT_SIZE
            self.memory[at + STATE_AT] = FAILED if record.failed else DONE
            ENDED.pack_into(self.memory, at + ENDED_AT, record.completed)

    def _write(self, site: Site) -> None:
        """Write the common part of all calls of a line, in the place of an older one."""
        self._serial = site.serial = self._serial + 1
        spot, cell = site.spot, site.cell
        SITE.pack_into(
            self.memory,
            SITES_AT + site.serial % SITES * SITE_SIZE,
            site.serial,
            spot.place.line if spot else 0,
            cell.place.line if cell else 0,
            spot is not None and spot.place.is_cell,
            site.op.encode(),
            site.reduce_op.encode(),
            site.function.encode(),
            spot.place.scope.encode()[:32] if spot else b"",
            # The end of a path tells most.
            spot.place.file.encode()[-96:] if spot else b"",
            cell.place.file.encode()[-96:] if cell else b"",
        )

    def close(self) -> None:
        """Forget the file; also remove it, if it is this process's own."""
        is_own = HEADER.unpack_from(self.memory)[1] == os.getpid()
        self.memory.close()
        if is_own:
            with suppress(OSError):  # it is removed already
                self.path.unlink()

    def detach(self) -> None:
        """Forget the file, in a child that shares it with its parent."""
        self.memory.close()
