"""The verdict on one collective that ranks have called differently, whether it hung or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rankbook.diagnosis.calls import elements, name
from rankbook.diagnosis.clashes import Clash, mismatch
from rankbook.diagnosis.phrases import reduces
from rankbook.diagnosis.wording import Words, grouped, outside_majority
from rankbook.models import Collective, Diagnosis, Look
from rankbook.models.calls import SAME_SIZE
from rankbook.models.meshes import NamedMesh
from rankbook.words import agree, sentence_start

__all__ = ["differing", "left_behind"]


def differing(calls: Mapping[int, Collective], mesh: NamedMesh | None = None) -> Diagnosis | None:
    """Say how calls of one number differ.

    Args:
        calls: By rank, what it called.
        mesh: By whose dimensions ranks are named, too.

    Returns:
        A verdict of the kind ``mismatch`` about those who differ from most; None if the calls are
        the same as far as is known.
    """
    words = _words(calls, mesh)
    sorts = grouped(calls, lambda rank: _what_must_agree(calls[rank]))
    if len(sorts) == 1:  # then it is what some backends only want to be equal
        sorts = grouped(calls, lambda rank: elements(calls[rank]))
    if len(sorts) <= 1:
        return None
    culprits = outside_majority(sorts)
    return Diagnosis(
        "mismatch",
        culprits,
        mismatch(words, Clash(calls, sorts, culprits)),
        {
            rank: f"called {words.call(call, tensors=True)}{reduces(call)}{words.at([rank])}"
            for rank, call in sorted(calls.items())
        },
        mesh=mesh,
    )


def _what_must_agree(call: Collective) -> tuple[object, ...]:
    sized = elements(call) if call.op in SAME_SIZE else None
    return name(call.op), call.peer, call.reduce_op, call.dtypes[:1], sized


def left_behind(
    calls: Mapping[int, Collective], members: Iterable[int], mesh: NamedMesh | None = None
) -> Diagnosis:
    """Say that ranks have ended a cell without a call that others made.

    Args:
        calls: By rank that made it, the call.
        members: All ranks of its group.
        mesh: By whose dimensions ranks are named, too.

    Returns:
        A verdict of the kind ``missing_rank``. It is not proven: a later cell may make the call.
    """
    words = _words(calls, mesh)
    callers = sorted(calls)
    behind = tuple(rank for rank in members if rank not in calls)
    call = calls[callers[0]]
    never = f"{words.ranks_do(behind, 'has', 'have')} not called {words.call(call)}"
    return Diagnosis(
        "missing_rank",
        behind,
        sentence_start(f"{never}, which {words.do(callers, 'call')}{words.at(callers)}."),
        {rank: f"called {words.call(call)}{words.at([rank])}" for rank in callers},
        hint=(
            f"{agree(behind, 'Its', 'Their')} next call in this group will meet it: "
            "call it there, too, or run %dist_reset."
        ),
        mesh=mesh,
    )


def _words(calls: Mapping[int, Collective], mesh: NamedMesh | None) -> Words:
    looks = {rank: Look("waiting", call.line, waiting=call) for rank, call in calls.items()}
    return Words(looks, past=True, mesh=mesh)
