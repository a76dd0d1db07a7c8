"""Whether only the awaited answer ends a polling loop, judging by its source.

Anything unclear counts as another way out: then a rank that polls there is explained, and left
alone until the user interrupts it.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType

__all__ = ["ASKS", "ends_by_answer_only"]

ASKS = frozenset({"is_completed", "is_success", "done"})
"""Methods of handles and futures that answer at once."""

_COMBINE = frozenset({"all", "any"})
_HARMLESS = frozenset(
    {"append", "flush", "len", "list", "monotonic", "perf_counter", "print", "sleep", "sum", "time"}
)
"""Calls that change nothing for other ranks, and end by themselves."""

_FIXED = frozenset({"local_rank", "rank", "world_size"})
"""Names whose values nothing changes while a loop runs."""

_JUMPS = (ast.Break, ast.Continue, ast.Return, ast.Raise)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_TOO_MUCH = (ast.For, ast.AsyncFor, ast.Try, ast.With, ast.AsyncWith, ast.Yield, ast.YieldFrom)


def ends_by_answer_only(lines: Sequence[tuple[CodeType, int]]) -> bool:
    """Whether code polls in a loop that only the answer ends, and does nothing else there.

    Args:
        lines: The polling line and its callers: code and its line, the innermost first.
    """
    helpers: frozenset[str] = frozenset()
    for code, line in lines:
        tree = _tree(code.co_filename)
        if tree is None:
            return False
        loop = _innermost(tree, line, (ast.While,), code)
        if isinstance(loop, ast.While):
            return _Loop(loop, helpers).is_endless()
        if not code.co_name.startswith("<") or code.co_name == "<lambda>":
            function = _innermost(tree, line, _FUNCTIONS, code)
            if function is None or not _only_answers(function, helpers):
                return False
            helpers |= {code.co_name}
    return False


@lru_cache(maxsize=16)
def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _tree(filename: str) -> ast.Module | None:
    return _parsed("".join(linecache.getlines(filename)))


def _innermost(
    tree: ast.Module, line: int, kinds: tuple[type[ast.AST], ...], code: CodeType
) -> ast.AST | None:
    """The innermost statement of some kinds around a line, within that line's function."""
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, kinds)
        and node.lineno <= line <= (node.end_lineno or 0)  # type: ignore[attr-defined]
        and node.lineno >= code.co_firstlineno  # type: ignore[attr-defined]
    ]
    return max(found, key=lambda node: node.lineno, default=None)  # type: ignore[attr-defined]


def _name_called(call: ast.Call) -> str:
    function = call.func
    return getattr(function, "attr", "") or getattr(function, "id", "")


def _calls_only(node: ast.AST, allowed: frozenset[str]) -> bool:
    return all(_name_called(each) in allowed for each in ast.walk(node) if type(each) is ast.Call)


def _only_answers(function: ast.AST, helpers: frozenset[str]) -> bool:
    """Whether a function only asks."""
    others = (ast.While, ast.Compare, ast.Raise, *_TOO_MUCH)
    return _calls_only(function, ASKS | _COMBINE | _HARMLESS | helpers) and not any(
        isinstance(node, others) for node in ast.walk(function)
    )


class _Loop:
    """A ``while`` loop, and the names of functions that only ask."""

    def __init__(self, loop: ast.While, helpers: frozenset[str]) -> None:
        self._loop = loop
        self._answers = ASKS | helpers
        self._assigned: dict[str, list[ast.expr]] = {}
        for node in ast.walk(loop):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._assigned.setdefault(getattr(target, "id", ""), []).append(node.value)
            if isinstance(node, ast.NamedExpr):
                self._assigned.setdefault(node.target.id, []).append(node.value)

    def is_endless(self) -> bool:
        loop = self._loop
        return (
            not loop.orelse
            and self._is_answer(loop.test)
            and _calls_only(loop, self._answers | _COMBINE | _HARMLESS)
            and not any(isinstance(node, _TOO_MUCH) for node in ast.walk(loop))
            and all(self._jumps_by_answer(statement) for statement in loop.body)
        )

    def _jumps_by_answer(self, node: ast.AST) -> bool:
        """Whether every exit from the loop within a statement depends on an answer."""
        if not any(isinstance(each, _JUMPS) for each in ast.walk(node)):
            return True
        return isinstance(node, ast.If) and self._is_answer(node.test)

    def _is_answer(self, test: ast.expr, within: frozenset[str] = frozenset()) -> bool:
        """Whether the value of an expression depends on answers only.

        Args:
            test: The expression.
            within: Names under examination.
        """
        parts: Sequence[ast.expr] | None
        if isinstance(test, ast.Name):
            parts = [] if test.id in within | _FIXED else self._assigned.get(test.id)
            within |= {test.id}
        elif isinstance(test, ast.Call):
            name = _name_called(test)
            parts = [] if name in self._answers else test.args if name in _COMBINE else None
        elif isinstance(test, (ast.ListComp, ast.GeneratorExp)):
            conditions = [each for generator in test.generators for each in generator.ifs]
            parts = [test.elt] if self._is_answer(test.elt, within) else conditions or None
        else:
            parts = _parts(test)
        return parts is not None and all(self._is_answer(part, within) for part in parts)


def _parts(test: ast.expr) -> Sequence[ast.expr] | None:
    """The expressions on which another depends; None if some are unknown."""
    if isinstance(test, ast.Constant):
        return []
    if isinstance(test, ast.UnaryOp):
        return [test.operand]
    if isinstance(test, ast.NamedExpr):
        return [test.value]
    if isinstance(test, ast.BoolOp):
        return test.values
    if isinstance(test, ast.Compare):
        return [test.left, *test.comparators]
    return test.elts if isinstance(test, (ast.List, ast.Tuple)) else None
