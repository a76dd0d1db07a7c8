"""The exceptions behind an exception: its causes, and those that it was raised while handling."""

from __future__ import annotations

__all__ = ["chain_of", "error_line"]


def chain_of(error: BaseException | None) -> list[BaseException]:
    """An exception and those behind it that can be looked at, the first one raised first."""
    found: list[BaseException] = []
    while error is not None and all(error is not one for one in found):
        found.append(error)
        hidden = error.__cause__ is None and error.__suppress_context__
        error = None if hidden else error.__cause__ or error.__context__
    return [one for one in reversed(found) if one.__traceback__ is not None]


def error_line(error: BaseException) -> str:
    """An exception in a line: ``ValueError: bad``."""
    return f"{type(error).__name__}: {error}".rstrip(": ")
