"""How a request finds its operation, and the answer its way back; without sockets and kernels."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import types
from dataclasses import dataclass

import pytest
from processes import wait_until
from steps import SOON

from rankbook import protocol
from rankbook.engine import operations
from rankbook.engine.agent import Agent
from rankbook.engine.cells import freeing
from rankbook.engine.jobs import Job
from rankbook.engine.operations import (
    ASIDE,
    CONTROL,
    LATER,
    MAIN,
    ROOMS,
    find,
    operation,
    operations_in,
)
from rankbook.errors import InputError
from rankbook.models import Failure, load, requests
from rankbook.models.requests import Free, Request, Run


@dataclass(frozen=True)
class Greet(Request):
    name: str
    times: int = 1
    op = "greet"


class Control:
    """The control thread's place: the same loop does what it is asked to do."""

    def __init__(self):
        self.sent = []
        self.has_replied = asyncio.Event()
        self.repeated = []
        self.later = []

    def listen(self, receive):
        self.receive = receive

    def call(self, act):
        asyncio.get_running_loop().call_soon(act)

    def call_later(self, seconds, act):
        self.later.append((seconds, act))

    def repeat(self, seconds, act):
        self.repeated.append(act)
        return lambda: self.repeated.remove(act)

    def send(self, kind, content, to, buffers=()):
        self.sent.append((kind, content, to, list(buffers)))
        if kind == protocol.REPLY:
            self.has_replied.set()


class Engine:
    """An engine that does nothing but keep account of its jobs."""

    def __init__(self):
        self.job = None
        self.waiting = set()
        self.begun = []

    def begin(self, job):
        self.job = job
        self.waiting.discard(job)
        self.begun.append(job.name)

    def end(self):
        self.job = None


class Asked:
    """An agent with some operations, and what it has answered."""

    def __init__(self, *known):
        self.control, self.engine = Control(), Engine()
        self.asked = 0
        self.agent = Agent(self.engine, self.control, {one.request.op: one for one in known}.get)

    def ask(self, op, buffers=(), **args):
        self.asked += 1
        message = {
            "header": {"msg_id": f"me-{self.asked}"},
            "content": {"op": op, "args": args},
            "buffers": list(buffers),
        }
        self.control.receive([b"me"], message)
        return message

    @property
    def answers(self):
        return [content for kind, content, *_ in self.control.sent if kind == protocol.REPLY]

    async def answered(self, count=1):
        while len(self.answers) < count:
            self.control.has_replied.clear()
            await asyncio.wait_for(self.control.has_replied.wait(), SOON)
        return self.answers


def refusal(answer):
    assert answer["status"] == "error"
    return answer["error"]["kind"], answer["error"]["ename"], answer["error"]["evalue"]


# -- the register ----------------------------------------------------------------------------


def test_every_request_has_one_operation():
    asked_for = {getattr(requests, name) for name in requests.__all__}
    asked_for = {one for one in asked_for if issubclass(one, Request)} - {Request}
    known = operations_in((*ROOMS, *LATER))
    assert {one.request for one in known.values()} == asked_for
    assert all(name == one.request.op for name, one in known.items())
    assert {one.on for one in known.values()} == {ASIDE, CONTROL, MAIN}


def test_what_may_last_is_an_operation():
    assert set(requests.LASTING) <= operations_in((*ROOMS, *LATER)).keys()


@pytest.mark.parametrize("rooms", ["ROOMS", "LATER"])
def test_an_operation_in_a_new_room_is_found(monkeypatch, rooms):
    attic = types.ModuleType("attic")
    attic.greet = operation(Greet, on=CONTROL)(lambda job, request: request.name)
    monkeypatch.setitem(sys.modules, "attic", attic)
    monkeypatch.setattr(operations, rooms, (*getattr(operations, rooms), "attic"))
    assert find("greet") is attic.greet
    assert find("run").request is requests.Run
    assert find("welcome") is None


def test_what_few_sessions_need_is_not_imported_at_the_start():
    code = """if 1:
        import sys
        from rankbook.engine.starting import loading

        loading.load()
        from rankbook.engine.operations import LATER, find

        print(set(LATER) & set(sys.modules), find("show").request.__name__)
    """
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "set() Show\n"


# -- the agent -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_operation_gets_its_request_and_what_it_returns_is_the_answer():
    greet = operation(Greet, on=CONTROL)(lambda job, request: [request.name] * request.times)
    asked = Asked(greet)
    message = asked.ask("greet", name="a", times=2)
    assert asked.control.sent == [
        (protocol.REPLY, {"status": "ok", "value": ["a", "a"]}, ([b"me"], message), [])
    ]


