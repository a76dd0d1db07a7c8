"""A cluster in this process: what a session and its formation see of one, without any engines.

``FakePool`` and ``FakeChannel`` stand where ``rankbook.cluster.Pool`` and ``Channel`` do; waiting,
asking and failing are the real channel's. A ``FakeEngine`` runs cells with ``exec``, at once, in
the thread that asks. A cell that calls ``stick()`` hangs until it is interrupted.
"""

from __future__ import annotations

import ast
import contextlib
import io
import threading
import traceback
from collections.abc import Callable
from itertools import count

from rankbook import errors, values
from rankbook.cluster.channel import Call, Channel, Event
from rankbook.errors import ClusterError, EngineError, RankbookError
from rankbook.models import EngineFacts, GroupInfo, RankState, to_dict

__all__ = ["FakeChannel", "FakeEngine", "FakePool"]

_moments = count(1)


class _Stuck(BaseException):
    """Ends the Python of a cell that hangs; its answer comes with the interrupt."""


def stick():
    raise _Stuck


class FakeEngine:
    """An engine of a cluster, and what a test wants of it."""

    def __init__(self, number: int, host: str = "a", gpus: int = 0) -> None:
        self.number = number
        self.facts = EngineFacts(
            number, host, (f"{host}-1", f"{host}-2"), 100 + number, ("GPU",) * gpus
        )
        self.names = {"stick": stick}
        self.info: GroupInfo | None = None
        self.answers = True
        """False: its control thread is stuck, too; no request is ever answered."""
        self.obeys = True
        """False: it hangs where no interrupt reaches it."""
        self.refuses: RankbookError | None = None
        """What it raises when it is to join a group."""
        self.reachable: set[str] | None = None
        """Addresses that it can connect to; None: all."""
        self.asked: list[str] = []
        """Operations that it was asked for, in order."""
        self.stuck: Call | None = None
        self.cell: int | None = None

    # Operations: each returns a value or raises, as in ``rankbook.engine.agent``.

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
        )
        self.names |= {"rank": args["rank"], "world_size": args["world_size"]}
        return to_dict(self.info)

    def destroy(self):
        self.info = None

    def host_store(self, address):
        return f"tcp://{address}:1234"

    def reaches(self, url):
        return self.reachable is None or url in {f"tcp://{a}:1234" for a in self.reachable}

    def state(self):
        state = "idle" if self.stuck is None else "collective"
        activity = "" if self.stuck is None else "all_reduce"
        pid = self.facts.pid
        return to_dict(
            RankState(self.number, state, self.info, self.facts.host, pid, activity, cell=self.cell)
        )

    def stacks(self):
        return [f"stack of engine {self.number}\n"]

    def say_facts(self, **_):
        return to_dict(self.facts)


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

    def request(self, op, args, buffers=()):
        self._check()
        self.requests.append((op, dict(args)))
        call = Call(set(args))
        engines = [self._pool.all[number] for number in args]
        with self._lock:
            self._calls |= {f"{id(call)}:{e.number}": (call, e.number) for e in engines}
        if op == "initialize" and any(not e.answers or e.refuses for e in engines):
            # The others wait in vain for the one that does not come.
            for engine in engines:
                engine.asked.append(op)
                if engine.refuses:
                    call.settle(engine.number, _failed(engine.refuses))
                elif engine.answers:
                    engine.info = GroupInfo("half-made", 0, 0, "cpu", is_main=False)
                    engine.stuck = call
            return call
        for engine in engines:
            engine.asked.append(op)
            if engine.number not in self._pool.engines:
                call.settle(
                    engine.number, _failed(EngineError(f"Engine {engine.number} has ended."))
                )
            elif engine.answers:
                self._do(engine, call, op, args[engine.number], buffers)
        return call

    def _do(self, engine, call, op, args, buffers):
        if op == "run":
            _run(engine, call, **args)
        elif op == "interrupt":
            call.settle(engine.number, _ok(engine.stuck is not None))
            self._interrupt(engine)
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

    def _interrupt(self, engine):
        if engine.stuck is not None and engine.obeys:
            call, engine.stuck, engine.cell = engine.stuck, None, None
            error = {"ename": "KeyboardInterrupt", "evalue": "", "traceback": ["KeyboardInterrupt"]}
            call.settle(engine.number, _ok({"error": error, "seconds": 1.0}))

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
        self._add(range(n))
        self.channel = FakeChannel(self)

    def __getitem__(self, number: int) -> FakeEngine:
        return self.all[number]

    def _add(self, numbers):
        for number in numbers:
            host = self._hosts[number % len(self._hosts)]
            self.all[number] = FakeEngine(number, host, self._gpus)
            self.engines.append(number)

    def grow(self, n: int, timeout: float = 60.0) -> None:
        if not self.can_grow:
            raise ClusterError(f"This cluster has {len(self.engines)} engines and cannot grow.")
        self.grown.append(n)
        first = len(self.all)
        self._add(range(first, first + n))

    def replace(self, timeout: float = 60.0) -> None:
        if not self.is_owned:
            raise ClusterError("This session joined its engines and cannot replace them.")
        numbers, self.engines = sorted(self.all), []
        self._add(numbers)

    def facts(self, engines=None):
        return [self[number].facts for number in (self.engines if engines is None else engines)]

    def close(self) -> None:
        self.closed += 1
        for number in list(self.engines):
            self.channel.engine_gone(number)
        self.engines = []

    # -- what a test does to it --------------------------------------------------------------

    def kill(self, number: int, status: int = -9, *, registered: bool = False) -> None:
        """Have an engine end, as the process that forked it would tell."""
        if not registered:
            self.engines.remove(number)
        self[number].answers = False
        self.channel.engine_gone(number)
        self.on_end(number, status)

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
    def say(*body):
        call.inbox.put(Event(engine.number, list(body)))

    engine.cell = number
    error = None
    out, err = _Stream("stdout", say), _Stream("stderr", say)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            value = _exec(code, engine.names)
        if value is not None:
            say("result", {"data": {"text/plain": repr(value)}, "metadata": {}})
    except _Stuck:
        engine.stuck = call
        return
    except Exception as raised:  # noqa: BLE001
        lines = traceback.format_exception_only(raised)
        error = {
            "ename": type(raised).__name__,
            "evalue": str(raised),
            "traceback": [line.rstrip() for line in lines],
            "when": float(next(_moments)),
        }
    engine.cell = None
    call.settle(engine.number, _ok({"error": error, "seconds": 0.25}))


class _Stream(io.TextIOBase):
    def __init__(self, name, say):
        self._name, self._say = name, say

    def write(self, text):
        self._say("stream", self._name, text)
        return len(text)


def _exec(code, names):
    """Run a cell and return the value of its last expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)  # noqa: S102
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307
