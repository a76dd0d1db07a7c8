"""What holds for the tests themselves: they wait for conditions, and use what is public."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rankbook

TESTS = Path(__file__).parents[1]
SOURCE = Path(rankbook.__file__).parent

PATH = [path.relative_to(TESTS).as_posix() for path in sorted(TESTS.rglob("*.py"))]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


# -- fixed sleeps ----------------------------------------------------------------------------

SLEEPS = {
    "processes.py": {"wait_until", "let_pass"},
    "chaos/world.py": {"until", "at_any_moment"},
    "integration/sample_tests.py": {"test_takes_too_long"},  # runs on ranks
}
"""By file, the functions that sleep. What ranks do stands in texts: see below."""


def sleeps(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, int]]:
    """The functions, and lines, in which a process of a test sleeps by the real clock."""
    for node in ast.iter_child_nodes(tree):
        name = getattr(node, "name", inside) if isinstance(node, ast.FunctionDef) else inside
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            yield name, node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((name, node.lineno) for alias in node.names if alias.name == "sleep")
        yield from sleeps(node, name)


@pytest.mark.parametrize("path", PATH)
def test_a_test_waits_for_a_condition_and_not_for_a_time(path):
    allowed = SLEEPS.get(path, set())
    found = [(name, line) for name, line in sleeps(parsed(TESTS / path)) if name not in allowed]
    assert found == [], "use processes.wait_until or, where time is what is tried, let_pass"


MOST_LATE = 11
"""Sleeps on ranks by which something comes late, in seconds. It falls, and does not rise."""

SLEEP = re.compile(r"\bsleep\(([\d.]+)\)")


def test_few_ranks_come_late_by_the_clock():
    """Shorter ones are pauses between two looks, longer ones last until a rank is freed."""
    late = [
        f"{path}: sleep({seconds})"
        for path in PATH
        if path.startswith("integration/")
        for node in ast.walk(parsed(TESTS / path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for seconds in SLEEP.findall(node.value)
        if 0.1 < float(seconds) < 20
    ]
    instead = "have ranks wait for a file: processes.waits_for, watching.left_alone"
    assert len(late) <= MOST_LATE, "\n".join([instead, *late])


# -- private names ---------------------------------------------------------------------------

MOST = 68
"""Lines of unit tests that may use a private name of rankbook's. It falls, and does not rise."""

OTHERS = {
    *(
        "_C",
        "_actions",
        "_autograd",
        "_buffer",
        "_coordinate_on_dim",
        "_create_c10d_store",
        "_modules",
    ),
    *("_get_default_group", "_has_rebuilt_buckets", "_join_config", "_new_process_group_helper"),
    *("_render_traceback_", "_replace", "_reply_subshell_for", "_timeout", "_training_state"),
}
"""Names of torch's, IPython's and Python's that rankbook has, too."""

PRIVATE = re.compile(r"_(?!repr_)[A-Za-z]\w*")


def names_of(tree: ast.AST) -> Iterator[str]:
    """What is defined anywhere in a module."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Store):
            yield node.attr if isinstance(node, ast.Attribute) else node.id


def used(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and names: attributes of something else than ``self``, what is replaced, imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            yield from (
                (node.lineno, text.rpartition(".")[2]) for text in texts if isinstance(text, str)
            )
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, alias.name) for alias in node.names)


def test_unit_tests_use_few_private_names():
    own = {name for path in SOURCE.rglob("*.py") for name in names_of(parsed(path))}
    own = {name for name in own if PRIVATE.fullmatch(name)} - OTHERS
    lines = {
        f"{path.name}:{line}: {name}"
        for path in sorted((TESTS / "unit").rglob("*.py"))
        for line, name in used(parsed(path))
        if name in own
    }
    count = len({line.rpartition(": ")[0] for line in lines})
    assert count <= MOST, "\n".join(sorted(lines))
