"""The names of a value's attributes, found without IPython, which reads few classes."""

from __future__ import annotations

from contextlib import suppress
from keyword import iskeyword
from typing import Any

__all__ = ["attributes"]


def attributes(value: Any, begun: str = "") -> list[str]:
    """The names of a value's attributes that begin so; with an underscore only where it is typed.

    IPython reads attributes only of classes that it knows to be harmless. Here, where nobody waits
    for it, ``__getattr__`` can be called: the layers of a module are found that way. Nothing else
    is: a call could issue a collective.
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
    """What a value says that it has; where it fails to say so, what any of its class has."""
    kind: Any = type(value)
    for tell in (lambda: kind.__dir__(value), lambda: object.__dir__(value)):
        with suppress(BaseException):  # a person's can raise anything
            return set(tell())
    above, own = type.__dict__["__mro__"], type.__dict__["__dict__"]
    return {name for each in above.__get__(kind) for name in own.__get__(each)}
