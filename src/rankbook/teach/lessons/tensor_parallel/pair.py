"""The exercise: into the parallel part of a model, and out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Target
from rankbook.teach.watching import by_hand

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["PAIR"]

_WIDTH, _INNER = 8, 32


def _whole(here: Here) -> tuple[Any, ...]:
    """Input, both weights, and a direction for the gradients: the same on all ranks."""
    seeded = here.torch.Generator().manual_seed(7)
    shapes = (4, _WIDTH), (_INNER, _WIDTH), (_WIDTH, _INNER), (4, _WIDTH)
    return tuple(here.torch.randn(*shape, generator=seeded) / 3 for shape in shapes)


def _answers(here: Here, *, rank: int | None = None, scale: float = 1.0) -> list[Any]:
    """Output and gradients of the two layers, worked out on this rank.

    Args:
        here: The rank.
        rank: Whose part is computed; None: the whole.
        scale: Of the gradients.
    """
    x, w1, w2, direction = _whole(here)
    if rank is not None:
        w1 = w1.chunk(here.world_size)[rank]
        w2 = w2.chunk(here.world_size, dim=1)[rank]
    leaves = [tensor.clone().requires_grad_() for tensor in (x, w1, w2)]
    y = here.torch.nn.functional.gelu(leaves[0] @ leaves[1].T) @ leaves[2].T
    (y * direction * scale).sum().backward()
    gradients = [leaf.grad for leaf in leaves]
    if rank is None:
        gradients[1] = gradients[1].chunk(here.world_size)[here.rank]
        gradients[2] = gradients[2].chunk(here.world_size, dim=1)[here.rank]
    return [y.detach(), *gradients]


def _try_mlp(here: Here) -> list[Any]:
    x, w1, w2, direction = _whole(here)
    part1 = w1.chunk(here.world_size)[here.rank].clone().requires_grad_()
    part2 = w2.chunk(here.world_size, dim=1)[here.rank].clone().requires_grad_()
    x = x.clone().requires_grad_()

    def there_and_back() -> Any:
        y = here.parallel_mlp(x, part1, part2)
        (y * direction).sum().backward()
        return y.detach()

    y = by_hand(here, there_and_back)
    gradients = [x.grad, part1.grad, part2.grad]
    here.note(
        lost=any(gradient is None or not gradient.any() for gradient in gradients),
        multiplied=here.torch.allclose(y, _output(here, x.detach() * here.world_size), atol=1e-5),
    )
    return [y, *gradients]


def _output(here: Here, x: Any) -> Any:
    _, w1, w2, _ = _whole(here)
    return here.torch.nn.functional.gelu(x @ w1.T) @ w2.T


def _own_output(here: Here) -> list[Any]:
    own, right = _answers(here, rank=here.rank), _answers(here)
    return [own[0], *right[1:]]


def _own_gradient(here: Here) -> list[Any]:
    own, right = _answers(here, rank=here.rank), _answers(here)
    return [right[0], own[1], *right[2:]]


def _too_large(here: Here) -> list[Any]:
    right, large = _answers(here), _answers(here, scale=here.world_size)
    return [right[0], *large[1:]]


def _too_small(here: Here) -> list[Any]:
    right, small = _answers(here), _answers(here, scale=1 / here.world_size)
    return [right[0], *small[1:]]


def _own_of_both(here: Here) -> list[Any]:
    own, right = _answers(here, rank=here.rank), _answers(here)
    return [*own[:2], *right[2:]]


def _wrong_end(here: Here) -> list[Any]:
    right, large = _answers(here), _answers(here, scale=here.world_size)
    own = _answers(here, rank=here.rank, scale=here.world_size)
    return [right[0], own[1], *large[2:]]


def _largest_output(here: Here) -> list[Any]:
    parts = [_answers(here, rank=rank)[0] for rank in range(here.world_size)]
    return [here.torch.stack(parts).amax(0), *_answers(here)[1:]]


def _exchanged(here: Here) -> list[Any]:
    """What comes of adding up where Leave should, in Enter, and the other way round."""
    x, w1, w2, direction = _whole(here)
    w1 = w1.chunk(here.world_size)[here.rank]
    w2 = w2.chunk(here.world_size, dim=1)[here.rank]
    leaves = [tensor.clone().requires_grad_() for tensor in (x * here.world_size, w1, w2)]
    y = here.torch.nn.functional.gelu(leaves[0] @ leaves[1].T) @ leaves[2].T
    (y * direction * here.world_size).sum().backward()
    return [y.detach(), *(leaf.grad for leaf in leaves)]


_IDENTITY = ("return {0}",)
_SUM = ("{0} = {0}.clone()", "dist.all_reduce({0})", "return {0}")
_MEAN = (*_SUM[:2], "return {0} / world_size")
_LARGEST = (_SUM[0], "dist.all_reduce({0}, dist.ReduceOp.MAX)", _SUM[2])
_LOST = ("copy = {0}.clone()", "dist.all_reduce(copy)", "return {0}")


def _pair(
    enter: tuple[tuple[str, ...], tuple[str, ...]], leave: tuple[tuple[str, ...], tuple[str, ...]]
) -> str:
    """A cell with the two functions; of each its forward and its backward."""
    text = "%%dist\n"
    for name, (forward, backward) in (("Enter", enter), ("Leave", leave)):
        text += f"class {name}(torch.autograd.Function):\n"
        for method, argument, body in (
            ("forward", "x", forward),
            ("backward", "gradient", backward),
        ):
            text += f"    @staticmethod\n    def {method}(ctx, {argument}):\n"
            text += "".join(f"        {line.format(argument)}\n" for line in body)
    return (
        f"{text}\n\ndef parallel_mlp(x, part1, part2):\n"
        "    h = nn.functional.gelu(Enter.apply(x) @ part1.T)\n"
        "    return Leave.apply(h @ part2.T)\n"
    )


PAIR = Exercise(
    name="pair",
    title="Into the parallel part, and out of it",
    needs=("Enter", "Leave", "parallel_mlp"),
    tries=_try_mlp,
    parts=("y", *(f"the gradient of {name}" for name in ("x", "part1", "part2"))),
    right=_answers,
    targets=(Target("calls", "calls", "calls, forward and backward", most=2),),
    hints=(
        "Leave.forward adds up the partial results: an all_reduce. Its backward has nothing to "
        "add: every rank has the whole gradient of y already.",
        "Enter is the mirror image: nothing in forward, and an all_reduce in backward, because "
        "each rank knows only what went through its own part.",
        "x = x.clone(); dist.all_reduce(x); return x. All four methods are that, or return what "
        "they get.",
    ),
    tools=("all_reduce",),
    mistakes=(
        Mistake(
            "no-gradient",
            "No gradient has come through: a backward() that returns None, or nothing, says that "
            "there is none. Enter and Leave both hand one on: return gradient, or its sum over "
            "the ranks.",
            _pair((_IDENTITY, ("return None",)), (_SUM, _IDENTITY)),
            seen=lambda seen: any(notes.get("lost") for notes in seen.notes.values()),
        ),
        Mistake(
            "into-a-copy",
            "Something was added up, but what is returned is the tensor as it was. all_reduce "
            "writes into the tensor that it is given: return that one.",
            _pair((_IDENTITY, _LOST), (_LOST, _IDENTITY)),
            says="has its own part of the output and of the gradient of x",
            seen=lambda seen: (
                set(seen.findings.values()) == {"nothing"}
                and any(notes["collectives"] for notes in seen.notes.values())
            ),
        ),
        Mistake(
            "sums-x",
            "x is whole on every rank when it enters, and was added up all the same: the layers "
            "got four times x. Enter.forward returns x as it is.",
            _pair((_SUM, _SUM), (_SUM, _IDENTITY)),
            says="has an output made of four times x",
            seen=lambda seen: any(notes.get("multiplied") for notes in seen.notes.values()),
        ),
        Mistake(
            "largest",
            "ReduceOp.MAX keeps the largest of the four numbers in each place. The ranks' results "
            "are parts of a sum: leave the operation out, and all_reduce adds.",
            _pair((_IDENTITY, _SUM), (_LARGEST, _IDENTITY)),
            says="has the largest of the parts",
            gives=_largest_output,
        ),
        Mistake(
            "partial-output",
            "Each rank's result is one part of a sum. Leave.forward has to add them up.",
            _pair((_IDENTITY, _SUM), (_IDENTITY, _IDENTITY)),
            says="has its own part of the output only",
            gives=_own_output,
        ),
        Mistake(
            "partial-gradient",
            "The output is right, but the gradient of x is what went through one rank's part. "
            "Enter.backward has to add up those of all ranks.",
            _pair((_IDENTITY, _IDENTITY), (_SUM, _IDENTITY)),
            says="has its own part of the gradient of x only",
            gives=_own_gradient,
        ),
        Mistake(
            "sums-twice",
            "The gradients are four times too large: every rank has the whole gradient of y, and "
            "Leave.backward added the four copies. It has to pass it on as it is.",
            _pair((_IDENTITY, _SUM), (_SUM, _SUM)),
            says="has gradients that are four times too large",
            gives=_too_large,
        ),
        Mistake(
            "sums-at-the-wrong-end",
            "The gradient of y was added up in Leave.backward, where every rank has the whole of "
            "it; and that of x in Enter.backward was not, where each has a part.",
            _pair((_IDENTITY, _IDENTITY), (_SUM, _SUM)),
            says="has gradients that are four times too large, that of x of its own part only",
            gives=_wrong_end,
        ),
        Mistake(
            "exchanged",
            "The two sums stand in each other's place. Going forward, x is whole on every rank "
            "when it enters, and y is a part when it leaves: so Leave.forward adds. Going back it "
            "is the other way round.",
            _pair((_SUM, _IDENTITY), (_IDENTITY, _SUM)),
            says="has an output made of four times x",
            gives=_exchanged,
        ),
        Mistake(
            "mean-of-gradients",
            "The gradient of x is the sum of what went through the ranks' parts, no mean of it: "
            "in Enter.backward, divide by nothing.",
            _pair((_IDENTITY, (*_SUM[:2], "return {0} / world_size")), (_SUM, _IDENTITY)),
            says="has a fourth of the gradient of x",
            gives=lambda here: [
                value / here.world_size if place == 1 else value
                for place, value in enumerate(_answers(here))
            ],
        ),
        Mistake(
            "nothing",
            "No rank tells the others anything. Where is each rank's tensor one part of a sum: "
            "going forward, going backward?",
            _pair((_IDENTITY, _IDENTITY), (_IDENTITY, _IDENTITY)),
            says="has its own part of the output and of the gradient of x",
            gives=_own_of_both,
        ),
        Mistake(
            "averages",
            "The results of the ranks are parts of a sum, not estimates of the same: add them up, "
            "and divide by nothing.",
            _pair((_IDENTITY, _SUM), (_MEAN, _IDENTITY)),
            says="has a fourth of the output",
            gives=lambda here: [_answers(here)[0] / here.world_size, *_answers(here)[1:]],
        ),
        Mistake(
            "divides-gradient",
            "The gradient of y is whole on every rank: Leave.backward passes it on as it is, and "
            "divides it by nothing.",
            _pair((_IDENTITY, _SUM), (_SUM, ("return {0} / world_size",))),
            says="has gradients that are four times too small",
            gives=_too_small,
        ),
    ),
)
