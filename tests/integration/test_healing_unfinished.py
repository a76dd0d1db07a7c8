"""Training steps that all ranks leave at once, in Python: no connection is cut, and all goes on."""

from __future__ import annotations

import pytest
from objects import COMMON, FORGET, OBJECTS, STEP, seen_after
from processes import wait_until
from steps import SOON

pytestmark = pytest.mark.usefixtures("nothing_of_before")

STEPS = 5

WRAPPED = [name for name in OBJECTS if name.startswith(("DDP", "FSDP", "TP", "PowerSGD", "ZeRO"))]


def states(session, steps):
    return [seen_after(session, STEP.format(k)) for k in steps]


def expected_of(session, name):
    session.run(COMMON + OBJECTS[name]).raise_for_error()
    expected = states(session, range(STEPS))
    session.run(FORGET).raise_for_error()
    session.run(COMMON + OBJECTS[name]).raise_for_error()
    return expected


def raise_everywhere(session, place, step):
    session.run(f"halt[{place!r}] = 'raise'").raise_for_error()
    return session.run(f"grads({step})")


def interrupt_everywhere(session, place, step, code="grads({})"):
    session.run(f"halt[{place!r}] = 'sleep'").raise_for_error()
    results = []
    cell = session.in_background(lambda: results.append(session.run(code.format(step))))
    wait_until(lambda: all("time.sleep" in one[-1] for one in stacks_of(session)), SOON)
    session.interrupt()
    cell.join(SOON)
    return results[0]


def stacks_of(session):
    found = [[*one] or [""] for one in session.stacks().values()]
    return found if len(found) == session.world_size else [[""]]


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize("event", [raise_everywhere, interrupt_everywhere])
@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.sample(every=5)
def test_a_backward_that_all_ranks_leave_changes_no_later_step(four, name, event, step):
    expected = expected_of(four, name)
    states(four, range(step))
    before = seen_after(four, "seen = state()")
    result = event(four, "backward", step)
    assert not result.ok
    assert result.note.startswith("A step of ")
    assert " modules was cut. The ranks are free" in result.note
    assert seen_after(four, "seen = state()") == before
    assert states(four, range(step, STEPS)) == expected[step:]


def test_parameters_that_all_ranks_had_gathered_when_interrupted_are_sharded_again(four):
    expected = expected_of(four, "TP and FSDP2")
    before = seen_after(four, "seen = state()")
    assert not interrupt_everywhere(four, "between", 0).ok
    assert seen_after(four, "seen = state()") == before
    assert states(four, range(STEPS)) == expected


def test_a_training_loop_that_catches_its_interrupt_goes_on(four):
    expected = expected_of(four, "FSDP2")
    code = "try:\n    grads({})\nexcept KeyboardInterrupt:\n    print('stopped')"
    result = interrupt_everywhere(four, "backward", 0, code)
    assert result.ok
    assert "A step of FSDP modules was cut" in result.note
    assert states(four, range(STEPS)) == expected


UNEVEN = """
import copy
from torch.distributed.algorithms.join import Join, Joinable
model = DistributedDataParallel(make_model())
optimizer = {}
def step(k):
    grads(k)
    optimizer.step()
def uneven(fail=None):
    with Join([one for one in (model, optimizer) if isinstance(one, Joinable)]):
        for k in range(1, 4 + rank):
            if fail and k == 2:
                fail()
            step(k)
def raise_everywhere():
    raise ValueError
def raise_on_one():
    if rank == 1: raise ValueError
def call_another():
    if rank == 2: dist.barrier()
step(0)
held = copy.deepcopy(model.state_dict())
"""

SGD = {
    "SGD": "torch.optim.SGD(model.parameters(), lr=0.01)",
    "ZeRO": "ZeroRedundancyOptimizer(model.parameters(), torch.optim.SGD, lr=0.01)",
}


@pytest.mark.parametrize("fail", ["raise_everywhere", "raise_on_one", "call_another"])
@pytest.mark.parametrize("name", SGD)
def test_a_join_that_an_error_has_left_changes_no_later_step(four, name, fail):
    code = COMMON + UNEVEN.format(SGD[name])
    four.run(code + "uneven()").raise_for_error()
    expected = seen_after(four, "seen = mark(model.parameters())")
    four.run(FORGET).raise_for_error()
    four.run(code).raise_for_error()
    assert not four.run(f"uneven({fail})").ok
    four.run("model.load_state_dict(held)").raise_for_error()
    # Nor does a rank that evaluates alone wait for the others.
    four.run("with torch.no_grad(): model(batch(0))", ranks=[0]).raise_for_error()
    four.run("uneven()").raise_for_error()
    assert seen_after(four, "seen = mark(model.parameters())") == expected


