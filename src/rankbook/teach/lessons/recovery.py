"""Lesson 12: death and recovery; what a new process needs, and what has to be saved where."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction
from rankbook.teach.forms import Choice, Number, Ranks

if TYPE_CHECKING:
    from rankbook.teach.judging import Here

__all__ = ["LESSON"]


# -- a newcomer catches up -------------------------------------------------------------------

_STEP = 12
"""Steps that the survivors have done."""
_NEWCOMERS = (2, 0)
"""Two deaths: the second is that of rank 0, from which many would copy."""


def _before(here: Here, rank: int, newcomer: int) -> list[Any]:
    """Weights, momentum and step of a rank: those of all survivors are the same."""
    torch = here.torch
    if rank == newcomer:
        return [torch.ones(3), torch.zeros(3), 0]
    return [torch.tensor([5.0, 6.0, 7.0]), torch.tensor([0.5, 0.25, 0.125]), _STEP]


def _try_catch_up(here: Here) -> list[Any]:
    return [value for newcomer in _NEWCOMERS for value in _caught_up(here, newcomer)]


def _caught_up(here: Here, newcomer: int) -> list[Any]:
    weights, momentum, step = _before(here, here.rank, newcomer)
    step = here.catch_up([weights[:2], weights[2:]], [momentum[:2], momentum[2:]], step)
    return [weights, momentum, step]


def _survivor(newcomer: int) -> int:
    return 1 if newcomer == 0 else 0


def _after(
    source: Callable[[int], int] = _survivor, *, momentum: bool = True, step: bool = True
) -> Callable[[Here], list[Any]]:
    """What a rank has if so much is copied from a source, which depends on the newcomer."""

    def gives(here: Here) -> list[Any]:
        values = []
        for newcomer in _NEWCOMERS:
            own = _before(here, here.rank, newcomer)
            copied = _before(here, source(newcomer), newcomer)
            takes = (True, momentum, step)
            values += [c if take else o for o, c, take in zip(own, copied, takes, strict=True)]
        return values

    return gives


def _mean(here: Here) -> list[Any]:
    """What comes of averaging instead of copying."""
    values: list[Any] = []
    for newcomer in _NEWCOMERS:
        each = [_before(here, rank, newcomer) for rank in range(here.world_size)]
        values += [sum(rank[i] for rank in each) / here.world_size for i in (0, 1)]
        values.append(_STEP)
    return values


def _catch_up_cell(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef catch_up(weights, momentum, step):\n{body}"


_FIND = (
    "steps = [torch.tensor(0) for _ in range(world_size)]",
    "dist.all_gather(steps, torch.tensor(step))",
    "furthest = torch.stack(steps).argmax().item()",
)
_COPY = ("for tensor in [*weights, *momentum]:", "    dist.broadcast(tensor, src=furthest)")

_CATCH_UP = Exercise(
    name="catch-up",
    title="A newcomer catches up",
    needs=("catch_up",),
    tries=_try_catch_up,
    right=_after(),
    hints=(
        "First find out which rank is furthest: every rank needs the steps of all ranks.",
        "dist.all_gather(steps, torch.tensor(step)), where steps is a list of world_size tensors "
        "torch.tensor(0). Then all ranks know the same source.",
        "for tensor in [*weights, *momentum]: dist.broadcast(tensor, src=furthest). "
        "Return steps[furthest].item().",
    ),
    mistakes=(
        Mistake(
            "rank-0",
            "Everything was copied from rank 0. When rank 0 is the newcomer, that overwrites what "
            "the others have learned. Look for the rank with the largest step.",
            _catch_up_cell(
                "step = torch.tensor(step)",
                "for tensor in [*weights, *momentum, step]:",
                "    dist.broadcast(tensor, src=0)",
                "return step.item()",
            ),
            says="has what rank 0 had, also where rank 0 was new",
            gives=_after(lambda newcomer: 0),  # noqa: ARG005 - from whatever is there
        ),
        Mistake(
            "no-momentum",
            "The weights are there, the momentum is not: the newcomer would take other steps than "
            "the others from now on. Copy both lists.",
            _catch_up_cell(
                *_FIND,
                "for tensor in weights:",
                "    dist.broadcast(tensor, src=furthest)",
                "return steps[furthest].item()",
            ),
            says="has its own momentum",
            gives=_after(momentum=False),
        ),
        Mistake(
            "own-step",
            "The tensors are right, but the newcomer believes that it is at step 0. It would take "
            "the first samples again, and 12 steps more than the others. Return the step of the "
            "rank that is furthest.",
            _catch_up_cell(*_FIND, *_COPY, "return step"),
            says="returned its own step",
            gives=_after(step=False),
        ),
        Mistake(
            "mean",
            "That is a mean of what the ranks have: a fourth of it comes from a model that has "
            "learned nothing. Copy from one rank: dist.broadcast.",
            _catch_up_cell(
                "for tensor in [*weights, *momentum]:",
                "    dist.all_reduce(tensor)",
                "    tensor /= world_size",
                "step = torch.tensor(step)",
                "dist.all_reduce(step, dist.ReduceOp.MAX)",
                "return step.item()",
            ),
            says="has the mean over all ranks, the newcomer included",
            gives=_mean,
        ),
        Mistake(
            "newcomer-only",
            "Only the newcomer has called broadcast, and waits. In a collective everybody takes "
            "part, also the ranks that have it all: the source sends by the same call.",
            _catch_up_cell(
                *_FIND,
                "if step < steps[furthest]:",
                "    for tensor in [*weights, *momentum]:",
                "        dist.broadcast(tensor, src=furthest)",
                "return steps[furthest].item()",
            ),
            seen=lambda seen: bool(seen.hang),
        ),
    ),
)


# -- a snapshot ------------------------------------------------------------------------------

_PARTS = ("weights", "momentum", "random numbers", "position")


def _training(here: Here, seed: int) -> tuple[Any, Any, Any]:
    """A model, its optimizer, and where one is in the data, before the first step."""
    torch = here.torch
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, optimizer, SimpleNamespace(epoch=0, position=0)


def _step(here: Here, model: Any, optimizer: Any, order: Any) -> None:
    optimizer.zero_grad()
    model(here.torch.randn(4, 2)).square().mean().backward()
    optimizer.step()
    order.epoch, order.position = order.epoch + 1, order.position + 16


def _state(here: Here, model: Any, optimizer: Any, order: Any) -> tuple[Any, ...]:
    """All that a training consists of, in the order of its parts."""
    each = optimizer.state_dict()["state"].values()
    state = (
        [parameter.detach() for parameter in model.parameters()],
        [of_parameter["momentum_buffer"] for of_parameter in each],
        [here.torch.get_rng_state()],
        [here.torch.tensor([order.epoch, order.position])],
    )
    return deepcopy(state)


def _try_snapshot(here: Here) -> list[str]:
    outside = here.torch.get_rng_state()
    try:
        return _what_comes_back(here)
    finally:
        here.torch.set_rng_state(outside)


def _what_comes_back(here: Here) -> list[str]:
    training = _training(here, seed=1 + here.rank)
    for _ in range(2):
        _step(here, *training)
    before = _state(here, *training)
    saved = here.snapshot(*training)
    _step(here, *training)

    new = _training(here, seed=9)
    here.restore(saved, *new)
    return [
        name
        for name, was, now in zip(_PARTS, before, _state(here, *new), strict=True)
        if len(was) == len(now) and all(map(here.torch.equal, was, now))
    ]


def _but(*lost: str) -> Callable[[Here], list[str]]:
    return lambda here: [part for part in _PARTS if part not in lost]  # noqa: ARG005 - on all ranks


_SAVES = {
    "model": "deepcopy(model.state_dict())",
    "optimizer": "deepcopy(optimizer.state_dict())",
    "random": "torch.get_rng_state()",
    "order": "dict(vars(order))",
}
_RESTORES = {
    "model": "model.load_state_dict(saved['model'])",
    "optimizer": "optimizer.load_state_dict(saved['optimizer'])",
    "random": "torch.set_rng_state(saved['random'])",
    "order": "vars(order).update(saved['order'])",
}


def _snapshot_cell(without: str = "", **saves: str) -> str:
    kept = {name: how for name, how in (_SAVES | saves).items() if name != without}
    saved = "".join(f"        {name!r}: {how},\n" for name, how in kept.items())
    restored = "".join(f"    {_RESTORES[name]}\n" for name in kept)
    return (
        "%%dist\nfrom copy import deepcopy\n\n\ndef snapshot(model, optimizer, order):\n"
        f"    return {{\n{saved}    }}\n\n\n"
        f"def restore(saved, model, optimizer, order):\n{restored}"
    )


_SNAPSHOT = Exercise(
    name="snapshot",
    title="Everything that is needed to go on",
    needs=("snapshot", "restore"),
    tries=_try_snapshot,
    right=_but(),
    hints=(
        "Four parts were named at the start of section 1. Models and optimizers have state_dict() "
        "and load_state_dict(…).",
        "state_dict() holds the tensors themselves, not copies: deepcopy(model.state_dict()).",
        "The dict has deepcopy(model.state_dict()), deepcopy(optimizer.state_dict()), "
        "torch.get_rng_state(), order.epoch and order.position. restore puts each of them back.",
    ),
    mistakes=(
        Mistake(
            "no-momentum",
            "The optimizer was forgotten. It begins again without momentum, and with Adam without "
            "both moments: save and load optimizer.state_dict() as well.",
            _snapshot_cell(without="optimizer"),
            says="has lost its momentum",
            gives=_but("momentum"),
        ),
        Mistake(
            "no-random",
            "Dropout would draw other numbers from now on. Save torch.get_rng_state(), "
            "and put it back by torch.set_rng_state.",
            _snapshot_cell(without="random"),
            says="has other random numbers",
            gives=_but("random numbers"),
        ),
        Mistake(
            "no-position",
            "The epoch would begin again: some samples are taken twice, and each restart makes it "
            "worse. Save order.epoch and order.position.",
            _snapshot_cell(without="order"),
            says="has lost its position",
            gives=_but("position"),
        ),
        Mistake(
            "aliases",
            "What was saved went on changing: state_dict() holds the tensors themselves, and the "
            "next step overwrites them in place. Copy them: deepcopy(model.state_dict()).",
            _snapshot_cell(model="model.state_dict()", optimizer="optimizer.state_dict()"),
            says="got back the weights of a later step",
            gives=_but("weights", "momentum"),
        ),
    ),
)


# -- fewer ranks -----------------------------------------------------------------------------

_EPOCHS = ((24, 12, 3), (20, 8, 3), (22, 12, 3), (21, 8, 2))
"""Samples of an epoch, how many were taken, and how many ranks go on."""

_Share = Callable[[list[int], int, int, int], list[int]]


def _try_share(here: Here) -> list[str]:
    def share(order: list[int], seen: int, n: int, r: int) -> list[int]:
        mine: list[int] = here.torch.as_tensor(
            here.share(here.torch.tensor(order), seen, n, r)
        ).tolist()
        return mine

    return _dealt(share)


def _dealt(share: _Share) -> list[str]:
    """For each epoch, what becomes of its samples."""
    said = []
    for count, seen, n in _EPOCHS:
        order = [(7 * i) % count for i in range(count)] if count % 7 else list(range(count))
        parts = [share(order, seen, n, r) for r in range(n)]
        dealt = [sample for part in parts for sample in part]
        again = len(dealt) - len(set(dealt) - set(order[:seen]))
        left = len(set(order[seen:]) - set(dealt))
        sizes = {len(part) for part in parts}
        said.append(
            f"{again} taken twice, {left - (count - seen) % n} too many left out, "
            f"{'equally many' if len(sizes) == 1 else 'not equally many'} on each rank"
        )
    return said


def _deals(share: _Share) -> Callable[[Here], list[str]]:
    return lambda here: _dealt(share)  # noqa: ARG005 - the same on all ranks


def _right_share(order: list[int], seen: int, n: int, r: int) -> list[int]:
    rest = order[seen:]
    return rest[: len(rest) // n * n][r::n]


def _share_cell(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef share(order, seen, n, r):\n{body}"


_EVEN = "rest = rest[: len(rest) // n * n]"

_SHARE = Exercise(
    name="share",
    title="Deal out the rest",
    needs=("share",),
    tries=_try_share,
    right=_deals(_right_share),
    hints=(
        "What is left of the epoch is order[seen:].",
        "How many of it can be dealt out evenly? len(rest) // n * n.",
        "rest = order[seen:]; rest = rest[: len(rest) // n * n]; return rest[r::n]",
    ),
    mistakes=(
        Mistake(
            "uneven",
            "Some ranks get one sample more than others. They would take one step more, and wait "
            "in its all_reduce for ranks that are done. Cut the rest to a multiple of n first.",
            _share_cell("return order[seen:][r::n]"),
            says="deals out unequal numbers of samples",
            gives=_deals(lambda order, seen, n, r: order[seen:][r::n]),
        ),
        Mistake(
            "from-the-start",
            "That deals out the whole epoch: what was taken before is taken again. Leave out the "
            "first seen samples.",
            _share_cell("rest = order", _EVEN, "return rest[r::n]"),
            says="takes samples again that were taken before",
            gives=_deals(lambda order, seen, n, r: order[: len(order) // n * n][r::n]),  # noqa: ARG005 - that is the mistake
        ),
        Mistake(
            "for-four",
            "The steps are those of the old number of ranks, world_size: what was meant for ranks "
            "that are gone is taken by nobody. Deal out for n.",
            _share_cell(
                "rest = order[seen:]",
                "rest = rest[: len(rest) // world_size * world_size]",
                "return rest[r::world_size]",
            ),
            says="leaves out the samples of ranks that are gone",
            gives=_deals(lambda order, seen, n, r: _right_share(order, seen, 4, r)),  # noqa: ARG005 - that is the mistake
        ),
        Mistake(
            "everything",
            "Each rank gets the whole rest, so each sample is taken n times in a step. Every rank "
            "takes each n-th of them, beginning with its own number: [r::n].",
            _share_cell("return order[seen:]"),
            says="gives every sample to all ranks",
            gives=_deals(lambda order, seen, n, r: order[seen:]),  # noqa: ARG005 - that is the mistake
        ),
    ),
)


# -- predictions -----------------------------------------------------------------------------


def _how_equal(here: Here) -> str:
    if here.lacks(("largest",)):  # the rank that was not there
        return ""
    if here.largest == 0:
        return "equal"
    return "equal up to rounding" if here.largest < 1e-4 else "different"  # noqa: PLR2004 - rounding


_PREDICTIONS = (
    Prediction(
        "survivors",
        "Rank 2 is killed in the middle of a step. Which ranks have their variables afterwards? "
        'Such as "0,2".',
        Ranks(),
        cell="curve += train(18)",
        truth=lambda here: [0, 1, 3],  # noqa: ARG005 - the cell before the restart has shown it
        answer="0,1,3",
        rank=0,
        why="The others get an error, because a connection is gone. An error ends a cell, not a "
        "process.",
        slips=(
            ("none", "Under torchrun, yes: there an error ends the script, and so the process."),
            ("0-3", "What rank 2 had was in its memory, and that went with the process."),
            ("0", "Nothing is special about rank 0. All that were not killed are alive."),
        ),
    ),
    Prediction(
        "other-step",
        "The new rank begins at step 0, the others go on at step 12. How does it end: "
        '"all done", "error", or "hang"?',
        Choice(("all done", "error", "hang")),
        cell="while len(curve) < 30",
        truth=lambda here: "hang",  # noqa: ARG005 - the cell has hung
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
        "drops other units.",
        slips=(("yes", "Which of the four parts of section 1 is not in that list?"),),
    ),
    Prediction(
        "its-own",
        'Which part is not the same on all ranks: "weights", "momentum", "position", or '
        '"random numbers"?',
        Choice(("weights", "momentum", "position", "random numbers")),
        cell="saved = snapshot(model, optimizer, order)",
        truth=lambda here: "random numbers",  # noqa: ARG005 - %dist_diff has just shown it
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
        "One of four ranks dies under FSDP. Which share of the weights has no living rank any "
        "more? A number between 0 and 1.",
        Number(),
        cell="undisturbed_fsdp = train(30)",
        truth=lambda here: 1 / here.world_size,
        answer=0.25,
        rank=0,
        tolerance=0.01,
        why="Each rank holds a fourth of every weight, and nobody else has it.",
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

LESSON = Lesson(
    name="12_death_and_recovery",
    title="Death and recovery",
    minutes=40,
    ranks=4,
    predictions=_PREDICTIONS,
    exercises=(_CATCH_UP, _SNAPSHOT, _SHARE),
)
