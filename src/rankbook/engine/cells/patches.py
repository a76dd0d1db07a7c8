"""Undoing what a script has replaced in libraries, and what it has hooked into the interpreter.

Scripts wrap ``torch.load`` or the ``forward`` of a class of a library. Under a launcher that ends
with the process. In a rank the next run would wrap the wrapper, and a replacement that was deleted
from the script would stay.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from rankbook.engine.cells import libraries, modules
from rankbook.engine.cells.registries import Registries

__all__ = ["put_back"]

_HOOKS: list[tuple[ModuleType, str]] = [
    (sys, "meta_path"),
    (sys, "path_hooks"),
    (gc, "callbacks"),
]
"""Lists of the interpreter to which scripts add their own, or in whose place they put others."""


_OWN = ("__main__", "__mp_main__", "unittest.mock")
"""What is no library: no library mocks another one when it is imported."""


@contextmanager
def put_back(folder: str) -> Iterator[None]:
    """Restore, at the end of the block, what a script has replaced, and note what it registers.

    Only what the script's own functions and classes have replaced: what a library replaces when it
    is imported stays, as the library does.

    Args:
        folder: The script's.
    """
    libraries.take_note()
    absent, registries = _absent(), Registries()
    hooks = [(getattr(*place), {*map(id, getattr(*place))}, place) for place in _HOOKS]
    try:
        yield
    finally:
        own = {*_OWN, *modules.own(folder)}
        is_own = functools.partial(libraries.is_own, own)
        new = libraries.take_note_of_new(own)
        registries.remember(own, new)
        for owner in libraries.known.values():
            owner.restore(is_own)
        for owner in new:
            owner.find_back(is_own)
        for each, known, place in hooks:
            present = getattr(*place)
            each[:] = [one for one in present if id(one) in known or not is_own(one, None)]
            setattr(*place, each)
        for name in _absent() - absent:
            del sys.modules[name]


def _absent() -> set[str]:
    """The modules whose import is forbidden."""
    every: dict[str, Any] = sys.modules.copy()
    return {name for name, module in every.items() if module is None}
