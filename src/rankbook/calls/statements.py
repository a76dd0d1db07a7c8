"""The statements of a source text, read from its tokens.

Not by ``ast``: in Python 3.11 two threads that parse at a time can both fail with SystemError, and
this is read while other threads run what a person wants.
"""

from __future__ import annotations

import linecache
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from keyword import iskeyword
from tokenize import (
    COMMENT,
    DEDENT,
    ENDMARKER,
    INDENT,
    NAME,
    NEWLINE,
    NL,
    STRING,
    TokenError,
    TokenInfo,
    generate_tokens,
)
from typing import NamedTuple

__all__ = [
    "CLOSE",
    "OF_FORMAT",
    "OPEN",
    "Statement",
    "called",
    "innermost",
    "of_file",
    "of_text",
    "split",
]

_GO_ON = frozenset({"elif", "else", "except", "finally"})
_WITH_BODY = _GO_ON | frozenset(
    {"async", "case", "class", "def", "for", "if", "match", "try", "while", "with"}
)
OPEN, CLOSE = frozenset("([{"), frozenset(")]}")
OF_FORMAT = re.compile(r"[rR]?[fFtT]")
_IN_BRACES = re.compile(r"\{([^{}]*)\}")
_CALLED = re.compile(r"(\w*)\s*\(")


class Statement(NamedTuple):
    """A statement.

    Attributes:
        tokens: Its own ones; of one with a body those up to the colon.
        body: What is indented below it.
        clauses: What follows it with ``else`` and the like.
    """

    tokens: tuple[TokenInfo, ...]
    body: tuple[Statement, ...] = ()
    clauses: tuple[Statement, ...] = ()

    @property
    def word(self) -> str:
        """What it begins with: ``while``, for example; without ``async``."""
        words = [token.string for token in self.tokens[:2]]
        return words[-1] if words[0] == "async" else words[0]

    @property
    def first(self) -> int:
        """Its first line."""
        return self.tokens[0].start[0]

    @property
    def last(self) -> int:
        """The last line of its body, without its clauses."""
        if not self.body:
            return self.tokens[-1].end[0]
        return (self.body[-1].clauses or self.body)[-1].last

    def all(self) -> Iterator[Statement]:
        """It and the statements in it."""
        yield self
        for each in (*self.body, *self.clauses):
            yield from each.all()


def of_file(filename: str) -> tuple[Statement, ...] | None:
    """The statements of a file or a cell; None if its text is unknown, or is not Python."""
    lines = linecache.getlines(filename)
    return of_text("".join(lines)) if lines else None


def innermost(statements: Iterable[Statement], line: int, word: str) -> Statement | None:
    """The innermost statement with that word whose own lines, without clauses, contain a line."""
    found = None
    for one in statements:
        for each in one.all():  # outer ones come first
            if each.word == word and each.first <= line <= each.last:
                found = each
    return found


def split(tokens: Sequence[TokenInfo], *at: str) -> list[Sequence[TokenInfo]]:
    """The parts of tokens between words or signs that stand in no brackets."""
    parts, depth, begin = [], 0, 0
    for i, token in enumerate(tokens):
        depth += (token.string in OPEN) - (token.string in CLOSE)
        if not depth and token.string in at:
            parts.append(tokens[begin:i])
            begin = i + 1
    return [*parts, tokens[begin:]]


def called(tokens: Sequence[TokenInfo]) -> Iterator[str]:
    """The names of what tokens call; empty where that has none."""
    before = ""
    for token, after in pairwise(tokens):
        is_defined = before in {"class", "def"}
        before = token.string
        if token.type == STRING and OF_FORMAT.match(token.string):
            yield from _called_in_text(token.string)
        if after.string != "(" or is_defined:
            continue
        if token.type == NAME and not iskeyword(token.string):
            yield token.string
        elif token.type == STRING or token.string in CLOSE:
            yield ""


def _called_in_text(text: str) -> Iterator[str]:
    """The names of what a formatted string calls, which is one token before Python 3.12."""
    text = text.replace("{{", "").replace("}}", "")
    for part in _IN_BRACES.findall(text):
        yield from _CALLED.findall(part)
    if "{" in _IN_BRACES.sub("", text):
        yield ""


@lru_cache(maxsize=16)
def of_text(text: str) -> tuple[Statement, ...] | None:
    """The statements of a text; None if it is not Python."""
    try:
        tokens = [*generate_tokens(iter(text.splitlines(keepends=True)).__next__)]
        return _block(deque(each for each in tokens if each.type not in (COMMENT, NL)))
    except (TokenError, SyntaxError, ValueError, RecursionError, IndexError):
        return None


def _block(ahead: deque[TokenInfo]) -> tuple[Statement, ...]:
    """Read the statements up to the end of a block."""
    found: list[Statement] = []
    while ahead[0].type not in (DEDENT, ENDMARKER):
        line = []
        while ahead[0].type not in (NEWLINE, ENDMARKER):
            line.append(ahead.popleft())
        if ahead[0].type == NEWLINE:
            ahead.popleft()
        body: tuple[Statement, ...] = ()
        if ahead[0].type == INDENT:
            ahead.popleft()
            body = _block(ahead)
        for each in _of_line(line, body):
            if each.word in _GO_ON and found:
                found[-1] = found[-1]._replace(clauses=(*found[-1].clauses, each))
            else:
                found.append(each)
    if ahead[0].type == DEDENT:
        ahead.popleft()
    return tuple(found)


def _of_line(line: Sequence[TokenInfo], body: tuple[Statement, ...]) -> list[Statement]:
    """The statements of a logical line, with what is indented below it."""
    if not line:
        return []
    if line[0].string not in _WITH_BODY:
        return [Statement(tuple(part), body) for part in split(line, ";") if part]
    # The colon of a lambda is not that of the statement.
    parts = split(line, ":")
    colon = 1 + sum(token.string == "lambda" for token in chain(*parts[:1]))
    head = line[: sum(map(len, parts[:colon])) + colon]
    return [Statement(tuple(head), (*_of_line(line[len(head) :], ()), *body))]