@pytest.mark.asyncio
async def test_no_finalizer_runs_on_the_control_thread_while_it_answers():
    ended = []

    class Garbage:
        def __init__(self):
            self.itself = self

        def __del__(self):
            ended.append(gc.isenabled())

    def act(_job, request):
        for _ in range(2000):
            Garbage()
        return len(ended)

    asked = Asked(operation(Greet, on=CONTROL)(act))
    asked.ask("greet", name="a")
    assert [answer["value"] for answer in asked.answers] == [0]
    gc.collect()
    assert ended == [True] * 2000


@pytest.mark.asyncio
async def test_a_model_is_answered_as_a_dict():
    asked = Asked(operation(Greet, on=CONTROL)(lambda job, request: Failure("E", "why")))
    asked.ask("greet", name="a")
    [answer] = asked.answers
    assert answer["status"] == "ok"
    assert load(Failure, answer["value"]) == Failure("E", "why")


@pytest.mark.asyncio
async def test_an_unknown_operation_is_refused_in_one_line():
    asked = Asked()
    asked.ask("sing")
    kind, _, message = refusal(asked.answers[0])
    assert kind == "EngineError"
    assert "does not know 'sing': install the same version of rankbook" in message
    assert "\n" not in message


def fails(error):
    def act(job, request):
        raise error

    return act


@pytest.mark.parametrize("on", [CONTROL, MAIN])
@pytest.mark.parametrize(
    ("act", "args", "said"),
    [
        (fails(InputError("no")), {"name": "a"}, ("InputError", "InputError", "no")),
        (fails(OSError("no")), {"name": "a"}, ("", "OSError", "no")),
        (lambda job, request: None, {}, ("", "TypeError", "required positional argument: 'name'")),
    ],
)
@pytest.mark.asyncio
async def test_what_an_operation_raises_is_its_answer(on, act, args, said):
    asked = Asked(operation(Greet, on=on)(act))
    asked.ask("greet", **args)
    [answer] = await asked.answered()
    kind, ename, evalue = refusal(answer)
    assert (kind, ename) == said[:2]
    assert said[2] in evalue
    assert asked.engine.job is None


@pytest.mark.asyncio
async def test_what_is_done_beside_an_operation_begins_with_its_request_and_ends_with_its_answer():
    gate = asyncio.Event()

    async def run(job, request):
        await gate.wait()

    asked = Asked(operation(Run, on=MAIN, beside=lambda job: [(0.1, print), (0.2, repr)])(run))
    asked.ask("run", code="", name="In [1]", number=1)
    assert asked.control.repeated == [print, repr]
    gate.set()
    await asked.answered()
    assert asked.control.repeated == []


@pytest.mark.asyncio
async def test_work_is_done_in_turn_and_looks_meanwhile():
    begun, gate = asyncio.Event(), asyncio.Event()

    async def run(job, request):
        begun.set()
        await gate.wait()
        return request.code

    asked = Asked(
        operation(Run, on=MAIN)(run),
        operation(Greet, on=CONTROL)(lambda job, request: job.engine.job.name),
    )
    asked.ask("run", code="first")
    asked.ask("run", code="second")
    await asyncio.wait_for(begun.wait(), SOON)
    asked.ask("greet", name="a")
    assert [answer["value"] for answer in asked.answers] == ["run"]
    assert [job.name for job in asked.engine.waiting] == ["run"]
    gate.set()
    assert [answer["value"] for answer in await asked.answered(3)] == ["run", "first", "second"]
    assert asked.engine.begun == ["run", "run"]


@pytest.mark.asyncio
async def test_events_precede_the_answer_and_attachments_travel_with_it():
    def act(job, request):
        job.outbox.write("stdout", request.name)
        job.attachments += job.buffers
        return True

    asked = Asked(operation(Greet, on=MAIN)(act))
    asked.ask("greet", [b"pickle"], name="a")
    await asked.answered()
    (events, said, *_), (reply, _, _, buffers) = asked.control.sent
    assert (events, said) == (protocol.EVENTS, {"events": [["stream", "stdout", "a"]]})
    assert (reply, buffers) == (protocol.REPLY, [b"pickle"])


@pytest.mark.asyncio
async def test_a_line_leaves_at_once_and_what_follows_it_gathers():
    async def act(job, request):
        job.outbox.write("stdout", "first\n")
        await asyncio.sleep(0)
        for text in "second\n", "third\n":
            job.outbox.write("stdout", text)
            await asyncio.sleep(0)
        ((seconds, send),) = asked.control.later
        assert 0 < seconds < 0.01
        send()
        job.outbox.write("stdout", "last")

    asked = Asked(operation(Greet, on=MAIN)(act))
    asked.ask("greet", name="a")
    await asked.answered()
    texts = [row[2] for _, said, *_ in asked.control.sent for row in said.get("events", ())]
    assert texts == ["first\n", "second\nthird\n", "last"]


