"""The exercise: Adam, whose state is shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Target
from rankbook.teach.lessons.zero import shared
from rankbook.teach.watching import Watch

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["SHARDED"]

_GradientOf = Callable[[list[Any], int], Any]

_STEPS = 3
_RATE = 0.01


def _flat(here: Here, model: Any) -> Any:
    return here.torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def _gradient(here: Here, model: Any, step: int, rank: int) -> Any:
    model.zero_grad()
    shared.loss_of(here, model, step, rank).backward()
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


def _of_the_first(each: list[Any], _rank: int) -> Any:
    return _averaged(each, 0)


def _after(
    here: Here, gradient_of: _GradientOf = _averaged, *, gathers: bool = True, early: bool = False
) -> Any:
    """The weights on this rank after the steps, worked out without the other ranks.

    Args:
        here: The rank.
        gradient_of: What a rank takes for the gradient of its part.
        gathers: Whether the parts are handed round after each step.
        early: Whether they are handed round before it instead.
    """
    torch, n = here.torch, here.world_size
    models = [shared.new_model(here) for _ in range(n)]
    weights = [_flat(here, model) for model in models]
    parts = [torch.nn.Parameter(weights[rank].chunk(n)[rank].clone()) for rank in range(n)]
    adams = [torch.optim.Adam([part], lr=_RATE) for part in parts]
    for step in range(_STEPS):
        for model, flat in zip(models, weights, strict=True):
            torch.nn.utils.vector_to_parameters(flat, model.parameters())
        each = [_gradient(here, model, step, rank) for rank, model in enumerate(models)]
        for rank, (part, adam) in enumerate(zip(parts, adams, strict=True)):
            part.grad = gradient_of(each, rank).clone()
            for other in range(n) if early else []:
                weights[other].chunk(n)[rank].copy_(part.detach())
            adam.step()
            for other in range(n) if gathers and not early else [rank]:
                weights[other].chunk(n)[rank].copy_(part.detach())
    return weights[here.rank]


def _try_zero(here: Here) -> Any:
    watch = Watch(here)
    with watch.watching():
        weights = _trained(here)
    here.note(reduced=watch.started)
    return weights


def _trained(here: Here) -> Any:
    model = shared.new_model(here)
    optimizer = here.ShardedAdam(model, lr=_RATE)
    for step in range(_STEPS):
        model.zero_grad()
        shared.loss_of(here, model, step, here.rank).backward()
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

SHARDED = Exercise(
    name="zero",
    title="Adam, with its state shared",
    needs=("ShardedAdam",),
    tries=_try_zero,
    right=_after,
    tolerance=1e-4,
    targets=(
        Target("calls", "calls", f"calls in {_STEPS} steps", most=2 * _STEPS),
        Target("reduced", "reduced", "all_reduces", most=0, tells=False),
    ),
    hints=(
        "Which collective adds up over the ranks and leaves each rank one piece of the sum? And "
        "which one collects pieces on all ranks?",
        "own = torch.empty_like(self.part); dist.reduce_scatter(own, list(gradients.chunk(...))). "
        "Do not forget to divide.",
        "dist.all_gather(list(self.weights.chunk(world_size)), self.part.detach().clone()) writes "
        "all parts into the weights.",
    ),
    tools=(
        *("reduce_scatter", "reduce_scatter_tensor", "AVG"),
        *("all_gather", "all_gather_into_tensor"),
    ),
    mistakes=(
        Mistake(
            "gathers-too-early",
            "The parts were handed round before adam.step() changed them, so all other ranks have "
            "the parts of the step before. Gather after the step.",
            _zero(*_REDUCE[:3], _GATHER, _REDUCE[3]),
            says="has the other ranks' parts of the step before",
            gives=lambda here: _after(here, early=True),
        ),
        Mistake(
            "no-step",
            "The weights are still those of the start: no part has taken a step. Give self.part "
            "its gradient, then self.adam.step(), then gather.",
            _zero(*_REDUCE[:3], _GATHER),
            says="has the weights of the start",
            gives=lambda here: _flat(here, shared.new_model(here)),
        ),
        Mistake(
            "first-part",
            "All ranks took the gradient of the first part, and each has another part of the "
            "weights. Rank r needs piece r of the gradient: reduce_scatter gives it.",
            _zero(
                "dist.all_reduce(gradients)",
                "self.part.grad = gradients.chunk(world_size)[0] / world_size",
                _REDUCE[3],
                _GATHER,
            ),
            says="has used the gradient of the first part for each part",
            gives=lambda here: _after(here, _of_the_first),
        ),
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
            seen=lambda seen: "reduced" in seen.missed,
        ),
        Mistake(
            "piece-by-piece",
            "The weights are right, but the pieces travel in calls of their own. Two calls a step "
            "move all of them: reduce_scatter, and all_gather.",
            _zero(
                *_REDUCE,
                "for other, piece in enumerate(self.weights.chunk(world_size)):",
                "    dist.broadcast(piece, src=other)",
            ),
            seen=lambda seen: "calls" in seen.missed,
        ),
    ),
)
