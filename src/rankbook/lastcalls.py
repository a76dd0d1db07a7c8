"""The file of a process's last calls, which outlives the process: its place and its content.

The process writes it through mapped memory (``calls/blackbox.py``). It has two rings: of calls, and
of the lines that issued them. The calls of a process before its end, by SIGKILL or in the middle of
C++, are read here, without torch. Two more rings hold its last output
(``engine/cells/lastwords.py``), which it may not have sent. Output that bypassed Python is in its
log; the file says how much of the log was sent.

The file is in a folder that only its owner can read, on an in-memory file system where there is
one, so that nothing is written to disk. Its name begins with the cluster's id, and the
process that ends the cluster removes it. If everything was killed at once, the next process of the
same user removes what is left.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

# The models are imported where they are used: the controller only removes files, and starts faster.
if TYPE_CHECKING:
    from rankbook.models.calls import Call, LastCalls, LastOutput

__all__ = ["file_of", "new_file", "read", "remove"]

MAGIC = b"rankbook calls 1"
HEADER = struct.Struct("<16sQ")
SLOT = struct.Struct("<QBxxxIQQQ6i24s16s")
SITE = struct.Struct("<QII?24s16s32s32s96s96s")
HEADER_SIZE, SLOT_SIZE, SITE_SIZE = 64, 128, 320
SLOTS, SITES = 64, 128
SITES_AT = HEADER_SIZE + SLOTS * SLOT_SIZE
WORDS = struct.Struct("<qQQ")
WORDS_HEADER, WORDS_ROOM = 64, 131072
WORDS_AT = {
    stream: SITES_AT + SITES * SITE_SIZE + index * (WORDS_HEADER + WORDS_ROOM)
    for index, stream in enumerate(("stdout", "stderr"))
}
LOG = struct.Struct("<QQ256s")
LOG_AT = WORDS_AT["stderr"] + WORDS_HEADER + WORDS_ROOM
SIZE = LOG_AT + LOG.size
ENDED = struct.Struct("<Q")
STATE_AT, ENDED_AT = 8, 24
_LOG_TAIL = 65536
"""How many bytes of a log are searched for a process's last lines."""
NONE = -(2**31)

ISSUED, AWAITED, DONE, FAILED = range(1, 5)

_CRASH = b"Fatal Python error"
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of our own is used there
_SUFFIX = ".calls"
_TAIL = re.compile(rf"-(\d+){re.escape(_SUFFIX)}$")


def new_file(cluster: str) -> Path:
    """The path for this process's last calls; removes the files of processes that are gone.

    Args:
        cluster: Id of its cluster; empty if unknown.

    Raises:
        OSError: There is no folder that only this user can read, and none can be made.
    """
    folder = _folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder that only you can read.")
    for path in _files(folder):
        with suppress(OSError):  # another process does the same
            if not _lives(int(path.name.rpartition("-")[2].removesuffix(_SUFFIX))):
                path.unlink()
    return file_of(cluster, os.getpid())


def file_of(cluster: str, pid: int) -> Path:
    """Where a process of this host may have written what it called last."""
    return _folder() / f"{cluster}-{pid}{_SUFFIX}"


def remove(cluster: str) -> None:
    """Remove the files of a cluster on this host, even while some of it still runs."""
    for path in _files(_folder()):
        if _TAIL.sub("", path.name) == cluster:
            with suppress(OSError):  # its process has removed it
                path.unlink()
    with suppress(OSError):  # other clusters have files there
        _folder().rmdir()


def read(path: Path) -> LastCalls | None:
    """Read what a process wrote, whether it is alive or not.

    Returns:
        None where there is no such file, or it has another format.
    """
    from rankbook.models.calls import LastCalls

    try:
        content = path.read_bytes()
    except OSError:
        return None
    if len(content) < SIZE or not content.startswith(MAGIC):
        return None
    sites = {
        site[0]: site[1:]
        for index in range(SITES)
        if (site := SITE.unpack_from(content, SITES_AT + index * SITE_SIZE))[0]
    }
    slots = [SLOT.unpack_from(content, HEADER_SIZE + index * SLOT_SIZE) for index in range(SLOTS)]
    used = sorted(slot for slot in slots if slot[1])
    awaited = [slot[0] for slot in used if slot[1] == AWAITED]
    return LastCalls(
        HEADER.unpack_from(content)[1],
        tuple(_call(slot, sites[slot[2]]) for slot in used if slot[2] in sites),
        awaited[-1] if awaited else None,
        tuple(_output(content, stream) for stream in WORDS_AT),
        _last_lines(content),
    )


def _folder() -> Path:
    return (_IN_MEMORY if _IN_MEMORY.is_dir() else Path(tempfile.gettempdir())) / (
        f"rankbook-{os.getuid()}"
    )


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if _TAIL.search(path.name)]
    except OSError:
        return []


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return True


def _call(slot: tuple[Any, ...], site: tuple[Any, ...]) -> Call:
    from rankbook.models.calls import Call, Place

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
        failed=state == FAILED,
    )


def _output(content: bytes, stream: str) -> LastOutput:
    from rankbook.models.calls import LastOutput

    at = WORDS_AT[stream]
    cell, characters, size = WORDS.unpack_from(content, at)
    ring = content[at + WORDS_HEADER : at + WORDS_HEADER + WORDS_ROOM]
    oldest = size % WORDS_ROOM
    text = ring[:size] if size <= WORDS_ROOM else ring[oldest:] + ring[:oldest]
    # The first character may be half overwritten.
    words = text.decode(errors="ignore")
    if stream == "stdout":
        past_python = _logged(content)
        words, characters = words + past_python, characters + len(past_python)
    return LastOutput(stream, cell, characters, words)


def _logged(content: bytes) -> str:
    """The part of the log that was not sent, without Python's crash dump."""
    sent, _, path = LOG.unpack_from(content, LOG_AT)
    data = _read(path, sent, WORDS_ROOM) or b""
    return data.partition(_CRASH)[0].decode(errors="replace")


def _last_lines(content: bytes) -> tuple[str, ...] | None:
    """The last lines of the log since the latest cell began or ended; None if it has no name."""
    _, begun, path = LOG.unpack_from(content, LOG_AT)
    data = _read(path, begun)
    if data is None:
        return None
    lines = data[-_LOG_TAIL:].decode(errors="replace").split("\n")
    return tuple(line for line in lines if line.strip())


def _read(path: bytes, start: int, most: int = -1) -> bytes | None:
    """Some bytes of a file; None if it does not exist."""
    if not (name := path.rstrip(b"\0")):
        return None
    try:
        with open(name, "rb") as file:  # noqa: PTH123 - its name is bytes
            file.seek(start)
            return file.read(most)
    except OSError:
        return None


def _decoded(text: bytes) -> str:
    return text.rstrip(b"\0").decode(errors="replace")


def _or_none(number: int) -> int | None:
    return None if number == NONE else number
