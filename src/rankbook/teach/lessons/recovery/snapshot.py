"""The exercise on a snapshot that survives a death."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["SNAPSHOT"]


_PARTS = ("weights", "momentum", "random numbers", "position")


def _training(here: Here, seed: int) -> tuple[Any, Any, Any]:
    """A model, its optimizer, and where one is in the data, before the first step."""
    torch = here.torch
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, optimizer, SimpleNamespace(epoch=0, position=0)


def _step(here: Here, model: Any, optimizer: Any, order: Any) -> None:
    optimizer.zero_grad()
    model(here.torch.randn(4, 2)).square().mean().backward()
    optimizer.step()
    order.epoch, order.position = order.epoch + 1, order.position + 16


def _state(here: Here, model: Any, optimizer: Any, order: Any) -> tuple[Any, ...]:
    """All that a training consists of, in the order of its parts."""
    each = optimizer.state_dict()["state"].values()
    state = (
        [parameter.detach() for parameter in model.parameters()],
        [of_parameter["momentum_buffer"] for of_parameter in each],
        [here.torch.get_rng_state()],
        [here.torch.tensor([order.epoch, order.position])],
    )
    return deepcopy(state)


def _try_snapshot(here: Here) -> list[str]:
    outside = here.torch.get_rng_state()
    try:
        return _what_comes_back(here)
    finally:
        here.torch.set_rng_state(outside)


def _what_comes_back(here: Here) -> list[str]:
    training = _training(here, seed=1 + here.rank)
    for _ in range(2):
        _step(here, *training)
    before = _state(here, *training)
    saved = here.snapshot(*training)
    _step(here, *training)
    later = _state(here, *training)

    new = _training(here, seed=9)
    here.restore(saved, *new)
    came = []
    for name, was, then, now in zip(_PARTS, before, later, _state(here, *new), strict=True):
        if _are_equal(here, now, was):
            came.append(name)
        elif _are_equal(here, now, then):
            came.append(f"later {name}")
    return came


def _are_equal(here: Here, one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(map(here.torch.equal, one, other))


def _but(*lost: str, later: tuple[str, ...] = ()) -> Callable[[Here], list[str]]:
    """Every part comes back but those that are lost; some as they were a step later."""
    parts = [f"later {part}" if part in later else part for part in _PARTS if part not in lost]
    return lambda here: parts  # noqa: ARG005 - the same on all ranks


_SAVES = {
    "model": "deepcopy(model.state_dict())",
    "optimizer": "deepcopy(optimizer.state_dict())",
    "random": "torch.get_rng_state()",
    "order": "dict(vars(order))",
}
_RESTORES = {
    "model": "model.load_state_dict(saved['model'])",
    "optimizer": "optimizer.load_state_dict(saved['optimizer'])",
    "random": "torch.set_rng_state(saved['random'])",
    "order": "vars(order).update(saved['order'])",
}


def _snapshot_cell(without: str = "", **saves: str) -> str:
    kept = {name: how for name, how in (_SAVES | saves).items() if name != without}
    saved = "".join(f"        {name!r}: {how},\n" for name, how in kept.items())
    restored = "".join(f"    {_RESTORES[name]}\n" for name in kept)
    return (
        "%%dist\nfrom copy import deepcopy\n\n\ndef snapshot(model, optimizer, order):\n"
        f"    return {{\n{saved}    }}\n\n\n"
        f"def restore(saved, model, optimizer, order):\n{restored}"
    )


SNAPSHOT = Exercise(
    name="snapshot",
    title="Everything that is needed to go on",
    needs=("snapshot", "restore"),
    tries=_try_snapshot,
    right=_but(),
    hints=(
        "Four parts were named at the start of section 1. Models and optimizers have state_dict() "
        "and load_state_dict(…).",
        "state_dict() holds the tensors themselves, not copies: deepcopy(model.state_dict()).",
        "The dict has deepcopy(model.state_dict()), deepcopy(optimizer.state_dict()), "
        "torch.get_rng_state(), order.epoch and order.position. restore puts each of them back.",
    ),
    mistakes=(
        Mistake(
            "other-names",
            "Nothing has come back. An assignment in restore only gives its own variables another "
            "value: load into the model and the optimizer that it was given, load_state_dict(…).",
            "%%dist\ndef snapshot(model, optimizer, order):\n"
            '    return {"model": model, "optimizer": optimizer, "order": order}\n\n\n'
            "def restore(saved, model, optimizer, order):\n"
            '    model, optimizer, order = saved["model"], saved["optimizer"], saved["order"]\n',
            says="got nothing back",
            gives=_but(*_PARTS),
        ),
        Mistake(
            "no-momentum",
            "The optimizer was forgotten. It begins again without momentum, and with Adam without "
            "both moments: save and load optimizer.state_dict() as well.",
            _snapshot_cell(without="optimizer"),
            says="has lost its momentum",
            gives=_but("momentum"),
        ),
        Mistake(
            "no-random",
            "Dropout would draw other numbers from now on. Save torch.get_rng_state(), "
            "and put it back by torch.set_rng_state.",
            _snapshot_cell(without="random"),
            says="has other random numbers",
            gives=_but("random numbers"),
        ),
        Mistake(
            "no-position",
            "The epoch would begin again: some samples are taken twice, and each restart makes it "
            "worse. Save order.epoch and order.position.",
            _snapshot_cell(without="order"),
            says="has lost its position",
            gives=_but("position"),
        ),
        Mistake(
            "aliases",
            "What was saved went on changing: state_dict() holds the tensors themselves, and the "
            "next step overwrites them in place. Copy them: deepcopy(model.state_dict()).",
            _snapshot_cell(model="model.state_dict()", optimizer="optimizer.state_dict()"),
            says="got back the weights of a later step",
            gives=_but(later=("weights", "momentum")),
        ),
        Mistake(
            "alias-of-weights",
            "The saved weights went on changing: model.state_dict() holds the tensors themselves, "
            "and the next step overwrites them in place. Copy them: deepcopy(model.state_dict()).",
            _snapshot_cell(model="model.state_dict()"),
            says="got back the weights of a later step",
            gives=_but(later=("weights",)),
        ),
        Mistake(
            "alias-of-momentum",
            "The saved momentum went on changing: optimizer.state_dict() holds the tensors "
            "themselves. Copy them: deepcopy(optimizer.state_dict()).",
            _snapshot_cell(optimizer="optimizer.state_dict()"),
            says="got back the momentum of a later step",
            gives=_but(later=("momentum",)),
        ),
        Mistake(
            "alias-of-position",
            "order itself was saved, or its vars(): that goes on counting. Save the numbers: "
            "order.epoch and order.position.",
            _snapshot_cell(order="vars(order)"),
            says="got back a later position",
            gives=_but(later=("position",)),
        ),
        Mistake(
            "weights-only",
            "The weights are one of four parts. Momentum, random numbers and the position in the "
            "data are needed as well.",
            "%%dist\nfrom copy import deepcopy\n\n\ndef snapshot(model, optimizer, order):\n"
            "    return deepcopy(model.state_dict())\n\n\n"
            "def restore(saved, model, optimizer, order):\n    model.load_state_dict(saved)\n",
            says="got back the weights only",
            gives=_but("momentum", "random numbers", "position"),
        ),
        Mistake(
            "only-names",
            "model = ... in restore gives another value to a name of the function: the model that "
            "was passed stays as it is. Write into what was passed: model.load_state_dict(...).",
            "%%dist\nfrom copy import deepcopy\n\n\ndef snapshot(model, optimizer, order):\n"
            "    return [*deepcopy((model, optimizer, order)), torch.get_rng_state()]\n\n\n"
            "def restore(saved, model, optimizer, order):\n"
            "    model, optimizer, order, numbers = saved\n    torch.set_rng_state(numbers)\n",
            says="got back the random numbers only",
            gives=_but("weights", "momentum", "position"),
        ),
    ),
)
