"""Whether a line at the prompt is a pdb command or Python."""

from __future__ import annotations

import codeop
import io
import re
from collections.abc import Callable

__all__ = ["Lines", "asks_for_attributes", "is_python", "is_unfinished"]

_TAKE_EXPRESSIONS = frozenset(
    {"debug", "display", "help", "h", "p", "pp", "source", "undisplay", "whatis"}
)
"""Commands that take an expression: ``p (x)``, ``p -x``."""

_ASSIGNMENT = re.compile(r"\s*(?:[-+@*/%&|^]|//|\*\*|<<|>>)?=")
_COMPARISON = re.compile(r"\s+(?:[-+@*/%&|^<>]|//|\*\*|<<|>>|!=|[<>]=)\s|\s+(?:is|in|and|or)\s")
_BEGUN = re.compile(r"(?P<value>[^\W\d][\w.\[\]'\"]*)\.")
_UNARY = re.compile(r"\s+[-+*]\s")


class Lines(io.TextIOBase):
    """The file from which pdb reads its commands."""

    def __init__(self, read: Callable[[], str]) -> None:
        """Read with a function, which returns a line without its end."""
        self._read = read

    def readline(self, _size: int | None = -1, /) -> str:  # type: ignore[override]
        """The next line."""
        return self._read() + "\n"


def is_python(command: str, rest: str) -> bool:
    """Whether a line that begins like a command is Python: ``n.shape``, ``c = 5``, ``list(x)``.

    Args:
        command: The name of the command with which it begins.
        rest: All that follows the name.
    """
    if _ASSIGNMENT.match(rest):
        return True
    if command in _TAKE_EXPRESSIONS:
        return rest[:1] in (".", "[", ",")
    if rest and not rest[0].isspace():
        return rest.strip() != "."  # ``l.``
    return _COMPARISON.match(rest) is not None


def asks_for_attributes(text: str) -> str:
    """The part before a final dot: ``model`` of ``model.``; empty if there is no such dot."""
    found = _BEGUN.fullmatch(text.strip())
    return found["value"] if found else ""


def is_unfinished(text: str) -> bool:
    """Whether a statement goes on in further lines, as in Python's own shell.

    Args:
        text: The part typed so far; one line that opens no bracket is complete.
    """
    try:
        return codeop.compile_command(text if "\n" in text else f"{text}\n", "<stdin>") is None
    except (SyntaxError, OverflowError, ValueError):
        return False
