"""Importing a person's own modules again for each script, as a new process does.

Own are the modules beside the script, and those that lie outside the folders of installed packages:
below ``src/``, in a folder that the script adds to ``sys.path``, in a project that is installed for
development.
"""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType
from typing import Any

import torch.library

__all__ = ["imported_again", "own"]

_SUFFIXES = tuple(EXTENSION_SUFFIXES)

_KEPT = {"__main__", "__mp_main__", __name__.partition(".")[0]}


@contextmanager
def imported_again(folder: str) -> Iterator[None]:
    """Have own modules imported again, here and after the block."""
    before = own(folder)
    for name in before:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in own(folder):
            del sys.modules[name]
        sys.modules.update(before)


def own(folder: str) -> dict[str, ModuleType]:
    """A person's own modules, with their submodules.

    Args:
        folder: The script's.
    """
    modules = sys.modules.copy()
    tops, others = set(), set()
    for name, module in modules.items():
        places = _places(module)
        if folder in map(_folder, places):
            tops.add(_top(name))
        elif places and "." not in name and not any(map(_is_installed, places)):
            others.add(name)
    others -= _KEPT
    if others:
        others -= {
            _top(name)
            for name, module in modules.items()
            if _top(name) in others and _can_be_imported_once(module)
        }
    tops = (tops | others) - _KEPT
    return {name: module for name, module in modules.items() if _top(name) in tops}


# A rank has thousands of modules, and each script asks for the places of all of them.
_folder = functools.lru_cache(maxsize=1 << 16)(os.path.dirname)


@functools.lru_cache(maxsize=1 << 16)
def _is_installed(place: str) -> bool:
    # Clusters have folders of packages in PYTHONPATH, which are called so wherever they lie.
    if any(part in place for part in ("/site-packages/", "/dist-packages/")):
        return True
    return place.startswith(_installed_folders())


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    paths = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    # The folder of data is that of the whole installation, and can be /usr.
    data = sysconfig.get_path("data")
    found = {os.path.abspath(each) for each in paths if each != data}  # noqa: PTH100
    return tuple(f"{each}{os.sep}" for each in found)


def _can_be_imported_once(module: ModuleType) -> bool:
    """Whether it is compiled, or has defined operators of torch."""
    if any(place.endswith(_SUFFIXES) for place in _places(module)):
        return True
    # By their types: isinstance asks a value for its class, which may raise, or load something.
    return any(issubclass(type(value), torch.library.Library) for value in [*vars(module).values()])


def _places(module: ModuleType) -> list[str]:
    names: Any = getattr(module, "__dict__", {})  # some torch modules answer to every name
    if "__path__" not in names:  # most of them
        place = names.get("__file__")
        return [_absolute(place)] if isinstance(place, str) else []
    places = [*names["__path__"]] or [names.get("__file__")]
    return [_absolute(each) for each in places if isinstance(each, str)]


def _absolute(path: str) -> str:
    return path if path.startswith(os.sep) and ".." not in path else os.path.abspath(path)  # noqa: PTH100


def _top(name: str) -> str:
    return name.partition(".")[0]
