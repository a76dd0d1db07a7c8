"""The exercise on a stopwatch for collectives."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["STOPWATCH"]


_ROUNDS = 5
_FAST, _SLOW = 10.0, 45.0
"""Milliseconds of act(); in each round but the first, another rank is the slow one."""
_FIRST = 420.0
"""Of act() in the first round, on all ranks."""
_LATE = 250.0
"""Milliseconds by which rank 3 is later than the others when it has prepared a round."""
_MEAN = (_FIRST + (_ROUNDS - 1) * _SLOW) / _ROUNDS
_OUTCOMES = (_SLOW / 1000, _FAST, _SLOW, _MEAN, _SLOW + _LATE)


def _try_stopwatch(here: Here) -> Any:
    turns = iter(range(_ROUNDS))

    def prepare() -> None:
        time.sleep(_LATE / 1000 if here.rank == here.world_size - 1 else 0.0)

    def act() -> None:
        here.dist.barrier()  # like a collective, it begins when the last rank has come
        turn = next(turns)
        slow = _SLOW if turn == here.rank + 1 else _FAST
        time.sleep((slow if turn else _FIRST) / 1000)

    got = here.milliseconds(prepare, act, _ROUNDS)
    return _outcome(float(got)) if isinstance(got, (float, here.torch.Tensor)) else got


def _outcome(measured: float) -> float:
    """The time that was meant by one that was measured, which is never exact."""
    if measured <= 0:
        return measured
    factors = {meant: max(meant / measured, measured / meant) for meant in _OUTCOMES}
    nearest = min(factors, key=lambda meant: factors[meant])
    return nearest if factors[nearest] < 2.2 else measured  # noqa: PLR2004


def _is(time_: float) -> Callable[[Here], float]:
    return lambda here: time_  # noqa: ARG005 - the same on all ranks


def _stopwatch_cell(*lines: str, before: str = "dist.barrier()", end: tuple[str, ...]) -> str:
    began = ("        began = time.perf_counter()", "        act()")
    body = "\n".join((f"        {before}", *began, *(f"        {line}" for line in lines)))
    return (
        "%%dist\ndef milliseconds(prepare, act, rounds):\n    took = torch.zeros(rounds)\n"
        f"    for i in range(rounds):\n        prepare()\n{body}\n"
        + "".join(f"    {line}\n" for line in end)
    )


_TOOK = "took[i] = 1000 * (time.perf_counter() - began)"
_SLOWEST = "dist.all_reduce(took, dist.ReduceOp.MAX)"

STOPWATCH = Exercise(
    name="stopwatch",
    title="A stopwatch for collectives",
    needs=("milliseconds",),
    tries=_try_stopwatch,
    right=_is(_SLOW),
    hints=(
        "Between prepare() and the clock, all ranks have to meet: dist.barrier().",
        "took[i] = 1000 * (time.perf_counter() - began). After the loop, take the largest of each "
        "place of took over the ranks: dist.all_reduce with dist.ReduceOp.MAX.",
        "dist.all_reduce(took, dist.ReduceOp.MAX); return took.median().item()",
    ),
    mistakes=(
        Mistake(
            "no-barrier",
            "The time has the lateness of rank 3 in it, whose prepare() takes longest. Let all "
            "ranks meet in a barrier after prepare(), before the clock starts.",
            _stopwatch_cell(_TOOK, before="pass", end=(_SLOWEST, "return took.median().item()")),
            says="has measured rank 3's lateness, too",
            gives=_is(_SLOW + _LATE),
        ),
        Mistake(
            "mean",
            "One bad round has moved the mean: the first one, as so often. Take the median of the "
            "rounds.",
            _stopwatch_cell(_TOOK, end=(_SLOWEST, "return took.mean().item()")),
            says="has the mean over the rounds",
            gives=_is(_MEAN),
        ),
        Mistake(
            "no-slowest",
            "In every round another rank was slow, so every round was slow for all; but no rank "
            "is slow in the median of its own times. First the slowest rank of each round "
            "(all_reduce of took with dist.ReduceOp.MAX), then the median.",
            _stopwatch_cell(_TOOK, end=("return took.median().item()",)),
            says="has the median of its own times",
            gives=_is(_FAST),
        ),
        Mistake(
            "seconds",
            "These are seconds. The question was for milliseconds: times 1000.",
            _stopwatch_cell(
                "took[i] = time.perf_counter() - began",
                end=(_SLOWEST, "return took.median().item()"),
            ),
            says="has seconds",
            gives=_is(_SLOW / 1000),
        ),
    ),
)
