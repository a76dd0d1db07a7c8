"""The exercise on the mean: one all-reduce in place of a loop over ranks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Seen, Target, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["MEAN"]


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


def _only_rank_0_has_it(seen: Seen) -> bool:
    """Whether the mean is on rank 0 alone, whatever became of x there."""
    if seen.hang or seen.findings.get(0) not in {"right", "changes-x", "changes-x-to-the-mean"}:
        return False
    return {finding for rank, finding in seen.findings.items() if rank} == {"other"}


_mean_cell = partial(cell_of, "mean_over_ranks(x)")

MEAN = Exercise(
    name="mean",
    title="The mean over the ranks",
    needs=("mean_over_ranks",),
    tries=_try_mean,
    parts=("the mean", "x afterwards"),
    right=_with_mean(),
    targets=(Target("calls", "calls", "calls", most=1),),
    tools=("all_reduce", "all_gather", "AVG"),
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
            "The sum went into a copy without a name, and is lost. Give the copy a name, divide "
            "it, and return it.",
            _mean_cell("dist.all_reduce(x.clone())", "return x / world_size"),
            says="has a fourth of its own numbers",
            gives=lambda here: [_mine(here) / here.world_size, _mine(here)],
        ),
        Mistake(
            "one-number",
            "The result is one number, where four went in. The mean over the ranks is taken place "
            "by place: torch.stack(parts).mean(0), or a sum of tensors without .mean().",
            _mean_cell("m = x.mean()", "dist.all_reduce(m)", "return m / world_size"),
            says="has one number, not four",
            gives=lambda here: [_with_mean()(here)[0][0], _mine(here)],
        ),
        Mistake(
            "other-dimension",
            "Each rank's tensor was averaged by itself. In torch.stack(parts) the ranks are "
            "dimension 0: .mean(0).",
            _mean_cell(
                "parts = [torch.empty_like(x) for _ in range(world_size)]",
                "dist.all_gather(parts, x)",
                "return torch.stack(parts).mean(1)",
            ),
            says="has a mean for each rank, not for each place",
            gives=lambda here: [here.torch.tensor([1.0, 10.0, 100.0, 1000.0]), _mine(here)],
        ),
        Mistake(
            "reduce",
            "dist.reduce leaves the sum on one rank only; what the others hold is left over from "
            "computing it. Which collective gives it to all?",
            _mean_cell(
                "total = x.clone()", "dist.reduce(total, dst=0)", "return total / world_size"
            ),
            seen=_only_rank_0_has_it,
        ),
        Mistake(
            "own-numbers",
            "x.mean() averages the numbers of one rank's tensor. Here the tensors of four ranks "
            "are averaged, place by place: that takes a collective.",
            _mean_cell("return x.mean()"),
            says="has averaged its own numbers",
            gives=lambda here: [_mine(here).mean(), _mine(here)],
        ),
    ),
)
