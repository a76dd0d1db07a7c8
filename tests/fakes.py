"""A cluster in this process: what a session and its formation see of one, without any engines.

``FakePool`` and ``FakeChannel`` stand where ``rankbook.cluster.Pool`` and ``Channel`` do; waiting,
asking and failing are the real channel's. A ``FakeEngine`` runs cells with ``exec``, at once, in
the thread that asks. Besides Python, a cell may call:

- ``stick()``: Python that does not end until it is interrupted;
- ``wait_in("all_reduce", seq=3)``: a collective of torch's that does not return until its
  connections are cut; other facts of ``rankbook.models.Collective`` may be given, too;
- ``called("all_reduce", seq=3)``: a collective that has completed;
- ``die(-9)``: the end of the engine's process.
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count

from rankbook import errors, values
from rankbook.cluster.channel import Call, Channel, Event, op_of
from rankbook.errors import ClusterError, EngineError, RankbookError
from rankbook.models import (
    Collective,
    EngineFacts,
    GroupInfo,
    Look,
    RankState,
    Recorded,
    Recording,
    to_dict,
)
from rankbook.models.environment import Environment
from rankbook.models.events import Result, Stream
from rankbook.models.recorded import Entry, EntryGroup

__all__ = ["FOR_GOOD", "Clock", "FakeChannel", "FakeEngine", "FakePool", "Recorder"]

ON_ITS_WAY = 0.1
"""Seconds of silence after which a rank does not wait for a message that is under way."""

FOR_GOOD = math.inf
"""For ``FakeEngine.ignores``: nothing ends what the engine does."""

_CELL = "cell"
"""File name of the code that engines run."""

_AT_ANY_TIME = {
    *("environment", "facts", "forget_error", "free", "look", "stacks", "state", "timeline"),
}
"""Operations that an engine does whatever its main thread does."""

_moments = count(1)


class _Hang(BaseException):
    """Ends the Python of a cell that hangs; its answer comes when it is freed."""

    def __init__(self, waiting: Collective | None = None) -> None:
        super().__init__()
        self.waiting = waiting


class _Death(BaseException):
    """Ends the Python of a cell that ends its process."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


