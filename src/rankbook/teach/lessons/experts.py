"""Lesson 11: a mixture of experts; tokens go out to their experts and come back, unevenly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, Target
from rankbook.teach.forms import Choice, Numbers, Ranks, Whole

if TYPE_CHECKING:
    from rankbook.teach.judging import Here

__all__ = ["LESSON"]

_WISHES = (
    (3, 0, 2, 2, 1, 2, 0, 2),
    (2, 2, 0, 3, 2, 2, 1, 2),
    (1, 2, 0, 0, 2, 3, 3, 2),
    (2, 0, 2, 1, 2, 1, 3, 1),
)
"""By rank, the expert of each token that exercises are tried with."""
_WIDTH = 3


# -- what is sent, worked out on each rank without the others --------------------------------


def _tokens(here: Here, rank: int) -> Any:
    """Tokens that say where they come from: those of rank r are 100 r, 100 r + 1, and so on."""
    numbers = here.torch.arange(8.0) + 100 * rank
    return numbers[:, None].expand(8, _WIDTH).contiguous()


def _choice(here: Here, rank: int) -> Any:
    return here.torch.tensor(_WISHES[rank])


def _order(rank: int) -> list[int]:
    """Which of a rank's tokens is sent in which place."""
    return sorted(range(8), key=_WISHES[rank].__getitem__)


def _sent(rank: int) -> list[int]:
    return [_WISHES[rank].count(expert) for expert in range(4)]


def _came(rank: int) -> list[int]:
    return [_WISHES[source].count(rank) for source in range(4)]


def _arrived(here: Here, rank: int) -> Any:
    return here.torch.cat(
        [_tokens(here, source)[_order(source)].split(_sent(source))[rank] for source in range(4)]
    )


def _sizes(value: Any) -> list[int]:
    return [int(size) for size in value]


# -- out -------------------------------------------------------------------------------------


def _try_dispatch(here: Here) -> list[Any]:
    arrived, order, sent, came = here.dispatch(_tokens(here, here.rank), _choice(here, here.rank))
    return [arrived, here.torch.as_tensor(order), _sizes(sent), _sizes(came)]


def _dispatched(here: Here) -> list[Any]:
    rank = here.rank
    return [_arrived(here, rank), here.torch.tensor(_order(rank)), _sent(rank), _came(rank)]


def _unsorted(here: Here) -> list[Any]:
    """What comes of sending the tokens in the order in which they are."""
    arrived = here.torch.cat(
        [_tokens(here, source).split(_sent(source))[here.rank] for source in range(4)]
    )
    return [arrived, *_dispatched(here)[1:]]


def _equal_shares(here: Here) -> list[Any]:
    """What comes of leaving the sizes away: two tokens for each rank."""
    pieces = [_tokens(here, source)[_order(source)].split(2)[here.rank] for source in range(4)]
    return [here.torch.cat(pieces), *_dispatched(here)[1:]]


def _dispatch_cell(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return (
        "%%dist\ndef dispatch(tokens, choice):\n    order = choice.argsort(stable=True)\n"
        "    counts = torch.bincount(choice, minlength=world_size)\n"
        f"{body}    return arrived, order, sent, came\n"
    )


_EXCHANGE = (
    "arriving = torch.empty_like(counts)",
    "dist.all_to_all_single(arriving, counts)",
    "sent, came = counts.tolist(), arriving.tolist()",
)
_ROOM = "arrived = tokens.new_empty(sum(came), tokens.shape[1])"

_DISPATCH = Exercise(
    name="dispatch",
    title="Tokens go out",
    needs=("dispatch",),
    tries=_try_dispatch,
    right=_dispatched,
    targets=(Target("calls", "calls", "calls", most=2),),
    hints=(
        "Four steps: put into order, count, exchange the counts, exchange the tokens.",
        "counts = torch.bincount(choice, minlength=world_size); arriving = "
        "torch.empty_like(counts); dist.all_to_all_single(arriving, counts)",
        "arrived = tokens.new_empty(sum(came), tokens.shape[1]); "
        "dist.all_to_all_single(arrived, tokens[order], came, sent)",
    ),
    mistakes=(
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
            "The sizes are exchanged: in all_to_all_single what comes stands before what is sent, "
            "as output stands before input.",
            _dispatch_cell(
                *_EXCHANGE, _ROOM, "dist.all_to_all_single(arrived, tokens[order], sent, came)"
            ),
            seen=lambda seen: bool(seen.raised),
        ),
    ),
)


