"""How a session and its engines talk: three message types on ipyparallel's control channel.

A *request* asks one engine for an operation, any number of *events* may follow while it runs
(output of a cell, in order), one *reply* ends it. Everything is JSON inside messages that
ipyparallel signs (and encrypts, where CurveZMQ is on); nothing here is ever unpickled.

A separate thread answers the control channel, so an engine whose main thread is busy, or stuck in a
collective, still answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["EVENTS", "REPLY", "REQUEST", "as_json", "header_of", "is_ours"]

REQUEST = "rankbook_request"
"""Content: ``{"op": name, "args": {...}}``."""

EVENTS = "rankbook_events"
"""Content: ``{"events": [[kind, ...], ...]}``, in the order in which they happened."""

REPLY = "rankbook_reply"
"""Content: ``{"status": "ok", "value": ...}`` or ``{"status": "error", "error": {...}}``."""

_DELIMITER = b"<IDS|MSG>"
_MARK = b'"rankbook_'


def as_json(value: Any) -> Any:
    r"""Return a value that JSON and UTF-8 can carry, with ``repr`` in place of what they cannot.

    Half of a surrogate pair in a text becomes its Python escape, ``\ud83d``.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {as_json(str(key)): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return as_json(repr(value))


def header_of(frames: Sequence[Any]) -> bytes:
    """Return the raw header frame of a Jupyter message, or nothing if there is none.

    Args:
        frames: The multipart message as received (bytes, or frames with ``.bytes``).
    """
    raw = [f if isinstance(f, bytes) else f.bytes for f in frames[:8]]
    try:
        return raw[raw.index(_DELIMITER) + 2]
    except (ValueError, IndexError):
        return b""


def is_ours(frames: Sequence[Any]) -> bool:
    """Return whether a message is one of ours, without unpacking it.

    A message cannot be unpacked twice: a session refuses a signature that it has seen before.
    """
    return _MARK in header_of(frames)
