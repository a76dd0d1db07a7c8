"""Adding to a rank's look what its engine cannot say: how its cell ended, how it died."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from rankbook.cellnames import cell_of, where
from rankbook.diagnosis.wording import ENDED
from rankbook.models import Collective, Failure, Look
from rankbook.models.calls import LastCalls, Place

__all__ = [
    "PENDING",
    "in_a_line",
    "in_short",
    "inferred",
    "is_lost",
    "is_of_connections",
    "is_timeout",
    "out_of_step",
    "post_mortem",
    "when_it_was_lost",
    "with_last_calls",
    "with_outcome",
]

PENDING = "pending"
"""A rank that has not said yet how its cell ended."""

_TIMED_OUT = ("Timed out waiting", "timeout caused pair closure")
"""gloo's messages for a collective that took too long, and for the ones after it."""

_FRAME = re.compile(r'File "(.+)", line (\d+) in (\S+)')
"""A frame, as Python's fault handler writes it."""

_NOT_OF_A_PERSON = re.compile(r"-packages/|/lib/python3|^<|/rankbook/(?:engine|calls|distributed)/")

_TERMINATE = re.compile(r"^\s*what\(\):|\[enforce fail at [^\]]*\]")
"""The text of C++ and gloo around the reason for ending a process."""

_GLOOS = re.compile(r"gloo/[^\]]*\]\s*([^\[\n.]+)")
"""The event in gloo's message, after the place in its source and before an address."""

_OF_A_WORKER = re.compile(r"Caught (\w+) (in .+)\.$")
"""The first line of an exception that torch has brought from another process or thread; the last
one says what it was."""

_CONNECTION_LOST = ("onnection closed", "onnection reset", "roken pipe", "onnection refused")
"""gloo's messages on ranks that were connected to one that has ended."""


def is_lost(failure: Failure) -> bool:
    """Whether a rank failed because a rank that it was connected to is gone."""
    of_torch = _is_gloo_error(failure) or failure.ename.startswith("Dist")
    return of_torch and any(words in failure.evalue for words in _CONNECTION_LOST)


def is_timeout(failure: Failure) -> bool:
    """Whether a collective took longer than the group allows; its connections are gone then."""
    return _is_gloo_error(failure) and any(w in failure.evalue for w in _TIMED_OUT)


def is_of_connections(failure: Failure) -> bool:
    """Whether a rank failed because the group's connections are gone, which is a consequence."""
    return is_lost(failure) or is_timeout(failure)


def in_short(failure: Failure) -> str:
    """The message of an exception in a line; a gloo message without files and ports."""
    if _is_gloo_error(failure) and (match := _GLOOS.search(failure.evalue)):
        return match[1].strip()
    lines = failure.evalue.splitlines() or [""]
    if (wrapped := _OF_A_WORKER.match(lines[0])) and len(lines) > 1:
        return f"{lines[-1].removeprefix(f'{wrapped[1]}: ')} ({wrapped[2]})"
    return lines[0]


def in_a_line(failure: Failure) -> str:
    """The line shown for an exception that only follows from a lost connection."""
    at = f" ({failure.line})" if failure.line else ""
    return f"{failure.ename}{at}: {in_short(failure)}"


def _is_gloo_error(failure: Failure) -> bool:
    """Whether gloo raised an exception: its message names a source file of gloo."""
    return failure.ename == "RuntimeError" and "gloo/" in failure.evalue


def out_of_step(looks: Mapping[int, Look]) -> bool:
    """Whether ranks are at different collectives: the next one would hang, or mix up data.

    Args:
        looks: By rank, for those whose calls are known.
    """
    calls = [(rank, call) for rank, look in looks.items() for call in look.recent]
    if not all(call.done for _, call in calls):
        return True
    last: dict[str, dict[int, int]] = {}
    for rank, call in calls:
        if call.seq is not None:
            last.setdefault(call.group, {})[rank] = call.seq
    members = {call.group: call.ranks for _, call in calls}
    return any(
        len({numbers.get(rank, 0) for rank in looks if rank in (members[group] or looks)}) > 1
        for group, numbers in last.items()
    )


