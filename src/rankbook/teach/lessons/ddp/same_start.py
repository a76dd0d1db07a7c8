"""The exercise on the same start: every rank begins with rank 0's weights."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here
from rankbook.teach.lessons.ddp import shared

__all__ = ["SAME_START"]


_SEED = 100
"""Of rank 0's model. A learner's own seed does not make it: it has to travel."""


def _model(here: Here, rank: int) -> Any:
    """The model with which a rank begins."""
    return shared.new_model(here, _SEED + rank)


def _try_start(here: Here) -> list[Any]:
    model = _model(here, here.rank)
    here.same_start(model)
    return shared.weights_of(model)


def _mixed(here: Here) -> list[Any]:
    """The weights of rank 0, the biases of this rank."""
    first, own = (shared.weights_of(_model(here, rank)) for rank in (0, here.rank))
    return [a if a.dim() > 1 else b for a, b in zip(first, own, strict=True)]


def _only(here: Here, place: int) -> list[Any]:
    """One parameter of rank 0, the others of this rank."""
    first, own = (shared.weights_of(_model(here, rank)) for rank in (0, here.rank))
    own[place] = first[place]
    return own


def _average_start(here: Here) -> list[Any]:
    models = [shared.weights_of(_model(here, rank)) for rank in range(here.world_size)]
    return [sum(each) / here.world_size for each in zip(*models, strict=True)]


_start = partial(cell_of, "same_start(model)")

SAME_START = Exercise(
    name="start",
    title="The same start for all",
    needs=("same_start",),
    tries=_try_start,
    parts=shared.NAMES,
    right=lambda here: shared.weights_of(_model(here, 0)),
    hints=(
        "Which collective gives to all ranks what one of them has?",
        "dist.broadcast writes into the tensor that it is given. Give it each parameter's data.",
        "for parameter in model.parameters(): dist.broadcast(parameter.data, src=0)",
    ),
    tools=("broadcast",),
    mistakes=(
        Mistake(
            "first-only",
            "Only the first parameter was broadcast: something ends the loop in its first turn, a "
            "return or a break that stands inside it. Every parameter has to travel.",
            _start(
                "for parameter in model.parameters():",
                "    dist.broadcast(parameter.data, src=0)",
                "    return model",
            ),
            says="has the first parameter of rank 0, and its own others",
            gives=lambda here: _only(here, 0),
        ),
        Mistake(
            "last-only",
            "Only the last parameter was broadcast: the call stands below the loop, and belongs "
            "into it. Indent it.",
            _start(
                "for parameter in model.parameters():",
                "    data = parameter.data",
                "dist.broadcast(data, src=0)",
            ),
            says="has the last parameter of rank 0, and its own others",
            gives=lambda here: _only(here, -1),
        ),
        Mistake(
            "sum",
            "all_reduce has added up the weights of all ranks. Here one rank gives, and all others "
            "take what it has: broadcast.",
            _start("for parameter in model.parameters():", "    dist.all_reduce(parameter.data)"),
            says="has the sum of four models",
            gives=lambda here: [here.world_size * mean for mean in _average_start(here)],
        ),
        Mistake(
            "average",
            "All ranks begin with the same weights now, but with the mean of four random models, "
            "whose weights are only about half as large as intended. Take those of rank 0.",
            _start(
                "for parameter in model.parameters():",
                "    dist.all_reduce(parameter.data)",
                "    parameter.data /= world_size",
            ),
            says="has the mean of four models",
            gives=_average_start,
        ),
        Mistake(
            "copies",
            "Nothing has arrived in the parameters. A broadcast into a copy does not help: the "
            "copy is thrown away. Hand it the parameter's own memory, parameter.data.",
            _start(
                "for parameter in model.parameters():",
                "    dist.broadcast(parameter.detach().clone(), src=0)",
            ),
            says="still has its own weights",
            gives=lambda here: shared.weights_of(_model(here, here.rank)),
        ),
        Mistake(
            "last-rank",
            "All ranks begin with the same weights now: those of the last rank. src names the rank "
            "that gives, and that is rank 0 here.",
            _start(
                "for parameter in model.parameters():",
                "    dist.broadcast(parameter.data, src=world_size - 1)",
            ),
            says="has the weights of the last rank",
            gives=lambda here: shared.weights_of(_model(here, here.world_size - 1)),
        ),
        Mistake(
            "weights-only",
            "The weights are those of rank 0, but the biases are not. model.parameters() has both.",
            _start(
                "for layer in model:",
                '    if hasattr(layer, "weight"):',
                "        dist.broadcast(layer.weight.data, src=0)",
            ),
            says="has its own biases",
            gives=_mixed,
        ),
    ),
)
