"""Lesson 10: measuring; a stopwatch, alpha and beta, when DDP pays, and a straggler.

Where an answer takes time here, that is a sleep: what is right is far from what is wrong, so a busy
machine does not change the verdict.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction
from rankbook.teach.forms import Choice, Number, Ranks

if TYPE_CHECKING:
    from rankbook.teach.judging import Here

__all__ = ["LESSON"]


# -- a stopwatch -----------------------------------------------------------------------------

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

_STOPWATCH = Exercise(
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


# -- when DDP pays ---------------------------------------------------------------------------

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


def _cell_of(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef speedup(ranks, forward, backward, communicate, overlap):\n{body}"


_STEP = (
    "if overlap:",
    "    step = forward + max(backward, communicate)",
    "else:",
    "    step = forward + backward + communicate",
)

_PAYS = Exercise(
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
            "one-batch",
            "That is which share of the time a rank computes, the efficiency. In each step, "
            "*every* rank does a batch of its own: times ranks.",
            _cell_of(*_STEP, "return (forward + backward) / step"),
            says="has the efficiency of one rank",
            gives=_speedups(lambda ranks, *times: _speedup(ranks, *times) / ranks),
        ),
        Mistake(
            "no-overlap",
            "The backward pass and the communicating were added up, also where they happen at the "
            "same time. Then the longer one counts.",
            _cell_of(
                "step = forward + backward + communicate",
                "return ranks * (forward + backward) / step",
            ),
            says="never overlaps",
            gives=_speedups(lambda *case: _speedup(case[0], case[1], case[2], case[3], False)),  # noqa: FBT003
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


# -- a straggler -----------------------------------------------------------------------------

_WORK = (45, 90, 30, 8)
"""Milliseconds of a step's work, by rank: rank 1 is the straggler, and rank 3 waits longest."""
_AFTER = 30
"""Milliseconds that rank 0 needs for itself when all have communicated: its steps seem longest."""
_STEPS = 3


def _try_straggler(here: Here) -> Any:
    def communicate() -> None:
        here.dist.barrier()
        time.sleep(_AFTER / 1000 if here.rank == 0 else 0.0)

    return here.straggler(lambda: time.sleep(_WORK[here.rank] / 1000), communicate, _STEPS)


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

_STRAGGLER = Exercise(
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
            "does-not-ask",
            "Each rank has named itself. To know who needs longest, the ranks have to compare: "
            "gather the times of all, then take the largest.",
            _straggler_cell((_BEGAN, "work()", _OWN, "communicate()"), ("return rank",)),
            says="names itself",
            seen=lambda seen: seen.right == {1} and not seen.hang,
        ),
    ),
)


# -- predictions -----------------------------------------------------------------------------


def _nearest(ratio: float, *options: int) -> str:
    """The option that a ratio is nearest to, by factors."""
    return str(min(options, key=lambda option: max(ratio / option, option / ratio)))


_TOGETHER = ("about 2", "about 10", "over 20")


def _how_much_faster(here: Here) -> str:
    ratio = here.separately / here.together
    return _TOGETHER[(ratio > 5) + (ratio > 20)]  # noqa: PLR2004 - as the words say


