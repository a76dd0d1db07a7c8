"""The model of the lesson, and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["WEIGHTS", "loss_of", "new_model"]

WEIGHTS = 4 * (16 * 64 + 64 * 64 + 64 * 4)
"""Bytes of the lesson's model."""


def new_model(here: Here) -> Any:
    """Three linear layers without biases, the same on all ranks."""
    nn = here.torch.nn
    here.torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 64, bias=False),
        nn.ReLU(),
        nn.Linear(64, 64, bias=False),
        nn.ReLU(),
        nn.Linear(64, 4, bias=False),
    )


def loss_of(here: Here, model: Any, step: int, rank: int) -> Any:
    """The loss of a model on the batch of a rank, in a step."""
    generator = here.torch.Generator().manual_seed(500 + 10 * step + rank)
    x = here.torch.randn(16, 16, generator=generator)
    return here.torch.nn.functional.mse_loss(model(x), x[:, :4].sin())
