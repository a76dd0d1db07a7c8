"""What every schedule must obey: told where an answer is none of the known mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rankbook.teach.definitions import Mistake, Seen

__all__ = ["RULES", "broken_rule"]


def broken_rule(steps: Any, ahead: int, batches: int) -> str:
    """The first rule that a schedule breaks; empty if it is no list, or breaks none.

    Args:
        steps: What the learner's function returned.
        ahead: Forward passes before the first backward pass.
        batches: Number of micro-batches.
    """
    if not isinstance(steps, (list, tuple)) or not steps:
        return ""
    if not all(_is_pass(step, batches) for step in steps):
        return "form"
    passes = [tuple(step) for step in steps]
    if sorted(passes) != sorted((what, k) for what in "FB" for k in range(batches)):
        return "once"
    return "ahead" if [what for what, _ in passes].index("B") != ahead else ""


def _is_pass(step: Any, batches: int) -> bool:
    return (
        isinstance(step, (list, tuple))
        and len(step) == len(("F", 0))
        and step[0] in ("F", "B")
        and isinstance(step[1], int)
        and 0 <= step[1] < batches
    )


def _breaks(rule: str) -> Callable[[Seen], bool]:
    return lambda seen: (
        "other" in seen.findings.values()
        and any(notes.get("broken") == rule for notes in seen.notes.values())
    )


_CELL = "%%dist\ndef one_f_one_b(rank, stages, batches):\n    ahead = stages - rank - 1\n"

RULES = (
    Mistake(
        "no-pairs",
        "Each entry is a pair: a capital letter, then the number of a micro-batch from 0 to "
        'batches - 1. A list gets two of them by steps += [("F", 0), ("B", 0)].',
        _CELL + "    steps = [f'F{k}' for k in range(ahead)]\n"
        "    for k in range(batches - ahead):\n        steps += [f'F{ahead + k}', f'B{k}']\n"
        "    return steps + [f'B{k}' for k in range(batches - ahead, batches)]\n",
        seen=_breaks("form"),
    ),
    Mistake(
        "not-once",
        "Every rank goes forward once and backward once with each micro-batch, so its list has "
        "2 * batches pairs. Here some are missing, or there twice.",
        _CELL + "    steps = []\n"
        '    for k in range(batches - ahead):\n        steps += [("F", ahead + k), ("B", k)]\n'
        '    return steps + [("B", k) for k in range(batches - ahead, batches)]\n',
        seen=_breaks("once"),
    ),
    Mistake(
        "other-lead",
        "Count the forward passes before the first backward pass: those that the rank is ahead, "
        "and the one of its first turn, so stages - rank of them.",
        _CELL + '    steps = [("F", k) for k in range(ahead)] + [("B", k) for k in range(ahead)]\n'
        '    for k in range(ahead, batches):\n        steps += [("F", k), ("B", k)]\n'
        "    return steps\n",
        seen=_breaks("ahead"),
    ),
)
