"""The predictions of lesson 07."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook.teach.definitions import Prediction
from rankbook.teach.forms import Numbers, Ranks, Whole

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["PREDICTIONS"]


def _step_of_block(here: Here) -> None:
    here.parallel_block(here.x.clone().requires_grad_()).square().sum().backward()


PREDICTIONS = (
    Prediction(
        "part-shape",
        "x has the shape [4, 8], the whole weight [32, 8]. Which shape does each rank's result "
        "have?",
        Numbers(2),
        cell="part1 = w1.chunk(world_size)[rank]",
        truth=lambda here: list(here.h.shape),
        answer=[4, 8],
        rank=0,
        why="Each rank makes 8 of the 32 outputs, of all 4 samples.",
        slips=(
            ([1, 8], "The samples are not shared: that would be data parallel."),
            ([4, 32], "That is the whole output; each rank makes a fourth of it."),
            ([1, 32], "The samples are not shared: that would be data parallel."),
        ),
    ),
    Prediction(
        "who-is-right",
        "Before the all_reduce: which ranks hold the right result of the second layer? For example "
        '"0,2", or "none".',
        Ranks(),
        cell="partial = h @ part2.T",
        truth=lambda here: (
            [here.rank] if here.torch.allclose(here.partial, here.y, atol=1e-5) else []
        ),
        answer="none",
        rank=0,
        why="Every rank has a tensor of the right shape, and a fourth of the sum in it.",
        slips=(
            ("0-3", "The shape is right on all of them. The numbers are not, yet."),
            ("0", "Rank 0 is not special: it has its own inputs, like the others."),
        ),
    ),
    Prediction(
        "block-calls",
        "How many collectives does a whole block make, attention and MLP, forward and backward?",
        Whole(),
        cell="out = parallel_block(",
        truth=_step_of_block,
        answer=4,
        rank=0,
        counts="calls",
        why="Two for each layer: one where it ends going forward, one where it ends going back.",
        slips=(
            (2, "That is the forward pass, or one of the two layers."),
            (8, "The three matrices before the attention have one Enter in common."),
        ),
    ),
    Prediction(
        "who-waits",
        'Rank 2 leaves the loop one step early. Which ranks get stuck? For example "0,2".',
        Ranks(),
        cell="if rank == 2 and step == 3:",
        truth=lambda here: here.cell.stuck,
        answer="0-1,3",
        rank=0,
        why="The others need rank 2's part of the sum.",
        slips=(
            ("2", "Rank 2 is done. It is the others that miss it."),
            ("none", "The others call an all_reduce in the next step, and rank 2 does not."),
        ),
    ),
)
