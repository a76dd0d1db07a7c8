"""Lesson 09: meshes; a group in each direction, and who has to call what."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rankbook.ranks import label
from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, Target
from rankbook.teach.forms import Choice, Numbers, Ranks, Whole

if TYPE_CHECKING:
    from rankbook.teach.judging import Here

__all__ = ["LESSON"]

_ROWS = [[0, 1], [2, 3]]
_COLUMNS = [[0, 2], [1, 3]]


def _of(lists: list[list[int]], rank: int) -> list[int]:
    """The list that a rank is in."""
    return next(ranks for ranks in lists if rank in ranks)


# -- groups by hand --------------------------------------------------------------------------


class _OutOfStepError(Exception):
    """Ranks make different groups with the same call."""


@contextmanager
def _in_step(here: Here, made: list[list[int]]) -> Iterator[None]:
    """Compare what the ranks pass to ``new_group``: torch does not, and hangs now or later.

    Args:
        here: The rank.
        made: Gets the members of each group that this rank asks for.
    """
    torch, dist, real = here.torch, here.dist, here.dist.new_group

    def new_group(ranks: Any = None, *args: Any, **how: Any) -> Any:
        made.append(sorted(range(here.world_size) if ranks is None else ranks))
        asked = torch.tensor(sum(1 << rank for rank in made[-1]))
        low, high = asked.clone(), asked.clone()
        dist.all_reduce(low, dist.ReduceOp.MIN)
        dist.all_reduce(high, dist.ReduceOp.MAX)
        if low != high:
            raise _OutOfStepError
        return real(ranks, *args, **how)

    dist.new_group = new_group
    try:
        yield
    finally:
        dist.new_group = real


def _try_groups(here: Here) -> list[str]:
    made: list[list[int]] = []
    try:
        with _in_step(here, made):
            groups = [here.my_group(lists) for lists in (_ROWS, _COLUMNS)]
    except _OutOfStepError:
        return _apart(made)
    return [_members(here, group) for group in groups]


def _members(here: Here, group: Any) -> str:
    """Whom a rank meets in a group."""
    if not isinstance(group, here.dist.ProcessGroup):
        return "in no group" if group == here.dist.GroupMember.NON_GROUP_MEMBER else repr(group)
    met = [here.torch.tensor(0) for _ in range(here.dist.get_world_size(group))]
    here.dist.all_gather(met, here.torch.tensor(here.rank), group=group)
    return f"with ranks {label(int(rank) for rank in met)}"


def _apart(made: list[list[int]]) -> list[str]:
    """What is said of a rank that asked for these groups, the last one unlike other ranks."""
    return [f"new_group for {', then '.join(map(str, made))}"]


def _leaves_early(here: Here) -> list[str]:
    """What comes of returning as soon as a rank has its own row."""
    done = _ROWS[: _ROWS.index(_of(_ROWS, here.rank)) + 1]
    return _apart([*done, _COLUMNS[0]][:2])


def _grouped(*ways: list[list[int]]) -> Callable[[Here], list[str]]:
    return lambda here: [f"with ranks {label(_of(lists, here.rank))}" for lists in ways]


def _in_the_last(here: Here) -> list[str]:
    """What comes of keeping the group that was made last."""
    return [
        f"with ranks {label(lists[-1])}" if here.rank in lists[-1] else "in no group"
        for lists in (_ROWS, _COLUMNS)
    ]


def _groups_cell(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef my_group(lists):\n{body}"


_GROUPS = Exercise(
    name="groups",
    title="Every rank makes every group",
    needs=("my_group",),
    tries=_try_groups,
    right=_grouped(_ROWS, _COLUMNS),
    hints=(
        "A loop over the lists, and in it one call of new_group, which every rank makes.",
        "Keep the group if rank in ranks; and go on with the loop.",
        "for ranks in lists: group = dist.new_group(ranks); if rank in ranks: mine = group. "
        "After the loop, return mine.",
    ),
    mistakes=(
        Mistake(
            "the-last",
            "The loop has overwritten what it had found: each rank returns the group that was made "
            "last, whether it is in it or not. Keep a group only if rank is in ranks.",
            _groups_cell(
                "for ranks in lists:", "    group = dist.new_group(ranks)", "return group"
            ),
            says="returned the group that was made last",
            gives=_in_the_last,
        ),
        Mistake(
            "neighbours",
            "new_subgroups cuts the ranks into neighbours: that gives the rows. It does not look "
            "at the lists, and a column is no group of neighbours.",
            _groups_cell("return dist.new_subgroups(len(lists[0]))[0]"),
            says="is with its neighbour both times",
            gives=_grouped(_ROWS, _ROWS),
        ),
        Mistake(
            "leaves-early",
            "A rank that returns from the loop as soon as it has its own group never makes the "
            "groups that come after it, and the others wait for it there. Finish the loop first.",
            _groups_cell(
                "for ranks in lists:",
                "    group = dist.new_group(ranks)",
                "    if rank in ranks:",
                "        return group",
            ),
            says="left its loop as soon as it had its own group",
            gives=_leaves_early,
        ),
        Mistake(
            "own-only",
            "Each rank has made only the group that it is in. Torch numbers groups by counting "
            "these calls, so different groups got the same number. Call new_group for every list, "
            "on every rank.",
            _groups_cell(
                "for ranks in lists:",
                "    if rank in ranks:",
                "        return dist.new_group(ranks)",
            ),
            says="made only the group that it is in",
            gives=lambda here: _apart([_of(_ROWS, here.rank)]),
        ),
    ),
)


# -- the mean over the copies ----------------------------------------------------------------


def _try_mean(here: Here) -> list[Any]:
    parameters = [here.torch.zeros(shape, requires_grad=True) for shape in ((4,), (2, 3))]
    for parameter in parameters:
        parameter.grad = here.torch.full_like(parameter, 10.0**here.rank)
    here.average_gradients(parameters)
    return [parameter.grad for parameter in parameters]


def _mean(lists: list[list[int]], divisor: float) -> Callable[[Here], list[Any]]:
    """A sum over the group that a rank is in, divided by something."""

    def gives(here: Here) -> list[Any]:
        total = sum(10.0**rank for rank in _of(lists, here.rank))
        return [here.torch.full(shape, total / divisor) for shape in ((4,), (2, 3))]

    return gives


def _mean_cell(group: str, divisor: str) -> str:
    divide = f"        parameter.grad /= {divisor}\n" if divisor else ""
    return (
        "%%dist\ndef average_gradients(parameters):\n    for parameter in parameters:\n"
        f"        dist.all_reduce(parameter.grad{group})\n{divide}"
    )


_MEAN = Exercise(
    name="mean",
    title="Average over the copies",
    needs=("average_gradients",),
    tries=_try_mean,
    right=_mean(_COLUMNS, 2),
    targets=(Target("calls", "calls", "collectives", most=2),),
    hints=(
        "Which ranks hold the same weights as this one: those of its row, or those of its column?",
        "dist.all_reduce(parameter.grad, group=...) adds; then divide by the size of that group.",
        "dist.all_reduce(parameter.grad, group=column); "
        "parameter.grad /= dist.get_world_size(column)",
    ),
    mistakes=(
        Mistake(
            "all-ranks",
            "Without group=, all four ranks take part. Two of them hold the other half of the "
            "model: gradients of different weights have been mixed.",
            _mean_cell("", "world_size"),
            says="has the mean over all four ranks",
            gives=_mean([[0, 1, 2, 3]], 4),
        ),
        Mistake(
            "row",
            "The ranks of a row hold different halves of one copy: there is nothing to average. "
            "Copies of the same half stand in a column.",
            _mean_cell(", group=row", "dist.get_world_size(row)"),
            says="has averaged over its row",
            gives=_mean(_ROWS, 2),
        ),
        Mistake(
            "too-small",
            "The right ranks were added up, but world_size is 4, and there are two copies. Divide "
            "by the size of the group that was summed over.",
            _mean_cell(", group=column", "world_size"),
            says="has half of the mean",
            gives=_mean(_COLUMNS, 4),
        ),
        Mistake(
            "sum",
            "The right ranks were added up, but that is the sum. For the mean, divide by the "
            "number of copies.",
            _mean_cell(", group=column", ""),
            says="has the sum, not the mean",
            gives=_mean(_COLUMNS, 1),
        ),
    ),
)


# -- the norm --------------------------------------------------------------------------------

_PARTS = [[2.0, 2.0, 1.0, 0.0], [4.0, 0.0, 0.0, 0.0]]
"""By half of the model; 9 and 16 are the sums of the squares, so that the whole has 25 ..."""

_WHOLE = 12.0
"""... and with this, 169 = 13²."""


def _try_norm(here: Here) -> Any:
    parts = here.torch.tensor(_PARTS[here.rank % 2]).split([3, 1])
    return here.gradient_norm(list(parts), [here.torch.tensor([_WHOLE])])


def _norm(own: float, neighbour: float, whole: float) -> Callable[[Here], Any]:
    """The norm, if the squares are counted so many times."""

    def gives(here: Here) -> Any:
        squares = [sum(number**2 for number in half) for half in _PARTS]
        mine, theirs = squares[here.rank % 2], squares[1 - here.rank % 2]
        total = own * mine + neighbour * theirs + whole * _WHOLE**2
        return here.torch.tensor(math.sqrt(total))

    return gives


def _norm_cell(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef gradient_norm(parts, whole):\n{body}"


_OWN = "squares = sum(gradient.square().sum() for gradient in parts)"
_BOTH = "squares = sum(gradient.square().sum() for gradient in parts + whole)"
_ADD = "squares += sum(gradient.square().sum() for gradient in whole)"

_NORM = Exercise(
    name="norm",
    title="The norm of the whole gradient",
    needs=("gradient_norm",),
    tries=_try_norm,
    right=_norm(1, 1, 1),
    targets=(Target("calls", "calls", "collectives", most=1),),
    hints=(
        "Squares can be added up, square roots cannot. So add squares first, everywhere.",
        "The two halves of parts are on the two ranks of a row: their squares are added by an "
        "all_reduce. What is whole on both must not go through it.",
        "squares = sum(g.square().sum() for g in parts); dist.all_reduce(squares, group=row); "
        "squares += sum(g.square().sum() for g in whole); return squares.sqrt()",
    ),
    mistakes=(
        Mistake(
            "own",
            "Each rank has taken the norm of what it holds. The squares of the other half are "
            "missing: they are on the other rank of the row.",
            _norm_cell(_BOTH, "return squares.sqrt()"),
            says="has the norm of its own half",
            gives=_norm(1, 0, 1),
        ),
        Mistake(
            "whole-twice",
            "What is whole on both ranks of a row was added up as if it were cut, so it counts "
            "twice. Add it after the all_reduce.",
            _norm_cell(_BOTH, "dist.all_reduce(squares, group=row)", "return squares.sqrt()"),
            says="counts the bias twice",
            gives=_norm(1, 1, 2),
        ),
        Mistake(
            "copies",
            "The sum went over all four ranks, so it counts both copies of the model, which have "
            "the same gradients. Sum over one copy: the row.",
            _norm_cell(_OWN, "dist.all_reduce(squares)", _ADD, "return squares.sqrt()"),
            says="counts both copies of the model",
            gives=_norm(2, 2, 1),
        ),
        Mistake(
            "everything",
            "The sum went over all four ranks: it counts both copies of the model, and the bias "
            "four times. Sum the parts over the row, and add the bias afterwards.",
            _norm_cell(_BOTH, "dist.all_reduce(squares)", "return squares.sqrt()"),
            says="counts what all four ranks hold",
            gives=_norm(2, 2, 4),
        ),
        Mistake(
            "column",
            "The ranks of a column hold the same half: its squares were counted twice, and the "
            "other half's not at all. The halves of one copy stand in a row.",
            _norm_cell(_OWN, "dist.all_reduce(squares, group=column)", _ADD, "return squares**0.5"),
            says="has its own half twice",
            gives=_norm(2, 0, 1),
        ),
    ),
)


# -- predictions -----------------------------------------------------------------------------

_PREDICTIONS = (
    Prediction(
        "same-half",
        'Which ranks hold the same half of the model as rank 1, itself included? Such as "0,2".',
        Ranks(),
        cell='copy, half = mesh.get_local_rank("dp")',
        truth=lambda here: here.dist.get_process_group_ranks(here.mesh.get_group("dp")),
        answer="1,3",
        rank=1,
        why="Rank 3 stands below it, in the same column: half 1 of the other copy.",
        slips=(
            ("0-1", "Those two make up one copy: rank 0 holds the other half."),
            ("1", "There are two copies, and each has this half."),
            ("0,2", "Those hold half 0."),
        ),
    ),
    Prediction(
        "row-sum",
        "What do ranks 0 to 3 hold after an all_reduce along tp? A list of four numbers.",
        Numbers(4),
        cell='x = torch.tensor([10**rank])\ndist.all_reduce(x, group=mesh.get_group("tp"))',
        truth=lambda here: sum(10**rank for rank in _of(_ROWS, here.rank)),
        answer=[11, 11, 1100, 1100],
        why="Along tp one stays in the row: 0 with 1, and 2 with 3.",
        slips=(
            ([101, 1010, 101, 1010], "That is along dp: the columns."),
            ([1111, 1111, 1111, 1111], "Only the ranks of one row take part in each sum."),
            ([11, 11, 11, 11], "The other row adds up its own numbers, 100 and 1000."),
        ),
    ),
    Prediction(
        "who-waits",
        'Rank 3 is late. Which ranks wait in the first all_reduce, along tp? Such as "0,2".',
        Ranks(),
        cell="time.sleep(0.3 if rank == 3 else 0)",
        truth=lambda here: [2],  # noqa: ARG005 - the timeline has just shown it
        answer="2",
        rank=0,
        why="Rank 2 is the other member of rank 3's row. Ranks 0 and 1 have a row of their own.",
        slips=(
            ("0-2", "Ranks 0 and 1 need nothing of rank 3 yet: that comes along dp."),
            ("1", "That is rank 3's column. The first sum goes along tp, the row."),
            ("0-3", "Rank 3 is the one they wait for, and only its row does."),
        ),
    ),
    Prediction(
        "how-many",
        "64 ranks in a grid of 8 x 8: how many times does each rank call new_group, for rows and "
        "columns?",
        Whole(),
        cell="grid = torch.arange(64)",
        truth=lambda here: len(here.lists),
        answer=16,
        rank=0,
        why="8 rows and 8 columns, and every rank makes all of them, though it is in two.",
        slips=(
            (2, "It is in two groups, but it has to make those of the others, too."),
            (64, "Groups are rows and columns: 8 of each."),
            (8, "8 rows, and 8 columns."),
        ),
    ),
    Prediction(
        "later",
        "Ranks 0 and 1 have made a group more. Now all four ranks call new_group([1, 2]). How does "
        'that end: "all done", "error", or "hang"?',
        Choice(("all done", "error", "hang")),
        cell="middle = dist.new_group([1, 2])",
        truth=lambda here: "hang",  # noqa: ARG005 - the cell has hung
        answer="hang",
        rank=0,
        why="Rank 1 waits for a member that has the same number for this group, and rank 2 has "
        "another one.",
        slips=(
            ("all done", "The call is right, but ranks 1 and 2 do not count alike any more."),
            ("error", "No rank can see that another one counts differently: it waits for it."),
        ),
    ),
    Prediction(
        "which-works",
        'On the ranks tp=0 alone: which all_reduce works, the one along "dp" or the one along '
        '"tp"?',
        Choice(("dp", "tp")),
        cell='x = torch.ones(1)\ndist.all_reduce(x, group=mesh.get_group("dp"))',
        truth=lambda here: "dp",  # noqa: ARG005 - the other one has just hung
        answer="dp",
        rank=0,
        why="Ranks 0 and 2 are a whole group along dp. Along tp they belong to two groups, with "
        "ranks 1 and 3, to which the cell was not given.",
        slips=(
            ("tp", "tp=0 says where along tp they stand. To go along tp, one needs tp=1 as well."),
        ),
    ),
    Prediction(
        "which-batch",
        'Which number does a rank take for its batch: its "rank", its "copy", or its "half"?',
        Choice(("rank", "copy", "half")),
        cell="fits = {}",
        truth=lambda here: next(name for name, fits in here.fits.items() if fits),
        answer="copy",
        rank=0,
        why="Both halves of a copy work on the same samples; another copy has others.",
        slips=(
            ("rank", "Then the two halves of one copy would see different samples."),
            ("half", "Then both copies would do the same work, and the halves of one copy not."),
        ),
    ),
    Prediction(
        "no-group",
        'What happens if the group= is forgotten: "hang", "error", or "wrong numbers"?',
        Choice(("hang", "error", "wrong numbers")),
        cell="mixed = part1.grad.clone()",
        truth=lambda here: "wrong numbers",  # noqa: ARG005 - the cell has just shown it
        answer="wrong numbers",
        rank=0,
        why="All four ranks called the same collective with tensors of one shape. To torch, that "
        "is a correct program.",
        slips=(
            ("hang", "All four ranks call it, so it ends."),
            ("error", "The shapes are the same on all ranks: there is nothing to complain of."),
        ),
    ),
)

LESSON = Lesson(
    name="09_meshes",
    title="Meshes",
    minutes=40,
    ranks=4,
    predictions=_PREDICTIONS,
    exercises=(_GROUPS, _MEAN, _NORM),
)
