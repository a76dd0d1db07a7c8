"""Lesson 06: from ZeRO to FSDP2; where the memory goes, and how to share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, Target
from rankbook.teach.forms import Ranks, Whole

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["LESSON"]

_GradientOf = Callable[[list[Any], int], Any]

_STEPS = 3
_RATE = 0.01
_WEIGHTS = 4 * (16 * 64 + 64 * 64 + 64 * 4)
"""Bytes of the lesson's model."""


def _model(here: Here) -> Any:
    nn = here.torch.nn
    here.torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 64, bias=False),
        nn.ReLU(),
        nn.Linear(64, 64, bias=False),
        nn.ReLU(),
        nn.Linear(64, 4, bias=False),
    )


def _loss(here: Here, model: Any, step: int, rank: int) -> Any:
    generator = here.torch.Generator().manual_seed(500 + 10 * step + rank)
    x = here.torch.randn(16, 16, generator=generator)
    return here.torch.nn.functional.mse_loss(model(x), x[:, :4].sin())


def _flat(here: Here, model: Any) -> Any:
    return here.torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def _gradient(here: Here, model: Any, step: int, rank: int) -> Any:
    model.zero_grad()
    _loss(here, model, step, rank).backward()
    return here.torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def _averaged(each: list[Any], rank: int) -> Any:
    """The gradient of a rank's part, of the gradients that each rank has."""
    return (sum(each) / len(each)).chunk(len(each))[rank]


def _of_its_own(each: list[Any], rank: int) -> Any:
    return each[rank].chunk(len(each))[rank]


def _mixed(each: list[Any], _rank: int) -> Any:
    """What comes of an all_reduce to which each rank gives its own part."""
    total: Any = sum(_of_its_own(each, other) for other in range(len(each)))
    return total / len(each)


def _after(here: Here, gradient_of: _GradientOf = _averaged, *, gathers: bool = True) -> Any:
    """The weights on this rank after the steps, worked out without the other ranks.

    Args:
        here: The rank.
        gradient_of: What a rank takes for the gradient of its part.
        gathers: Whether the parts are handed round after each step.
    """
    torch, n = here.torch, here.world_size
    models = [_model(here) for _ in range(n)]
    weights = [_flat(here, model) for model in models]
    parts = [torch.nn.Parameter(weights[rank].chunk(n)[rank].clone()) for rank in range(n)]
    adams = [torch.optim.Adam([part], lr=_RATE) for part in parts]
    for step in range(_STEPS):
        for model, flat in zip(models, weights, strict=True):
            torch.nn.utils.vector_to_parameters(flat, model.parameters())
        each = [_gradient(here, model, step, rank) for rank, model in enumerate(models)]
        for rank, (part, adam) in enumerate(zip(parts, adams, strict=True)):
            part.grad = gradient_of(each, rank).clone()
            adam.step()
            for other in range(n) if gathers else [rank]:
                weights[other].chunk(n)[rank].copy_(part.detach())
    return weights[here.rank]


def _try_zero(here: Here) -> Any:
    model = _model(here)
    optimizer = here.ShardedAdam(model, lr=_RATE)
    for step in range(_STEPS):
        model.zero_grad()
        _loss(here, model, step, here.rank).backward()
        optimizer.step()
    return _flat(here, model)


def _zero(*lines: str) -> str:
    body = "".join(f"        {line}\n" for line in lines)
    return f"""%%dist
class ShardedAdam:
    def __init__(self, model, lr):
        self.parameters = list(model.parameters())
        self.weights = torch.cat([p.detach().flatten() for p in self.parameters])
        pieces = self.weights.split([p.numel() for p in self.parameters])
        for p, piece in zip(self.parameters, pieces):
            p.data = piece.view_as(p)
        self.part = nn.Parameter(self.weights.chunk(world_size)[rank])
        self.adam = torch.optim.Adam([self.part], lr=lr)

    def step(self):
        gradients = torch.cat([p.grad.flatten() for p in self.parameters])
{body}"""


_REDUCE = (
    "own = torch.empty_like(self.part)",
    "dist.reduce_scatter(own, list(gradients.chunk(world_size)))",
    "self.part.grad = own / world_size",
    "self.adam.step()",
)
_GATHER = "dist.all_gather(list(self.weights.chunk(world_size)), self.part.detach().clone())"

