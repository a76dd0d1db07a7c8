"""The exercise on when DDP is faster than one rank."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rankbook.teach.definitions import Exercise, Mistake, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["PAYS"]


_CASES = (
    (4, 10.0, 20.0, 12.0, False),
    (4, 10.0, 20.0, 12.0, True),
    (4, 2.0, 4.0, 12.0, True),
    (4, 2.0, 4.0, 12.0, False),
    (64, 30.0, 60.0, 80.0, True),
)


def _speedup(
    ranks: int,
    forward: float,
    backward: float,
    communicate: float,
    overlap: bool,  # noqa: FBT001 - as the learner's function
) -> float:
    rest = max(backward, communicate) if overlap else backward + communicate
    return ranks * (forward + backward) / (forward + rest)


def _speedups(change: Callable[..., float]) -> Callable[[Here], list[float]]:
    return lambda here: [change(*case) for case in _CASES]  # noqa: ARG005 - the same on all ranks


_cell_of = partial(cell_of, "speedup(ranks, forward, backward, communicate, overlap)")

_STEP = (
    "if overlap:",
    "    step = forward + max(backward, communicate)",
    "else:",
    "    step = forward + backward + communicate",
)

PAYS = Exercise(
    name="pays",
    title="When does DDP pay?",
    needs=("speedup",),
    tries=lambda here: [float(here.speedup(*case)) for case in _CASES],
    right=_speedups(_speedup),
    hints=(
        "How long is a step of one rank alone? How long is one of several ranks? In the second, "
        "how many batches are done?",
        "With overlap, backward and communicating take as long as the longer of the two: max.",
        "ranks * (forward + backward) / step",
    ),
    mistakes=(
        Mistake(
            "upside-down",
            "That is one rank divided by many: it gets smaller where the ranks are faster. Turn "
            "the fraction around.",
            _cell_of(*_STEP, "return step / (ranks * (forward + backward))"),
            says="has the fraction upside down",
            gives=_speedups(lambda *case: 1 / _speedup(*case)),
        ),
        Mistake(
            "exchanged",
            "The two cases stand in each other's place. With overlap the longer of backward and "
            "communicating counts; without it, one comes after the other.",
            _cell_of("if not overlap:", *_STEP[1:], "return ranks * (forward + backward) / step"),
            says="overlaps where it should not, and does not where it should",
            gives=_speedups(
                lambda ranks, forward, backward, communicate, overlap: _speedup(
                    ranks, forward, backward, communicate, not overlap
                )
            ),
        ),
        Mistake(
            "alone-communicates",
            "One rank alone has nobody to communicate with: its step is forward + backward.",
            _cell_of(*_STEP, "return ranks * (forward + backward + communicate) / step"),
            says="has one rank communicate, too",
            gives=_speedups(
                lambda ranks, forward, backward, communicate, overlap: (
                    _speedup(ranks, forward, backward, communicate, overlap)
                    * (forward + backward + communicate)
                    / (forward + backward)
                )
            ),
        ),
        Mistake(
            "one-batch",
            "That is the share of the time that a rank computes: the efficiency. In each step, "
            "*every* rank does a batch of its own: times ranks.",
            _cell_of(*_STEP, "return (forward + backward) / step"),
            says="has the efficiency of one rank",
            gives=_speedups(lambda ranks, *times: _speedup(ranks, *times) / ranks),
        ),
        Mistake(
            "no-overlap",
            "The backward pass and the communicating were added up, even where they happen at the "
            "same time. Then the longer one counts.",
            _cell_of(
                "step = forward + backward + communicate",
                "return ranks * (forward + backward) / step",
            ),
            says="never overlaps",
            gives=_speedups(lambda *case: _speedup(case[0], case[1], case[2], case[3], False)),  # noqa: FBT003
        ),
        Mistake(
            "free-overlap",
            "With overlap the communicating is not free: it goes on beside the backward pass, and "
            "may take longer than that. The longer of the two counts: max.",
            _cell_of(
                "step = forward + backward + (0 if overlap else communicate)",
                "return ranks * (forward + backward) / step",
            ),
            says="takes communicating for free where it overlaps",
            gives=_speedups(
                lambda ranks, forward, backward, communicate, overlap: _speedup(
                    ranks, forward, backward, 0.0 if overlap else communicate, overlap
                )
            ),
        ),
        Mistake(
            "the-shorter",
            "Two things that go on at the same time take as long as the longer one: max, not min.",
            _cell_of(
                _STEP[0],
                _STEP[1].replace("max", "min"),
                *_STEP[2:],
                "return ranks * (forward + backward) / step",
            ),
            says="takes the shorter of what overlaps",
            gives=_speedups(
                lambda ranks, forward, backward, communicate, overlap: (
                    ranks * (forward + backward) / (forward + min(backward, communicate))
                    if overlap
                    else _speedup(ranks, forward, backward, communicate, overlap)
                )
            ),
        ),
        Mistake(
            "own-world",
            "world_size is 4, as many ranks as there are here. The function is asked for any "
            "number of them: ranks.",
            _cell_of(*_STEP, "return world_size * (forward + backward) / step"),
            says="uses world_size in place of ranks",
            gives=_speedups(lambda ranks, *times: _speedup(4, *times)),  # noqa: ARG005 - that is the mistake
        ),
        Mistake(
            "ideal",
            "That would be so if communicating cost nothing. How long is a step with it?",
            _cell_of("return ranks"),
            says="has the number of ranks",
            gives=_speedups(lambda ranks, *_: float(ranks)),
        ),
        Mistake(
            "hides-all",
            "Communicating cannot hide behind the forward pass: before the backward pass there "
            "are no gradients. So forward stands outside of max.",
            _cell_of(
                "alone = forward + backward",
                "step = max(alone, communicate) if overlap else alone + communicate",
                "return ranks * alone / step",
            ),
            says="hides it behind the forward pass as well",
            gives=_speedups(
                lambda ranks, forward, backward, communicate, overlap: _speedup(
                    ranks, 0.0, forward + backward, communicate, overlap
                )
            ),
        ),
        Mistake(
            "shares-the-batch",
            "There the ranks share one batch. In DDP each rank computes a whole batch of its own "
            "in every step: computing does not get shorter, more of it is done.",
            _cell_of(
                "alone = forward + backward",
                "rest = backward / ranks",
                "rest = max(rest, communicate) if overlap else rest + communicate",
                "return alone / (forward / ranks + rest)",
            ),
            says="divides the computing by the ranks",
            gives=_speedups(
                lambda ranks, forward, backward, communicate, overlap: _speedup(
                    ranks, forward / ranks, backward / ranks, communicate, overlap
                )
            ),
        ),
    ),
)
