"""The predictions of lesson 04."""

from __future__ import annotations

from rankbook.teach.definitions import Prediction
from rankbook.teach.forms import Choice, Number, Numbers, Ranks, Whole
from rankbook.teach.lessons.all_reduce import shared

__all__ = ["PREDICTIONS"]


PREDICTIONS = (
    Prediction(
        "digits",
        "Rank 0 gives nothing, and rank 2 gives its 100 twice. Which number is the sum?",
        Number(),
        cell="dist.all_reduce(odd)",
        truth=lambda here: here.odd,
        answer=1210,
        rank=0,
        why="From the right: none of rank 0, one of rank 1, two of rank 2, one of rank 3.",
        slips=(
            (121, "Almost: the digits stand the other way round, rank 0 is the last one."),
            (1111, "That would be all of them once."),
        ),
    ),
    Prediction(
        "naive-calls",
        "How many calls of send and recv does each rank make? A list, ranks 0 to 3.",
        Numbers(4),
        cell="naive_all_reduce(mine())",
        truth=lambda here: here.naive_all_reduce(shared.given(here)),
        answer=[6, 2, 2, 2],
        counts="calls",
        why="Rank 0 receives from three and sends to three; the others send once and receive once.",
        slips=(
            ([3, 1, 1, 1], "That is half of it: the sum has to go back, too."),
            ([6, 1, 1, 1], "The others also receive the sum."),
        ),
    ),
    Prediction(
        "who-gets-through",
        "All ranks call recv from the left first, then send to the right. Which ranks reach "
        'their send? For example "0,2", or "none".',
        Ranks(),
        cell="dist.recv(received, src=left)",
        truth=lambda here: here.cell.passed,
        answer="none",
        rank=0,
        why="Each waits for its left neighbour to send, all around the ring.",
        slips=(
            ("0-3", "Then some rank must have sent first. Which one?"),
            ("0", "Rank 0 is no exception here: it waits for rank 3."),
        ),
    ),
    Prediction(
        "tree-steps",
        "How many steps does the tree take with 64 ranks, up and down?",
        Whole(),
        cell="summed = tree_all_reduce",
        truth=lambda here: 2 * (64).bit_length() - 2,  # noqa: ARG005 - 2 log2(64)
        answer=12,
        rank=0,
        why="2 · log2(64) = 12; the naive way takes 2 · 63 = 126, one after another.",
        slips=(
            (6, "Six up; and six down."),
            (126, "That is the naive way: 2 · 63."),
        ),
    ),
    Prediction(
        "complete",
        "After these three steps, one of the chunks 0 to 3 is complete on rank 0. Which?",
        Whole(),
        cell="history.append",
        truth=lambda here: [int(chunk[0]) for chunk in here.chunks].index(1111),
        answer=1,
        rank=0,
        why="The chunk that arrives last: in step 2 rank 0 receives chunk (0 - 2 - 1) % 4 = 1.",
        slips=(
            (0, "Chunk 0 is the one that rank 0 sent first, and has not seen since."),
            (3, "Chunk 3 came first, from rank 3; it went on without all the others."),
        ),
    ),
    Prediction(
        "ring-bytes",
        "How many bytes go through each rank in the ring, sent and received together? "
        "(8 numbers of 4 bytes; in the naive way 192 go through rank 0.)",
        Whole(),
        cell="summed = ring_all_reduce",
        truth=lambda here: here.ring_all_reduce(shared.given(here)),
        answer=96,
        rank=0,
        counts="nbytes",
        why="6 steps, each with 8 bytes out and 8 in. With more ranks it stays below 4 times the "
        "tensor, 128: no rank is a bottleneck.",
        slips=(
            (48, "Sent, yes; the same comes in."),
            (384, "That would be with whole tensors in each of the 6 steps."),
        ),
    ),
    Prediction(
        "small",
        "64 ranks, a tensor of 8 numbers: which is done first, the tree or the ring?",
        Choice(("tree", "ring")),
        cell="milliseconds(",
        truth=lambda here: "tree",  # noqa: ARG005 - by the formulas, which the text derives
        answer="tree",
        rank=0,
        why="A tiny message costs its start: 12 steps against 126. The ring wins when the bytes "
        "cost more than the steps.",
        slips=(("ring", "The ring sends fewer bytes, but there are hardly any here."),),
    ),
)