_ZERO = Exercise(
    name="zero",
    title="Adam, with its state shared",
    needs=("ShardedAdam",),
    tries=_try_zero,
    right=_after,
    tolerance=1e-4,
    targets=(
        Target("calls", "calls", f"calls in {_STEPS} steps", most=2 * _STEPS),
        Target("bytes", "nbytes", "bytes given", most=2 * _STEPS * _WEIGHTS / 4),
    ),
    hints=(
        "Which collective adds up over the ranks and leaves each rank one piece of the sum? And "
        "which one collects pieces on all ranks?",
        "own = torch.empty_like(self.part); dist.reduce_scatter(own, list(gradients.chunk(...))). "
        "Do not forget to divide.",
        "dist.all_gather(list(self.weights.chunk(world_size)), self.part.detach().clone()) writes "
        "all parts into the weights.",
    ),
    mistakes=(
        Mistake(
            "own-gradients",
            "Each part was updated with the gradients of its own rank, so of a fourth of the data. "
            "They have to be added up over the ranks first: reduce_scatter.",
            _zero(
                "self.part.grad = gradients.chunk(world_size)[rank].clone()",
                "self.adam.step()",
                _GATHER,
            ),
            says="has used the gradients of one rank for each part",
            gives=lambda here: _after(here, _of_its_own),
        ),
        Mistake(
            "sum",
            "The gradients were added up, not averaged: divide by world_size. Adam hardly depends "
            "on their scale; a step of SGD would be four times too long.",
            _zero(*_REDUCE[:2], "self.part.grad = own", "self.adam.step()", _GATHER),
            says="has taken the sum of the gradients, not the mean",
            gives=lambda here: _after(here, lambda each, rank: 4 * _averaged(each, rank)),
        ),
        Mistake(
            "mixed-parts",
            "Each rank gave another part to the all_reduce, so gradients of different weights were "
            "added up. reduce_scatter adds up the same part of all ranks.",
            _zero(
                "own = gradients.chunk(world_size)[rank].clone()",
                "dist.all_reduce(own)",
                *_REDUCE[2:],
                _GATHER,
            ),
            says="has mixed the gradients of different parts",
            gives=lambda here: _after(here, _mixed),
        ),
        Mistake(
            "keeps-its-part",
            "Each rank has a new part of its own, and the old weights everywhere else. After the "
            "step all ranks need all parts: all_gather, into self.weights itself, of which the "
            "parameters are views.",
            _zero(*_REDUCE),
            says="has updated its own part only",
            gives=lambda here: _after(here, gathers=False),
        ),
        Mistake(
            "all-reduce",
            "The weights are right. But all_reduce brings every rank the whole gradient, and it "
            "uses a fourth of it: reduce_scatter brings just that.",
            _zero(
                "dist.all_reduce(gradients)",
                "self.part.grad = gradients.chunk(world_size)[rank] / world_size",
                "self.adam.step()",
                _GATHER,
            ),
            seen=lambda seen: "bytes" in seen.missed,
        ),
    ),
)


def _total(way: str) -> Any:
    return lambda here: sum(here.memory[way].values())


def _step_of_fsdp(here: Here) -> None:
    _loss(here, here.sharded, 0, here.rank).backward()


_PREDICTIONS = (
    Prediction(
        "everything",
        "How many bytes do weights, gradients, and Adam's state take on each rank?",
        Whole(),
        cell='memory["DDP"]',
        truth=_total("DDP"),
        answer=4 * _WEIGHTS,
        rank=0,
        why="Four times the weights: Adam keeps two numbers for each of them.",
        slips=(
            (2 * _WEIGHTS, "That is weights and gradients. Adam has two moments on top."),
            (3 * _WEIGHTS, "Adam keeps two numbers for each weight, not one."),
            (_WEIGHTS, "That is the weights alone: each rank has all of them."),
        ),
    ),
    Prediction(
        "shared-state",
        "Now each rank keeps Adam's state for a fourth of the weights. How many bytes in all?",
        Whole(),
        cell='memory["ZeRO-1"]',
        truth=_total("ZeRO-1"),
        answer=2 * _WEIGHTS + _WEIGHTS // 2,
        rank=0,
        why="Weights and gradients are whole; the state is a fourth of twice the weights.",
        slips=(
            (_WEIGHTS, "Everything by four? Weights and gradients are still whole on every rank."),
            (3 * _WEIGHTS, "Adam's state is a fourth of what it was: it was twice the weights."),
        ),
    ),
    Prediction(
        "fsdp",
        "Under FSDP each rank keeps a fourth of everything. How many bytes between two steps?",
        Whole(),
        cell='memory["FSDP"]',
        truth=_total("FSDP"),
        answer=_WEIGHTS,
        rank=0,
        why="A fourth of four times the weights. While a layer computes, its weights are whole for "
        "a moment; only one layer's at a time.",
        slips=((_WEIGHTS // 4, "Of the weights, yes. Gradients and Adam's state come on top."),),
    ),
    Prediction(
        "fsdp-calls",
        "How many collectives does a step of this FSDP model make? Three layers; weights are "
        "gathered in the forward and again in the backward pass, and gradients are reduced.",
        Whole(),
        cell="loss = loss_of(sharded, *batch(0))\nloss.backward()",
        truth=_step_of_fsdp,
        answer=9,
        rank=0,
        counts="calls",
        measured=True,
        why="For each layer two all_gathers and one reduce_scatter.",
        slips=(
            (6, "The weights are thrown away after the forward pass, and gathered again."),
            (3, "One for each layer is what DDP would need."),
        ),
    ),
    Prediction(
        "who-is-stuck",
        'Only rank 0 evaluates the FSDP model. Which ranks get stuck? For example "0,2", or '
        '"none".',
        Ranks(),
        cell="if rank == 0:\n    with torch.no_grad()",
        truth=lambda here: [0],  # noqa: ARG005 - the cell has hung
        answer="0",
        rank=0,
        why="The forward pass of an FSDP model gathers weights, and a gather needs all ranks. With "
        "DDP the same line works, because each rank has everything.",
        slips=(
            ("none", "With DDP, none. Here the weights of the layers are on all four ranks."),
            ("1-3", "Those have nothing to do, and are done."),
        ),
    ),
)

LESSON = Lesson(
    name="06_zero_to_fsdp2",
    title="From ZeRO to FSDP2",
    minutes=35,
    ranks=4,
    predictions=_PREDICTIONS,
    exercises=(_ZERO,),
)
