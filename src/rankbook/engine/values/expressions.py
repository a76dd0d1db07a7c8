"""Evaluating a name with attributes and indices, without calling anything."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable
from operator import getitem
from typing import Any

import torch

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
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError as error:
        raise InputError(f"{expression}: {error.msg}.") from None
    return _Reader(expression, names, item).visit(tree.body)


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


class _Reader(ast.NodeVisitor):
    """Evaluates what is harmless."""

    def __init__(
        self, expression: str, names: dict[str, Any], item: Callable[[Any, Any], Any]
    ) -> None:
        self._expression = expression
        self._names = names
        self._item = item

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id in self._names:
            return self._names[node.id]
        if hasattr(builtins, node.id):
            return getattr(builtins, node.id)
        raise NameError(f"name {node.id!r} is not defined")

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        return getattr(self.visit(node.value), node.attr)

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        whole = self.visit(node.value)
        if hasattr(whole, "device_mesh"):
            raise InputError(
                "An index into a DTensor may need a collective: show all of it, or name the part "
                "in a cell."
            )
        return self._item(whole, self.visit(node.slice))

    def visit_Slice(self, node: ast.Slice) -> Any:
        return slice(*(one and self.visit(one) for one in (node.lower, node.upper, node.step)))

    def visit_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self.visit(one) for one in node.elts)

    def generic_visit(self, node: ast.AST) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            raise InputError(
                f"{self._expression}: only names, attributes and indices are shown, because "
                "nothing is run on the ranks: give the value a name in a cell, and show that."
            ) from None
