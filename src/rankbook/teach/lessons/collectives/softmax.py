"""The exercise on softmax over a dimension that is spread over ranks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Seen, Target, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["SOFTMAX"]


def _part(here: Here, rank: int | None = None) -> Any:
    """Numbers so large that exp overflows without the maximum; spread differently on each rank."""
    torch, rank = here.torch, here.rank if rank is None else rank
    return 100.0 + 2.0 * rank + torch.arange(4.0) / (2 + rank)


def _try_softmax(here: Here) -> Any:
    got = here.softmax_over_ranks(_part(here))
    if isinstance(got, here.torch.Tensor):
        here.note(overflow=bool(got.isnan().any()))
    return got


def _whole(here: Here) -> Any:
    parts = [_part(here, rank) for rank in range(here.world_size)]
    return here.torch.softmax(here.torch.cat(parts), 0)


def _softmax(here: Here) -> Any:
    return _whole(here).chunk(here.world_size)[here.rank]


def _with_summed_places(here: Here) -> Any:
    """What comes of adding up the ranks' exp(x - m), number by number."""
    total = sum(_whole(here).chunk(here.world_size))
    return total / total.sum()


def _with_local_maxima(here: Here) -> Any:
    parts = [_part(here, rank) for rank in range(here.world_size)]
    scaled = [(part - part.max()).exp() for part in parts]
    return scaled[here.rank] / sum(part.sum() for part in scaled)


def _with_overwritten_largest(here: Here) -> Any:
    """What comes of reducing the largest of the own numbers where it stands."""
    parts = [_part(here, rank) for rank in range(here.world_size)]
    largest = max(part.max() for part in parts)
    for part in parts:
        part[part.argmax()] = largest
    return here.torch.softmax(here.torch.cat(parts), 0).chunk(here.world_size)[here.rank]


def _not_divided(here: Here) -> Any:
    parts = [_part(here, rank) for rank in range(here.world_size)]
    return (parts[here.rank] - max(part.max() for part in parts)).exp()


def _only_rank_0_is_right(seen: Seen) -> bool:
    return not (seen.hang or seen.raised) and seen.right == {0}


def _with_the_largest_sum(here: Here) -> Any:
    parts = _whole(here).chunk(here.world_size)
    return parts[here.rank] / max(part.sum() for part in parts)


def _has_overflown(seen: Seen) -> bool:
    return any(notes.get("overflow") for notes in seen.notes.values())


_softmax_cell = partial(cell_of, "softmax_over_ranks(x)")

