"""Reading what a name, its attributes and indices stand for, and calling nothing."""

from __future__ import annotations

import ast
import builtins
from typing import Any

from rankbook.errors import InputError

__all__ = ["value_of"]


def value_of(expression: str, names: dict[str, Any]) -> Any:
    """The value of ``model.layers[0].weight``.

    Args:
        expression: Names, attributes, indices and constants.
        names: By name, what there is.

    Raises:
        InputError: It is something else: to run it could issue a collective, or block.
        NameError: There is no such name.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError as error:
        raise InputError(f"{expression}: {error.msg}.") from None
    return _Reader(expression, names).visit(tree.body)


class _Reader(ast.NodeVisitor):
    """Evaluates what is harmless."""

    def __init__(self, expression: str, names: dict[str, Any]) -> None:
        self._expression = expression
        self._names = names

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
        return whole[self.visit(node.slice)]

    def visit_Slice(self, node: ast.Slice) -> Any:
        return slice(*(one and self.visit(one) for one in (node.lower, node.upper, node.step)))

    def visit_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self.visit(one) for one in node.elts)

    def generic_visit(self, node: ast.AST) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            raise InputError(
                f"{self._expression}: only names, attributes and indices are shown, for nothing is "
                "run on the ranks: give the value a name in a cell, and show that."
            ) from None
