"""The names of a value's attributes, found without IPython, which reads only a few classes."""

from __future__ import annotations

from contextlib import suppress
from keyword import iskeyword
from typing import Any

__all__ = ["attributes"]


def attributes(value: Any, begun: str = "") -> list[str]:
    """A value's attribute names with a prefix; those with an underscore only if that is typed.

    IPython reads attributes only of classes that it knows to be harmless. Here, where no caller
    blocks, ``__getattr__`` may be called: that finds the layers of a module. Nothing else is
    called, because a call could issue a collective.
    """
    return sorted(
        name
        for name in _names(value)
        if type(name) is str
        and name.startswith(begun)
        and (begun.startswith("_") or not name.startswith("_"))
        and name.isidentifier()
        and not iskeyword(name)
    )


def _names(value: Any) -> set[Any]:
    """The names in ``dir()`` of a value; where that fails, those of its class."""
    kind: Any = type(value)
    for tell in (lambda: kind.__dir__(value), lambda: object.__dir__(value)):
        with suppress(BaseException):  # a user's can raise anything
            return set(tell())
    above, own = type.__dict__["__mro__"], type.__dict__["__dict__"]
    return {name for each in above.__get__(kind) for name in own.__get__(each)}
