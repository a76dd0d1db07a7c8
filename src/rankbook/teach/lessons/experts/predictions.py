"""The predictions of lesson 11."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook.teach.definitions import Prediction
from rankbook.teach.forms import Choice, Numbers, Ranks, Whole

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["PREDICTIONS"]


def _dropped(here: Here) -> int:
    return int(here.dropped)


def _what_came_of_old_counts(here: Here) -> str:
    if here.cell.how != "all done":
        return here.cell.how
    return "wrong rows" if here.unsent else "right rows"


def _who_waited_long(here: Here) -> list[int]:
    """The ranks that waited longer than half of what the most patient one did."""
    waited = here.cell.waited
    return [rank for rank, seconds in waited.items() if seconds > max(waited.values()) / 2]


PREDICTIONS = (
    Prediction(
        "arrive",
        "How many tokens will each expert get in all? A list of four numbers.",
        Numbers(4),
        cell="dist.all_to_all_single(arriving, counts)",
        truth=lambda here: int(here.arriving.sum()),
        answer=[5, 5, 17, 5],
        why="Entry e of all four ranks' counts, added up.",
        slips=(([8, 8, 8, 8], "That is what each rank sends. What comes is less even."),),
    ),
    Prediction(
        "bytes",
        "Rank 2 has 8 tokens of 64 bytes, and its expert gets 17. How many bytes does it hand to "
        "its three calls? A count has 8 bytes, and there are four.",
        Whole(),
        cell="output = moe(tokens, choice)",
        truth=lambda here: here.moe(here.tokens, here.choice),
        answer=32 + 64 * (8 + 17),
        rank=2,
        counts="nbytes",
        why="4 counts of 8 bytes; 8 tokens go out; and 17 results go back to where they came from.",
        slips=(
            (64 * 25, "The tokens are right. The counts are a call, too: 4 of 8 bytes."),
            (32 + 64 * 16, "On the way back, it sends the results of all the tokens that it got."),
            (32 + 64 * 8, "That is the way out. The results have to go back."),
        ),
    ),
    Prediction(
        "who-waits",
        "Expert 2 has 17 tokens, the others 5. Which ranks wait long for others? For example "
        '"0,2".',
        Ranks(),
        cell="output = combine(slow_expert(arrived), order, sent, came)",
        truth=_who_waited_long,
        answer="0,1,3",
        rank=0,
        why="They are done after 75 ms, and need the results of expert 2, which take 255 ms.",
        slips=(
            ("2", "Rank 2 is the one that all wait for."),
            ("none", "Each rank has sent tokens to expert 2, and cannot go on without them."),
            ("0-3", "Rank 2 comes last, and finds the others there."),
        ),
    ),
    Prediction(
        "dropped",
        "With a capacity of 3, how many tokens are dropped, on all ranks together?",
        Whole(),
        cell="dist.all_reduce(dropped)",
        truth=_dropped,
        answer=5,
        rank=0,
        why="Only expert 2 is wanted more than 3 times by one rank: by the four ranks 4, 5, 4 and "
        "4 times.",
        slips=(
            (14, "3 for each expert from *each rank*, so expert 2 takes up to 12."),
            (4, "Rank 1 has 5 tokens for expert 2, two more than 3."),
        ),
    ),
    Prediction(
        "skips",
        'Rank 1 has no tokens, and skips the layer. How does it end: "all done", "error", or '
        '"hang"?',
        Choice(("all done", "error", "hang")),
        cell="if len(mine):",
        truth=lambda here: here.cell.how,
        answer="hang",
        rank=0,
        why="The others wait for rank 1 in the exchange of the counts: they cannot know that it "
        "has none.",
        slips=(
            ("all done", "Rank 1 has no tokens, but it has an expert, and others want it."),
            ("error", "Rank 1 does nothing wrong by itself, and the others just wait."),
        ),
    ),
    Prediction(
        "stale",
        "Rank 1 expects 4 rows from rank 0, and 2 are coming. How does it end: "
        '"error", "hang", or "wrong rows"?',
        Choice(("error", "hang", "wrong rows")),
        cell="unsent = rows.isnan()",
        truth=_what_came_of_old_counts,
        answer="wrong rows",
        rank=1,
        why="Rank 0's message is shorter than the place that rank 1 has made for it. Gloo writes "
        "what has come, and reports nothing.",
        slips=(
            ("error", "Each rank's own sizes fit its own tensors, and no rank compares them."),
            ("hang", "Every rank calls, and every message is sent and received."),
        ),
    ),
)
