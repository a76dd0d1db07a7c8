"""The predictions of lesson 10."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook.teach.definitions import Prediction
from rankbook.teach.forms import Choice, Number, Ranks

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["PREDICTIONS"]


def _nearest(ratio: float, *options: int) -> str:
    """The option that a ratio is nearest to, by factors."""
    return str(min(options, key=lambda option: max(ratio / option, option / ratio)))


_TOGETHER = ("about 2", "about 10", "over 20")


def _how_much_faster(here: Here) -> str:
    ratio = here.separately / here.together
    return _TOGETHER[(ratio > 5) + (ratio > 20)]  # noqa: PLR2004 - as the words say


def _does_one_stand_out(here: Here) -> str:
    """Whether one rank's epoch took a quarter longer than another's."""
    longest = here.torch.tensor(here.sorted_took)
    shortest = longest.clone()
    here.dist.all_reduce(longest, here.dist.ReduceOp.MAX)
    here.dist.all_reduce(shortest, here.dist.ReduceOp.MIN)
    return "yes" if longest > 1.25 * shortest else "no"


PREDICTIONS = (
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
        why="Such a small all_reduce is all start-up: the ranks exchange messages, but hardly any "
        "bytes.",
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
        truth=_does_one_stand_out,
        answer="no",
        rank=0,
        why="Each all_reduce ends for all at the same moment, when the slowest has come.",
        slips=(("yes", "After each text, the others wait for it."),),
    ),
    Prediction(
        "straggler",
        'Which rank is the straggler? For example "0".',
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
        'Every rank goes on until its own clock says 0.5 s. How does it end: "all done", "error", '
        'or "hang"?',
        Choice(("all done", "error", "hang")),
        cell="while time.perf_counter() - began < 0.5:",
        truth=lambda here: here.cell.how,
        answer="hang",
        rank=0,
        why="Rank 3's clock began later, so it wants rounds for which the others do not come.",
        slips=(
            ("all done", "Do all ranks do the same number of rounds? Each asks its own clock."),
            ("error", "No rank does anything wrong by itself."),
        ),
    ),
)
