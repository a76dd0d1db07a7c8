"""The stack of a rank's main thread, with local variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.wire import Request

__all__ = ["Frame", "GetFrames", "Standing"]


@dataclass(frozen=True)
class GetFrames(Request):
    """Report the main thread's stack; the answer is :class:`Standing`."""

    native: bool = False
    """Whether to add C++ frames, where py-spy can read them, which takes a second."""
    op = "get_frames"


@dataclass(frozen=True)
class Frame:
    """One running function."""

    place: str
    """``In [4] line 3``, ``train.py:6 in step``."""
    code: str = ""
    """The text of the line."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """For a function of user code, its local variables, each in a few words."""


@dataclass(frozen=True)
class Standing:
    """The stack of a rank."""

    frames: tuple[Frame, ...] = ()
    """From the cell inwards; none where no cell runs."""
    native: tuple[str, ...] = ()
    """Functions of C++ and of Python, the innermost first."""
    no_native: str = ""
    """Why these are missing although requested."""
