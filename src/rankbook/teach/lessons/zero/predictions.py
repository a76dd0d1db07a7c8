"""The predictions of lesson 06."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Prediction
from rankbook.teach.forms import Ranks, Whole
from rankbook.teach.lessons.zero.shared import WEIGHTS, loss_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["PREDICTIONS"]


def _total(way: str) -> Any:
    return lambda here: sum(here.memory[way].values())


def _step_of_fsdp(here: Here) -> None:
    loss_of(here, here.sharded, 0, here.rank).backward()


PREDICTIONS = (
    Prediction(
        "everything",
        "How many bytes do weights, gradients, and Adam's state take on each rank?",
        Whole(),
        cell='memory["DDP"]',
        truth=_total("DDP"),
        answer=4 * WEIGHTS,
        rank=0,
        why="Four times the weights: Adam keeps two numbers for each of them.",
        slips=(
            (2 * WEIGHTS, "That is weights and gradients. Adam has two moments on top."),
            (3 * WEIGHTS, "Adam keeps two numbers for each weight, not one."),
            (WEIGHTS, "That is the weights alone: each rank has all of them."),
        ),
    ),
    Prediction(
        "shared-state",
        "Now each rank keeps Adam's state for a fourth of the weights. How many bytes in all?",
        Whole(),
        cell='memory["ZeRO-1"]',
        truth=_total("ZeRO-1"),
        answer=2 * WEIGHTS + WEIGHTS // 2,
        rank=0,
        why="Weights and gradients are whole; the state is a fourth of twice the weights.",
        slips=(
            (
                WEIGHTS,
                "Everything by four? Weights and gradients are still whole on every rank.",
            ),
            (
                3 * WEIGHTS,
                "Adam's state is a fourth of what it was: it was twice the weights.",
            ),
        ),
    ),
    Prediction(
        "fsdp",
        "Under FSDP each rank keeps a fourth of everything. How many bytes between two steps?",
        Whole(),
        cell='memory["FSDP"]',
        truth=_total("FSDP"),
        answer=WEIGHTS,
        rank=0,
        why="A fourth of four times the weights. While a layer computes, its weights are whole for "
        "a moment; only one layer's at a time.",
        slips=((WEIGHTS // 4, "Of the weights, yes. Gradients and Adam's state come on top."),),
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
        truth=lambda here: here.cell.stuck,
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