# -- back ------------------------------------------------------------------------------------


def _try_combine(here: Here) -> Any:
    rank = here.rank
    order = here.torch.tensor(_order(rank))
    return here.combine(_arrived(here, rank), order, _sent(rank), _came(rank))


def _in_order(change: Callable[[Here, Any], Any]) -> Callable[[Here], Any]:
    """What comes of putting the tokens that came back into some order."""

    def gives(here: Here) -> Any:
        return change(here, _tokens(here, here.rank)[_order(here.rank)])

    return gives


def _combine_cell(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef combine(results, order, sent, came):\n{body}"


_BACK = (
    "back = results.new_empty(sum(sent), results.shape[1])",
    "dist.all_to_all_single(back, results, sent, came)",
)

_COMBINE = Exercise(
    name="combine",
    title="Results come back",
    needs=("combine",),
    tries=_try_combine,
    right=lambda here: _tokens(here, here.rank),
    targets=(Target("calls", "calls", "calls", most=1),),
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
            gives=_in_order(lambda here, back: back[_order(here.rank)]),
        ),
        Mistake(
            "sizes-as-before",
            "On the way back, a rank gets what it has sent, and sends what has come: the two "
            "lists of sizes change places.",
            _combine_cell(
                "back = results.new_empty(sum(sent), results.shape[1])",
                "dist.all_to_all_single(back, results, came, sent)",
                "output = torch.empty_like(back)",
                "output[order] = back",
                "return output",
            ),
            seen=lambda seen: bool(seen.raised),
        ),
    ),
)


# -- capacity --------------------------------------------------------------------------------

_CAPACITY = 2


def _kept(keeps: Callable[[list[int], int], bool]) -> Callable[[Here], list[bool]]:
    """Which tokens are kept, by the experts of all tokens and the number of one of them."""

    def gives(here: Here) -> list[bool]:
        wishes = list(_WISHES[here.rank])
        return [keeps(wishes, number) for number in range(len(wishes))]

    return gives


def _before(wishes: list[int], number: int) -> int:
    """How many tokens before this one want the same expert."""
    return wishes[:number].count(wishes[number])


