"""The exercise: the schedule of one rank under 1F1B."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, cell_of
from rankbook.teach.judging import agree
from rankbook.teach.lessons.pipeline.rules import RULES, broken_rule

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["SCHEDULE", "STAGES"]

STAGES, _BATCHES = 4, 8

_OTHERS = 6, 9
"""Other numbers of stages and micro-batches, for which an answer must be right, too."""

_Steps = list[tuple[str, int]]


def _one_f_one_b(
    rank: int, stages: int = STAGES, batches: int = _BATCHES, *, more: int = 0
) -> _Steps:
    """The schedule of one rank.

    Args:
        rank: Which stage.
        stages: How many there are.
        batches: How many micro-batches, at least as many.
        more: Forward passes at the beginning, beyond those that are needed.
    """
    ahead = stages - rank - 1 + more
    steps: _Steps = [("F", k) for k in range(ahead)]
    for k in range(batches - ahead):
        steps += [("F", ahead + k), ("B", k)]
    return steps + [("B", k) for k in range(batches - ahead, batches)]


def _try_schedule(here: Here) -> Any:
    """The learner's schedule of this rank; if it is right, a word where others are not."""

    def is_right(*case: int) -> bool:
        return agree(here.one_f_one_b(*case), _one_f_one_b(*case), 0)

    # The first one and the last one stay so: in some mistakes these are right.
    there = here.rank and here.rank + _OTHERS[0] - STAGES
    if is_right(here.rank, STAGES, _BATCHES) and not is_right(there, *_OTHERS):
        return _ONLY_HERE
    got = here.one_f_one_b(here.rank, STAGES, _BATCHES)
    here.note(broken=broken_rule(got, STAGES - here.rank, _BATCHES))
    return got


_ONLY_HERE = f"right for {STAGES} stages and {_BATCHES} micro-batches only"


def _gpipe() -> _Steps:
    return [("F", k) for k in range(_BATCHES)] + [("B", k) for k in range(_BATCHES)]


def _alternating() -> _Steps:
    return [step for k in range(_BATCHES) for step in (("F", k), ("B", k))]


def _backward_first(rank: int) -> _Steps:
    ahead = STAGES - rank - 1
    steps: _Steps = [("F", k) for k in range(ahead)]
    for k in range(_BATCHES - ahead):
        steps += [("B", k), ("F", ahead + k)]
    return steps + [("B", k) for k in range(_BATCHES - ahead, _BATCHES)]


def _same_batch(rank: int) -> _Steps:
    """What comes of going forward and backward with one micro-batch in a turn."""
    ahead = STAGES - rank - 1
    steps: _Steps = [("F", k) for k in range(ahead)]
    for k in range(ahead, _BATCHES):
        steps += [("F", k), ("B", k)]
    return steps + [("B", k) for k in range(ahead)]


def _begins_again(rank: int) -> _Steps:
    """What comes of counting the forward passes of the turns from 0."""
    ahead = STAGES - rank - 1
    steps: _Steps = [("F", k) for k in range(ahead)]
    for k in range(_BATCHES - ahead):
        steps += [("F", k), ("B", k)]
    return steps + [("B", k) for k in range(_BATCHES - ahead, _BATCHES)]


def _nested(rank: int) -> list[Any]:
    """What comes of appending each turn as a list."""
    ahead = STAGES - rank - 1
    turns = [[("F", ahead + k), ("B", k)] for k in range(_BATCHES - ahead)]
    ends = [("B", k) for k in range(_BATCHES - ahead, _BATCHES)]
    return [*(("F", k) for k in range(ahead)), *turns, *ends]


def _ends_backwards(rank: int) -> _Steps:
    """What comes of the last backward passes in reverse order."""
    steps = _one_f_one_b(rank)
    last = len(steps) - (STAGES - rank - 1)
    return steps[:last] + steps[last:][::-1]


def _too_many(rank: int) -> _Steps:
    """What comes of as many turns as there are micro-batches, on a rank that is ahead."""
    ahead = STAGES - rank - 1
    steps: _Steps = [("F", k) for k in range(ahead)]
    for k in range(_BATCHES):
        steps += [("F", ahead + k), ("B", k)]
    return steps


_schedule = partial(cell_of, "one_f_one_b(rank, stages, batches)")

_LOOP = (
    'steps = [("F", k) for k in range(ahead)]',
    "for k in range(batches - ahead):",
    '    steps += [("F", ahead + k), ("B", k)]',
)
_SAME = (
    'steps = [("F", k) for k in range(ahead)]',
    "for k in range(ahead, batches):",
    '    steps += [("F", k), ("B", k)]',
    'steps += [("B", k) for k in range(ahead)]',
)
_REST = 'return steps + [("B", k) for k in range(batches - ahead, batches)]'

