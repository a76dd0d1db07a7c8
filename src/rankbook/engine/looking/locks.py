"""Locks that a thread waits for in C: in ``with lock:`` and ``lock.acquire()``.

Such a wait has no Python frame, so the line tells the lock: the thread's instruction has a place in
the source, and the names there have values.
"""

from __future__ import annotations

import ast
import dis
import threading
from functools import lru_cache
from itertools import islice
from linecache import getline
from types import CodeType, FrameType
from typing import Any

__all__ = ["waits_for_lock"]

_BEFORE_WITH = dis.opmap.get("BEFORE_WITH", -1)
_LOCKS = (type(threading.Lock()), type(threading.RLock()))


def waits_for_lock(frame: FrameType) -> bool:
    """Whether a thread whose innermost frame this is waits for a lock, without a timeout."""
    named = _named(frame.f_code, frame.f_lasti)
    lock = _value(named, frame) if named is not None else None
    # Only the repr of an RLock says whether it is held.
    return isinstance(lock, _LOCKS) and repr(lock).startswith("<locked")


@lru_cache(maxsize=256)
def _named(code: CodeType, instruction: int) -> ast.expr | None:
    """The expression of the possible lock that an instruction takes; None if it takes none."""
    if not hasattr(code, "co_positions"):  # Python 3.10
        return _alone_in_its_line(code, instruction)
    # Python 3.11 gives the place of the whole statement to what a ``with`` begins with; the
    # instruction before that has loaded the lock.
    at = instruction // 2 - (code.co_code[instruction] == _BEFORE_WITH)
    found = _expression(code, next(islice(code.co_positions(), at, None)))
    if isinstance(found, ast.Call):
        return _acquired(found)
    return found if isinstance(found, (ast.Name, ast.Attribute)) else None


def _alone_in_its_line(code: CodeType, instruction: int) -> ast.expr | None:
    """The lock that the line of an instruction takes, if it does nothing else."""
    line = max(line for at, line in dis.findlinestarts(code) if at <= instruction)
    text = getline(code.co_filename, line).strip()
    try:
        statements = ast.parse(f"{text} pass" if text.endswith(":") else text).body
    except (SyntaxError, ValueError):
        return None
    match statements:
        case [ast.With(items=[ast.withitem(context_expr=ast.Name() | ast.Attribute() as found)])]:
            return found if text.endswith(":") else None
        case [ast.Expr(value=ast.Call() as call)]:
            return _acquired(call)
    return None


def _acquired(call: ast.Call) -> ast.expr | None:
    """What a call acquires for as long as it takes; None if it does not."""
    if call.args or call.keywords or not isinstance(call.func, ast.Attribute):
        return None
    return call.func.value if call.func.attr == "acquire" else None


def _expression(code: CodeType, place: tuple[int | None, ...]) -> ast.expr | None:
    """The expression at a place in the source; None if it is not one, or spans several lines."""
    line, last, begin, end = place
    if line is None or line != last or begin is None or end is None:
        return None
    text = getline(code.co_filename, line).encode()[begin:end].decode(errors="replace")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None


def _value(named: ast.expr, frame: FrameType) -> Any:
    """The value of names in a frame, found without running user code; None if unknown."""
    if isinstance(named, ast.Name):
        return frame.f_locals.get(named.id, frame.f_globals.get(named.id))
    if not isinstance(named, ast.Attribute):
        return None
    owner = _value(named.value, frame)
    own = getattr(owner, "__dict__", None)
    return own.get(named.attr) if isinstance(own, dict) else None
