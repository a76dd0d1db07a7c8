"""A step in several parts that ends between two of them: ``zero_grad()`` drops its gradients."""

from __future__ import annotations

import pytest
from objects import COMMON, FORGET, STEP, seen_after

pytestmark = pytest.mark.usefixtures("eager", "nothing_of_before")

STEPS = 4
BEFORE = 2
"""Steps that are taken before the event."""

_MODEL = """
model = make_model()
for layer in model:
    if isinstance(layer, nn.Linear):
        fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

def grads(k, begins=True):
    if begins:
        zeroing.zero_grad()
        model.{0}(False)
        model(batch(k)).pow(2).sum().backward()
        pause("between")
    model.{0}(True)
    model(batch(k + 50)).pow(2).sum().backward()
"""

_FSDP = f"mesh = init_device_mesh('cpu', (4,)){_MODEL.format('set_requires_gradient_sync')}"
_HSDP = f"""
mesh = init_device_mesh('cpu', (2, 2), mesh_dim_names=('replicate', 'shard'))
{_MODEL.format("set_requires_all_reduce")}
"""

KINDS = {
    "zeroed by the optimizer": f"{_FSDP}zeroing = optimizer",
    "zeroed by the model": f"{_FSDP}zeroing = model",
    "reduced within rows": f"{_HSDP}zeroing = optimizer",
}


def raised(session):
    return session.run(f"halt['between'] = 'raise'\ngrads({BEFORE})")


def in_a_forward(session):
    """All ranks fail in the second forward, as in that of a pipeline's next microbatch."""
    return _with_pause(session, "halt['forward'] = 'raise'")


def elsewhere(session):
    """One rank fails where the others wait for it in a collective that is not FSDP's."""
    return _with_pause(session, "1 / (rank != 2)\n        dist.barrier()")


def _with_pause(session, between):
    code = f"""
former = pause
def pause(place):
    if place == 'between':
        {between}
    else:
        former(place)
try:
    grads({BEFORE})
finally:
    pause = former
"""
    return session.run(code)


@pytest.mark.parametrize("event", [raised, in_a_forward, elsewhere])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sample(every=2)
def test_gradients_of_a_first_part_are_dropped_with_those_that_are_seen(four, kind, event):
    expected = begun(four, kind)
    assert not event(four).ok
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]


@pytest.mark.parametrize("kind", ["zeroed by the optimizer", "reduced within rows"])
def test_a_step_can_be_ended_after_an_error_between_its_parts(four, kind):
    expected = begun(four, kind)
    assert not raised(four).ok
    end = f"grads({BEFORE}, begins=False); apply(); seen = state()"
    assert seen_after(four, end) == expected[BEFORE]
    assert states(four, range(BEFORE + 1, STEPS)) == expected[BEFORE + 1 :]


def begun(session, kind):
    """Begin training; return what the steps of an undisturbed run give."""
    session.run(COMMON + KINDS[kind]).raise_for_error()
    expected = states(session, range(STEPS))
    session.run(FORGET).raise_for_error()
    session.run(COMMON + KINDS[kind]).raise_for_error()
    states(session, range(BEFORE))
    return expected


def states(session, steps):
    return [seen_after(session, STEP.format(k)) for k in steps]
