"""Evaluating a name with attributes and indices, without calling anything.

Read from tokens: this happens while the main thread runs a cell, and in Python 3.11 two threads
that parse at a time can both fail with SystemError.
"""

from __future__ import annotations

import builtins
from collections import deque
from collections.abc import Callable
from keyword import iskeyword
from operator import getitem, neg, pos
from tokenize import COMMENT, NAME, NEWLINE, NL, NUMBER, STRING, generate_tokens
from typing import Any

import torch

from rankbook.calls.statements import OF_FORMAT
from rankbook.errors import InputError

__all__ = ["harmless_item", "value_of"]

_MODULES = (
    torch.nn.Sequential,
    torch.nn.ModuleList,
    torch.nn.ModuleDict,
    torch.nn.ParameterList,
    torch.nn.ParameterDict,
)
"""Classes whose items are read like those of lists and dicts."""


def value_of(
    expression: str, names: dict[str, Any], item: Callable[[Any, Any], Any] = getitem
) -> Any:
    """The value of ``model.layers[0].weight``.

    Args:
        expression: Names, attributes, indices and constants.
        names: The values by name.
        item: Reads an item: ``operator.getitem`` or :func:`harmless_item`.

    Raises:
        InputError: It is something else, which could issue a collective, or block.
        NameError: There is no such name.
    """
    text = expression.strip()
    try:
        compile(text, "<expression>", "eval", dont_inherit=True)
    except SyntaxError as error:
        raise InputError(f"{expression}: {error.msg}.") from None
    return _Reader(text, names, item).read()


def harmless_item(whole: Any, key: Any) -> Any:
    """Read an item where that runs no user code, and changes nothing.

    Raises:
        InputError: Reading it would do so, or there is no such item.
    """
    kind = type(whole)  # a user's class may have a __class__ that raises
    try:
        if issubclass(kind, dict):
            if dict.__contains__(whole, key):
                return dict.get(whole, key)  # not its own: a defaultdict would add the key
        elif issubclass(kind, (list, tuple)):
            return (list if issubclass(kind, list) else tuple).__getitem__(whole, key)
        elif kind in (torch.Tensor, torch.nn.Parameter) or issubclass(kind, _MODULES):
            return whole[key]
    except (LookupError, TypeError) as error:
        raise InputError(str(error)) from None
    raise InputError(f"There is no item {key!r}, or it takes a call to read it.")


_CONSTANTS = {"None": None, "True": True, "False": False, "...": ...}
_SIGNS: dict[str, Callable[[Any], Any]] = {"-": neg, "+": pos}
_AFTER = frozenset({"", ",", ".", ":", "[", "]", ")"})
"""What may follow a name."""

_CLOSING = {"(": ")", "[": "]"}


class _Reader:
    """Evaluates what is harmless of an expression whose syntax is right."""

    def __init__(self, text: str, names: dict[str, Any], item: Callable[[Any, Any], Any]) -> None:
        tokens = generate_tokens(iter(text.splitlines(keepends=True)).__next__)
        self._ahead = deque(one for one in tokens if one.type not in (COMMENT, NEWLINE, NL))
        self._text = text
        self._names = names
        self._item = item

    def read(self) -> Any:
        """The value of all of it."""
        values, is_one = self._up_to("")
        return values[0] if is_one else tuple(values)

    def _up_to(self, end: str) -> tuple[list[Any], bool]:
        """The values before a bracket, and whether that is one without a comma."""
        values, is_one = [], False
        while self._ahead[0].string != end:
            values.append(self._slice())
            is_one = len(values) == 1 and self._ahead[0].string != ","
            if not is_one and self._ahead[0].string == ",":
                self._ahead.popleft()
            elif self._ahead[0].string != end:
                raise self._too_much()
        self._ahead.popleft()
        return values, is_one

    def _slice(self) -> Any:
        """A value, or a slice: its syntax was looked at before."""
        parts: list[Any] = [None]
        is_read = False
        while self._ahead[0].string not in ("", ",", "]", ")"):
            if self._ahead[0].string == ":":
                self._ahead.popleft()
                parts.append(None)
                is_read = False
            elif not is_read:
                parts[-1] = self._one()
                is_read = True
            else:
                raise self._too_much()
        return parts[0] if len(parts) == 1 else slice(*parts)

    def _one(self) -> Any:
        """What stands by itself, with the attributes and items that are taken of it."""
        value = self._atom()
        while self._ahead[0].string in (".", "["):
            if self._ahead.popleft().string == ".":
                value = getattr(value, self._ahead.popleft().string)
                continue
            if hasattr(value, "device_mesh"):
                raise InputError(
                    "An index into a DTensor may need a collective: show all of it, or name the "
                    "part in a cell."
                )
            keys, is_one = self._up_to("]")
            value = self._item(value, keys[0] if is_one else tuple(keys))
        return value

    def _atom(self) -> Any:
        token = self._ahead.popleft()
        text = token.string
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text in _SIGNS and self._ahead[0].type == NUMBER:
            return _SIGNS[text](self._atom())
        if token.type in (NUMBER, STRING) and not OF_FORMAT.match(text):
            value = eval(text, {})  # noqa: S307 - a single constant
            is_text = token.type == STRING
            return value + self._atom() if is_text and self._ahead[0].type == STRING else value
        if text in _CLOSING:
            values, is_one = self._up_to(_CLOSING[text])
            whole = values if text == "[" else tuple(values)
            return values[0] if is_one and text == "(" else whole
        if token.type != NAME or iskeyword(text) or self._ahead[0].string not in _AFTER:
            raise self._too_much()
        return self._named(text)

    def _named(self, name: str) -> Any:
        if name in self._names:
            return self._names[name]
        if hasattr(builtins, name):
            return getattr(builtins, name)
        raise NameError(f"name {name!r} is not defined")

    def _too_much(self) -> InputError:
        return InputError(
            f"{self._text}: only names, attributes and indices are shown, because "
            "nothing is run on the ranks: give the value a name in a cell, and show that."
        )
