"""The predictions of lesson 12."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook.teach.definitions import Prediction
from rankbook.teach.forms import Choice, Number, Ranks

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["PREDICTIONS"]


def _how_equal(here: Here) -> str:
    if here.lacks(("largest",)):  # the rank that was not there
        return ""
    if here.largest == 0:
        return "equal"
    return "equal up to rounding" if here.largest < 1e-4 else "different"  # noqa: PLR2004 - rounding


def _what_differs(here: Here) -> str:
    """The parts of a training that are not the same on all ranks."""
    states = here.optimizer.state_dict()["state"].values()
    own = {
        "weights": [parameter.tolist() for parameter in here.model.parameters()],
        "momentum": [state["momentum_buffer"].tolist() for state in states],
        "position": [here.order.epoch, here.order.position],
        "random numbers": here.torch.get_rng_state().tolist(),
    }
    all_own: list[dict[str, list[float]]] = [{} for _ in range(here.world_size)]
    here.dist.all_gather_object(all_own, own)
    return ", ".join(part for part in own if any(each[part] != own[part] for each in all_own))


PREDICTIONS = (
    Prediction(
        "survivors",
        "Rank 2 is killed in the middle of a step. Which ranks have their variables afterwards? "
        'For example "0,2".',
        Ranks(),
        cell="curve += train(18)",
        truth=lambda here: [r for r in here.cell.ranks if r not in here.cell.culprits],
        answer="0,1,3",
        rank=0,
        why="The others get an error, because a connection is gone. An error ends a cell, not a "
        "process.",
        slips=(
            ("none", "Under torchrun, yes: there an error ends the script, and so the process."),
            ("0-3", "What rank 2 had was in its memory, and that went with the process."),
            ("0", "Nothing is special about rank 0. All ranks that were not killed are alive."),
        ),
    ),
    Prediction(
        "other-step",
        "The new rank begins at step 0, the others go on at step 12. How does it end: "
        '"all done", "error", or "hang"?',
        Choice(("all done", "error", "hang")),
        cell="while len(curve) < 30",
        truth=lambda here: here.cell.how,
        answer="hang",
        rank=0,
        why="For 18 steps the calls fit each other, whatever is in the tensors. Then three ranks "
        "are done, and the fourth waits for them.",
        slips=(
            ("error", "Every call has its partners, of the same shape: torch sees nothing wrong."),
            ("all done", "Rank 2 has 30 steps before it, the others 18."),
        ),
    ),
    Prediction(
        "equal",
        "Weights, momentum and position are the same on all ranks. Are the losses equal to those "
        "of the undisturbed run: yes or no?",
        Choice(("yes", "no")),
        cell="curve = undisturbed[:12] + train(18)",
        truth=lambda here: "yes" if here.curve == here.undisturbed else "no",
        answer="no",
        rank=0,
        why="Rank 2 has begun to draw its random numbers from the first one, so its dropout "
        "drops different units.",
        slips=(("yes", "Which of the four parts of section 1 is not in that list?"),),
    ),
    Prediction(
        "its-own",
        'Which part is not the same on all ranks: "weights", "momentum", "position", or '
        '"random numbers"?',
        Choice(("weights", "momentum", "position", "random numbers")),
        cell="saved = snapshot(model, optimizer, order)",
        truth=_what_differs,
        answer="random numbers",
        rank=0,
        why="Each rank seeds with another number, so that not all drop the same units.",
        slips=(
            ("weights", "They begin equal, and take equal steps: the gradients are averaged."),
            ("momentum", "It comes from averaged gradients, which are the same on all ranks."),
            ("position", "It counts the samples of all ranks; each takes its part of the batch."),
        ),
    ),
    Prediction(
        "lost",
        "One of four ranks dies under FSDP. What share of the weights is on no living rank "
        "any more? A number between 0 and 1.",
        Number(),
        cell="undisturbed_fsdp = train(30)",
        truth=lambda here: 1 / here.world_size,
        answer=0.25,
        rank=0,
        tolerance=0.01,
        why="Each rank holds a fourth of every weight, and no other rank has it.",
        slips=(
            (0, "Under DDP: there every rank has all weights."),
            (0.75, "That is what the survivors have."),
            (1, "Three fourths are alive; though a model with holes is not worth much more."),
        ),
    ),
    Prediction(
        "three",
        "Three ranks take 48 samples in each step, as the four did. Are their losses "
        '"equal", "equal up to rounding", or "different"?',
        Choice(("equal", "equal up to rounding", "different")),
        cell="on_three = train(10)",
        truth=_how_equal,
        answer="equal up to rounding",
        rank=0,
        measured=True,
        why="The mean over 48 samples is the same, no matter which rank computes which part. It is "
        "added up in another order, so it is rounded elsewhere.",
        slips=(
            ("equal", "The sums have other parts: 3 times 16 is not rounded as 4 times 12."),
            ("different", "The same samples, the same mean: where should a difference come from?"),
        ),
    ),
)
