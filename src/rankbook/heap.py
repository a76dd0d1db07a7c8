"""Python's objects and their collector, beside a person's code that runs in another thread."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, groupby, starmap
from sys import _current_frames
from types import FrameType
from typing import Any

__all__ = ["UNFINISHED", "frames_of_others", "instances", "uncollected"]

_GENERATIONS: list[tuple[int, ...]] = [(2,), (1,), (0,)] if sys.version_info < (3, 12) else [()]
"""The collector's generations, as they are read: before Python 3.12 somebody needs the order."""

UNFINISHED = Exception
"""What reading an object raises that some code is making, or has failed to make: anything.

``FullyShardedDataParallel`` looks for each name in a module that it does not have yet, without end.
"""


def frames_of_others() -> dict[int, FrameType]:
    """The innermost frame of each thread but this one.

    A variable that refers to the frame in which it stands keeps that frame, until Python's
    collector finds the two, and all else that it refers to. With frames of other threads that would
    be what these have been working on. (If that includes tensors of a class written in Python,
    torch below 2.10 breaks those that it goes on using.)
    """
    frames = _current_frames()
    del frames[threading.get_ident()]
    return frames


def instances(*classes: type) -> list[Any]:
    """All objects of some classes that Python's garbage collector knows.

    Before Python 3.12 the oldest come first, generation by generation.

    A reference to any other object is held only during one C call, while no other thread runs.
    Python cannot finish a tuple that something else refers to: a thread that builds one
    (``tuple(x for x in ...)``) would get a ``SystemError``.

    Args:
        *classes: These classes and their subclasses, by ``type()``: reading ``__class__`` of some
            objects has side effects.
    """
    with uncollected():  # a collection would run Python code, and let other threads run
        kinds = set(map(type, _everything()))
        nothing: dict[type, Any] = {kind: () for kind in kinds if not issubclass(kind, classes)}
        # By kind, nothing or the group: the default of dict.get.
        found = list(chain.from_iterable(starmap(nothing.get, groupby(_everything(), type))))
    return [one for one in found if issubclass(type(one), classes)]  # instances of new classes


@contextmanager
def uncollected() -> Iterator[None]:
    """Have nothing collect garbage by itself within the block.

    Whichever thread allocates at the time collects, and runs the finalizers of what it finds, which
    may be a person's. One that calls a collective would wait for other ranks in that thread.

    The collector is not turned off, but waits for more objects than there ever are: another thread
    may turn it off meanwhile, as training loops do, or look whether it is on.
    """
    _open.append(None)
    gc.set_threshold(*(each | _OUT_OF_REACH for each in gc.get_threshold()))
    try:
        yield
    finally:
        _open.pop()
        if not _open:
            # Not those of before: some code may have set others meanwhile, or since then those of
            # an earlier block, which it had read.
            gc.set_threshold(*(each & ~_OUT_OF_REACH for each in gc.get_threshold()))


_open: list[None] = []
"""An item for each such block in which a thread is."""

_OUT_OF_REACH = 1 << 30
"""Added to the thresholds of the collector, which are counts of objects, or of collections."""


def _everything() -> Iterator[Any]:
    """All objects; holds no references before the first is requested."""
    return chain.from_iterable(starmap(gc.get_objects, _GENERATIONS))
