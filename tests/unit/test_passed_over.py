"""Where an exception is passed over without a word, a comment says why it may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rankbook

SOURCE = Path(rankbook.__file__).parent
PATHS = [path.relative_to(SOURCE).as_posix() for path in sorted(SOURCE.rglob("*.py"))]
NOTHING = (ast.Pass, ast.Continue, ast.Break)


def passed_over(tree: ast.AST) -> Iterator[ast.With | ast.ExceptHandler]:
    """The places of a module where an exception ends and nothing is done."""
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            if any("suppress(" in ast.unparse(item.context_expr) for item in node.items):
                yield node
        elif isinstance(node, ast.ExceptHandler) and all(
            isinstance(each, NOTHING) for each in node.body
        ):
            yield node


def has_reason(lines: list[str], node: ast.With | ast.ExceptHandler) -> bool:
    """Whether a comment stands above, beside, or among what may fail."""
    around = lines[max(0, node.lineno - 2) : node.end_lineno]
    return any("#" in line.replace("# noqa", "") for line in around)


@pytest.mark.parametrize("path", PATHS)
def test_an_exception_is_passed_over_for_a_reason(path):
    source = (SOURCE / path).read_text()
    lines = source.splitlines()
    bare = [node.lineno for node in passed_over(ast.parse(source)) if not has_reason(lines, node)]
    assert bare == [], "a comment says why nothing need be done"