SOFTMAX = Exercise(
    name="softmax",
    title="A softmax over all ranks",
    needs=("softmax_over_ranks",),
    tries=_try_softmax,
    right=_softmax,
    targets=(
        Target("calls", "calls", "calls", most=2),
        Target("bytes", "nbytes", "bytes", most=8),
    ),
    hints=(
        "softmax(x) = exp(x - m) / sum(exp(x - m)), with m the largest number of all ranks.",
        "Two numbers have to be agreed on: the largest (dist.ReduceOp.MAX), then the sum.",
        "m = x.max(); dist.all_reduce(m, dist.ReduceOp.MAX); e = (x - m).exp(); s = e.sum(); "
        "dist.all_reduce(s); return e / s",
    ),
    tools=("all_reduce", "MAX", "all_gather"),
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
            "divides-by-ranks",
            "All parts together add up to 1 that way, but each rank's part to a fourth, whatever "
            "its numbers. Divide by the sum over all ranks instead.",
            _softmax_cell("return torch.softmax(x, 0) / world_size"),
            says="has a fourth of the softmax of its own part",
            gives=lambda here: here.torch.softmax(_part(here), 0) / here.world_size,
        ),
        Mistake(
            "sums-places",
            "all_reduce has added up the parts number by number, and each rank's own numbers are "
            "lost. Only one number is needed of the others: s = e.sum(), then all_reduce(s).",
            _softmax_cell(
                "m = x.max()",
                "dist.all_reduce(m, dist.ReduceOp.MAX)",
                "e = (x - m).exp()",
                "dist.all_reduce(e)",
                "return e / e.sum()",
            ),
            says="has the sum of all parts",
            gives=_with_summed_places,
        ),
        Mistake(
            "sums-beside",
            "The sums were taken number by number, and each number was divided by its own. All "
            "numbers have one sum: s = e.sum(), then all_reduce(s).",
            _softmax_cell(
                "m = x.max()",
                "dist.all_reduce(m, dist.ReduceOp.MAX)",
                "e = (x - m).exp()",
                "s = e.clone()",
                "dist.all_reduce(s)",
                "return e / s",
            ),
            says="has divided each number by a sum of its own",
            gives=lambda here: _softmax(here) / sum(_whole(here).chunk(here.world_size)),
        ),
        Mistake(
            "largest-sum",
            "The sums of the ranks were not added up: MAX has kept the largest of them. The second "
            "all_reduce adds, which it does without an operation.",
            _softmax_cell(
                "m = x.max()",
                "dist.all_reduce(m, dist.ReduceOp.MAX)",
                "e = (x - m).exp()",
                "s = e.sum()",
                "dist.all_reduce(s, dist.ReduceOp.MAX)",
                "return e / s",
            ),
            says="has divided by the largest of the sums",
            gives=_with_the_largest_sum,
        ),
        Mistake(
            "returns-the-sum",
            "That is the sum over all ranks. The softmax is e divided by it.",
            _softmax_cell(
                "m = x.max()",
                "dist.all_reduce(m, dist.ReduceOp.MAX)",
                "s = (x - m).exp().sum()",
                "dist.all_reduce(s)",
                "return s",
            ),
            says="has the sum, not its softmax",
            gives=lambda here: _not_divided(here).sum() / _softmax(here).sum(),
        ),
        Mistake(
            "mean-of-sums",
            "The sum over all ranks was divided by world_size, so the softmax adds up to 4. It is "
            "the sum that counts, not its mean.",
            _softmax_cell(
                "m = x.max()",
                "dist.all_reduce(m, dist.ReduceOp.MAX)",
                "e = (x - m).exp()",
                "s = e.sum()",
                "dist.all_reduce(s)",
                "return e / (s / world_size)",
            ),
            says="has four times the softmax",
            gives=lambda here: _softmax(here) * here.world_size,
        ),
        Mistake(
            "not-divided",
            "These are the exp(x - m), which do not add up to 1 yet. Divide them by their sum "
            "over all ranks.",
            _softmax_cell(
                "m = x.max()", "dist.all_reduce(m, dist.ReduceOp.MAX)", "return (x - m).exp()"
            ),
            says="has not divided by the sum",
            gives=_not_divided,
        ),
        Mistake(
            "overwrites-the-largest",
            "Python's max(x) is no copy, but the place in x where the largest number stands: "
            "all_reduce wrote over it. x.max() makes a tensor of its own.",
            _softmax_cell(
                "m = max(x)",
                "dist.all_reduce(m, dist.ReduceOp.MAX)",
                "e = (x - m).exp()",
                "s = e.sum()",
                "dist.all_reduce(s)",
                "return e / s",
            ),
            says="has another number in place of its largest",
            gives=_with_overwritten_largest,
        ),
        Mistake(
            "reduce",
            "dist.reduce leaves its result on one rank only, and every rank has to divide by the "
            "sum: all_reduce.",
            _softmax_cell(
                "m = x.max()",
                "dist.all_reduce(m, dist.ReduceOp.MAX)",
                "e = (x - m).exp()",
                "s = e.sum()",
                "dist.reduce(s, dst=0)",
                "return e / s",
            ),
            says="has divided by another sum",
            seen=_only_rank_0_is_right,
        ),
        Mistake(
            "overwrites-x",
            "x itself went into all_reduce, which wrote the maxima over it: x - m is 0 everywhere. "
            "Reduce a number of its own: m = x.max().",
            _softmax_cell(
                "m = x",
                "dist.all_reduce(m, dist.ReduceOp.MAX)",
                "e = (x - m).exp()",
                "s = e.sum()",
                "dist.all_reduce(s)",
                "return e / s",
            ),
            says="has the same number everywhere",
            gives=lambda here: here.torch.full((4,), 0.25 / here.world_size),
        ),
        Mistake(
            "returns-all",
            "That is the softmax of all ranks' numbers. Return this rank's part only; nor need all "
            "numbers be fetched: the maximum and the sum are enough.",
            _softmax_cell(
                "parts = [torch.empty_like(x) for _ in range(world_size)]",
                "dist.all_gather(parts, x)",
                "return torch.softmax(torch.cat(parts), 0)",
            ),
            says="has the softmax of all parts",
            gives=_whole,
        ),
        Mistake(
            "overflow",
            "exp(100) is too large for float32: inf / inf is nan; and so is 0 / 0, where too much "
            "was subtracted. Subtract the largest number of all ranks: all_reduce with "
            "dist.ReduceOp.MAX, for without it all_reduce adds.",
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
