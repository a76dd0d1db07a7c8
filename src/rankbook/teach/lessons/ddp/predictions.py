"""The predictions of lesson 05."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook.teach.definitions import Prediction
from rankbook.teach.forms import Choice, Ranks, Whole

if TYPE_CHECKING:
    from rankbook.teach.here import Here
from rankbook.teach.lessons.ddp import shared

__all__ = ["PREDICTIONS"]


def _step_by_hand(here: Here) -> None:
    model = shared.new_model(here, 0)
    shared.loss_of(here, model, here.rank).backward()
    here.average_gradients(model)


def _count_buckets(here: Here) -> int:
    return len(here.make_buckets(shared.new_model(here, 0), 16384))


def _step_of_torch(here: Here) -> None:
    shared.loss_of(here, here.ddp, here.rank).backward()


def _are_the_same(here: Here) -> str:
    """Whether all ranks have the weights of rank 0."""
    own = here.torch.nn.utils.parameters_to_vector(here.drifting.parameters()).detach()
    of_rank_0 = own.clone()
    here.dist.broadcast(of_rank_0, src=0)
    differ = here.torch.tensor(int(not here.torch.equal(own, of_rank_0)))
    here.dist.all_reduce(differ)
    return "no" if differ else "yes"


PREDICTIONS = (
    Prediction(
        "drift",
        "All ranks begin with the same weights, and take one step on batches of their own. Do they "
        "have the same weights afterwards?",
        Choice(("yes", "no")),
        cell="drifting = make_model(0)",
        truth=_are_the_same,
        answer="no",
        rank=0,
        why="Other batches, other gradients, other weights: four models that drift apart.",
        slips=(
            ("yes", "They would on equal batches. Then three of the ranks would be of no use."),
        ),
    ),
    Prediction(
        "collectives",
        "How many collectives does average_gradients make for this model?",
        Whole(),
        cell="average_gradients(model)\n",
        truth=_step_by_hand,
        answer=shared.PARAMETERS,
        rank=0,
        counts="calls",
        why="Three layers, each with a weight and a bias.",
        slips=(
            (3, "One for each layer; but a layer has two parameters, weight and bias."),
            (1, "One for all gradients together would be better. That is where this lesson goes."),
            (12, "Every all_reduce counts once, though all ranks take part in it."),
        ),
    ),
    Prediction(
        "which-first",
        "Whose gradients are ready first in a backward pass: those of the first layer, or those of "
        "the last one?",
        Choice(("first", "last")),
        cell="order.append",
        truth=lambda here: "last" if here.order[0].startswith("4") else "first",
        answer="last",
        rank=0,
        why="The backward pass begins at the loss. So the last layers' gradients can travel while "
        "the first layers' are still being computed.",
        slips=(("first", "The forward pass goes that way."),),
    ),
    Prediction(
        "who-waits",
        'Rank 3 leaves out a layer. Which ranks get stuck? For example "0,2", or "none".',
        Ranks(),
        cell="use_extra = rank != 3",
        truth=lambda here: here.cell.stuck,
        answer="0-2",
        rank=0,
        why="A parameter that is not used gets no gradient, its hook never runs, and the others "
        "wait for rank 3's part. DDP(find_unused_parameters=True) is for such models.",
        slips=(
            ("none", "The others have started an all_reduce that rank 3 never calls."),
            ("3", "Rank 3 has less to do, and is done."),
            ("0-3", "Rank 3 has called all that it had to call."),
        ),
    ),
    Prediction(
        "how-many-buckets",
        "How many buckets does make_buckets(model, 16384) fill?",
        Whole(),
        cell="for bucket in make_buckets",
        truth=_count_buckets,
        answer=shared.BUCKETS,
        rank=0,
        why="The weight in the middle fills one by itself: 64 · 64 · 4 = 16384 bytes.",
        slips=(
            (
                2,
                "The weight in the middle fills a bucket alone; what comes after it needs another.",
            ),
            (6, "Small gradients share a bucket."),
        ),
    ),
    Prediction(
        "torchs",
        "How many collectives does torch's DistributedDataParallel make in a step of this model? "
        "(Its first bucket takes 1 MiB, the others 25 MiB.)",
        Whole(),
        cell="ddp = DistributedDataParallel(",
        truth=_step_of_torch,
        answer=1,
        rank=0,
        counts="calls",
        why="The whole model, 19204 bytes, fits into the first bucket.",
        slips=(
            (3, "Our buckets were tiny, to see something. Torch's first one takes 1 MiB."),
            (6, "It has buckets, too."),
        ),
    ),
)
