"""The exercise on hooks: a gradient is reduced as soon as it is there."""

from __future__ import annotations

from rankbook.teach.definitions import Exercise, Mistake, Seen
from rankbook.teach.lessons.ddp import shared

__all__ = ["HOOKS"]


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


def _is_changed_on_the_way(seen: Seen) -> bool:
    """Whether a tensor was written to before its call was waited for.

    Or, where that is not seen, all calls were as they should be, and the values of no known kind:
    not even the right ones times a number, which a wrong divisor makes.
    """
    if any(notes.get("changed") for notes in seen.notes.values()):
        return True
    as_it_should = dict.fromkeys(("started", "during", "asynchronous", "waited"), shared.PARAMETERS)
    return "other" in seen.findings.values() and all(
        as_it_should.items() <= notes.items() and not (notes["early"] or notes["scaled"])
        for notes in seen.notes.values()
    )


_ASYNC = "self.started.append((parameter, dist.all_reduce(parameter.grad, async_op=True)))"
_WAIT = ("for _, handle in self.started:", "    handle.wait()", "self.started.clear()")
_DIVIDE = ("for parameter in self.model.parameters():", "    parameter.grad /= world_size")

HOOKS = Exercise(
    name="hooks",
    title="Reduce while the backward pass goes on",
    needs=("HookedDDP", "same_start"),
    tries=shared.trying("HookedDDP"),
    parts=shared.GRADIENTS,
    right=shared.mean_gradients,
    targets=shared.targets(shared.PARAMETERS),
    hints=(
        "dist.all_reduce(tensor, async_op=True) returns a handle at once. Keep it in self.started.",
        "finish() waits for every handle, and divides each gradient by world_size after that.",
        f"on_gradient: {_ASYNC}",
    ),
    tools=("all_reduce", "AVG"),
    mistakes=(
        shared.not_added(
            _hooked(
                _ASYNC.replace("async_op", "op=dist.ReduceOp.MAX, async_op"),
                *_WAIT,
            )
        ),
        Mistake(
            "into-a-copy",
            "What was reduced is a copy: parameter.grad / world_size is a new tensor. Give "
            "all_reduce parameter.grad itself, and divide in finish().",
            _hooked(
                "copy = parameter.grad / world_size; "
                "self.started.append((copy, dist.all_reduce(copy, async_op=True)))",
                *_WAIT,
            ),
            says="has its own gradients",
            seen=lambda seen: (
                set(seen.findings.values()) == {"own"}
                and all(notes["started"] for notes in seen.notes.values())
            ),
        ),
        Mistake(
            "another-tensor",
            "What was reduced is not the gradient; with parameter or parameter.data it is the "
            "weights. Give all_reduce parameter.grad itself.",
            _hooked(
                "self.started.append((parameter, dist.all_reduce(parameter.data, async_op=True)))",
                *_WAIT,
                *_DIVIDE,
            ),
            says="has a fourth of its own gradients",
            gives=lambda here: [
                gradient / here.world_size for gradient in shared.own_gradients(here)
            ],
        ),
        Mistake(
            "own",
            "Nothing has been reduced: each rank would take a step of its own. Start an all_reduce "
            "of parameter.grad in on_gradient.",
            _hooked("pass", "pass"),
            says="has its own gradients",
            gives=shared.own_gradients,
        ),
        Mistake(
            "sum",
            "The gradients were added up, but not divided: a step would be four times too long. In "
            "finish(), after wait(), divide parameter.grad itself: parameter.grad /= world_size.",
            _hooked(_ASYNC, *_WAIT),
            says="has the sum of the gradients, not the mean",
            gives=shared.summed_gradients,
        ),
        Mistake(
            "divides-one",
            "Only the gradient that was there last was divided: the division stands below the "
            "loop, and belongs into it. Indent it.",
            _hooked(
                _ASYNC,
                "for parameter, handle in self.started:",
                "    handle.wait()",
                "parameter.grad /= world_size",
                "self.started.clear()",
            ),
            says="has divided one of the gradients only",
            gives=lambda here: [shared.mean_gradients(here)[0], *shared.summed_gradients(here)[1:]],
        ),
        Mistake(
            "waits-for-one",
            "Only some of the calls are waited for. Append every handle to the list, which = "
            "would write over, and wait for each of them in a loop.",
            _hooked(
                "self.started = [(parameter, dist.all_reduce(parameter.grad, async_op=True))]",
                *_WAIT,
                *_DIVIDE,
            ),
            seen=lambda seen: any(
                0 < notes["waited"] < notes["asynchronous"] for notes in seen.notes.values()
            ),
        ),
        Mistake(
            "never-waits",
            "Nothing waits for the handles: the gradients are used while they are still on their "
            "way. That may go well here, but not on a network. Wait in finish().",
            _hooked(_ASYNC, "self.started.clear()", *_DIVIDE),
            seen=lambda seen: any(
                notes["waited"] < notes["asynchronous"] for notes in seen.notes.values()
            ),
        ),
        Mistake(
            "divides-on-the-way",
            "The gradients were changed while they were still on their way. Between the start of "
            "an asynchronous call and its wait() its tensor is not yours: divide after wait().",
            _hooked(
                "handle = dist.all_reduce(parameter.grad, async_op=True); "
                "parameter.grad /= world_size; self.started.append((parameter, handle))",
                *_WAIT,
            ),
            says="has gradients that were changed on their way",
            seen=_is_changed_on_the_way,
        ),
        Mistake(
            "keeps-the-handles",
            "The first step is right. In the second one finish() meets what the first has left in "
            "the list, and divides by world_size once more. Empty the list at the end of finish().",
            _hooked(
                _ASYNC,
                "for parameter, handle in self.started:",
                "    handle.wait()",
                "    parameter.grad /= world_size",
            ),
            seen=lambda seen: seen.missed == {"steps"},
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
