"""Whether only the awaited answer ends a polling loop, judging by its source.

Anything unclear counts as another way out: then a rank that polls there is explained, and left
alone until the user interrupts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from keyword import iskeyword
from tokenize import NAME, NUMBER, STRING, TokenInfo
from types import CodeType

from rankbook.calls.statements import (
    CLOSE,
    OF_FORMAT,
    OPEN,
    Statement,
    called,
    innermost,
    of_file,
    split,
)

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

_JUMPS = frozenset({"break", "continue", "raise", "return"})
_TOO_MUCH = frozenset({"@", "assert", "for", "match", "try", "while", "with"})
_COMPARE = ("<", ">", "==", ">=", "<=", "!=", "is", "in")
_CONSTANTS = frozenset({"True", "False", "None", "..."})

Tokens = Sequence[TokenInfo]


def ends_by_answer_only(lines: Sequence[tuple[CodeType, int]]) -> bool:
    """Whether code polls in a loop that only the answer ends, and does nothing else there.

    Args:
        lines: The polling line and its callers: code and its line, the innermost first.
    """
    helpers: frozenset[str] = frozenset()
    for code, line in lines:
        statements = of_file(code.co_filename) or ()
        statements = tuple(each for one in statements for each in one.all())
        inner = [each for each in statements if each.first >= code.co_firstlineno]
        if (loop := innermost(inner, line, "while")) is not None:
            return _Code(loop, helpers).is_endless()
        if not code.co_name.startswith("<"):
            function = innermost(inner, line, "def")
            if function is None or not _Code(function, helpers).only_answers():
                return False
            helpers |= {code.co_name}
        elif code.co_name == "<lambda>":
            named = [each for each in inner if each.first <= line <= each.last][-1:]
            if not named or not _Code(named[0], helpers).is_named_lambda():
                return False
            helpers |= {named[0].word}
    return False


class _Code:
    """A loop or a function, and the names of functions that only ask."""

    def __init__(self, its: Statement, helpers: frozenset[str]) -> None:
        self._its = its
        self._parts = [each for one in its.body for each in one.all()]
        self._answers = ASKS | helpers
        self._assigned: dict[str, list[Tokens]] = {}
        for part in (its, *self._parts):
            for name, value in _assignments(part.tokens):
                self._assigned.setdefault(name, []).append(value)

    def is_endless(self) -> bool:
        """Of a loop: whether answers alone end it, and it does nothing that others may await."""
        its = self._its
        return (
            not its.clauses
            and self._is_answer(its.tokens[1:-1])
            and self._only_calls((its, *self._parts))
            and self._jumps_by_answer(its.body)
        )

    def only_answers(self) -> bool:
        """Of a function: whether it only asks, and its value depends on answers only."""
        tests = [each for each in self._parts if each.word in {"if", "elif"}]
        values = [each.tokens[1:] for each in self._parts if each.word == "return"]
        return (
            self._only_calls(self._parts)
            and not any(each.word in _JUMPS - {"return"} for each in self._parts)
            and all(self._is_answer(each.tokens[1:-1]) for each in tests)
            and all(self._is_answer(each) for each in values if each)
        )

    def is_named_lambda(self) -> bool:
        """Of a statement: whether it is ``name = lambda: …``, and that only asks."""
        tokens = self._its.tokens
        is_one = [each.string for each in tokens[1:4]] == ["=", "lambda", ":"]
        return is_one and self._only_calls([self._its]) and self._is_answer(tokens[4:])

    def _only_calls(self, parts: Iterable[Statement]) -> bool:
        """Whether statements call only what asks, or is harmless."""
        allowed = self._answers | _COMBINE | _HARMLESS
        inner = [each for each in parts if each is not self._its]
        return (
            all(name in allowed for part in parts for name in called(part.tokens))
            and not any(each.word in _TOO_MUCH for each in inner)
            and not any(token.string == "yield" for part in parts for token in part.tokens)
        )

    def _jumps_by_answer(self, block: Iterable[Statement], *, guarded: bool = False) -> bool:
        """Whether every exit from the loop within a block depends on answers only.

        Args:
            block: Statements.
            guarded: Whether an answer decides if they run.
        """
        for one in block:
            if one.word in _JUMPS:
                if not guarded:
                    return False
            elif any(each.word in _JUMPS for each in one.all()):
                branches = (one, *one.clauses)
                tests = [each.tokens[1:-1] for each in branches if each.word != "else"]
                if (
                    one.word != "if"
                    or not all(map(self._is_answer, tests))
                    or not all(self._jumps_by_answer(each.body, guarded=True) for each in branches)
                ):
                    return False
        return True

    def _is_answer(self, test: Tokens, within: frozenset[str] = frozenset()) -> bool:
        """Whether the value of an expression depends on answers only.

        Args:
            test: The expression.
            within: Names under examination.
        """
        if len(test) == 1:
            return self._is_known(test[0], within)
        callee, inner = _at_end(test)
        if inner is not None and not callee:
            return self._are_answers(inner, within)
        if parts := _operands(test):
            return all(self._is_answer(part, within) for part in parts)
        if inner is None or test[-1].string != ")" or not _is_chain(callee):
            return False
        name = callee[-1].string
        return name in self._answers or (name in _COMBINE and self._are_answers(inner, within))

    def _are_answers(self, inner: Tokens, within: frozenset[str]) -> bool:
        """The same of what stands in brackets: several expressions, or a comprehension."""
        value, *loops = split(inner, "for")
        if not loops:
            return all(self._is_answer(part, within) for part in split(inner, ",") if part)
        conditions = [each for loop in loops for each in split(loop, "if")[1:]]
        return self._is_answer(value, within) or (
            bool(conditions) and all(self._is_answer(each, within) for each in conditions)
        )

    def _is_known(self, token: TokenInfo, within: frozenset[str]) -> bool:
        """The same of a single name or constant."""
        name = token.string
        if token.type == STRING:
            return not OF_FORMAT.match(name)
        if token.type == NUMBER or name in _CONSTANTS | _FIXED | within:
            return True
        values = self._assigned.get(name)
        return values is not None and all(self._is_answer(its, within | {name}) for its in values)


def _at_end(tokens: Tokens) -> tuple[Tokens, Tokens | None]:
    """What stands before the last bracket, and in it; None if tokens end with none."""
    depth = 0
    for i in reversed(range(len(tokens))):
        depth += (tokens[i].string in CLOSE) - (tokens[i].string in OPEN)
        if not depth:
            return (tokens[:i], tokens[i + 1 : -1]) if i < len(tokens) - 1 else (tokens, None)
    return tokens, None


def _operands(test: Tokens) -> list[Tokens]:
    """The expressions on which another depends; none where it is no operation, or unclear."""
    if not test or len(split(test, "if", "lambda")) > 1:
        return []
    if [each.string for each in test[1:2]] == [":="]:
        return [test[2:]]
    for word in ("or", "and"):
        if len(parts := split(test, word)) > 1:
            return parts
    if test[0].string == "not":
        return [test[1:]]
    parts = split(test, *_COMPARE)
    if len(parts) > 1:  # of "not in" the part before ends with "not"
        return [part[:-1] if part and part[-1].string == "not" else part for part in parts]
    return [test[1:]] if test[0].string in {"+", "-", "~"} else []


def _is_chain(tokens: Tokens) -> bool:
    """Whether tokens are names with attributes, items and calls, and end with a name."""
    for part in split(tokens, "."):
        named, inner = _at_end(part)
        while inner is not None:
            named, inner = _at_end(named)
        if len(named) != 1 or named[0].type != NAME or iskeyword(named[0].string):
            return False
    return tokens[-1].type == NAME


def _assignments(tokens: Tokens) -> Iterator[tuple[str, Tokens]]:
    """The names that tokens assign to, with the value; it has no tokens where that is unclear."""
    for i, token in enumerate(tokens):
        if token.string == ":=":
            yield tokens[i - 1].string, _up_to_its_end(tokens[i + 1 :])
        elif token.string[1:] and token.string[-1] == "=" and token.string not in _COMPARE:
            yield from ((each.string, ()) for each in tokens[:i] if each.type == NAME)
    *targets, value = split(tokens, "=")
    for target in targets:
        is_name = [each.string for each in target[1:2]] in ([], [":"])
        for each in target[:1] if is_name else target:
            if each.type == NAME:
                yield each.string, value if is_name else ()


def _up_to_its_end(tokens: Tokens) -> Tokens:
    """The expression at the begin of tokens: up to a comma, or the bracket in which it stands."""
    depth = 0
    for i, token in enumerate(tokens):
        depth += (token.string in OPEN) - (token.string in CLOSE)
        if depth < 0 or (not depth and token.string in {",", ":"}):
            return tokens[:i]
    return tokens
