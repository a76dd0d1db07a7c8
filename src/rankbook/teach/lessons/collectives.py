"""Lesson 03: what the collectives do, in pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, Seen, Target
from rankbook.teach.forms import Numbers, Ranks, Whole

if TYPE_CHECKING:
    from rankbook.teach.judging import Here

__all__ = ["LESSON"]


# -- the mean --------------------------------------------------------------------------------


def _mine(here: Here) -> Any:
    return here.torch.full((4,), 10.0**here.rank)


def _try_mean(here: Here) -> Any:
    x = _mine(here)
    mean = here.mean_over_ranks(x)
    return mean if mean is None else [mean, x]


def _with_mean(factor: float = 1.0, *, x: float | None = None) -> Any:
    """The mean times a factor, and x as it was, or the mean times another one."""

    def gives(here: Here) -> list[Any]:
        mean = here.torch.full((4,), 1111.0 / here.world_size)
        return [mean * factor, _mine(here) if x is None else mean * x]

    return gives


def _mean_cell(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef mean_over_ranks(x):\n{body}"


_MEAN = Exercise(
    name="mean",
    title="The mean over the ranks",
    needs=("mean_over_ranks",),
    tries=_try_mean,
    right=_with_mean(),
    targets=(Target("calls", "calls", "collectives", most=1),),
    hints=(
        "Every rank needs the result: which collective leaves a sum on all of them?",
        "dist.all_reduce works in place: it would change x. Give it a copy.",
        "total = x.clone(); dist.all_reduce(total); and the mean is total / world_size.",
    ),
    mistakes=(
        Mistake(
            "sum",
            "all_reduce adds. For the mean, divide by the number of ranks.",
            _mean_cell("total = x.clone()", "dist.all_reduce(total)", "return total"),
            says="has the sum, not the mean",
            gives=_with_mean(4.0),
        ),
        Mistake(
            "changes-x",
            "The mean is right, but x is no longer what it was: all_reduce writes its result into "
            "the tensor that it is given. Clone x first.",
            _mean_cell("dist.all_reduce(x)", "return x / world_size"),
            says="has the mean, but the sum in its x",
            gives=_with_mean(x=4.0),
        ),
        Mistake(
            "changes-x-to-the-mean",
            "The mean is right, but it is in x, too: all_reduce and /= work in place. Clone x "
            "first.",
            _mean_cell("dist.all_reduce(x)", "x /= world_size", "return x"),
            says="has the mean, and has changed its x",
            gives=_with_mean(x=1.0),
        ),
        Mistake(
            "divides-twice",
            "It was divided by the number of ranks twice: once is enough, before the sum or after.",
            _mean_cell(
                "total = x / world_size", "dist.all_reduce(total)", "return total / world_size"
            ),
            says="has a fourth of the mean",
            gives=_with_mean(0.25),
        ),
        Mistake(
            "into-a-copy",
            "The sum went into a copy that has no name, and nobody has it. Give the copy a name, "
            "and return that one divided.",
            _mean_cell("dist.all_reduce(x.clone())", "return x / world_size"),
            says="has a fourth of its own numbers",
            gives=lambda here: [_mine(here) / here.world_size, _mine(here)],
        ),
        Mistake(
            "one-number",
            "One number came out of it, where four went in. The mean over the ranks is taken place "
            "by place: torch.stack(parts).mean(0), or a sum of tensors without .mean().",
            _mean_cell("m = x.mean()", "dist.all_reduce(m)", "return m / world_size"),
            says="has one number, not four",
            gives=lambda here: [_with_mean()(here)[0][0], _mine(here)],
        ),
        Mistake(
            "reduce",
            "dist.reduce leaves the sum on one rank only, and the others with what was used on the "
            "way. Which collective gives it to all?",
            _mean_cell(
                "total = x.clone()", "dist.reduce(total, dst=0)", "return total / world_size"
            ),
            seen=lambda seen: seen.right == {0} and not seen.hang,
        ),
        Mistake(
            "own-numbers",
            "x.mean() averages the numbers of one rank's tensor. Here the tensors of four ranks "
            "are averaged, place by place: the other ranks have to be asked.",
            _mean_cell("return x.mean()"),
            says="has averaged its own numbers",
            gives=lambda here: [_mine(here).mean(), _mine(here)],
        ),
    ),
)


# -- the softmax -----------------------------------------------------------------------------


def _part(here: Here, rank: int | None = None) -> Any:
    """Numbers so large that exp overflows without the maximum."""
    torch, rank = here.torch, here.rank if rank is None else rank
    return 100.0 + 2.0 * rank + torch.arange(4.0) / 2


def _try_softmax(here: Here) -> Any:
    got = here.softmax_over_ranks(_part(here))
    if isinstance(got, here.torch.Tensor):
        here.note(overflow=bool(got.isnan().any()))
    return got


def _softmax(here: Here) -> Any:
    parts = [_part(here, rank) for rank in range(here.world_size)]
    return here.torch.softmax(here.torch.cat(parts), 0).chunk(here.world_size)[here.rank]


def _with_local_maxima(here: Here) -> Any:
    parts = [_part(here, rank) for rank in range(here.world_size)]
    scaled = [(part - part.max()).exp() for part in parts]
    return scaled[here.rank] / sum(part.sum() for part in scaled)


def _has_overflown(seen: Seen) -> bool:
    return any(notes.get("overflow") for notes in seen.notes.values())


def _softmax_cell(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef softmax_over_ranks(x):\n{body}"


_SOFTMAX = Exercise(
    name="softmax",
    title="A softmax over all ranks",
    needs=("softmax_over_ranks",),
    tries=_try_softmax,
    right=_softmax,
    targets=(
        Target("calls", "calls", "collectives", most=2),
        Target("bytes", "nbytes", "bytes", most=8),
    ),
    hints=(
        "softmax(x) = exp(x - m) / sum(exp(x - m)), with m the largest number of all ranks.",
        "Two numbers have to be agreed on: the largest (dist.ReduceOp.MAX), then the sum.",
        "m = x.max(); dist.all_reduce(m, dist.ReduceOp.MAX); e = (x - m).exp(); s = e.sum(); "
        "dist.all_reduce(s); return e / s",
    ),
    mistakes=(
        Mistake(
            "alone",
            "Each rank's part adds up to 1, so all together to 4. The sum has to be that of all "
            "ranks.",
            _softmax_cell("return torch.softmax(x, 0)"),
            says="has the softmax of its own part",
            gives=lambda here: here.torch.softmax(_part(here), 0),
        ),
        Mistake(
            "own-maximum",
            "Each rank has subtracted its own maximum, so the parts are not on the same scale. The "
            "maximum must be that of all ranks: all_reduce with dist.ReduceOp.MAX.",
            _softmax_cell(
                "e = (x - x.max()).exp()", "s = e.sum()", "dist.all_reduce(s)", "return e / s"
            ),
            says="has subtracted its own maximum",
            gives=_with_local_maxima,
        ),
        Mistake(
            "overflow",
            "exp(100) is too large for float32: inf / inf is nan. Subtract the largest number of "
            "all ranks first; that changes nothing else.",
            _softmax_cell("e = x.exp()", "s = e.sum()", "dist.all_reduce(s)", "return e / s"),
            says="got nan",
            seen=_has_overflown,
        ),
        Mistake(
            "gathers-all",
            "The result is right, but every rank has fetched everything. With a million numbers "
            "that matters: two numbers are enough, the maximum and the sum.",
            _softmax_cell(
                "parts = [torch.empty_like(x) for _ in range(world_size)]",
                "dist.all_gather(parts, x)",
                "return torch.softmax(torch.cat(parts), 0).chunk(world_size)[rank]",
            ),
            seen=lambda seen: "bytes" in seen.missed,
        ),
    ),
)


# -- predictions -----------------------------------------------------------------------------

_PREDICTIONS = (
    Prediction(
        "lines",
        "How many lines of output does the next cell show?",
        Whole(),
        cell='print("I am here")',
        truth=lambda here: 1 + here.world_size,
        answer=5,
        rank=0,
        why="What all ranks print is shown once, with their numbers in front: [0-3]. What differs "
        "is shown for each of them.",
        slips=(
            (2, "There are four ranks, and each has its own x."),
            (8, "Four ranks print the same: that is shown once."),
        ),
    ),
    Prediction(
        "broadcast",
        "What does `told` hold on ranks 0 to 3 after the broadcast? A list of four numbers.",
        Numbers(4),
        cell="dist.broadcast(told, src=2)",
        truth=lambda here: here.told[0],
        answer=[20, 20, 20, 20],
        why="Rank 2 is the source: its tensor is written over that of the others.",
        slips=(
            ([0, 10, 20, 30], "That is before. A broadcast writes over it on every other rank."),
            ([0, 0, 0, 0], "src=2: the source is rank 2, not rank 0."),
        ),
    ),
    Prediction(
        "gathered",
        "What does rank 3 hold in `gathered`? A list of four numbers.",
        Numbers(4),
        cell="dist.all_gather(pieces, x)",
        truth=lambda here: here.gathered,
        answer=[0, 10, 20, 30],
        rank=3,
        why="All ranks hold the same after an all_gather, in the order of the ranks: one line of "
        "output for [0-3].",
        slips=(
            ([30, 0, 10, 20], "The order is that of the ranks, the same everywhere."),
            ([30, 30, 30, 30], "Each rank gives its own number, and gets those of all."),
        ),
    ),
    Prediction(
        "who-has-the-sum",
        'After dist.reduce(x, dst=0), which ranks hold the sum, 60? Such as "0,2".',
        Ranks(),
        cell="dist.reduce(x, dst=0)",
        truth=lambda here: [0],  # noqa: ARG005 - what the others hold is not defined
        answer="0",
        rank=0,
        why="Only the destination. What the others hold is left over from the way, and not "
        "defined: never use it.",
        slips=(
            ("0-3", "That would be all_reduce."),
            ("none", "It goes somewhere: dst=0."),
        ),
    ),
    Prediction(
        "reduce-scatter",
        "What does `part` hold on ranks 0 to 3? A list of four numbers.",
        Numbers(4),
        cell="dist.reduce_scatter(part",
        truth=lambda here: here.part[0],
        answer=[60, 64, 68, 72],
        why="Rank r gets the r-th number of the sum: 0+10+20+30, then 4 more in each place.",
        slips=(
            ([60, 60, 60, 60], "Each rank gets another piece of the sum."),
            (
                [0, 11, 22, 33],
                "Those are single numbers; each rank's piece is summed over the ranks.",
            ),
            ([6, 46, 86, 126], "Each rank adds up its own row there; it is the columns."),
        ),
    ),
    Prediction(
        "transposed",
        "What does rank 1 hold in `out`? A list of four numbers.",
        Numbers(4),
        cell="dist.all_to_all_single(out, x)",
        truth=lambda here: here.out,
        answer=[1, 11, 21, 31],
        rank=1,
        why="Rank 1 gets the number in place 1 of every rank: rows have become columns.",
        slips=(
            ([10, 11, 12, 13], "That is what it gave."),
            ([0, 11, 22, 33], "Rank 1 gets what is in *its* place, place 1, of each rank."),
        ),
    ),
    Prediction(
        "who-prints",
        'Which ranks print "done"? Such as "0,2".',
        Ranks(),
        cell="if rank != 1:\n    dist.barrier()",
        truth=lambda here: [1],  # noqa: ARG005 - the others have hung
        answer="1",
        rank=0,
        why="Rank 1 skips the barrier and is done. The others wait for it, and would do so until "
        "the job's timeout.",
        slips=(
            ("0,2-3", "They have called the barrier, but a barrier opens only when all have come."),
            ("0-3", "The barrier never opens: rank 1 does not come."),
            ("none", "Rank 1 has nothing to wait for."),
        ),
    ),
)

LESSON = Lesson(
    name="03_collectives_in_pictures",
    title="Collectives in pictures",
    minutes=35,
    ranks=4,
    predictions=_PREDICTIONS,
    exercises=(_MEAN, _SOFTMAX),
)