SCHEDULE = Exercise(
    name="1f1b",
    title="One forward, one backward",
    needs=("one_f_one_b",),
    tries=_try_schedule,
    right=lambda here: _one_f_one_b(here.rank),
    hints=(
        "The last rank can go backward at once: F0 B0 F1 B1 … How many forward passes does rank 2 "
        "have to be ahead, so that the last rank never waits for it?",
        "Rank r is stages - rank - 1 forward passes ahead: 3, 2, 1, 0.",
        "First those forward passes; then a forward and a backward pass in turn, until the forward "
        "passes are used up; then the backward passes that are left.",
    ),
    mistakes=(
        *RULES,
        Mistake(
            "gpipe",
            "That is GPipe: all forward passes, then all backward passes. It keeps all activations "
            "until then. Go backward as soon as there is something to go backward with.",
            _schedule(
                'return [("F", k) for k in range(batches)] + [("B", k) for k in range(batches)]'
            ),
            says="does all forward passes first",
            gives=lambda here: _gpipe(),  # noqa: ARG005 - the same on all ranks
        ),
        Mistake(
            "not-ahead",
            "Only the last rank can begin like that. The others would wait for each gradient "
            "before they send anything more: one micro-batch in the whole pipeline at a time.",
            _schedule('return [step for k in range(batches) for step in (("F", k), ("B", k))]'),
            says="is never ahead",
            gives=lambda here: _alternating(),  # noqa: ARG005 - the same on all ranks
        ),
        Mistake(
            "too-far-ahead",
            "It works, but every rank is one forward pass further ahead than it has to be, and "
            "keeps one activation more. The last rank need not be ahead at all.",
            _schedule("ahead = stages - rank", *_LOOP, _REST),
            says="is one forward pass too far ahead",
            gives=lambda here: _one_f_one_b(here.rank, more=1),
        ),
        Mistake(
            "same-batch",
            "A rank that is ahead goes backward with an earlier micro-batch than forward: F of "
            "ahead + k, then B of k. The gradient of the newest one has yet to come.",
            _schedule("ahead = stages - rank - 1", *_SAME, "return steps"),
            says="goes backward with the micro-batch that it has just gone forward with",
            gives=lambda here: _same_batch(here.rank),
        ),
        Mistake(
            "begins-again",
            "The forward passes of the turns begin with micro-batch 0 again, which this rank has "
            "done before. Those that it is ahead come first: F of ahead + k.",
            _schedule(
                "ahead = stages - rank - 1", *_LOOP[:2], '    steps += [("F", k), ("B", k)]', _REST
            ),
            says="goes forward twice with the same micro-batches",
            gives=lambda here: _begins_again(here.rank),
        ),
        Mistake(
            "nested",
            "append puts each turn into the list as a list of its own. The schedule is one list of "
            'pairs: steps += [("F", …), ("B", …)].',
            _schedule(
                "ahead = stages - rank - 1",
                *_LOOP[:2],
                '    steps.append([("F", ahead + k), ("B", k)])',
                _REST,
            ),
            says="has lists in its list",
            gives=lambda here: _nested(here.rank),
        ),
        Mistake(
            "ends-backwards",
            "The last backward passes stand in reverse order. The gradients come in the order of "
            "the micro-batches, at the end as before.",
            _schedule(
                "ahead = stages - rank - 1",
                *_LOOP,
                'return steps + [("B", batches - 1 - k) for k in range(ahead)]',
            ),
            says="goes backward in reverse order at the end",
            gives=lambda here: _ends_backwards(here.rank),
        ),
        Mistake(
            "too-many",
            "The last turns go forward with micro-batches that do not exist. So many as a rank is "
            "ahead have gone before: that leaves batches - ahead turns, then backward passes.",
            _schedule(
                "ahead = stages - rank - 1",
                _LOOP[0],
                "for k in range(batches):",
                _LOOP[2],
                "return steps",
            ),
            says="goes forward with micro-batches that do not exist",
            gives=lambda here: _too_many(here.rank),
        ),
        Mistake(
            "no-end",
            "Every forward pass needs its backward pass: those that were ahead at the beginning "
            "are missing at the end.",
            _schedule("ahead = stages - rank - 1", *_LOOP, "return steps"),
            says="never does its last backward passes",
            gives=lambda here: [s for s in _one_f_one_b(here.rank) if not _is_late(here, s)],
        ),
        Mistake(
            "all-alike",
            "All ranks are ahead as far as the first one has to be. The nearer a rank is to the "
            "end, the sooner it can go backward; the last one at once.",
            _schedule("ahead = stages - 1", *_LOOP, _REST),
            says="is ahead as far as rank 0",
            gives=lambda here: _one_f_one_b(0),  # noqa: ARG005 - the same on all ranks
        ),
        Mistake(
            "mirrored",
            "It is the first rank that has to be furthest ahead, and the last one not at all: the "
            "gradients begin at the end of the pipeline.",
            _schedule("ahead = rank", *_LOOP, _REST),
            # Each rank does what another mistake has it do.
            seen=lambda seen: (
                list(seen.findings.values())
                == ["not-ahead", "backward-first", "too-far-ahead", "all-alike"]
            ),
        ),
        Mistake(
            "only-here",
            "It is right for these numbers only. Use stages and batches wherever you have written "
            "a number.",
            _schedule("ahead = 3 - rank", _LOOP[0], "for k in range(8 - ahead):", _LOOP[2], _REST),
            says="is right for 4 stages and 8 micro-batches only",
            gives=lambda here: _ONLY_HERE,  # noqa: ARG005 - the same on all ranks
        ),
        Mistake(
            "backward-first",
            "In each turn the forward pass comes first: the last rank cannot go backward with a "
            "micro-batch that it has not seen.",
            _schedule(
                "ahead = stages - rank - 1",
                *_LOOP[:2],
                '    steps += [("B", k), ("F", ahead + k)]',
                _REST,
            ),
            says="has the backward pass first in each turn",
            gives=lambda here: _backward_first(here.rank),
        ),
    ),
)


def _is_late(here: Here, step: tuple[str, int]) -> bool:
    return step[0] == "B" and step[1] >= _BATCHES - (STAGES - here.rank - 1)
