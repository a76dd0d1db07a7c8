"""Phrases about one call: its number, its root, its tensors."""

from __future__ import annotations

from rankbook.diagnosis.calls import elements, is_p2p, name, slot
from rankbook.models import Collective
from rankbook.words import plural

__all__ = ["given", "keys", "number", "reduces", "root", "shortened", "with_tensors"]

_LONGEST = 100
"""Characters of a line of the user's that are shown."""

_MOST = 3
"""Keys that are listed one by one."""

_FROM = ("broadcast", "scatter", "recv")
_TO = ("reduce", "gather", "send")


def number(call: Collective) -> str:
    """The number of a call in its group, with a space before it; empty if it has none."""
    return f" #{call.seq}" if slot(call) else ""


def root(call: Collective) -> str:
    """The root or the other end of a call, with a space before it; empty if none is known."""
    function = name(call.op)
    if function.startswith("reduce_scatter"):
        return ""
    if function.startswith(_FROM):
        anyone = " from any rank" if is_p2p(call) else ""
        return anyone if call.peer is None else f" from {call.peer}"
    return f" to {call.peer}" if function.startswith(_TO) and call.peer is not None else ""


def with_tensors(call: Collective) -> str:
    """What a call is given, with a space before it: ``with 4 elements of float32``."""
    count = elements(call)
    parts = [plural(count, "element")] if call.sizes else []
    parts += [" and ".join(dict.fromkeys(call.dtypes))] if call.dtypes else []
    return f" with {' of '.join(parts)}" if parts else ""


def reduces(call: Collective) -> str:
    """How a call reduces, with a space before it: ``with ReduceOp.MAX``."""
    return f" with ReduceOp.{call.reduce_op.upper()}" if call.reduce_op else ""


def keys(call: Collective) -> str:
    """The keys for which a rank waits in a store: ``ready``, ``a, b and 3 more``."""
    shown = ", ".join(shortened(key) for key in call.entries[:_MOST])
    more = len(call.entries) - _MOST
    return f"{shown} and {more} more" if more > 0 else shown


def given(call: Collective) -> str:
    """What a call is given, with its shapes: ``2x3 float32``, ``a float32 scalar``."""
    if len(call.dtypes) > 1:
        return f"{len(call.dtypes)} tensors"
    shape = "x".join(str(length) for length in call.sizes[0]) if call.sizes else ""
    if not call.sizes:
        return call.dtypes[0]
    return f"{shape} {call.dtypes[0]}" if shape else f"a {call.dtypes[0]} scalar"


def shortened(text: str) -> str:
    """The first line of a text, cut where it is long, without the full stop at its end."""
    line = text.strip().partition("\n")[0].rstrip(" .")
    return line if len(line) <= _LONGEST else line[: _LONGEST - 2].rstrip() + " …"
