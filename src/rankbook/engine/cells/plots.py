"""Giving a script a pyplot of its own: no figures of before, and settings that end with it.

``plt.plot`` draws into the current figure. In a rank that would be the one of the last run, so that
each picture that a script saves would have the curves of all runs before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["put_back"]

_INLINE = "inline"
"""Is in the name of the backend that shows, and closes, all figures at the end of a cell."""


@contextmanager
def put_back() -> Iterator[None]:
    """Restore Matplotlib's figures and settings at the end of the block, where it is loaded."""
    figures, settings, maps = _figures(), _settings(), {*_colormaps()}
    before = dict(figures or {})
    changed = dict(settings) if settings is not None else None
    if figures:
        figures.clear()
    try:
        yield
    finally:
        figures, settings = _figures(), _settings()
        if figures and _INLINE not in str(dict.get(settings or {}, "backend")):
            sys.modules["matplotlib.pyplot"].close("all")
        if settings is not None:
            # Not through its own update, which would warn of old names and close figures.
            former = sys.modules["matplotlib"].rcParamsOrig if changed is None else changed
            _use(former.get("backend"))
            dict.update(settings, former)
        if figures is not None:
            figures.update(before)
        for name in {*_colormaps()} - maps if maps else ():
            with suppress(Exception):
                _colormaps().unregister(name)  # a name is registered once


def _use(backend: Any) -> None:
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and isinstance(backend, str):  # else none was chosen yet
        with suppress(Exception):  # it needs a screen, say
            if pyplot.get_backend() != backend:
                pyplot.switch_backend(backend)


def _figures() -> Any:
    """The figures that pyplot knows, by their numbers; None: it is not loaded."""
    helpers: Any = sys.modules.get("matplotlib._pylab_helpers")
    loaded = helpers is not None and "matplotlib.pyplot" in sys.modules
    return helpers.Gcf.figs if loaded else None


def _colormaps() -> Any:
    return getattr(sys.modules.get("matplotlib"), "colormaps", ())


def _settings() -> Any:
    return getattr(sys.modules.get("matplotlib"), "rcParams", None)