def _capacity_cell(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef within_capacity(choice, capacity):\n{body}"


_PLACE = (
    "one_hot = nn.functional.one_hot(choice, world_size)",
    "place = one_hot.cumsum(dim=0).gather(1, choice[:, None]).squeeze(1)",
)

_WITHIN = Exercise(
    name="capacity",
    title="The first tokens of each expert",
    needs=("within_capacity",),
    tries=lambda here: (
        here.torch.as_tensor(here.within_capacity(_choice(here, here.rank), _CAPACITY))
        .bool()
        .tolist()
    ),
    right=_kept(lambda wishes, number: _before(wishes, number) < _CAPACITY),
    hints=(
        "For each token, count the tokens before it that want the same expert. A loop with a "
        "counter for each expert will do.",
        "Without a loop: nn.functional.one_hot(choice, world_size) is a table of tokens and "
        "experts, and its cumsum(dim=0) counts down the columns.",
        "place = one_hot.cumsum(dim=0).gather(1, choice[:, None]).squeeze(1); "
        "return place <= capacity",
    ),
    mistakes=(
        Mistake(
            "one-too-many",
            "One token too many is kept for each expert. cumsum counts from 1: the last one that "
            "is kept has place == capacity; counted from 0, it has capacity - 1.",
            _capacity_cell(*_PLACE, "return place - 1 <= capacity"),
            says="keeps one token too many",
            gives=_kept(lambda wishes, number: _before(wishes, number) <= _CAPACITY),
        ),
        Mistake(
            "all-or-none",
            "An expert that is wanted too much loses all of its tokens that way. It takes the "
            "first ones, up to its capacity.",
            _capacity_cell(
                "counts = torch.bincount(choice, minlength=world_size)",
                "return counts[choice] <= capacity",
            ),
            says="drops all tokens of a full expert",
            gives=_kept(lambda wishes, number: wishes.count(wishes[number]) <= _CAPACITY),
        ),
        Mistake(
            "first-of-all",
            "Those are the first tokens of the rank, whatever they want. The capacity is counted "
            "for each expert by itself.",
            _capacity_cell("return torch.arange(len(choice)) < capacity * world_size // 2"),
            says="keeps the first tokens, whatever they want",
            gives=_kept(lambda wishes, number: number < 2 * _CAPACITY),  # noqa: ARG005 - whatever
        ),
    ),
)


# -- predictions -----------------------------------------------------------------------------


def _dropped(here: Here) -> int:
    return int(here.dropped)


_PREDICTIONS = (
    Prediction(
        "arrive",
        "How many tokens will each expert get in all? A list of four numbers.",
        Numbers(4),
        cell="dist.all_to_all_single(arriving, counts)",
        truth=lambda here: int(here.arriving.sum()),
        answer=[5, 5, 17, 5],
        why="Entry e of all four ranks' counts, added up.",
        slips=(([8, 8, 8, 8], "That is what each rank sends. What comes is less even."),),
    ),
    Prediction(
        "bytes",
        "Rank 2 has 8 tokens of 64 bytes, and its expert gets 17. How many bytes does it hand to "
        "its three calls? A count has 8 bytes, and there are four.",
        Whole(),
        cell="output = moe(tokens, choice)",
        truth=lambda here: here.moe(here.tokens, here.choice),
        answer=32 + 64 * (8 + 17),
        rank=2,
        counts="nbytes",
        why="4 counts of 8 bytes; 8 tokens go out; and 17 results go back to where they came from.",
        slips=(
            (64 * 25, "The tokens are right. The counts are a call, too: 4 of 8 bytes."),
            (32 + 64 * 16, "On the way back, it sends the results of all the tokens that it got."),
            (32 + 64 * 8, "That is the way out. The results have to go back."),
        ),
    ),
    Prediction(
        "who-waits",
        'Expert 2 has 17 tokens, the others 5. Which ranks wait long for others? Such as "0,2".',
        Ranks(),
        cell="output = combine(slow_expert(arrived), order, sent, came)",
        truth=lambda here: [0, 1, 3],  # noqa: ARG005 - the timeline has just shown it
        answer="0,1,3",
        rank=0,
        why="They are done after 20 ms, and need the results of expert 2, which take 68 ms.",
        slips=(
            ("2", "Rank 2 is the one that all wait for."),
            ("none", "Each rank has sent tokens to expert 2, and cannot go on without them."),
            ("0-3", "Rank 2 comes last, and finds the others there."),
        ),
    ),
    Prediction(
        "dropped",
        "With a capacity of 3, how many tokens are dropped, on all ranks together?",
        Whole(),
        cell="dist.all_reduce(dropped)",
        truth=_dropped,
        answer=5,
        rank=0,
        why="Only expert 2 is wanted more than 3 times by one rank: by the four ranks 4, 5, 4 and "
        "4 times.",
        slips=(
            (14, "3 for each expert from *each rank*, so expert 2 takes up to 12."),
            (4, "Rank 1 has 5 tokens for expert 2, two more than 3."),
        ),
    ),
    Prediction(
        "skips",
        'Rank 1 has no tokens, and skips the layer. How does it end: "all done", "error", or '
        '"hang"?',
        Choice(("all done", "error", "hang")),
        cell="if len(mine):",
        truth=lambda here: "hang",  # noqa: ARG005 - the cell has hung
        answer="hang",
        rank=0,
        why="The others wait for rank 1 in the exchange of the counts: they cannot know that it "
        "has none.",
        slips=(
            ("all done", "Rank 1 has no tokens, but it has an expert, and others want it."),
            ("error", "Rank 1 does nothing wrong by itself, and the others just wait."),
        ),
    ),
    Prediction(
        "stale",
        "Rank 1 expects 4 rows from rank 0, and 2 are coming. How does it end: "
        '"error", "hang", or "wrong rows"?',
        Choice(("error", "hang", "wrong rows")),
        cell="unsent = rows.isnan()",
        truth=lambda here: "wrong rows" if here.unsent else "all done",
        answer="wrong rows",
        rank=1,
        why="Rank 0's message is shorter than the place that rank 1 has made for it. Gloo fills in "
        "what has come, and is content.",
        slips=(
            ("error", "Each rank's own sizes fit its own tensors, and no rank compares them."),
            ("hang", "Every rank calls, and every message is sent and received."),
        ),
    ),
)

LESSON = Lesson(
    name="11_mixture_of_experts",
    title="Mixture of experts",
    minutes=40,
    ranks=4,
    predictions=_PREDICTIONS,
    exercises=(_DISPATCH, _COMBINE, _WITHIN),
)