class FakeEngine:
    """An engine of a cluster, and what a test wants of it."""

    def __init__(self, number: int, host: str = "a", gpus: int = 0) -> None:
        self.number = number
        self.facts = EngineFacts(
            number, host, (f"{host}-1", f"{host}-2"), 100 + number, ("GPU",) * gpus
        )
        self.names = {
            "stick": self._stick,
            "wait_in": self._wait_in,
            "called": self._called,
            "die": self._die,
        }
        self.info: GroupInfo | None = None
        self.answers = True
        """False: its control thread is stuck, too; no request is ever answered."""
        self.ignores: float = 0
        """How many interrupts (in Python) or cuts (in torch) it goes on after."""
        self.refuses: RankbookError | None = None
        """What it raises when it is to join a group."""
        self.reachable: set[str] | None = None
        """Addresses that it can connect to; None: all."""
        self.asked: list[str] = []
        """Operations that it was asked for, in order."""
        self.stuck: Call | None = None
        """What it was asked to do and hangs in."""
        self.waiting: Collective | None = None
        """The call of torch's that it hangs in; None: it is Python that hangs."""
        self.line = ""
        """Where it hangs."""
        self.recent: list[Collective] = []
        """What the flight recorder has kept of the present group."""
        self.still, self.quiet, self.silent = 1.0, 2.0, 2.0
        """Seconds for which it has not moved, as far as it was seen."""
        self.freed: list[str] = []
        """What was done to it: ``interrupt``, ``cut`` or ``interrupt, cut``, in order."""
        self.words: list[str] = []
        """What it wrote past Python before its end."""
        self.later: list[Callable[[], None]] = []
        """What it does when its main thread is free again."""
        self.cell: int | None = None
        self.last_error = ""
        self.recorded: list[Recorded] = []
        """What it tells the timeline."""
        self.took = 0.001
        """Seconds that it takes to tell that, by its own account."""
        self.ahead: float = 0
        """Seconds by which its clock is ahead."""
        self.runs_with = Environment(self.facts, {"torch": "2.9.0"}, 4, 2, {"NCCL_DEBUG": "INFO"})
        """What it says of its environment."""

    # Operations: each returns a value or raises, as those of ``rankbook.engine.operations``.

    def initialize(self, **args):
        if self.refuses:
            raise self.refuses
        self.info = GroupInfo(
            args["backend"],
            args["rank"],
            args["world_size"],
            "cpu" if args["backend"] == "gloo" else f"cuda:{args['local_rank']}",
            args["rank"] == 0,
            args["local_rank"],
            args["generation"],
            args["timeout_minutes"],
            args["check"],
        )
        self.names |= {"rank": args["rank"], "world_size": args["world_size"]}
        self.recent = []  # what was kept of earlier groups is left out
        return to_dict(self.info)

    def destroy(self):
        self.info = None

    def host_store(self, address):
        return f"tcp://{address}:1234"

    def reaches(self, url):
        return self.reachable is None or url in {f"tcp://{a}:1234" for a in self.reachable}

    def state(self):
        state, activity = "idle", ""
        if self.stuck is not None:
            state, activity = "running", self.line
            if self.waiting is not None:
                state, activity = "collective", f"{self.waiting.op} ({self.line})"
        facts = self.facts
        return to_dict(
            RankState(
                self.number,
                state,
                self.info,
                facts.host,
                facts.pid,
                activity,
                cell=self.cell,
                last_error=self.last_error,
            )
        )

    def forget_error(self):
        self.last_error = ""

    def look(self):
        state, recent = "idle", tuple(self.recent)
        if self.stuck is not None:
            state, recent = ("waiting", recent) if self.waiting is not None else ("running", ())
        return to_dict(
            Look(
                state,
                self.line,
                self.cell,
                self.waiting,
                recent,
                self.still,
                self.quiet,
                self.silent,
            )
        )

    def free(self, *, interrupt, cut):
        if interrupt or cut:  # otherwise it is only told that something will come
            self.freed.append(", ".join(["interrupt"] * interrupt + ["cut"] * cut))
        doing = self.stuck is not None
        # A message that is on its way arrives; then Python goes on, and hears of the interrupt.
        in_python = self.waiting is None or self.silent < ON_ITS_WAY
        if doing and (interrupt if in_python else cut):
            if self.ignores > 0:
                self.ignores -= 1
            else:
                self._let_go()
        return doing

    def timeline(self, after, mark=""):
        answer = Recording(time.time() + self.ahead, took=self.took)
        if after is None or mark == repr(self.recorded):
            return to_dict(answer)
        told = [one for one in self.recorded if one.id > after]
        rank = self.info.rank if self.info else -1
        answer = replace(
            answer,
            mark=repr(self.recorded),
            first=min((one.id for one in self.recorded), default=0),
            ops=tuple(one.op for one in told),
            groups=tuple(EntryGroup(one.group, one.ranks, one.generation, rank) for one in told),
            entries=tuple(
                Entry(
                    one.id, i, i, one.seq, one.created, one.ended, one.done, one.nbytes, one.failed
                )
                for i, one in enumerate(told)
            ),
        )
        return to_dict(answer)

    def environment(self):
        return to_dict(self.runs_with)

    def stacks(self):
        return [f"stack of engine {self.number}\n"]

    def say_facts(self, **_):
        return to_dict(self.facts)

    # What it does.

    def hang(self, call: Call, line: str, waiting: Collective | None = None) -> None:
        """Do something that does not end: in Python, or in a call of torch's."""
        if waiting is not None and waiting.seq is not None:
            self.recent.append(waiting)
        self.line, self.waiting = line, waiting
        self.stuck = call  # last, for another thread may look at it

    def _let_go(self) -> None:
        call, cell = self.stuck, self.cell
        error = {
            "ename": "KeyboardInterrupt",
            "evalue": "",
            "traceback": ["KeyboardInterrupt"],
            "when": float(next(_moments)),
            "freed": True,
            "line": self.line,
        }
        self.stuck = self.waiting = self.cell = None
        self.line = ""
        # Idle before its answer is read, like the real one.
        if cell is None:
            call.settle(self.number, {"status": "error", "error": error | {"kind": ""}})
        else:
            call.settle(self.number, _ok({"error": error, "seconds": 1.0}))
        later, self.later = self.later, []
        for act in later:
            act()

    # What a cell may call.

    def _stick(self):
        raise _Hang

    def _wait_in(self, op, seq=None, group="0", **facts):
        raise _Hang(Collective(op, group, seq=seq, **facts))

    def _called(self, op, seq, group="0", **facts):
        self.recent.append(Collective(op, group, seq=seq, done=True, **facts))

    def _die(self, status=-9):
        raise _Death(status)


