"""The model of the lesson, what is right for it, and how a wrapper is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Mistake, Target
from rankbook.teach.watching import Watch

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = [
    "BUCKETS",
    "GRADIENTS",
    "NAMES",
    "PARAMETERS",
    "loss_of",
    "mean_gradients",
    "new_model",
    "not_added",
    "own_gradients",
    "summed_gradients",
    "targets",
    "trying",
    "weights_of",
]


NAMES = tuple(f"{layer}.{kind}" for layer in (0, 2, 4) for kind in ("weight", "bias"))
"""Of the model's parameters, in their order."""

GRADIENTS = tuple(f"the gradient of {name}" for name in NAMES)

PARAMETERS = len(NAMES)
BUCKETS = 3


def new_model(here: Here, seed: int) -> Any:
    """Three linear layers, the same for the same seed."""
    nn = here.torch.nn
    here.torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )


def weights_of(model: Any) -> list[Any]:
    """A copy of its parameters."""
    return [parameter.detach().clone() for parameter in model.parameters()]


def loss_of(here: Here, model: Any, rank: int) -> Any:
    """The loss of a model on the batch of a rank."""
    generator = here.torch.Generator().manual_seed(1000 + rank)
    x = here.torch.randn(16, 8, generator=generator)
    return here.torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))


def _gradients(here: Here, *ranks: int) -> list[Any]:
    """The mean of the gradients of some ranks, all of which begin as rank 0 does."""
    total: list[Any] = []
    for rank in ranks:
        model = new_model(here, 0)
        loss_of(here, model, rank).backward()
        own = [parameter.grad / len(ranks) for parameter in model.parameters()]
        total = [a + b for a, b in zip(total, own, strict=True)] if total else own
    return total


def mean_gradients(here: Here) -> list[Any]:
    """The mean of all ranks' gradients."""
    return _gradients(here, *range(here.world_size))


def summed_gradients(here: Here) -> list[Any]:
    """The sum of all ranks' gradients."""
    return [gradient * here.world_size for gradient in mean_gradients(here)]


def own_gradients(here: Here) -> list[Any]:
    """This rank's gradients alone."""
    return _gradients(here, here.rank)


def trying(wrapper: str) -> Callable[[Here], list[Any]]:
    """Wrap a model, and take the gradients of one step."""

    def tries(here: Here) -> list[Any]:
        model = new_model(here, here.rank)
        ddp = getattr(here, wrapper)(model)
        loss = loss_of(here, ddp, here.rank)
        watch = Watch(here)
        with watch.watching():
            loss.backward()
            during, early = watch.started, len(watch.waited)
            ddp.finish()
        here.note(
            started=watch.started,
            during=during,
            asynchronous=watch.asynchronous,
            early=early,
            waited=len(watch.waited),
            changed=watch.changed,
            operations=sorted(watch.operations),
        )
        # Copies: what the first step left in a list may be changed by the second.
        gradients = [each if each is None else each.clone() for each in _of(model)]
        here.note(steps=1 + _is_right_again(here, ddp, gradients))
        here.note(scaled=_are_scaled(here, gradients))
        return gradients

    return tries


def _is_right_again(here: Here, ddp: Any, gradients: list[Any]) -> bool:
    """Whether a second step on the same batch has the same gradients as the first."""
    ddp.zero_grad()
    loss_of(here, ddp, here.rank).backward()
    ddp.finish()
    return all(
        second is not None and here.torch.allclose(first, second, rtol=1e-4, atol=1e-6)
        for first, second in zip(gradients, _of(ddp), strict=True)
        if first is not None
    )


def _are_scaled(here: Here, gradients: list[Any]) -> bool:
    """Whether each gradient is the right one times a number, so that no part of it is missing."""
    for got, right in zip(gradients, mean_gradients(here), strict=True):
        if got is None:
            return False
        factor = (got * right).sum() / right.square().sum()
        if not here.torch.allclose(got, factor * right, rtol=1e-3, atol=1e-5):
            return False
    return True


def _of(model: Any) -> list[Any]:
    return [parameter.grad for parameter in model.parameters()]


def not_added(example: str) -> Mistake:
    """The mistake of another operation than adding.

    Args:
        example: A cell that makes it.
    """
    return Mistake(
        "not-added",
        "Gradients are added up, which all_reduce does if it is given no operation. MAX, MIN and "
        "PRODUCT make something else of them.",
        example,
        seen=lambda seen: any(notes.get("operations") for notes in seen.notes.values()),
    )


def targets(collectives: int) -> tuple[Target, ...]:
    """So many collectives, all of them started in the backward pass and waited for after it."""
    return (
        Target("collectives", "started", "collectives", most=collectives),
        Target(
            "during",
            "during",
            "of them started during the backward pass",
            most=collectives,
            least=collectives,
        ),
        Target(
            "asynchronous",
            "asynchronous",
            "of them asynchronous",
            most=collectives,
            least=collectives,
            tells=False,
        ),
        Target("changed", "changed", "of them changed on their way", most=0, tells=False),
        Target("early", "early", "of them waited for before its end", most=0, tells=False),
        Target("steps", "steps", "of 2 steps right", most=2, least=2, tells=False),
        Target(
            "waited",
            "waited",
            "of them waited for",
            most=collectives,
            least=collectives,
            tells=False,
        ),
    )
