"""Lesson 08: pipeline parallel; GPipe, 1F1B, and the bubble."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, cell_of
from rankbook.teach.forms import Number, Numbers, Ranks, Whole

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["LESSON"]

_STAGES, _BATCHES = 4, 8

_Steps = list[tuple[str, int]]


def _one_f_one_b(rank: int, *, more: int = 0) -> _Steps:
    """The schedule of one rank.

    Args:
        rank: Which stage.
        more: Forward passes at the beginning, beyond those that are needed.
    """
    ahead = _STAGES - rank - 1 + more
    steps: _Steps = [("F", k) for k in range(ahead)]
    for k in range(_BATCHES - ahead):
        steps += [("F", ahead + k), ("B", k)]
    return steps + [("B", k) for k in range(_BATCHES - ahead, _BATCHES)]


def _gpipe() -> _Steps:
    return [("F", k) for k in range(_BATCHES)] + [("B", k) for k in range(_BATCHES)]


def _alternating() -> _Steps:
    return [step for k in range(_BATCHES) for step in (("F", k), ("B", k))]


def _backward_first(rank: int) -> _Steps:
    ahead = _STAGES - rank - 1
    steps: _Steps = [("F", k) for k in range(ahead)]
    for k in range(_BATCHES - ahead):
        steps += [("B", k), ("F", ahead + k)]
    return steps + [("B", k) for k in range(_BATCHES - ahead, _BATCHES)]


def _same_batch(rank: int) -> _Steps:
    """What comes of going forward and backward with one micro-batch in a turn."""
    ahead = _STAGES - rank - 1
    steps: _Steps = [("F", k) for k in range(ahead)]
    for k in range(ahead, _BATCHES):
        steps += [("F", k), ("B", k)]
    return steps + [("B", k) for k in range(ahead)]


def _too_many(rank: int) -> _Steps:
    """What comes of as many turns as there are micro-batches, on a rank that is ahead."""
    ahead = _STAGES - rank - 1
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

_SCHEDULE = Exercise(
    name="1f1b",
    title="One forward, one backward",
    needs=("one_f_one_b",),
    tries=lambda here: here.one_f_one_b(here.rank, _STAGES, _BATCHES),
    right=lambda here: _one_f_one_b(here.rank),
    hints=(
        "The last rank can go backward at once: F0 B0 F1 B1 … How many forward passes does rank 2 "
        "have to be ahead, so that the last rank never waits for it?",
        "Rank r is stages - rank - 1 forward passes ahead: 3, 2, 1, 0.",
        "First those forward passes; then a forward and a backward pass in turn, until the forward "
        "passes are used up; then the backward passes that are left.",
    ),
    mistakes=(
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
    return step[0] == "B" and step[1] >= _BATCHES - (_STAGES - here.rank - 1)


def _most_kept(name: str) -> Any:
    return lambda here: getattr(here, name).most


_PREDICTIONS = (
    Prediction(
        "busy",
        "One batch goes through four stages and back. What share of the time does a rank compute? "
        "A number between 0 and 1.",
        Number(),
        cell='alone = run([("F", 0), ("B", 0)])',
        truth=lambda here: 1 / here.world_size,
        answer=0.25,
        rank=0,
        tolerance=0.05,
        why="One rank at a time computes, and there are four.",
        slips=(
            (1, "While one rank computes, the next one has nothing to compute with yet."),
            (0.5, "Forward and backward take turns, but also only on one rank at a time."),
        ),
    ),
    Prediction(
        "bubble",
        "Eight micro-batches, four stages. What share of the time is a rank idle? A number "
        "between 0 and 1.",
        Number(),
        cell="piped = run(gpipe(",
        truth=lambda here: 3 / 11,  # noqa: ARG005 - the formula, which the text derives
        answer=0.27,
        rank=0,
        tolerance=0.15,
        why="(p - 1) / (m + p - 1) = 3 / 11: each rank waits three times for a micro-batch, and "
        "works eight times.",
        slips=(
            (0.375, "3 of 8? The three come on top of the eight: 3 of 11."),
            (0.75, "That is without micro-batches."),
            (0, "At the beginning the last rank has nothing to do yet, and at the end the first."),
        ),
    ),
    Prediction(
        "kept",
        "How many micro-batches' activations does rank 0 keep at most, under GPipe with eight?",
        Whole(),
        cell="piped.most",
        truth=_most_kept("piped"),
        answer=8,
        rank=0,
        why="All of them: the first backward pass comes after the last forward pass.",
        slips=(
            (4, "One for each stage would be enough, with another schedule."),
            (1, "They are needed until their backward pass."),
        ),
    ),
    Prediction(
        "kept-less",
        "And under 1F1B, on ranks 0 to 3? A list of four numbers.",
        Numbers(4),
        cell="woven = run(one_f_one_b(",
        truth=_most_kept("woven"),
        answer=[4, 3, 2, 1],
        why="As many as a rank is ahead, and the one that it is at: it no longer depends on the "
        "number of micro-batches.",
        slips=(
            ([3, 2, 1, 0], "Those are the ones that it is ahead; and one that it is at."),
            ([8, 8, 8, 8], "That is GPipe."),
            ([1, 2, 3, 4], "The other way round: the first rank has to be ahead furthest."),
        ),
    ),
    Prediction(
        "who-began",
        "Rank 1 does seven micro-batches, the others eight. Which two ranks wait for each other? "
        'For example "0,3".',
        Ranks(),
        cell="batches = 7 if rank == 1 else 8",
        truth=lambda here: [1, 2],  # noqa: ARG005 - the verdict has just said it
        answer="1-2",
        rank=0,
        why="Rank 1 waits for a gradient from rank 2, and rank 2 for an activation from rank 1.",
        slips=(
            ("0-1", "Rank 0 waits for rank 1, but rank 1 has all that it wants from rank 0."),
            ("2-3", "Rank 3 waits for rank 2, and rank 2 for rank 1, not for rank 3."),
            ("1", "It takes two to wait for each other."),
        ),
    ),
)

LESSON = Lesson(
    name="08_pipeline",
    title="Pipeline parallel",
    minutes=30,
    ranks=_STAGES,
    predictions=_PREDICTIONS,
    exercises=(_SCHEDULE,),
)