_PREDICTIONS = (
    Prediction(
        "late",
        "Rank 3 calls all_reduce 50 ms later than the others. How many milliseconds does rank 0 "
        "measure, about?",
        Number(),
        cell="if rank == 3:\n    time.sleep(0.05)  # it had something else to do",
        truth=lambda here: here.took,
        answer=50,
        rank=0,
        tolerance=0.5,
        measured=True,
        why="Rank 0 called at once, and then waited for rank 3: nearly all of it is waiting.",
        slips=(
            (0.5, "That is what the call costs if all come together. Rank 0 waits for rank 3."),
            (0, "Rank 0 gets the sum, and rank 3's part of it is 50 ms late."),
            (12.5, "Waiting is not shared: each of the other ranks waits all the 50 ms."),
        ),
    ),
    Prediction(
        "thousandfold",
        "How many times as long as 64 bytes do 65,536 bytes take: about 1, 10, or 1000 times?",
        Choice(("1", "10", "1000")),
        cell="one, thousand = time_of(16)",
        truth=lambda here: _nearest(here.thousand / here.one, 1, 10, 1000),
        answer="1",
        rank=0,
        measured=True,
        why="Such a small all_reduce is nothing but its start: who is there, where are you, here "
        "it comes.",
        slips=(
            ("1000", "Only if bytes were all that it costs."),
            ("10", "The bytes still do not count here: the start costs much more."),
        ),
    ),
    Prediction(
        "together",
        "128 tensors of 1 KiB: how many times faster is one all_reduce of all of them together, "
        '"about 2", "about 10", or "over 20"?',
        Choice(_TOGETHER),
        cell="large = torch.cat(small)",
        truth=_how_much_faster,
        answer="over 20",
        rank=0,
        measured=True,
        why="One start instead of 128; and the bytes, which are the same, cost little.",
        slips=(
            ("about 2", "The table: what is 100 times as large takes hardly longer."),
            ("about 10", "The table: what is 100 times as large takes hardly longer."),
        ),
    ),
    Prediction(
        "factor",
        "Which factor from algorithm to bus bandwidth does an all_gather have on 4 ranks? A "
        "number.",
        Number(),
        cell="all_gather",
        truth=lambda here: (here.world_size - 1) / here.world_size,
        answer=0.75,
        rank=0,
        tolerance=0.01,
        why="Half of an all_reduce: (n - 1)/n. Each rank has a fourth already, and gets the rest.",
        slips=(
            (1.5, "That is the all_reduce: reduce_scatter and all_gather. It is one half of it."),
            (1, "A fourth of the result is on the rank already: it does not travel."),
        ),
    ),
    Prediction(
        "break-even",
        "Communicating takes 12 ms, and nothing hides it. From how many milliseconds of computing "
        "on are four ranks faster than one?",
        Number(),
        cell="for computing in (2, 4, 8, 16)",
        truth=lambda here: 12 / (here.world_size - 1),
        answer=4,
        rank=0,
        tolerance=0.02,
        why="With c of computing, four ranks do 4 batches in c + 12, and one does 4 in 4 c. These "
        "are equal at c = 12 / 3.",
        slips=(
            (12, "There, four batches take 24 ms, and one rank alone would take 48."),
            (3, "Four batches in 3 + 12 = 15 ms; one rank alone takes 4 times 3 = 12."),
            (0, "At 0 there is nothing to share, and 12 ms to pay."),
        ),
    ),
    Prediction(
        "stands-out",
        "One rank has the longest texts. Does one rank stand out by the time of its epoch: yes or "
        "no?",
        Choice(("yes", "no")),
        cell="epoch(mine)\nsorted_took = time.perf_counter() - began",
        truth=lambda here: "no",  # noqa: ARG005 - the cell has just shown it
        answer="no",
        rank=0,
        why="Each all_reduce ends for all at the same moment, when the slowest has come.",
        slips=(("yes", "After each text, the others wait for it."),),
    ),
    Prediction(
        "straggler",
        'Which rank is the straggler? Such as "0".',
        Ranks(),
        cell="epoch(mine[-3:])",
        truth=lambda here: [here.lot.tolist().index(3)],
        answer="1",
        rank=0,
        why="Its lane has next to nothing hatched: it never waits, it is waited for.",
        slips=(
            ("3", "Rank 3 waits most, so it has least to do: the shortest texts."),
            ("0", "Rank 0 waits a third of the time. Look for a lane with nothing hatched."),
            ("2", "Rank 2 waits much of the time. Look for a lane with nothing hatched."),
        ),
    ),
    Prediction(
        "by-the-clock",
        'Every rank goes on until its own clock says 0.3 s. How does it end: "all done", "error", '
        'or "hang"?',
        Choice(("all done", "error", "hang")),
        cell="while time.perf_counter() - began < 0.3:",
        truth=lambda here: "hang",  # noqa: ARG005 - the cell has hung
        answer="hang",
        rank=0,
        why="Rank 3's clock began later, so it wants rounds for which the others do not come.",
        slips=(
            ("all done", "Do all ranks do the same number of rounds? Each asks its own clock."),
            ("error", "No rank does anything wrong by itself."),
        ),
    ),
)

LESSON = Lesson(
    name="10_measuring",
    title="Measuring",
    minutes=40,
    ranks=4,
    predictions=_PREDICTIONS,
    exercises=(_STOPWATCH, _PAYS, _STRAGGLER),
)
