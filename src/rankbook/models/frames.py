"""Where a rank's main thread stands, frame by frame, with local variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.wire import Request

__all__ = ["Frame", "SayFrames", "Standing"]


@dataclass(frozen=True)
class SayFrames(Request):
    """Say where the main thread stands; the answer is :class:`Standing`."""

    native: bool = False
    """With the frames of C++ as well, where py-spy can read them; that takes a second."""
    op = "say_frames"


@dataclass(frozen=True)
class Frame:
    """One function that is being run."""

    place: str
    """``In [4] line 3``, ``train.py:6 in step``."""
    code: str = ""
    """The line, as it was typed."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of a person's function: its local variables, each told in a few words."""


@dataclass(frozen=True)
class Standing:
    """Where a rank stands."""

    frames: tuple[Frame, ...] = ()
    """From the cell inwards; none where no cell runs."""
    native: tuple[str, ...] = ()
    """Functions of C++ and of Python, the innermost first."""
    no_native: str = ""
    """Why there are none of those, though they were asked for."""
