"""What became of a test on its ranks, as pytest tells it."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import pytest

# Private in pytest, unchanged since version 5: how an exception is shown, and sent by pytest-xdist.
from _pytest._code.code import (
    ExceptionChainRepr,
    ReprEntryNative,
    ReprFileLocation,
    ReprTraceback,
)

from rankbook.errors import HangError, RankError
from rankbook.models import Failure
from rankbook.sessions.cells.results import CellResult
from rankbook.testing.on_rank import OWN, Left, Raised, decoded
from rankbook.words import in_words, ranks_do, sentence_start

__all__ = ["Outcome"]

_Part: TypeAlias = tuple[ReprTraceback, ReprFileLocation | None, str | None]
"""A traceback, where it ends, and what follows it: as pytest has the chain of an exception."""

_COLOURS = re.compile(r"\x1b\[[\d;]*m")

_NO_FAILURES = {"skip": "skipped", "xfail": "expected to fail"}
"""What ends a test that has not failed, if it does so on all ranks; and what those ranks did."""


class Outcome:
    """Of one test.

    Args:
        result: Of the cell that has run it.
        raised: By rank, what it raised there, pickled; of some it is not known.
        item: The test.
    """

    def __init__(
        self, result: CellResult, raised: Mapping[int, bytes], item: pytest.Function
    ) -> None:
        self._result = result
        self._item = item
        self._raised: dict[int, Raised] = {
            rank: pickle.loads(data)  # noqa: S301 - from our own ranks
            for rank, data in raised.items()
        }

    @property
    def is_group_lost(self) -> bool:
        """Whether some rank has left the group that the test has found."""
        return any(left.is_group_lost for left in self._left())

    def _left(self) -> Iterator[Left]:
        for rank, done in self._result.items():
            raised = self._raised.get(rank)
            yield raised.left if raised else decoded(done.result_repr)

    def warn(self) -> None:
        """Issue the warnings of the ranks here, each once, and those on calls."""
        with warnings.catch_warnings():
            warnings.simplefilter("always")  # those of a body have passed the filters there
            for one in dict.fromkeys(one for left in self._left() for one in left.warned):
                warnings.warn_explicit(one.message, one.category, one.file, one.line)
        for found in (*self._result.mismatches, *self._result.left_out):
            path, line = str(self._item.path), self._item.location[1] or 0
            warnings.warn_explicit(found.summary, UserWarning, path, line + 1)

    def error(self) -> BaseException | None:
        """What the test raises here; None: it has passed.

        The first exception of a rank, or how all of them have ended the test. Where none has raised
        one by itself, it is a :class:`~rankbook.HangError` with the verdict.
        """
        try:
            self._result.raise_for_error()
        except RankError as error:
            return self._agreed() or self._first() or error
        return None

    def _agreed(self) -> BaseException | None:
        """How the test has ended without a failure: skipped, on all ranks or on some."""
        for own, did in _NO_FAILURES.items():
            ranks = [rank for rank, raised in self._raised.items() if raised.own == own]
            others = [rank for rank in self._result if rank not in ranks]
            if not ranks or not all(self._result[rank].ok for rank in others):
                continue
            message = self._raised[ranks[0]].message
            if not others:
                return OWN[own](message)
            they = sentence_start(ranks_do(ranks, did, did))
            said = f"{they} this test, {ranks_do(others, 'did not', 'did not')}: {message}"
            return pytest.fail.Exception(said, pytrace=False)
        return None

    def _first(self) -> BaseException | None:
        """The exception that was raised first, where it is known here."""
        for ranks, failure in self._result.failures():
            first = self._raised.get(ranks[0])
            if first is not None and not failure.freed:
                return OWN[first.own](first.message) if first.own else first.error or _like(first)
        return None

    def shown(self, error: BaseException) -> ExceptionChainRepr | tuple[str, int, str] | None:
        """What is shown of a failure, by rank, or where it was skipped.

        None: what pytest shows of any exception.
        """
        if isinstance(error, pytest.skip.Exception):
            return self._skipped()
        if isinstance(error, pytest.fail.Exception) and not error.pytrace:
            return None
        parts = [*self._own(), *self._verdict()]
        if not parts:
            return None
        # The last one's is what a summary says.
        parts[-1] = (parts[-1][0], parts[0][1], parts[-1][2])
        return ExceptionChainRepr(parts)

    def _skipped(self) -> tuple[str, int, str] | None:
        """Where a rank has skipped the test, as pytest reports it."""
        first = next(raised for raised in self._raised.values() if raised.own == "skip")
        crash = first.shown.reprcrash
        return (crash.path, crash.lineno, f"Skipped: {first.message}") if crash else None

    def _own(self) -> Iterator[_Part]:
        """What ranks have raised by themselves; where others did the same, only their message."""
        shown: set[tuple[str, int]] = set()
        for ranks, failure in self._result.failures():
            if failure.freed and _has_verdict(self._result):
                continue
            head = f"{sentence_start(in_words(ranks))}:"
            chain = self._chain(ranks[0], failure)
            crash = chain[-1][1]
            where = (crash.path, crash.lineno) if crash else ("", 0)
            if where in shown and crash:
                yield _native([head, *(f"E   {line}" for line in crash.message.split("\n"))], crash)
                continue
            shown.add(where)
            (first, crash, description), *rest = chain
            yield _headed(head, first), crash, description
            yield from rest

    def _chain(self, rank: int, failure: Failure) -> Sequence[_Part]:
        """The exception of a rank, and its causes before it."""
        if raised := self._raised.get(rank):
            trace, crash = raised.shown.reprtraceback, raised.shown.reprcrash
            chain: Sequence[_Part] = getattr(raised.shown, "chain", [(trace, crash, None)])
            return chain
        summary = f"{failure.ename}: {failure.evalue}"
        lines = [_COLOURS.sub("", line) for line in failure.traceback] or [summary]
        return [_native(lines, self._at(summary))]

    def _verdict(self) -> Iterator[_Part]:
        """The sentence that says why the test was ended, and what each rank did."""
        try:
            self._result.raise_for_error()
        except RankError as error:
            if not _has_verdict(self._result):
                return
            summary = f"{type(error).__name__}: {str(error).removesuffix(error.note).rstrip()}"
            lines = [summary]
            if isinstance(error, HangError):
                lines += [error.hint, *(_COLOURS.sub("", line) for line in error.table_lines)]
            yield _native([f"E   {line}" for line in lines if line], self._at(summary))

    def _at(self, message: str) -> ReprFileLocation:
        file, line, _ = self._item.location
        return ReprFileLocation(file, (line or 0) + 1, message)


def _like(raised: Raised) -> BaseException | None:
    """An exception of the same class and message, in place of one that cannot be sent."""
    with suppress(Exception):  # a class that cannot be made here
        kind = pickle.loads(raised.kind)  # noqa: S301
        made: BaseException = kind.__new__(kind)
        made.args = (raised.message,)
        str(made)  # which may need what __init__ sets
        return made
    return None


def _has_verdict(result: CellResult) -> bool:
    """Whether a sentence says why ranks were freed."""
    return result.diagnosis is not None or bool(result.interruption or result.ended)


def _native(lines: list[str], crash: ReprFileLocation) -> _Part:
    entry = ReprEntryNative([f"{line}\n" for line in lines])
    return ReprTraceback([entry], None, style="native"), crash, None


def _headed(head: str, trace: ReprTraceback) -> ReprTraceback:
    entries = [ReprEntryNative([f"{head}\n"]), *trace.reprentries]
    return ReprTraceback(entries, trace.extraline, style=trace.style)
