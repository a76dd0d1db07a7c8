"""The class of a value, read without running user code."""

from __future__ import annotations

from typing import Any

__all__ = ["class_name"]


def class_name(value: Any) -> str:
    """The name of a value's class; its metaclass may have a ``__getattribute__`` that raises."""
    return str(type.__getattribute__(type(value), "__name__"))
