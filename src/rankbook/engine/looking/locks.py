"""Locks that a thread waits for in C: in ``with lock:`` and ``lock.acquire()``.

Such a wait has no Python frame, so the line tells the lock: the thread's instruction has a place in
the source, and the names there have values.

The source is not parsed: in Python 3.11 two threads that parse at a time can fail with SystemError,
and this is called while other threads run what a person wants.
"""

from __future__ import annotations

import dis
import re
import threading
from functools import lru_cache
from itertools import islice
from linecache import getline
from types import CodeType, FrameType
from typing import Any

__all__ = ["waits_for_lock"]

_BEFORE_WITH = dis.opmap.get("BEFORE_WITH", -1)
_LOCKS = (type(threading.Lock()), type(threading.RLock()))

_NAMES = r"([^\W\d]\w*(?:\.[^\W\d]\w*)*)"
_NAMED = re.compile(_NAMES)
_ACQUIRED = re.compile(rf"{_NAMES}\.acquire\(\s*\)")
_ALONE = re.compile(
    rf"(?:with\s+{_NAMES}(?:\s+as\s+[\w.]+)?\s*:|{_NAMES}\.acquire\(\s*\))\s*(?:#.*)?"
)
"""A line that does nothing else than to take a lock."""


def waits_for_lock(frame: FrameType) -> bool:
    """Whether a thread whose innermost frame this is waits for a lock, without a timeout."""
    lock = _value(_named(frame.f_code, frame.f_lasti), frame)
    # Only the repr of an RLock says whether it is held.
    return isinstance(lock, _LOCKS) and repr(lock).startswith("<locked")


@lru_cache(maxsize=256)
def _named(code: CodeType, instruction: int) -> str:
    """The possible lock that an instruction takes, as in ``self.lock``; empty if it takes none."""
    if not hasattr(code, "co_positions"):  # Python 3.10
        return _alone_in_its_line(code, instruction)
    # Python 3.11 gives the place of the whole statement to what a ``with`` begins with; the
    # instruction before that has loaded the lock.
    at = instruction // 2 - (code.co_code[instruction] == _BEFORE_WITH)
    text = _text(code, next(islice(code.co_positions(), at, None)))
    found = _ACQUIRED.fullmatch(text) or _NAMED.fullmatch(text)
    return found[1] if found else ""


def _alone_in_its_line(code: CodeType, instruction: int) -> str:
    """The lock that the line of an instruction takes, if it does nothing else."""
    line = max(line for at, line in dis.findlinestarts(code) if at <= instruction)
    found = _ALONE.fullmatch(getline(code.co_filename, line).strip())
    return found[1] or found[2] if found else ""


def _text(code: CodeType, place: tuple[int | None, ...]) -> str:
    """The source at a place; empty if it spans several lines."""
    line, last, begin, end = place
    if line is None or line != last or begin is None or end is None:
        return ""
    return getline(code.co_filename, line).encode()[begin:end].decode(errors="replace").strip()


def _value(named: str, frame: FrameType) -> Any:
    """The value of names in a frame, found without running user code; None if unknown."""
    first, *others = named.split(".")
    value = frame.f_locals.get(first, frame.f_globals.get(first))
    for name in others:
        own = getattr(value, "__dict__", None)
        value = own.get(name) if isinstance(own, dict) else None
    return value
