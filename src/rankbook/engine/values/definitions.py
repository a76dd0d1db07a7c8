"""The definitions of cells: their imports, functions and classes, without anything else."""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rankbook.cellnames import file_of

__all__ = ["names", "of", "run", "unbound"]

_DEFINE = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

_HARMLESS = (*_DEFINE, ast.Pass)


def of(cell: str) -> list[ast.stmt]:
    """The statements of a cell that import or define, without calls at its top level.

    ``try`` and ``if`` statements count if they contain nothing else, such as an import with a
    fallback.

    Args:
        cell: Python code, with IPython syntax replaced.
    """
    try:
        tree = ast.parse(cell)
    except (SyntaxError, ValueError):
        return []
    return [statement for statement in tree.body if _defines(statement)]


def names(cells: Iterable[str]) -> set[str]:
    """The functions and classes that cells define."""
    return {name for cell in cells for statement in of(cell) for name in _named(statement)}


def _named(statement: ast.AST) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
        return
    for one in ast.iter_child_nodes(statement):
        yield from _named(one)


def unbound(cells: Iterable[str], namespace: Mapping[str, Any]) -> Iterator[str]:
    """The first lines of those statements of which nothing is in a namespace.

    They have failed in this process, or what they made was deleted.
    """
    for cell in cells:
        for statement in of(cell):
            bound = [*_bound(statement, namespace)]
            if bound and not any(bound):
                yield _line(statement)


def _bound(statement: ast.AST, namespace: Mapping[str, Any]) -> Iterator[bool]:
    """By name that a statement binds, whether there is one; of ``import a.b``, the module."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name in namespace
        return
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            yield alias.asname in namespace if alias.asname else alias.name in sys.modules
        return
    if isinstance(statement, ast.ImportFrom):
        for alias in statement.names:
            yield alias.name == "*" or (alias.asname or alias.name) in namespace
        return
    for one in ast.iter_child_nodes(statement):
        yield from _bound(one, namespace)


def _line(statement: ast.stmt) -> str:
    return ast.unparse(statement).splitlines()[0]


def _defines(statement: ast.stmt) -> bool:
    if isinstance(statement, _DEFINE):
        return True
    if isinstance(statement, ast.Try):
        bodies = [statement.body, statement.orelse, statement.finalbody]
        bodies += [handler.body for handler in statement.handlers]
        return _all_define(one for body in bodies for one in body)
    if isinstance(statement, ast.If):
        calls = any(isinstance(node, ast.Call) for node in ast.walk(statement.test))
        return not calls and _all_define([*statement.body, *statement.orelse])
    return False


def _all_define(statements: Iterable[ast.stmt]) -> bool:
    return all(isinstance(one, _HARMLESS) or _defines(one) for one in statements)


def run(cells: Mapping[str, str], shell: Any) -> Iterator[tuple[str, str]]:
    """Run the definitions of cells in a shell's namespace.

    Failed ones are tried again at the end: they may need later ones.

    Args:
        cells: The names of cells by their code, in order.
        shell: The IPython shell.

    Yields:
        A line of each statement that failed, and the reason.
    """
    failed = []
    for cell, name in cells.items():
        file = file_of(name)
        # So that a traceback, and inspect.getsource, find the lines.
        linecache.cache[file] = len(cell), None, cell.splitlines(keepends=True), file
        for statement in of(cell):
            code = compile(ast.Module([statement], []), file, "exec")
            if _error(code, shell.user_ns):
                failed.append((code, _line(statement)))
    for code, line in failed:
        reason = _error(code, shell.user_ns)
        if reason:
            yield line, reason


def _error(code: Any, namespace: dict[str, Any]) -> str:
    try:
        exec(code, namespace)  # noqa: S102 - a cell that this session has run on another rank
    except Exception as error:  # noqa: BLE001 - a cell may raise anything
        return f"{type(error).__name__}: {error}"
    return ""
