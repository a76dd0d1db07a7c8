"""The exercise on buckets: several gradients in one collective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake

if TYPE_CHECKING:
    from rankbook.teach.here import Here
from rankbook.teach.lessons.ddp import shared

__all__ = ["BUCKETED"]


def _bucketed(on_gradient: tuple[str, ...], finish: tuple[str, ...]) -> str:
    def lines(these: tuple[str, ...], indent: int) -> str:
        return "".join(f"{' ' * indent}{line}\n" for line in these)

    return f"""%%dist
class BucketedDDP(HookedDDP):
    def __init__(self, model, limit=16384):
        super().__init__(model)
        self.buckets = make_buckets(model, limit)
        self.flying = []

    def on_gradient(self, parameter):
        bucket = next(b for b in self.buckets if any(p is parameter for p in b))
        if all(p.grad is not None for p in bucket):
{lines(on_gradient, 12)}
    def finish(self):
{lines(finish, 8)}"""


_FLAT = (
    "flat = torch.cat([p.grad.flatten() for p in bucket])",
    "self.flying.append((bucket, flat, dist.all_reduce(flat, async_op=True)))",
)
_COPY = (
    "    for p, part in zip(bucket, flat.split([p.numel() for p in bucket])):",
    "        p.grad.copy_(part.view_as(p))",
)
_LANDED = ("for bucket, flat, handle in self.flying:", "    handle.wait()")

_MEAN = "    flat /= world_size"


def _added_to_its_own(here: Here) -> list[Any]:
    pairs = zip(shared.own_gradients(here), shared.mean_gradients(here), strict=True)
    return [own + mean for own, mean in pairs]


def _always_the_beginning(here: Here) -> list[Any]:
    """What comes of writing the beginning of a bucket's tensor into each of its gradients."""
    parameters = list(shared.new_model(here, 0).parameters())
    means = shared.mean_gradients(here)
    numbers = {id(parameter): number for number, parameter in enumerate(parameters)}
    for bucket in here.make_buckets(_Listed(parameters), 16384):
        places = [numbers[id(parameter)] for parameter in bucket]
        flat = here.torch.cat([means[place].flatten() for place in places])
        for place in places:
            means[place] = flat[: means[place].numel()].view_as(means[place])
    return means


class _Listed:
    """As much of a model as ``make_buckets`` looks at."""

    def __init__(self, parameters: list[Any]) -> None:
        self._parameters = parameters

    def parameters(self) -> list[Any]:
        return self._parameters


