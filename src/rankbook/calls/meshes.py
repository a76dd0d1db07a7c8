"""Telling of the device meshes that user code makes, which make groups on every rank alike."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from rankbook.calls.places import line_of_call

__all__ = ["install", "is_ours", "remove"]

_MODULES = ("torch.distributed.device_mesh", "torch.distributed")
_NAME = "init_device_mesh"


def install(ledger: Any) -> None:
    """Report new meshes to an account from now on, instead of another."""
    remove()
    original: Any = getattr(import_module(_MODULES[0]), _NAME, None)
    if original is None:
        return
    signature = inspect.signature(original)

    @functools.wraps(original)
    def init_device_mesh(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return original(*args, **kwargs)  # which says what is wrong
        shape, names = given.get("mesh_shape"), given.get("mesh_dim_names")
        line = line_of_call(sys._getframe(1))
        if line and isinstance(shape, Sequence):
            ledger.groups.begin_mesh(tuple(shape), tuple(names or ()), line)
        return original(*args, **kwargs)

    init_device_mesh.of_account = True  # type: ignore[attr-defined]
    _put(init_device_mesh)


def remove() -> None:
    """Restore torch's function, unless another replacement wraps ours."""
    present: Any = getattr(import_module(_MODULES[0]), _NAME, None)
    if present is not None and "of_account" in vars(present):
        _put(present.__wrapped__)


def is_ours(code: object) -> bool:
    """Whether code is that of our replacement."""
    return getattr(code, "co_filename", "") == __file__


def _put(function: Any) -> None:
    for name in _MODULES:
        module = import_module(name)
        if hasattr(module, _NAME):
            setattr(module, _NAME, function)