@pytest.mark.asyncio
async def test_an_act_for_later_runs_on_the_main_thread_after_the_answer():
    done = asyncio.Event()
    seen = []

    def later():
        seen.append((threading.current_thread(), len(asked.answers)))
        done.set()

    asked = Asked(operation(Greet, on=MAIN)(lambda job, _: job.later.append((0.01, later))))
    asked.ask("greet", name="a")
    await asyncio.wait_for(done.wait(), SOON)
    assert seen == [(threading.main_thread(), 1)]


@pytest.mark.asyncio
async def test_a_signal_interrupts_work_that_does_not_await():
    def act(job, request):
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: False, SOON)

    asked = Asked(operation(Greet, on=MAIN)(act))
    asked.ask("greet", name="a")
    [answer] = await asked.answered()
    assert refusal(answer)[1] == "KeyboardInterrupt"


# -- freeing ---------------------------------------------------------------------------------


def sent(number, engine=None, by="me"):
    """A job that asks for a cell, the ``number``-th that a session has sent."""
    content = {"op": "run", "args": {"number": 1}}
    return Job(engine, None, [], {"header": {"msg_id": f"{by}-{number}"}, "content": content})


def freed(engine, *, number=99, nccl=False, aborting=False, **how):
    engine.group = types.SimpleNamespace(
        cut=lambda: engine.begun.append("cut"),
        aborts=types.SimpleNamespace(are_under_way=aborting),
    )
    engine.streams = types.SimpleNamespace(are_used=nccl)
    engine.runner = types.SimpleNamespace(failures=types.SimpleNamespace(freed=False, cut=False))
    job = sent(number, engine)
    return freeing.free.act(job, Free(**how))


@pytest.mark.asyncio
async def test_a_cell_that_has_not_begun_does_not_begin_after_an_interrupt():
    begun, gate = asyncio.Event(), asyncio.Event()

    async def wait(job, request):
        begun.set()
        await gate.wait()

    asked = Asked(operation(Greet, on=MAIN)(wait), operation(Run, on=MAIN)(wait))
    asked.ask("greet", name="a")
    asked.ask("run", code="x = 1")
    asked.ask("greet", name="b")
    await asyncio.wait_for(begun.wait(), SOON)
    asked.engine.job = None  # else this process would get the signal
    assert freed(asked.engine, interrupt=True) is False
    gate.set()
    first, second, third = await asked.answered(3)
    assert first == third == {"status": "ok", "value": None}
    assert refusal(second)[1] == "KeyboardInterrupt"


def test_a_late_request_to_free_ends_only_what_was_sent_before_it():
    """As in a process that was stopped, which then gets it beside what came later."""
    engine = Engine()
    engine.waiting = [sent(1), sent(3), sent(3, by="other")]
    assert freed(engine, number=2, interrupt=True) is False
    assert [job.is_dropped for job in engine.waiting] == [True, False, True]
    engine.job = sent(3)
    assert freed(engine, number=2, interrupt=True, cut=True) is False  # no signal
    assert engine.begun == []


@pytest.mark.parametrize(
    ("how", "marks", "cuts"),
    [({"cut": True}, (True, True), ["cut"]), ({}, (True, True), [])],
)
def test_a_rank_that_is_told_of_a_cut_takes_an_error_for_its_result(how, marks, cuts):
    engine = Engine()
    engine.job = sent(1)
    assert freed(engine, **how) is True
    failures = engine.runner.failures
    assert (failures.freed, failures.cut) == marks
    assert engine.begun == cuts


def test_an_idle_rank_is_not_freed_but_its_connections_are_cut():
    engine = Engine()
    assert freed(engine, cut=True) is False
    assert (engine.runner.failures.freed, engine.runner.failures.cut) == (False, False)
    assert engine.begun == ["cut"]


@pytest.mark.parametrize(
    ("how", "done"),
    [
        ({"nccl": True}, ["signal", "cut"]),
        ({"nccl": True, "aborting": True}, ["cut"]),
        ({"nccl": False}, ["cut"]),
    ],
)
def test_nccl_is_aborted_after_a_signal_which_is_sent_once(monkeypatch, how, done):
    """After an abort, ``.item()`` returns as if all were well: only a signal ends the cell."""
    engine = Engine()
    engine.job = sent(1)
    monkeypatch.setattr(freeing, "interrupt", lambda: engine.begun.append("signal"))
    assert freed(engine, cut=True, **how) is True
    assert engine.begun == done
