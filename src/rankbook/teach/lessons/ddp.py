"""Lesson 05: DDP from scratch; the same start, hooks, overlap, buckets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, Target
from rankbook.teach.forms import Choice, Ranks, Whole
from rankbook.teach.watching import Watch

if TYPE_CHECKING:
    from rankbook.teach.judging import Here

__all__ = ["LESSON"]

_PARAMETERS = 6
_BUCKETS = 3


# -- the model of the lesson, and what is right for it ---------------------------------------


def _model(here: Here, seed: int) -> Any:
    nn = here.torch.nn
    here.torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )


def _weights(model: Any) -> list[Any]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def _loss(here: Here, model: Any, rank: int) -> Any:
    generator = here.torch.Generator().manual_seed(1000 + rank)
    x = here.torch.randn(16, 8, generator=generator)
    return here.torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))


def _gradients(here: Here, *ranks: int) -> list[Any]:
    """The mean of the gradients of some ranks, all of which begin as rank 0 does."""
    total: list[Any] = []
    for rank in ranks:
        model = _model(here, 0)
        _loss(here, model, rank).backward()
        own = [parameter.grad / len(ranks) for parameter in model.parameters()]
        total = [a + b for a, b in zip(total, own, strict=True)] if total else own
    return total


def _mean(here: Here) -> list[Any]:
    return _gradients(here, *range(here.world_size))


def _sum(here: Here) -> list[Any]:
    return [gradient * here.world_size for gradient in _mean(here)]


def _own(here: Here) -> list[Any]:
    return _gradients(here, here.rank)


# -- trying a wrapper ------------------------------------------------------------------------


def _try(wrapper: str) -> Callable[[Here], list[Any]]:
    """Wrap a model, and take the gradients of one step."""

    def tries(here: Here) -> list[Any]:
        model = _model(here, here.rank)
        ddp = getattr(here, wrapper)(model)
        loss = _loss(here, ddp, here.rank)
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
        )
        return [parameter.grad for parameter in model.parameters()]

    return tries


def _targets(collectives: int) -> tuple[Target, ...]:
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
        Target("early", "early", "of them waited for before its end", most=0, tells=False),
        Target(
            "waited",
            "waited",
            "of them waited for",
            most=collectives,
            least=collectives,
            tells=False,
        ),
    )


# -- the same start --------------------------------------------------------------------------


def _try_start(here: Here) -> list[Any]:
    model = _model(here, here.rank)
    here.same_start(model)
    return _weights(model)


def _mixed(here: Here) -> list[Any]:
    """The weights of rank 0, the biases of this rank."""
    pairs = zip(_weights(_model(here, 0)), _weights(_model(here, here.rank)), strict=True)
    return [first if first.dim() > 1 else own for first, own in pairs]


def _average_start(here: Here) -> list[Any]:
    models = [_weights(_model(here, rank)) for rank in range(here.world_size)]
    return [sum(each) / here.world_size for each in zip(*models, strict=True)]


def _start(*lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"%%dist\ndef same_start(model):\n{body}"


_SAME_START = Exercise(
    name="start",
    title="The same start for all",
    needs=("same_start",),
    tries=_try_start,
    right=lambda here: _weights(_model(here, 0)),
    hints=(
        "Which collective gives to all ranks what one of them has?",
        "dist.broadcast writes into the tensor that it is given. Give it each parameter's data.",
        "for parameter in model.parameters(): dist.broadcast(parameter.data, src=0)",
    ),
    mistakes=(
        Mistake(
            "average",
            "All ranks begin with the same now, but with a mean of four random models: its weights "
            "are half as large as they were made on purpose. Take those of rank 0.",
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
            says="has still its own weights",
            gives=lambda here: _weights(_model(here, here.rank)),
        ),
        Mistake(
            "last-rank",
            "All ranks begin with the same now: with what the last rank has. src names the rank "
            "that gives, and that is rank 0 here.",
            _start(
                "for parameter in model.parameters():",
                "    dist.broadcast(parameter.data, src=world_size - 1)",
            ),
            says="has the weights of the last rank",
            gives=lambda here: _weights(_model(here, here.world_size - 1)),
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


# -- hooks -----------------------------------------------------------------------------------


def _hooked(on_gradient: str, *finish: str) -> str:
    body = "".join(f"        {line}\n" for line in finish)
    return f"""%%dist
