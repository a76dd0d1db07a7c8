"""The exercise on a stopwatch for collectives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Seen, Target
from rankbook.teach.lessons.measuring.clock import Clock

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["STOPWATCH"]


_ROUNDS = 6
_FAST, _SLOW = 10.0, 45.0
"""Milliseconds of act(); in each of the middle rounds, another rank is the slow one."""
_FIRST, _LAST = 420.0, 4.0
"""Of act() in the first round, and in the last one, on all ranks."""
_LATE = 170.0
"""Milliseconds by which rank 3 is later than the others when it has prepared a round."""
_MEAN = (_FIRST + 4 * _SLOW + _LAST) / _ROUNDS


def _try_stopwatch(here: Here) -> Any:
    clock = Clock(here)
    turns = iter(range(_ROUNDS))
    prepared: list[None] = []
    operations: list[str] = []
    reduce = here.dist.all_reduce

    def prepare() -> None:
        prepared.append(None)
        clock.passes(_LATE if here.rank == here.world_size - 1 else 0.0)

    def act() -> None:
        clock.meet()  # like a collective, it begins when the last rank has come
        turn = next(turns)
        middle = _SLOW if turn == here.rank + 1 else _FAST
        clock.passes({0: _FIRST, _ROUNDS - 1: _LAST}.get(turn, middle))

    def noting(tensor: Any, op: Any = here.dist.ReduceOp.SUM, *args: Any, **how: Any) -> Any:
        if tensor.numel() > 1:  # of the times of rounds, not of one time
            operations.append(str(op).rpartition(".")[2])
        return reduce(tensor, op, *args, **how)

    here.dist.all_reduce = noting
    try:
        with clock.running(here.variables):
            got = here.milliseconds(prepare, act, _ROUNDS)
    finally:
        here.dist.all_reduce = reduce
        here.note(prepared=len(prepared), operations=operations)
    is_number = isinstance(got, here.torch.Tensor) and got.numel() == 1
    here.note(several=isinstance(got, here.torch.Tensor) and not is_number)
    return float(got) if is_number else got


def _reduces_by(operation: str) -> Callable[[Seen], bool]:
    """Whether all ranks have a wrong value, and their only all_reduces were of this operation."""
    return lambda seen: (
        not (seen.hang or seen.raised or seen.right)
        and all(set(notes.get("operations", ())) == {operation} for notes in seen.notes.values())
    )


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
    targets=(
        Target("prepare", "prepared", "calls of prepare()", _ROUNDS, least=_ROUNDS, tells=False),
    ),
    hints=(
        "Between prepare() and the clock, all ranks have to meet: dist.barrier().",
        "took[i] = 1000 * (time.perf_counter() - began). After the loop, take the largest of each "
        "place of took over the ranks: dist.all_reduce with dist.ReduceOp.MAX.",
        "dist.all_reduce(took, dist.ReduceOp.MAX); return took.median().item()",
    ),
    mistakes=(
        Mistake(
            "no-median",
            "These are the times of all rounds. Return one number, their median: "
            "took.median().item().",
            _stopwatch_cell(_TOOK, end=(_SLOWEST, "return took")),
            seen=lambda seen: any(notes.get("several") for notes in seen.notes.values()),
        ),
        Mistake(
            "no-barrier",
            "The time has the lateness of rank 3 in it, whose prepare() takes longest. Let all "
            "ranks meet in a barrier after prepare(), before the clock starts.",
            _stopwatch_cell(_TOOK, before="pass", end=(_SLOWEST, "return took.median().item()")),
            says="has measured rank 3's lateness, too",
            gives=_is(_SLOW + _LATE),
        ),
        Mistake(
            "one-start",
            "The clock was started once, so each round has all those before it in its time. Look "
            "at the clock in every round, right before act().",
            "%%dist\ndef milliseconds(prepare, act, rounds):\n    took = torch.zeros(rounds)\n"
            "    dist.barrier()\n    began = time.perf_counter()\n    for i in range(rounds):\n"
            "        prepare()\n        dist.barrier()\n        act()\n"
            f"        {_TOOK}\n    {_SLOWEST}\n    return took.median().item()\n",
            says="has the time since the first round began",
            gives=_is(3 * _LATE + _FIRST + _SLOW + _FAST),
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
            "adds-up",
            "all_reduce adds up where it is not told otherwise. What counts in a round is the "
            "slowest rank: dist.all_reduce(took, dist.ReduceOp.MAX).",
            _stopwatch_cell(_TOOK, end=("dist.all_reduce(took)", "return took.median().item()")),
            says="has added up the times of the ranks",
            seen=_reduces_by("SUM"),
        ),
        Mistake(
            "fastest",
            "MIN keeps the fastest rank of each round. A collective is done when the slowest is: "
            "dist.ReduceOp.MAX.",
            _stopwatch_cell(
                _TOOK,
                end=("dist.all_reduce(took, dist.ReduceOp.MIN)", "return took.median().item()"),
            ),
            says="has the times of the fastest ranks",
            seen=_reduces_by("MIN"),
        ),
        Mistake(
            "worst-round",
            "That is the longest of the rounds: the first one, as so often. Take the median of the "
            "rounds.",
            _stopwatch_cell(_TOOK, end=(_SLOWEST, "return took.max().item()")),
            says="has the longest round",
            gives=_is(_FIRST),
        ),
        Mistake(
            "best-round",
            "That is the shortest of the rounds: the last one, which was quick by luck. What a "
            "collective usually takes is the median of the rounds.",
            _stopwatch_cell(_TOOK, end=(_SLOWEST, "return took.min().item()")),
            says="has the shortest round",
            gives=_is(_LAST),
        ),
        Mistake(
            "nothing-timed",
            "took[i] has to hold what act() takes: look at the clock before it and after it.",
            _stopwatch_cell(end=(_SLOWEST, "return took.median().item()")),
            says="has measured nothing",
            gives=_is(0.0),
        ),
        Mistake(
            "microseconds",
            "These are microseconds. The question was for milliseconds: seconds times 1000.",
            _stopwatch_cell(
                "took[i] = 1e6 * (time.perf_counter() - began)",
                end=(_SLOWEST, "return took.median().item()"),
            ),
            says="has microseconds",
            gives=_is(_SLOW * 1000),
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
