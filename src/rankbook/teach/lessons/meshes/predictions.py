"""The predictions of lesson 09."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook.teach.definitions import Prediction
from rankbook.teach.forms import Choice, Numbers, Ranks, Whole
from rankbook.teach.lessons.meshes import shared

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["PREDICTIONS"]


def _what_came_of_no_group(here: Here) -> str:
    if here.cell.how != "all done":
        return here.cell.how
    is_right = here.torch.allclose(here.mixed, here.expected[0], atol=1e-6)
    return "right numbers" if is_right else "wrong numbers"


PREDICTIONS = (
    Prediction(
        "same-half",
        "Which ranks hold the same half of the model as rank 1, itself included? For example "
        '"0,2".',
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
        truth=lambda here: sum(10**rank for rank in shared.list_of(shared.ROWS, here.rank)),
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
        'Rank 3 is late. Which ranks wait in the first all_reduce, along tp? For example "0,2".',
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
        truth=lambda here: here.cell.how,
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
        truth=lambda here: "dp" if here.cell.how == "all done" else "tp",
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
            ("half", "Then both copies would do the same work, and their halves would not."),
        ),
    ),
    Prediction(
        "no-group",
        'What happens if the group= is forgotten: "hang", "error", or "wrong numbers"?',
        Choice(("hang", "error", "wrong numbers")),
        cell="mixed = part1.grad.clone()",
        truth=_what_came_of_no_group,
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