class HookedDDP(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
        self.started = []
        same_start(model)
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(self.on_gradient)

    def forward(self, *inputs):
        return self.model(*inputs)

    def on_gradient(self, parameter):
        {on_gradient}

    def finish(self):
{body}"""


_ASYNC = "self.started.append((parameter, dist.all_reduce(parameter.grad, async_op=True)))"
_WAIT = ("for _, handle in self.started:", "    handle.wait()", "self.started.clear()")
_DIVIDE = ("for parameter in self.model.parameters():", "    parameter.grad /= world_size")

_HOOKS = Exercise(
    name="hooks",
    title="Reduce while the backward pass goes on",
    needs=("HookedDDP", "same_start"),
    tries=_try("HookedDDP"),
    right=_mean,
    targets=_targets(_PARAMETERS),
    hints=(
        "dist.all_reduce(tensor, async_op=True) returns a handle at once. Keep it in self.started.",
        "finish() waits for every handle, and divides each gradient by world_size after that.",
        f"on_gradient: {_ASYNC}",
    ),
    mistakes=(
        Mistake(
            "own",
            "Nothing has been reduced: each rank would take a step of its own. Start an all_reduce "
            "of parameter.grad in on_gradient.",
            _hooked("pass", "pass"),
            says="has its own gradients",
            gives=_own,
        ),
        Mistake(
            "sum",
            "The gradients were added up, but not divided: a step would be four times too long.",
            _hooked(_ASYNC, *_WAIT),
            says="has the sum of the gradients, not the mean",
            gives=_sum,
        ),
        Mistake(
            "never-waits",
            "Nobody has waited for the handles: the gradients are used while they are still on "
            "their way. It may go well here, and does not on a network. Wait in finish().",
            _hooked(_ASYNC, "self.started.clear()", *_DIVIDE),
            seen=lambda seen: any(
                notes["waited"] < notes["asynchronous"] for notes in seen.notes.values()
            ),
        ),
        Mistake(
            "blocks",
            "The gradients are right, but each all_reduce blocks: the backward pass stands still "
            "until it is done. Give it async_op=True, and wait in finish().",
            _hooked("dist.all_reduce(parameter.grad)", *_DIVIDE),
            seen=lambda seen: "asynchronous" in seen.missed and "during" not in seen.missed,
        ),
        Mistake(
            "waits-at-once",
            "The gradients are right, but the hook waits for what it has just started, so that "
            "nothing overlaps. Keep the handle, and wait in finish().",
            _hooked("dist.all_reduce(parameter.grad, async_op=True).wait()", *_DIVIDE),
            seen=lambda seen: "early" in seen.missed,
        ),
        Mistake(
            "afterwards",
            "The gradients are right, but they all travel after the backward pass. Start each one "
            "in on_gradient, as soon as it is there.",
            _hooked(
                "pass",
                "for parameter in self.model.parameters():",
                "    handle = dist.all_reduce(parameter.grad, async_op=True)",
                "    self.started.append((parameter, handle))",
                *_WAIT,
                *_DIVIDE,
            ),
            seen=lambda seen: "during" in seen.missed,
        ),
    ),
)


# -- buckets ---------------------------------------------------------------------------------


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

_BUCKETED = Exercise(
    name="buckets",
    title="Few large messages instead of many small ones",
    needs=("BucketedDDP", "HookedDDP", "make_buckets", "same_start"),
    tries=_try("BucketedDDP"),
    right=_mean,
    targets=_targets(_BUCKETS),
    hints=(
        "torch.cat([p.grad.flatten() for p in bucket]) is one tensor with all gradients of a "
        "bucket. Start one all_reduce of it, and keep bucket, tensor and handle in self.flying.",
        "finish() waits for a handle, divides the flat tensor, and writes its parts back: "
        "flat.split([p.numel() for p in bucket]) cuts it where the gradients begin.",
        "p.grad.copy_(part.view_as(p)) writes a part back into its gradient.",
    ),
    mistakes=(
        Mistake(
            "stays-flat",
            "The sums are in the flat tensors, and the gradients do not know of them: torch.cat "
            "makes a copy. Write the parts back into p.grad.",
            _bucketed(_FLAT, (*_LANDED, "    flat /= world_size")),
            says="has its own gradients",
            gives=_own,
        ),
        Mistake(
            "sum",
            "The gradients were added up, but not divided: a step would be four times too long.",
            _bucketed(_FLAT, (*_LANDED, *_COPY)),
            says="has the sum of the gradients, not the mean",
            gives=_sum,
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


# -- predictions -----------------------------------------------------------------------------


def _step_by_hand(here: Here) -> None:
    model = _model(here, 0)
    _loss(here, model, here.rank).backward()
    here.average_gradients(model)


def _count_buckets(here: Here) -> int:
    return len(here.make_buckets(_model(here, 0), 16384))


def _step_of_torch(here: Here) -> None:
    _loss(here, here.ddp, here.rank).backward()


_PREDICTIONS = (
    Prediction(
        "drift",
        "All ranks begin with the same weights, and take one step on batches of their own. Do they "
        "have the same weights afterwards?",
        Choice(("yes", "no")),
        cell="drifting = make_model(0)",
        truth=lambda here: "no",  # noqa: ARG005 - %dist_diff has just shown it
        answer="no",
        rank=0,
        why="Other batches, other gradients, other weights: four models that drift apart.",
        slips=(
            ("yes", "They would on equal batches. Then three of the ranks would be of no use."),
        ),
    ),
    Prediction(
        "collectives",
        "How many collectives does average_gradients make for this model?",
        Whole(),
        cell="average_gradients(model)\n",
        truth=_step_by_hand,
        answer=_PARAMETERS,
        rank=0,
        counts="calls",
        why="Three layers, each with a weight and a bias.",
        slips=(
            (3, "One for each layer; but a layer has two parameters, weight and bias."),
            (1, "One for all gradients together would be better. That is where this lesson goes."),
            (12, "Every all_reduce counts once, though all ranks take part in it."),
        ),
    ),
    Prediction(
        "which-first",
        "Whose gradients are ready first in a backward pass: those of the first layer, or those of "
        "the last one?",
        Choice(("first", "last")),
        cell="order.append",
        truth=lambda here: "last" if here.order[0].startswith("4") else "first",
        answer="last",
        rank=0,
        why="The backward pass begins at the loss. So the last layers' gradients can travel while "
        "the first layers' are still being computed.",
        slips=(("first", "The forward pass goes that way."),),
    ),
    Prediction(
        "who-waits",
        'Rank 3 leaves out a layer. Which ranks get stuck? Such as "0,2", or "none".',
        Ranks(),
        cell="use_extra = rank != 3",
        truth=lambda here: [0, 1, 2],  # noqa: ARG005 - the cell has hung
        answer="0-2",
        rank=0,
        why="A parameter that is not used gets no gradient, its hook never runs, and the others "
        "wait for rank 3's part. DDP(find_unused_parameters=True) is for such models.",
        slips=(
            ("none", "The others have started an all_reduce that rank 3 never calls."),
            ("3", "Rank 3 has less to do, and is done."),
            ("0-3", "Rank 3 has called all that it had to call."),
        ),
    ),
    Prediction(
        "how-many-buckets",
        "How many buckets does make_buckets(model, 16384) fill?",
        Whole(),
        cell="for bucket in make_buckets",
        truth=_count_buckets,
        answer=_BUCKETS,
        rank=0,
        why="The weight in the middle fills one by itself: 64 · 64 · 4 = 16384 bytes.",
        slips=(
            (
                2,
                "The weight in the middle fills a bucket alone; what comes after it needs another.",
            ),
            (6, "Small gradients share a bucket."),
        ),
    ),
    Prediction(
        "torchs",
        "How many collectives does torch's DistributedDataParallel make in a step of this model? "
        "(Its first bucket takes 1 MiB, the others 25 MiB.)",
        Whole(),
        cell="ddp = DistributedDataParallel(",
        truth=_step_of_torch,
        answer=1,
        rank=0,
        counts="calls",
        why="The whole model, 19204 bytes, fits into the first bucket.",
        slips=(
            (3, "Our buckets were tiny, to see something. Torch's first one takes 1 MiB."),
            (6, "It has buckets, too."),
        ),
    ),
)

LESSON = Lesson(
    name="05_ddp_from_scratch",
    title="DDP from scratch",
    minutes=40,
    ranks=4,
    predictions=_PREDICTIONS,
    exercises=(_SAME_START, _HOOKS, _BUCKETED),
)
