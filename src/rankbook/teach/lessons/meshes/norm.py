"""The exercise on a norm over a mesh."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Target, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["NORM"]


_PARTS = [[2.0, 2.0, 1.0, 0.0], [4.0, 0.0, 0.0, 0.0]]
"""By half of the model; 9 and 16 are the sums of the squares, so that the whole has 25 ..."""

_WHOLE = 12.0
"""... and with this, 169 = 13²."""


def _try_norm(here: Here) -> Any:
    parts = here.torch.tensor(_PARTS[here.rank % 2]).split([3, 1])
    norm = here.gradient_norm(list(parts), [here.torch.tensor([_WHOLE])])
    return here.torch.tensor(norm) if isinstance(norm, float) else norm


def _norm(own: float, neighbour: float, whole: float) -> Callable[[Here], Any]:
    """The norm, if the squares are counted so many times."""

    def gives(here: Here) -> Any:
        squares = [sum(number**2 for number in half) for half in _PARTS]
        mine, theirs = squares[here.rank % 2], squares[1 - here.rank % 2]
        total = own * mine + neighbour * theirs + whole * _WHOLE**2
        return here.torch.tensor(math.sqrt(total))

    return gives


_norm_cell = partial(cell_of, "gradient_norm(parts, whole)")

_OWN = "squares = sum(gradient.square().sum() for gradient in parts)"
_BOTH = "squares = sum(gradient.square().sum() for gradient in parts + whole)"
_ADD = "squares += sum(gradient.square().sum() for gradient in whole)"

NORM = Exercise(
    name="norm",
    title="The norm of the whole gradient",
    needs=("gradient_norm",),
    tries=_try_norm,
    right=_norm(1, 1, 1),
    targets=(Target("calls", "calls", "calls", most=1),),
    hints=(
        "Squares can be added up, square roots cannot. So add squares first, everywhere.",
        "The two halves of parts are on the two ranks of a row: their squares are added by an "
        "all_reduce. What is whole on both must not go through it.",
        "squares = sum(g.square().sum() for g in parts); dist.all_reduce(squares, group=row); "
        "squares += sum(g.square().sum() for g in whole); return squares.sqrt()",
    ),
    tools=("all_reduce",),
    mistakes=(
        Mistake(
            "norms-of-halves",
            "The norms of the two halves were added up, 3 and 4 to 7, and squared after that. "
            "Squares can be added up, norms cannot: reduce the sum of the squares.",
            _norm_cell(
                "norm = torch.cat([gradient.flatten() for gradient in parts]).norm()",
                "dist.all_reduce(norm, group=row)",
                "return (norm**2 + sum(gradient.square().sum() for gradient in whole)).sqrt()",
            ),
            says="has added up the norms of the halves",
            gives=lambda here: here.torch.tensor(math.hypot(3.0 + 4.0, _WHOLE)),
        ),
        Mistake(
            "half-of-parts",
            "The squares of the two halves are parts of one sum, no estimates of the same: add "
            "them up, and divide by nothing.",
            _norm_cell(
                _OWN,
                "dist.all_reduce(squares, group=row)",
                "squares /= 2",
                _ADD,
                "return squares.sqrt()",
            ),
            says="has halved the squares of parts",
            gives=_norm(0.5, 0.5, 1),
        ),
        Mistake(
            "half-of-whole",
            "A row has two ranks, so what both put into its sum comes out twice, and world_size, "
            "which is 4, divides too much. Add the bias after the all_reduce.",
            _norm_cell(
                _OWN,
                "squares += sum(gradient.square().sum() for gradient in whole) / world_size",
                "dist.all_reduce(squares, group=row)",
                "return squares.sqrt()",
            ),
            says="has half of the bias's squares",
            gives=_norm(1, 1, 0.5),
        ),
        Mistake(
            "own",
            "Each rank has taken the norm of what it holds. The squares of the other half are "
            "missing: they are on the other rank of the row.",
            _norm_cell(_BOTH, "return squares.sqrt()"),
            says="has the norm of its own half",
            gives=_norm(1, 0, 1),
        ),
        Mistake(
            "whole-twice",
            "What is whole on both ranks of a row was added up as if it were cut, so it counts "
            "twice. Add it after the all_reduce.",
            _norm_cell(_BOTH, "dist.all_reduce(squares, group=row)", "return squares.sqrt()"),
            says="counts the bias twice",
            gives=_norm(1, 1, 2),
        ),
        Mistake(
            "copies",
            "The sum went over all four ranks, so it counts both copies of the model, which have "
            "the same gradients. Sum over one copy: the row.",
            _norm_cell(_OWN, "dist.all_reduce(squares)", _ADD, "return squares.sqrt()"),
            says="counts both copies of the model",
            gives=_norm(2, 2, 1),
        ),
        Mistake(
            "everything",
            "The sum went over all four ranks: it counts both copies of the model, and the bias "
            "four times. Sum the parts over the row, and add the bias afterwards.",
            _norm_cell(_BOTH, "dist.all_reduce(squares)", "return squares.sqrt()"),
            says="counts what all four ranks hold",
            gives=_norm(2, 2, 4),
        ),
        Mistake(
            "column",
            "The ranks of a column hold the same half: its squares were counted twice, and the "
            "other half's not at all. The halves of one copy stand in a row.",
            _norm_cell(_OWN, "dist.all_reduce(squares, group=column)", _ADD, "return squares**0.5"),
            says="has its own half twice",
            gives=_norm(2, 0, 1),
        ),
        Mistake(
            "no-bias",
            "The model has more than what is cut: the squares of what every rank has entirely "
            "(whole) are missing. Add them after the all_reduce.",
            _norm_cell(_OWN, "dist.all_reduce(squares, group=row)", "return squares.sqrt()"),
            says="leaves out the bias",
            gives=_norm(1, 1, 0),
        ),
        Mistake(
            "no-root",
            "That is the sum of the squares. The norm is its square root.",
            _norm_cell(_OWN, "dist.all_reduce(squares, group=row)", _ADD, "return squares"),
            says="has the sum of the squares",
            gives=lambda here: _norm(1, 1, 1)(here).square(),
        ),
        Mistake(
            "adds-norms",
            "Norms cannot be added up, squares can: 3 and 4 make 5. Add the squares of all "
            "numbers, and take one square root at the end.",
            _norm_cell(
                "norms = sum(gradient.norm() for gradient in parts)",
                "dist.all_reduce(norms, group=row)",
                "return norms + sum(gradient.norm() for gradient in whole)",
            ),
            says="has added up norms",
            gives=lambda here: here.torch.tensor(
                sum(math.sqrt(sum(number**2 for number in half)) for half in _PARTS) + _WHOLE
            ),
        ),
    ),
)
