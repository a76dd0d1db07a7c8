"""The exercise on the way out: tokens to the ranks of their experts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Target, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here
from rankbook.teach.lessons.experts import shared
from rankbook.teach.lessons.experts.sizes import sizes_compared

__all__ = ["DISPATCH"]


def _try_dispatch(here: Here) -> list[Any]:
    rank = here.rank
    tokens, choice = shared.tokens_of(here, rank), shared.choice_of(here, rank)
    with sizes_compared(here):
        arrived, order, sent, came = here.dispatch(tokens, choice)
    return [arrived, here.torch.as_tensor(order), shared.sizes_of(sent), shared.sizes_of(came)]


def _dispatched(here: Here) -> list[Any]:
    rank = here.rank
    order = here.torch.tensor(shared.order_of(rank))
    return [shared.arrived_at(here, rank), order, shared.sent_by(rank), shared.came_to(rank)]


def _unsorted(here: Here) -> list[Any]:
    """What comes of sending the tokens in the order in which they are."""
    pieces = (shared.tokens_of(here, each).split(shared.sent_by(each)) for each in range(4))
    arrived = here.torch.cat([by_expert[here.rank] for by_expert in pieces])
    return [arrived, *_dispatched(here)[1:]]


def _equal_shares(here: Here) -> list[Any]:
    """What comes of leaving the sizes away: two tokens for each rank."""
    ordered = (shared.tokens_of(here, each)[shared.order_of(each)] for each in range(4))
    pieces = [tokens.split(2)[here.rank] for tokens in ordered]
    return [here.torch.cat(pieces), *_dispatched(here)[1:]]


def _dispatch_cell(*lines: str) -> str:
    return cell_of(
        "dispatch(tokens, choice)",
        "order = choice.argsort(stable=True)",
        "counts = torch.bincount(choice, minlength=world_size)",
        *lines,
        "return arrived, order, sent, came",
    )


_EXCHANGE = (
    "arriving = torch.empty_like(counts)",
    "dist.all_to_all_single(arriving, counts)",
    "sent, came = counts.tolist(), arriving.tolist()",
)
_ROOM = "arrived = tokens.new_empty(sum(came), tokens.shape[1])"

DISPATCH = Exercise(
    name="dispatch",
    title="Tokens go out",
    needs=("dispatch",),
    tries=_try_dispatch,
    parts=("arrived", "order", "sent", "came"),
    right=_dispatched,
    targets=(Target("calls", "exchanges", "calls", most=2),),
    tools=("all_to_all_single",),
    hints=(
        "Four steps: put into order, count, exchange the counts, exchange the tokens.",
        "counts = torch.bincount(choice, minlength=world_size); arriving = "
        "torch.empty_like(counts); dist.all_to_all_single(arriving, counts)",
        "arrived = tokens.new_empty(sum(came), tokens.shape[1]); "
        "dist.all_to_all_single(arrived, tokens[order], came, sent)",
    ),
    mistakes=(
        Mistake(
            "no-minlength",
            "bincount counts up to the largest number that it meets. A rank whose tokens all want "
            "experts 0 to 2 gets three counts, where four are exchanged: minlength=world_size.",
            cell_of(
                "dispatch(tokens, choice)",
                "order = choice.argsort(stable=True)",
                "counts = torch.bincount(choice)",
                *_EXCHANGE,
                _ROOM,
                "dist.all_to_all_single(arrived, tokens[order], came, sent)",
                "return arrived, order, sent, came",
            ),
            seen=lambda seen: seen.raises("equal pieces"),
        ),
        Mistake(
            "not-exchanged",
            "A rank cannot know by itself how much the others send to it: they have to say so. "
            "Exchange the counts first: dist.all_to_all_single(arriving, counts).",
            _dispatch_cell(
                "sent = came = counts.tolist()",
                _ROOM,
                "dist.all_to_all_single(arrived, tokens[order], came, sent)",
            ),
            seen=lambda seen: seen.raises("which expects") and not seen.raises("expects rows of"),
        ),
        Mistake(
            "no-rows",
            "A token is a row of numbers, and the place for what arrives needs rows as long: "
            "tokens.new_empty(sum(came), tokens.shape[1]).",
            _dispatch_cell(
                *_EXCHANGE,
                "arrived = torch.empty(sum(came))",
                "dist.all_to_all_single(arrived, tokens[order], came, sent)",
            ),
            seen=lambda seen: seen.raises("expects rows of"),
        ),
        Mistake(
            "exchanged-lists",
            "The last two stand in each other's place: first how many were sent, then how many "
            "came.",
            cell_of(
                "dispatch(tokens, choice)",
                "order = choice.argsort(stable=True)",
                "counts = torch.bincount(choice, minlength=world_size)",
                *_EXCHANGE,
                _ROOM,
                "dist.all_to_all_single(arrived, tokens[order], came, sent)",
                "return arrived, order, came, sent",
            ),
            says="has returned the two lists in each other's place",
            gives=lambda here: [*_dispatched(here)[:2], *_dispatched(here)[:1:-1]],
        ),
        Mistake(
            "sorted-values",
            "sort() returns values and places together, and the values are experts. The places "
            "alone are what argsort(stable=True) returns.",
            cell_of(
                "dispatch(tokens, choice)",
                "order = choice.sort()",
                "counts = torch.bincount(choice, minlength=world_size)",
                *_EXCHANGE,
                _ROOM,
                "dist.all_to_all_single(arrived, tokens[order], came, sent)",
                "return arrived, order, sent, came",
            ),
            seen=lambda seen: seen.raises("is out of bounds for dimension 1"),
        ),
        Mistake(
            "not-sorted",
            "The sizes fit, but the tokens were sent in the order in which they are: the first "
            "ones to rank 0, and so on. Send tokens[order].",
            _dispatch_cell(
                *_EXCHANGE, _ROOM, "dist.all_to_all_single(arrived, tokens, came, sent)"
            ),
            says="has tokens that wanted other experts",
            gives=_unsorted,
        ),
        Mistake(
            "no-sizes",
            "Without sizes, all_to_all_single cuts the tokens into four equal pieces, whatever "
            "they want. Pass both lists, came and sent.",
            _dispatch_cell(
                *_EXCHANGE,
                "arrived = torch.empty_like(tokens)",
                "dist.all_to_all_single(arrived, tokens[order])",
            ),
            says="got two tokens from every rank",
            gives=_equal_shares,
        ),
        Mistake(
            "swapped",
            "Sizes and tensors do not fit: what comes has sum(came) rows, what is sent sum(sent). "
            "And in all_to_all_single what comes stands before what is sent, as output does before "
            "input.",
            _dispatch_cell(
                *_EXCHANGE, _ROOM, "dist.all_to_all_single(arrived, tokens[order], sent, came)"
            ),
            seen=lambda seen: seen.raises("Split sizes"),  # torch's words, from 2.9 on
        ),
    ),
)
