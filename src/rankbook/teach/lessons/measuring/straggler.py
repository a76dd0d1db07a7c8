"""The exercise on finding the rank that holds up the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake
from rankbook.teach.lessons.measuring.clock import Clock

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["STRAGGLER"]


_WORK = (45, 90, 30, 8)
"""Milliseconds of a step's work, by rank: rank 1 is the straggler, and rank 3 waits longest."""
_AFTER = 30
"""Milliseconds that rank 2 needs for itself when all have communicated: its steps seem longest."""
_STEPS = 3


def _try_straggler(here: Here) -> Any:
    clock = Clock(here)

    def communicate() -> None:
        clock.meet()
        clock.passes(_AFTER if here.rank == 2 else 0)  # noqa: PLR2004 - not the one whose number argmax gives

    with clock.running(here.variables):
        named = here.straggler(lambda: clock.passes(_WORK[here.rank]), communicate, _STEPS)
    here.note(
        itself=type(named) is int and named == here.rank,
        seconds=isinstance(named, float),
    )
    return named


def _straggler_cell(timed: tuple[str, ...], end: tuple[str, ...]) -> str:
    loop = "".join(f"        {line}\n" for line in timed)
    return (
        "%%dist\ndef straggler(work, communicate, steps):\n    own = torch.zeros(1)\n"
        f"    for _ in range(steps):\n{loop}" + "".join(f"    {line}\n" for line in end)
    )


_BEGAN = "began = time.perf_counter()"
_OWN = "own += time.perf_counter() - began"
_LARGEST = (
    "all_own = [torch.zeros(1) for _ in range(world_size)]",
    "dist.all_gather(all_own, own)",
    "return torch.cat(all_own).argmax().item()",
)

STRAGGLER = Exercise(
    name="find",
    title="Find the straggler",
    needs=("straggler",),
    tries=_try_straggler,
    right=lambda here: 1,  # noqa: ARG005 - the same on all ranks
    hints=(
        "Look at the clock before work() and after it. What communicate() takes is the others.",
        "Then every rank needs the times of all: dist.all_gather.",
        "torch.cat(all_own).argmax().item() is the number of the rank with the largest.",
    ),
    mistakes=(
        Mistake(
            "whole-steps",
            "The whole step was timed, with the wait in communicate(). So all ranks look equally "
            "slow, and some small thing decides. Stop the clock right after work().",
            _straggler_cell((_BEGAN, "work()", "communicate()", _OWN), _LARGEST),
            says="names the rank with the longest steps",
            gives=lambda here: 2,  # noqa: ARG005 - the same on all ranks
        ),
        Mistake(
            "all-equal",
            "argmax of one number, or of equal ones, is 0. Does own get the time of work() in each "
            "step, and does argmax look at the times of all ranks, each in a tensor of its own?",
            _straggler_cell(
                (_BEGAN, "work()", _OWN, "communicate()"), ("return own.argmax().item()",)
            ),
            says="names rank 0, as argmax does of equal numbers",
            gives=lambda here: 0,  # noqa: ARG005 - the same on all ranks
        ),
        Mistake(
            "victim",
            "That is the rank that waits longest: it has least to do. The straggler is the one "
            "that the others wait for.",
            _straggler_cell(("work()", _BEGAN, "communicate()", _OWN), _LARGEST),
            says="names the rank that waits longest",
            gives=lambda here: 3,  # noqa: ARG005 - the same on all ranks
        ),
        Mistake(
            "seconds",
            "These are seconds: the longest time of all, perhaps. The question is which rank has "
            "it, so gather the times of all ranks, and take their argmax.",
            _straggler_cell(
                (_BEGAN, "work()", _OWN, "communicate()"),
                ("dist.all_reduce(own, dist.ReduceOp.MAX)", "return own.item()"),
            ),
            says="returned a time, not a rank",
            seen=lambda seen: any(notes.get("seconds") for notes in seen.notes.values()),
        ),
        Mistake(
            "knows-only-itself",
            "Only the straggler knows that it is the one. All ranks have to return its number: "
            "gather the times of all ranks, and take their argmax.",
            _straggler_cell(
                (_BEGAN, "work()", _OWN, "communicate()"),
                (
                    "most = own.clone()",
                    "dist.all_reduce(most, dist.ReduceOp.MAX)",
                    "return rank if own == most else None",
                ),
            ),
            seen=lambda seen: (
                seen.right == {1} and set(seen.findings.values()) == {"right", "other"}
            ),
        ),
        Mistake(
            "does-not-ask",
            "Each rank has named itself. To know who needs longest, the ranks have to compare: "
            "gather the times of all, then take the largest.",
            _straggler_cell((_BEGAN, "work()", _OWN, "communicate()"), ("return rank",)),
            says="names itself",
            seen=lambda seen: (
                bool(seen.notes) and all(notes.get("itself") for notes in seen.notes.values())
            ),
        ),
    ),
)
