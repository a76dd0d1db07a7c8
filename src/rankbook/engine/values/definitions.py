"""The definitions of cells: their imports, functions and classes, without anything else.

Read from tokens: a rank is asked what its cells define while its main thread runs one, and in
Python 3.11 two threads that parse at a time can both fail with SystemError.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from tokenize import TokenInfo
from typing import Any, NamedTuple

from rankbook.calls.statements import Statement, called, of_text, split
from rankbook.cellnames import file_of

__all__ = ["Definition", "names", "of", "run", "unbound"]

_NAMED = frozenset({"class", "def"})
_DEFINE = _NAMED | {"@", "from", "import"}
_GO_ON = frozenset({"elif", "if"})


class Definition(NamedTuple):
    """What defines or imports.

    Attributes:
        text: Its source.
        line: The line of the cell at which that begins.
        statements: The statement, after its decorators.
    """

    text: str
    line: int
    statements: tuple[Statement, ...]

    @property
    def head(self) -> str:
        """Its first line."""
        lines = self.text.splitlines(keepends=True)
        first = self.statements[0].tokens
        return " ".join(_between(lines, first[0], first[-1], self.line - 1).split())


def of(cell: str) -> list[Definition]:
    """The statements of a cell that import or define, without calls at its top level.

    ``try`` and ``if`` statements count if they contain nothing else, such as an import with a
    fallback.

    Args:
        cell: Python code, with IPython syntax replaced.
    """
    found = []
    lines = cell.splitlines(keepends=True)
    decorators: tuple[Statement, ...] = ()
    for one in of_text(cell) or ():
        if one.word == "@":
            decorators += (one,)
        elif _defines(one):
            whole = (*decorators, one)
            begin, end = whole[0].tokens[0], _last(one)
            found.append(Definition(_between(lines, begin, end), begin.start[0], whole))
            decorators = ()
    return found


def _last(statement: Statement) -> TokenInfo:
    """The last token of a statement, with its body and clauses."""
    while inner := statement.clauses or statement.body:
        statement = inner[-1]
    return statement.tokens[-1]


def _between(lines: list[str], begin: TokenInfo, end: TokenInfo, above: int = 0) -> str:
    """The text from one token to another, of lines that follow some others."""
    (first, left), (last, right) = begin.start, end.end
    text = lines[first - above - 1 : last - above]
    text[-1] = text[-1][:right]
    # A statement after a semicolon begins within its line; it has no other.
    text[0] = text[0][left:]
    return "".join(text)


def names(cells: Iterable[str]) -> set[str]:
    """The functions and classes that cells define."""
    return {name for cell in cells for name in _names_in(cell)}


@lru_cache(maxsize=1024)
def _names_in(cell: str) -> frozenset[str]:
    if not any(word in cell for word in _NAMED):
        return frozenset()
    return frozenset(
        name for each in of(cell) for statement in each.statements for name in _named(statement)
    )


def _named(statement: Statement) -> Iterator[str]:
    if statement.word in _NAMED:
        yield _name(statement)
        return
    for one in (*statement.body, *statement.clauses):
        yield from _named(one)


def _name(statement: Statement) -> str:
    words = [token.string for token in statement.tokens]
    return words[words.index(statement.word) + 1]


def unbound(cells: Iterable[str], namespace: Mapping[str, Any]) -> Iterator[str]:
    """The first lines of those statements of which nothing is in a namespace.

    They have failed in this process, or what they made was deleted.
    """
    for cell in cells:
        for each in of(cell):
            bound = [one for its in each.statements for one in _bound(its, namespace)]
            if bound and not any(bound):
                yield each.head


def _bound(statement: Statement, namespace: Mapping[str, Any]) -> Iterator[bool]:
    """By name that a statement binds, whether there is one; of ``import a.b``, the module."""
    if statement.word in _NAMED:
        yield _name(statement) in namespace
    elif statement.word in {"import", "from"}:
        words = [token.string for token in statement.tokens]
        after = statement.tokens[words.index("import") + 1 :]
        parts = split([token for token in after if token.string not in {"(", ")"}], ",")
        for part in filter(None, parts):
            *whole, last = (token.string for token in part)
            if statement.word == "import" and "as" not in whole:
                yield "".join([*whole, last]) in sys.modules
            else:
                yield last == "*" or last in namespace
    else:
        for one in (*statement.body, *statement.clauses):
            yield from _bound(one, namespace)


def _defines(statement: Statement) -> bool:
    if statement.word in _DEFINE:
        return True
    if statement.word not in {"if", "try"}:
        return False
    parts = (statement, *statement.clauses)
    return not any(part.word in _GO_ON and [*called(part.tokens)] for part in parts) and all(
        one.word == "pass" or _defines(one) for part in parts for one in part.body
    )


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
        failed += [(each, file) for each in of(cell) if _error(each, file, shell.user_ns)]
    for each, file in failed:
        reason = _error(each, file, shell.user_ns)
        if reason:
            yield each.head, reason


def _error(definition: Definition, file: str, namespace: dict[str, Any]) -> str:
    text = "\n" * (definition.line - 1) + definition.text
    try:
        code = compile(text, file, "exec", dont_inherit=True)
        exec(code, namespace)  # noqa: S102 - a cell that this session has run on another rank
    except Exception as error:  # noqa: BLE001 - a cell may raise anything
        return f"{type(error).__name__}: {error}"
    return ""