class FakeChannel(Channel):
    """Hands requests to the engines of a pool, at once and in this thread."""

    def __init__(self, pool: FakePool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._calls: dict[str, tuple[Call, int]] = {}
        self._dead: set[int] = set()
        self._closed = False
        self.lost = threading.Event()
        self.requests: list[tuple[str, dict]] = []

    def request(self, requests, buffers=()):
        self._check()
        op = op_of(requests)
        args = {number: to_dict(its) for number, its in requests.items()}
        self.requests.append((op, args))
        call = Call(set(args), op)
        engines = [self._pool.all[number] for number in args]
        with self._lock:
            self._calls |= {f"{id(call)}:{e.number}": (call, e.number) for e in engines}
        if op == "initialize" and any(not e.answers or e.refuses or e.stuck for e in engines):
            # The others wait in vain for the one that does not come.
            for engine in engines:
                engine.asked.append(op)
                if engine.refuses:
                    call.settle(engine.number, _failed(engine.refuses))
                elif engine.answers and engine.stuck is None:
                    engine.info = GroupInfo("half-made", 0, 0, "cpu", is_main=False)
                    engine.hang(call, "initialize")
            return call
        for engine in engines:
            engine.asked.append(op)
            if engine.number in self._dead or engine.number not in self._pool.engines:
                call.settle(
                    engine.number, _failed(EngineError(f"Engine {engine.number} has ended."))
                )
            elif engine.answers:
                act = partial(self._do, engine, call, op, args[engine.number], buffers)
                if engine.stuck is None or op in _AT_ANY_TIME:
                    act()
                else:
                    engine.later.append(act)
        return call

    def _do(self, engine, call, op, args, buffers):
        if op == "run":
            if (status := _run(engine, call, **args)) is not None:
                self._pool.kill(engine.number, status)
        elif op == "pull":
            _pull(engine, call, args["name"])
        elif op == "push":
            pairs = zip(args["names"], buffers, strict=True)
            engine.names |= {name: values.loads(data) for name, data in pairs}
            call.settle(engine.number, _ok(None))
        else:
            operation = engine.say_facts if op == "facts" else getattr(engine, op)
            try:
                call.settle(engine.number, _ok(operation(**args)))
            except RankbookError as error:
                call.settle(engine.number, _failed(error))

    @property
    def awaited(self) -> int:
        """Calls that somebody still waits for, or forgot to forget."""
        return len({id(call) for call, _ in self._calls.values() if not call.done})


class FakePool:
    """Engines of one cluster."""

    def __init__(self, n: int = 2, *, hosts: str = "a", gpus: int = 0, owned: bool = True) -> None:
        self._hosts, self._gpus = hosts, gpus
        self.all: dict[int, FakeEngine] = {}
        self.engines: list[int] = []
        self.is_owned = owned
        self.can_grow = owned
        self.cluster_id = "fake-cluster"
        self.on_end: Callable[[int, int], None] = lambda engine, status: None
        self.closed = 0
        self.grown: list[int] = []
        self.channel = FakeChannel(self)
        self._add(range(n))

    def __getitem__(self, number: int) -> FakeEngine:
        return self.all[number]

    def _add(self, numbers):
        for number in numbers:
            host = self._hosts[number % len(self._hosts)]
            self.all[number] = FakeEngine(number, host, self._gpus)
            self.engines.append(number)

    def refuse_growth(self) -> None:
        if not self.can_grow:
            raise ClusterError(f"This cluster has {len(self.engines)} engines and cannot grow.")

    def grow(self, n: int, timeout: float = 60.0) -> None:
        self.refuse_growth()
        self.grown.append(n)
        first = max(self.all, default=-1) + 1
        self._add(range(first, first + n))

    def end(self, engines, timeout: float = 10.0) -> None:
        for number in sorted(set(engines) & set(self.engines)):
            self.kill(number)

    def last_words(self, engine: int) -> list[str]:
        return self[engine].words if self.is_owned else []

    def replace(self, timeout: float = 60.0) -> None:
        if not self.is_owned:
            raise ClusterError("This session joined its engines and cannot replace them.")
        n = len(self.engines)
        for number in list(self.engines):
            self.kill(number, -signal.SIGTERM)
        self.all.clear()
        self.channel._dead.clear()
        self._add(range(n))

    def facts(self, engines=None):
        return [self[number].facts for number in (self.engines if engines is None else engines)]

    def close(self) -> None:
        self.closed += 1
        for number in list(self.engines):
            self.channel.engine_gone(number)
        self.engines = []

    # -- what a test does to it --------------------------------------------------------------

    def kill(self, number: int, status: int = -9, *, registered: bool = False) -> None:
        """Have an engine end.

        The process that forked it tells how; of one that was started elsewhere nobody does. With
        ``registered`` the controller's hub has not noticed yet.
        """
        self[number].answers = False
        if self.is_owned:
            self.on_end(number, status)
        self.channel.engine_gone(number)
        if not registered:
            self.engines.remove(number)

    def requested(self, op: str) -> list[dict]:
        """The arguments, by engine, of every request for an operation."""
        return [args for name, args in self.channel.requests if name == op]

    def asked(self, op: str) -> list[int]:
        """The engines that were asked for an operation, once for each time."""
        return [number for args in self.requested(op) for number in args]


def _ok(value):
    return {"status": "ok", "value": value}


def _failed(error):
    name = type(error).__name__
    kind = name if hasattr(errors, name) else ""
    return {
        "status": "error",
        "error": {"kind": kind, "ename": name, "evalue": str(error), "traceback": []},
    }


def _pull(engine, call, name):
    if name not in engine.names:
        call.settle(engine.number, _ok(False))  # noqa: FBT003
        return
    try:
        data = values.dumps(engine.names[name], name)
    except RankbookError as error:
        call.settle(engine.number, _failed(error))
    else:
        call.settle(engine.number, _ok(True), [memoryview(data)])  # noqa: FBT003


def _run(engine, call, code, number):
    """Run a cell; return the status with which it ends the engine, None if it does not."""

    def say(event):
        call.inbox.put(Event(engine.number, event))

    engine.cell, engine.last_error = number, ""
    error = None
    out, err = _Stream("stdout", say), _Stream("stderr", say)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            value = _exec(code, engine.names)
        if value is not None:
            say(Result({"text/plain": repr(value)}))
    except _Hang as hang:
        engine.hang(call, _line(hang, code), hang.waiting)
        return None
    except _Death as death:
        return death.status
    except Exception as raised:  # noqa: BLE001
        lines = traceback.format_exception_only(raised)
        error = {
            "ename": type(raised).__name__,
            "evalue": str(raised),
            "traceback": [line.rstrip() for line in lines],
            "when": float(next(_moments)),
            "line": _line(raised, code),
        }
        engine.last_error = f"{error['ename']}: {error['evalue']}"
    engine.cell = None
    call.settle(engine.number, _ok({"error": error, "seconds": 0.25}))
    return None


def _line(error, code):
    """Where in a cell: ``line 3: stick()``."""
    numbers = [
        number
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == _CELL
    ]
    return f"line {numbers[-1]}: {code.splitlines()[numbers[-1] - 1].strip()}" if numbers else ""


class _Stream(io.TextIOBase):
    def __init__(self, name, say):
        self._name, self._say = name, say

    def write(self, text):
        self._say(Stream(self._name, text))
        return len(text)


def _exec(code, names):
    """Run a cell and return the value of its last expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, _CELL, "exec"), names)  # noqa: S102
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), _CELL, "eval"), names)  # noqa: S307


class Recorder:
    """A CellOutput that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[int, object]] = []
        self.running: list[set[int]] = []
        self.notes: list[str] = []
        self.finished = 0

    def event(self, rank, body):
        self.events.append((rank, body))

    def pause(self, running):
        self.running.append(set(running))
        return 0.01

    def note(self, text):
        self.notes.append(text)

    def finish(self):
        self.finished += 1


class Clock:
    """The module ``time`` as code sees it that sleeps and looks at the clock: no time passes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