@pytest.mark.parametrize("place", ["forward", "between"])
def test_an_error_in_a_forward_leaves_the_group_as_it_is(four, place):
    expected = expected_of(four, "DDP")
    generation = four.generation
    result = raise_everywhere(four, place, 0)
    assert (result.ok, result.note, four.generation) == (False, "", generation)
    assert states(four, range(STEPS)) == expected


OF_OLDER_FSDP = {
    "no_sync": "with model.no_sync(): pass",
    "clip_grad_norm_": "model.clip_grad_norm_(1.0)",
    "state_dict": "model.state_dict();",
}


@pytest.mark.parametrize("call", OF_OLDER_FSDP)
def test_an_error_in_a_forward_of_an_older_fsdp_module_lets_all_its_calls_work(four, call):
    expected = expected_of(four, "FSDP, the older one")
    states(four, range(1))
    assert "A step of FSDP modules was cut" in raise_everywhere(four, "forward", 1).note
    four.run(OF_OLDER_FSDP[call]).raise_for_error()
    assert states(four, range(1, STEPS)) == expected[1:]


def test_an_optimizer_that_only_some_ranks_have_stepped_is_reported(four):
    four.run(COMMON + OBJECTS["DDP"]).raise_for_error()
    result = four.run("grads(0)\nif rank == 3: raise ValueError\napply()")
    assert "Replicas have diverged: Adam has taken 1 step on ranks 0-2, 0 on rank 3" in result.note
    # Steps that ranks take by themselves are nothing that an error has caused.
    four.run("apply()", ranks=[0]).raise_for_error()
    assert four.run("raise ValueError").note == ""


def test_an_optimizer_that_was_left_amid_a_step_is_reported(four):
    four.run(COMMON + OBJECTS["DDP"]).raise_for_error()
    four.run(
        "class Own(torch.optim.SGD):\n"
        "    def step(self):\n"
        "        for group in self.param_groups:\n"
        "            for p in group['params']:\n"
        "                p.data.sub_(1)\n"
        "                dist.all_reduce(p.data)\n"
        "optimizer = Own(model.parameters(), lr=1)"
    ).raise_for_error()
    result = four.run("grads(0)\nif rank < 3: apply()")
    assert not result.ok
    assert "Own has taken 1 step (the last not to its end) on ranks 0-2, 0 on rank 3" in result.note


LBFGS = """
model = DistributedDataParallel(make_model())
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.01, max_iter=3)
calls = 0

def closure():
    global calls
    calls += 1
    if calls == {0} and rank == 2:
        raise ValueError
    optimizer.zero_grad()
    loss = model(batch(0)).pow(2).sum()
    loss.backward()
    return loss
"""


def test_an_optimizer_that_was_left_between_calls_of_its_closure_is_reported(four):
    four.run(COMMON + LBFGS.format(2)).raise_for_error()
    note = four.run("optimizer.step(closure)").note
    assert "LBFGS has taken 1 step (the last not to its end) on ranks 0-3" in note


def test_an_optimizer_whose_closure_failed_before_it_changed_anything_is_not_reported(four):
    four.run(COMMON + LBFGS.format(1)).raise_for_error()
    result = four.run("optimizer.step(closure)")
    assert not result.ok
    assert "LBFGS" not in result.note
    four.run("optimizer.step(closure)").raise_for_error()


IN_BACKWARD = """
model = make_model()
optimizers = {parameter: torch.optim.SGD([parameter], lr=0.01) for parameter in model.parameters()}

def update(parameter):
    dist.all_reduce(parameter.grad)
    optimizers[parameter].step()
    optimizers[parameter].zero_grad()

for parameter in optimizers:
    parameter.register_post_accumulate_grad_hook(update)
"""


def test_parameters_that_were_stepped_in_a_backward_that_was_cut_are_reported(four):
    four.run(COMMON + IN_BACKWARD).raise_for_error()
    four.run("model(batch(0)).pow(2).sum().backward()").raise_for_error()
    assert "SGD" not in four.run("if rank != 1: dist.barrier()").note
    four.run("model(batch(0)).pow(2).sum().backward()").raise_for_error()
    code = "if rank == 1: halt['backward'] = 'raise'\nmodel(batch(0)).pow(2).sum().backward()"
    note = four.run(code).note
    assert "SGD has taken 2 steps (the last not to its end) on ranks 0-3" in note