BUCKETED = Exercise(
    name="buckets",
    title="Few large messages instead of many small ones",
    needs=("BucketedDDP", "HookedDDP", "make_buckets", "same_start"),
    tries=shared.trying("BucketedDDP"),
    parts=shared.GRADIENTS,
    right=shared.mean_gradients,
    targets=shared.targets(shared.BUCKETS),
    hints=(
        "torch.cat([p.grad.flatten() for p in bucket]) is one tensor with all gradients of a "
        "bucket. Start one all_reduce of it, and keep bucket, tensor and handle in self.flying.",
        "finish() waits for a handle, divides the flat tensor, and writes its parts back: "
        "flat.split([p.numel() for p in bucket]) cuts it where the gradients begin.",
        "p.grad.copy_(part.view_as(p)) writes a part back into its gradient.",
    ),
    tools=("all_reduce", "AVG"),
    mistakes=(
        shared.not_added(
            _bucketed(
                (
                    _FLAT[0],
                    "handle = dist.all_reduce(flat, dist.ReduceOp.MAX, async_op=True)",
                    "self.flying.append((bucket, flat, handle))",
                ),
                (*_LANDED, *_COPY),
            )
        ),
        Mistake(
            "equal-parts",
            "The gradients of a bucket have different sizes, and chunk cuts the flat tensor into "
            "equal parts: flat.split([p.numel() for p in bucket]).",
            _bucketed(
                _FLAT,
                (
                    *_LANDED,
                    _MEAN,
                    "    for p, part in zip(bucket, flat.chunk(len(bucket))):",
                    _COPY[1],
                ),
            ),
            seen=lambda seen: seen.raises("is invalid for input of size"),
        ),
        Mistake(
            "adds",
            "The mean was added to what p.grad had, which is this rank's own gradient. Write over "
            "it: p.grad.copy_(part.view_as(p)).",
            _bucketed(_FLAT, (*_LANDED, _MEAN, _COPY[0], "        p.grad += part.view_as(p)")),
            says="has the mean added to its own gradient",
            gives=_added_to_its_own,
        ),
        Mistake(
            "same-beginning",
            "Every gradient of a bucket got the beginning of the flat tensor. The next one begins "
            "where the one before it ends: flat.split([p.numel() for p in bucket]).",
            _bucketed(
                _FLAT,
                (
                    *_LANDED,
                    _MEAN,
                    "    for p in bucket:",
                    "        p.grad.copy_(flat[: p.numel()].view_as(p))",
                ),
            ),
            says="has the beginning of a bucket in all of its gradients",
            gives=_always_the_beginning,
        ),
        Mistake(
            "stays-flat",
            "The sums are in the flat tensors, but not in the gradients: torch.cat makes a "
            "copy. Write the parts back into p.grad.",
            _bucketed(_FLAT, (*_LANDED, "    flat /= world_size")),
            says="has its own gradients",
            gives=shared.own_gradients,
        ),
        Mistake(
            "sum",
            "The gradients were added up, but not divided: a step would be four times too long.",
            _bucketed(_FLAT, (*_LANDED, *_COPY)),
            says="has the sum of the gradients, not the mean",
            gives=shared.summed_gradients,
        ),
        Mistake(
            "weights",
            "The flat tensor has the weights in it, not their gradients: p.grad.flatten().",
            _bucketed(
                ("flat = torch.cat([p.detach().flatten() for p in bucket])", _FLAT[1]),
                (*_LANDED, "    flat /= world_size", *_COPY),
            ),
            says="has the weights in place of the gradients",
            gives=lambda here: shared.weights_of(shared.new_model(here, 0)),
        ),
        Mistake(
            "stays-a-row",
            "A part of the flat tensor is a row of numbers; a gradient has the shape of its "
            "parameter: part.view_as(p).",
            _bucketed(
                _FLAT,
                (*_LANDED, "    flat /= world_size", _COPY[0], "        p.grad = part"),
            ),
            seen=lambda seen: (
                seen.raises("assign a gradient of size") or seen.raises("must match the size")
            ),
        ),
        Mistake(
            "blocks",
            "The gradients are right, but each all_reduce blocks: the backward pass stands still "
            "until it is done. Give it async_op=True, and wait in finish().",
            _bucketed(
                (_FLAT[0], "dist.all_reduce(flat)", "self.flying.append((bucket, flat))"),
                ("for bucket, flat in self.flying:", "    flat /= world_size", *_COPY),
            ),
            seen=lambda seen: "asynchronous" in seen.missed and "during" not in seen.missed,
        ),
        Mistake(
            "one-by-one",
            "The gradients are right, but each of them still travels alone. Put those of a bucket "
            "into one flat tensor, and reduce that.",
            _bucketed(
                (
                    "for p in bucket:",
                    "    self.flying.append((p, dist.all_reduce(p.grad, async_op=True)))",
                ),
                ("for p, handle in self.flying:", "    handle.wait()", "    p.grad /= world_size"),
            ),
            seen=lambda seen: "collectives" in seen.missed,
        ),
        Mistake(
            "afterwards",
            "The gradients are right, but the buckets all travel after the backward pass. Start "
            "each one in on_gradient, when its last gradient is there.",
            _bucketed(
                ("pass",),
                (
                    "for bucket in self.buckets:",
                    "    flat = torch.cat([p.grad.flatten() for p in bucket])",
                    "    handle = dist.all_reduce(flat, async_op=True)",
                    "    handle.wait()",
                    "    flat /= world_size",
                    *_COPY,
                ),
            ),
            seen=lambda seen: "during" in seen.missed,
        ),
    ),
)