def when_it_was_lost(look: Look, failure: Failure | None) -> Look:
    """The look of an idle rank at the moment when it lost the connection to a dead one."""
    if look.state != "idle" or failure is None or not is_lost(failure):
        return look
    open_ones = [call for call in look.recent if not call.done]
    last = [*open_ones, *look.recent[-1:], Collective("wait")][0]
    # It is certain now that it waited in vain.
    return replace(
        look,
        state="waiting",
        waiting=replace(last, since=last.took or last.since),
        line=failure.line,
        raised="",
        still=math.inf,
        quiet=math.inf,
        silent=None,
    )


def post_mortem(log: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The line of the cell in which a process crashed, and what it wrote before that."""
    crash = next((i for i, line in enumerate(log) if line.startswith("Fatal Python")), len(log))
    return _where(log[crash:]), tuple(_TERMINATE.sub("", line).strip() for line in log[:crash])


def _where(dump: Sequence[str]) -> str:
    """Where the thread stands that has crashed, or all do where the fault handler does not say.

    Args:
        dump: What it has written: thread by thread, the innermost frame first.
    """
    own = next((i for i, line in enumerate(dump) if line.startswith("Current thread")), None)
    if own is not None:
        dump = [*takewhile(lambda line: not line.startswith("Thread "), dump[own:])]
    frames = [match.groups() for line in dump if (match := _FRAME.search(line))]
    return where(
        Place(cell or file, int(line), "" if scope == "<module>" else scope, bool(cell))
        for file, line, scope in frames
        if (cell := cell_of(file)) or not _NOT_OF_A_PERSON.search(file)
    )


def with_last_calls(
    look: Look, last: LastCalls | None, generation: int, others: Mapping[int, Look]
) -> Look:
    """The look of a rank that has ended, with what it called last.

    Args:
        look: The rank's look.
        last: The calls that it left; None if unknown.
        generation: The present group's: calls in a former one explain nothing.
        others: By rank, looks of those that answer: they know which ranks are in which group.
    """
    if last is None:
        return look
    ranks = {call.group: call.ranks for other in others.values() for call in other.recent}
    recent = {
        call.id: replace(Collective.of(call, call.issued), ranks=ranks.get(call.group, ()))
        for call in last.calls
        if call.generation == generation
    }
    awaited = recent.get(last.awaited or 0)
    return replace(
        look,
        recent=tuple(recent.values()),
        waiting=awaited,
        line=awaited.line if awaited else "",
    )


def inferred(looks: Mapping[int, Look]) -> dict[int, Failure | None]:
    """How the cell ended on ranks that are idle, where another session runs it.

    It is the cell that all busy ranks run; an idle rank whose last cell is another did not get it.

    Returns:
        By idle rank, the exception that ended the cell there; None: it ran to its end.
    """
    run = {look.ran for look in looks.values() if look.state not in ("idle", "gone", "no answer")}
    if len(run) != 1 or "" in run:
        return {}
    return {
        rank: _last_failure(look)
        for rank, look in looks.items()
        if look.state == "idle" and look.ran in run
    }


def _last_failure(look: Look) -> Failure | None:
    name, _, message = look.last_error.partition(": ")
    return Failure(name, message, line=look.failed_at) if name else None


def with_outcome(look: Look, failure: Failure | str | None) -> Look:
    """The look of an idle rank, with how its cell ended."""
    if look.state != "idle":
        return look
    if failure is None:
        return replace(look, line=ENDED)
    if isinstance(failure, str):
        return replace(look, state="running", line="the cell in a moment")
    words = f"{failure.ename}: {in_short(failure)}".rstrip(": ")
    return replace(look, raised=words, line=failure.line)
