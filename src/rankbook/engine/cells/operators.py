"""Operators of torch that scripts define, which a process can define once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import torch.library

from rankbook.engine.cells import modules

__all__ = ["defined_again"]

_left: list[Any] = []
"""The libraries that the last script has made: cells may call their operators."""

_TORCHS = ("torch.library", "torch._library", "functools")
"""Modules that make a library for their caller, and those between."""


@contextmanager
def defined_again(folder: str) -> Iterator[None]:
    """Let the script define operators that an earlier one has defined.

    Args:
        folder: The script's.
    """
    end_libraries()
    make = torch.library.Library.__init__
    made = list[tuple[Any, str]]()

    def note(self: Any, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        made.append((self, _maker(sys._getframe(1))))

    torch.library.Library.__init__ = note  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.library.Library.__init__ = make  # type: ignore[method-assign]
        # What a package has defined when it was imported stays, as the package does.
        if made:
            own = {"__main__", *modules.own(folder)}
            _left.extend(library for library, maker in made if maker in own)


def end_libraries() -> None:
    """Remove the operators that the last script has defined."""
    while _left:
        with suppress(Exception):  # a person's handle may be anything
            _left.pop()._destroy()


def _maker(frame: FrameType | None) -> str:
    """The module whose code has asked for a library."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if not name.startswith(_TORCHS):
            return name
        frame = frame.f_back
    return ""
