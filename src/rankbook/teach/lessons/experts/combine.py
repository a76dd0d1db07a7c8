"""The exercise on the way back: results to where their tokens came from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Target, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here
from rankbook.teach.lessons.experts import shared
from rankbook.teach.lessons.experts.sizes import sizes_compared

__all__ = ["COMBINE"]


def _try_combine(here: Here) -> Any:
    rank = here.rank
    order = here.torch.tensor(shared.order_of(rank))
    sent, came = shared.sent_by(rank), shared.came_to(rank)
    with sizes_compared(here):
        return here.combine(shared.arrived_at(here, rank), order, sent, came)


def _in_order(change: Callable[[Here, Any], Any]) -> Callable[[Here], Any]:
    """What comes of putting the tokens that came back into some order."""

    def gives(here: Here) -> Any:
        return change(here, shared.tokens_of(here, here.rank)[shared.order_of(here.rank)])

    return gives


_combine_cell = partial(cell_of, "combine(results, order, sent, came)")

_BACK = (
    "back = results.new_empty(sum(sent), results.shape[1])",
    "dist.all_to_all_single(back, results, sent, came)",
)

COMBINE = Exercise(
    name="combine",
    title="Results come back",
    needs=("combine",),
    tries=_try_combine,
    right=lambda here: shared.tokens_of(here, here.rank),
    targets=(Target("calls", "exchanges", "calls", most=1),),
    tools=("all_to_all_single",),
    hints=(
        "How many rows come back to a rank? As many as it has sent.",
        "back = results.new_empty(sum(sent), results.shape[1]); "
        "dist.all_to_all_single(back, results, sent, came)",
        "output = torch.empty_like(back); output[order] = back; return output",
    ),
    mistakes=(
        Mistake(
            "by-expert",
            "The results stand in the order of the experts, as the tokens were sent. Put each one "
            "back in the place of its token: output[order] = back.",
            _combine_cell(*_BACK, "return back"),
            says="has its results in the order of the experts",
            gives=_in_order(lambda here, back: back),  # noqa: ARG005 - as it is
        ),
        Mistake(
            "order-again",
            "back[order] puts them into the order once more, instead of undoing it. Undo it by "
            "output[order] = back, or by back[order.argsort()].",
            _combine_cell(*_BACK, "return back[order]"),
            says="has put its results into order twice",
            gives=_in_order(lambda here, back: back[shared.order_of(here.rank)]),
        ),
        Mistake(
            "ordered-too-soon",
            "order belongs to the tokens that this rank has sent, not to the results of its "
            "expert, of which there are more or fewer. Send the results as they are; order is for "
            "what comes back.",
            _combine_cell(
                _BACK[0],
                "dist.all_to_all_single(back, results[order], sent, came)",
                "return back",
            ),
            seen=lambda seen: seen.raises("is out of bounds for dimension 0"),
        ),
        Mistake(
            "stays-here",
            "These are the results of this rank's expert, for tokens of all ranks. Each has to go "
            "back to the rank of its token first: all_to_all_single.",
            _combine_cell(
                "output = torch.empty_like(results)",
                "output[order] = results",
                "return output",
            ),
            seen=lambda seen: seen.raises("shape mismatch"),
        ),
        Mistake(
            "no-sizes",
            "Without sizes, all_to_all_single cuts the results into equal pieces, wherever they "
            "came from. Pass both lists: sent, then came.",
            _combine_cell(
                _BACK[0],
                "dist.all_to_all_single(back, results)",
                "output = torch.empty_like(back)",
                "output[order] = back",
                "return output",
            ),
            seen=lambda seen: seen.raises("equal pieces") or seen.raises("which expects"),
        ),
        Mistake(
            "sizes-as-before",
            "On the way back, a rank gets what it has sent, and sends what has come: so what comes "
            "back has sum(sent) rows, and the two lists of sizes change places.",
            _combine_cell(
                "back = results.new_empty(sum(sent), results.shape[1])",
                "dist.all_to_all_single(back, results, came, sent)",
                "output = torch.empty_like(back)",
                "output[order] = back",
                "return output",
            ),
            seen=lambda seen: seen.raises("Split sizes"),  # torch's words, from 2.9 on
        ),
    ),
)
