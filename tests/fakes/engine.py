"""An engine in this process: what it does when a session asks, and what a test wants of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from fakes import cells
from fakes.task import Task
from rankbook import values
from rankbook._version import __version__
from rankbook.errors import RankbookError
from rankbook.models import (
    Collective,
    EngineFacts,
    GroupInfo,
    Look,
    Recorded,
    Recording,
    load,
    to_dict,
)
from rankbook.models.calls import Call, Fingerprint, LastCalls, Making, Slot
from rankbook.models.diffs import Leaf, Prints
from rankbook.models.environment import Environment
from rankbook.models.events import Asks
from rankbook.models.exchanges import Exchange, KeptCalls
from rankbook.models.frames import Frame, Standing
from rankbook.models.inspecting import Completion, Completions, Inspected, Variable
from rankbook.models.meshes import HeldMesh
from rankbook.models.profiles import Taken
from rankbook.models.recorded import Entry, EntryGroup
from rankbook.models.shown import Held, Part

__all__ = ["AT_ANY_TIME", "FOR_GOOD", "FakeEngine"]

ON_ITS_WAY = 0.1
"""Seconds of silence after which a rank does not wait for a message that is under way."""

FOR_GOOD = math.inf
"""For ``FakeEngine.ignores``: nothing ends what the engine does."""

AT_ANY_TIME = {
    *(
        "acknowledge",
        "answer",
        "call",
        "complete",
        "environment",
        "facts",
        "forget_error",
        "free",
        "holdings",
        "inspect",
        "last_calls",
        "making",
        "list_variables",
        "look",
        "get_frames",
        "get_kept",
        "get_mesh",
        "show",
        "stacks",
        "timeline",
        "understands",
    ),
}
"""Operations that an engine does whatever its main thread does."""


class FakeEngine:
    """An engine of a cluster, and what a test wants of it."""

    def __init__(  # noqa: PLR0915 - a list of what a test may set
        self, number: int, host: str = "a", gpus: int = 0
    ) -> None:
        self.number = number
        self.facts = EngineFacts(
            number,
            host,
            (f"{host}-1", f"{host}-2"),
            100 + number,
            ("GPU",) * gpus,
            versions=(("rankbook", __version__),),
            last_calls=f"{number}.calls",
            nccl="2.28.9" if gpus else "",
        )
        self.calls: dict[Slot, Call] = {}
        """The collectives that it called."""
        self.kept: Exchange | None = None
        """The call of a cell that was to keep its values."""
        self.amid: list[str] = []
        """Kinds of objects that a cell has left amid a step; "gathered" only an interrupted one."""
        self.steps = 1
        """How many steps its optimizer took in a cell."""
        self.fingerprints: list[Fingerprint] = []
        self.makings: dict[Slot, Making] = {}
        """What it says of its groups after each cell."""
        self.left: dict[str, LastCalls] = {}
        """By name of their files, what processes of its host have left."""
        self.names = {
            "stick": self._stick,
            "wait_in": self._wait_in,
            "called": self._called,
            "die": self._die,
            "stop": self._stop,
        }
        self.end: Callable[[int], None] = _ignore
        """Called with the status when a cell ends its process."""
        self.info: GroupInfo | None = None
        self.understood: set[str] = set()
        """Cells in a syntax that only it knows."""
        self.answers = True
        """False: its control thread is stuck, too; no request is ever answered."""
        self.ignores: float = 0
        """How many interrupts (in Python) or cuts (in torch) it goes on after."""
        self.refuses: RankbookError | None = None
        """What it raises when it is to join a group."""
        self.cannot_take = ""
        """The variable that it cannot set when it is filled."""
        self.reachable: set[str] | None = None
        """Addresses that it can connect to; None: all."""
        self.scripts: list[dict] = []
        """Scripts that it was asked to run, as they came."""
        self.asked: list[str] = []
        """Operations that it was asked for, in order."""
        self.unanswered: list[Task] = []
        """What it was asked for while it did not answer."""
        self.stuck: Task | None = None
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
        self.asks: Asks | None = None
        """What it stands at a prompt with."""
        self.answered: list[str] = []
        """What it was told there."""
        self.cell, self.last_error = None, ""
        self.recorded: list[Recorded] = []
        """What it tells the timeline."""
        self.took, self.ahead = 0.001, 0.0
        """Seconds that it takes to tell that, by its own account; by which its clock is ahead."""
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

    def end_script(self):
        pass

    def end_former(self):
        pass

    def follow(self, folder, before=(), after=()):
        self.follows = folder, tuple(before), tuple(after)

    def holdings(self):
        return {"names": self._variables(), "groups": {}}

    def digests(self, names):
        return {name: repr(self.names[name]) for name in names if name in self.names}

    def settle(self):
        return {"healed": [], "waiting": []}

    def unfinished(self, was_interrupted):
        kinds = [kind for kind in self.amid if was_interrupted or kind != "gathered"]
        return {"kinds": kinds, "taken": {"Adam 1": [self.steps]}}

    def host_store(self, address):
        return f"tcp://{address}:1234"

    def reaches(self, url):
        return self.reachable is None or url in {f"tcp://{a}:1234" for a in self.reachable}

    def forget_error(self):
        self.last_error = ""

    def look(self, closely=False, calls=False):  # noqa: FBT002
        state = "idle"
        if self.asks is not None:
            state = "stopped"
        elif self.stuck is not None:
            state = "waiting" if self.waiting is not None else "running"
        return to_dict(
            Look(
                state,
                self.line,
                self.cell,
                self.waiting,
                tuple(self.recent) if calls or (closely and state != "running") else (),
                self.still,
                self.quiet,
                self.silent if closely else None,
                engine=self.number,
                info=self.info,
                host=self.facts.host,
                pid=self.facts.pid,
                last_error=self.last_error,
            )
        )

    def free(self, *, interrupt, cut, insists=False):
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

    def call(self, slot):
        called = self.calls.get(load(Slot, slot))
        return to_dict(called) if called else None

    def making(self, slot):
        made = self.makings.get(load(Slot, slot))
        return to_dict(made) if made else None

    def last_calls(self, file):
        return to_dict(self.left[file]) if file in self.left else None

    def answer(self, number, text):
        if self.asks is None or self.asks.number != number:
            return False
        self.answered.append(text)
        task, self.stuck, self.asks, self.line, self.cell = self.stuck, None, None, "", None
        task.answer({"error": None, "seconds": 1.0})
        return True

    def fingerprint(self, expression):
        try:
            value = eval(expression, self.names)  # noqa: S307
        except Exception as error:  # noqa: BLE001
            return to_dict(Prints(f"{type(error).__name__}: {error}"))
        return to_dict(Prints("", (Leaf("", type(value).__name__, repr(value), text=repr(value)),)))

    def chunks(self, path):
        del path
        return []

    def send_chunks(self, path, numbers):
        del path, numbers

    def drop_compared(self):
        pass

    def complete(self, code, cursor):
        typed = code[:cursor]
        found = tuple(Completion(name) for name in sorted(self.names) if name.startswith(typed))
        return to_dict(Completions(0, found))

    def inspect(self, name, detail=0):
        del detail
        if name not in self.names:
            return to_dict(Inspected(is_found=False))
        value = self.names[name]
        return to_dict(Inspected(True, {"Type": type(value).__name__, "Value": repr(value)}))  # noqa: FBT003

    def understands(self, code):
        return code in self.understood

    def list_variables(self):
        return [to_dict(Variable(name, type(v).__name__)) for name, v in self.names.items()]

    def acknowledge(self, read):
        """Threads of the fake never wait."""

    def get_frames(self, native):
        if self.cell is None:
            return to_dict(Standing())
        frame = Frame("In [1] line 1", "stick()", {"engine": str(self.number)})
        return to_dict(Standing((frame,), no_native="py-spy is not installed there" * native))

    def get_mesh(self, name):
        value = self.names.get(name)
        if name not in self.names:
            return to_dict(HeldMesh())
        return to_dict(value if isinstance(value, HeldMesh) else HeldMesh(type(value).__name__))

    def show(self, expression):
        if expression not in self.names:
            return to_dict(Held(f"NameError: name {expression!r} is not defined"))
        value = self.names[expression]
        return to_dict(Held(parts=(Part("", type(value).__name__, repr(value)),)))

    def get_kept(self):
        return to_dict(KeptCalls((self.kept,) if self.kept else ()))

    def start_profile(self):
        return 0.0

    def take_profile(self):
        return to_dict(Taken(self.facts.host, 0.0, 1))

    def stacks(self):
        return [f"stack of engine {self.number}\n"]

    def get_facts(self, **_):
        return to_dict(self.facts)

    # What it does.

    def take(self, task: Task) -> None:
        """Do what a request asks for, now or when the main thread is free."""
        self.asked.append(task.op)
        if not self.answers:
            self.unanswered.append(task)
        elif self.stuck is None or task.op in AT_ANY_TIME:
            self._do(task)
        else:
            self.later.append(partial(self._do, task))

    def hang(self, task: Task, line: str, waiting: Collective | None = None) -> None:
        """Do something that does not end: in Python, or in a call of torch's."""
        if waiting is not None and waiting.seq is not None:
            self.recent.append(waiting)
        self.line, self.waiting = line, waiting
        self.stuck = task  # last, for another thread may look at it

    def _do(self, task: Task) -> None:
        if task.op == "run":
            if (status := cells.run(self, task, **task.args)) is not None:
                self.end(status)
            return
        try:
            if task.op == "pull":
                self._pull(task, **task.args)
            elif task.op == "push":
                self._push(task, **task.args)
            elif task.op == "copy":
                self._copy(task, **task.args)
            elif task.op == "fill":
                self._fill(task, **task.args)
            else:
                operation = self.get_facts if task.op == "facts" else getattr(self, task.op)
                task.answer(operation(**task.args))
        except RankbookError as error:
            task.fail(error)

    def _pull(self, task: Task, name: str) -> None:
        data = [values.dumps(self.names[name], name)] if name in self.names else []
        task.answer(bool(data), data)

    def _push(self, task: Task, names: list[str]) -> None:
        pairs = zip(names, task.buffers, strict=True)
        self.names |= {name: values.loads(data) for name, data in pairs}
        task.answer(None)

    def _copy(self, task: Task, without: list[str], **_) -> None:
        names = [name for name in self._variables() if name not in without]
        data = values.dumps([self.names[name] for name in names], "all")
        task.answer({"names": names, "cells": {"def f(): ...": "In [1]"}}, [data])

    def _fill(self, task: Task, names: list[str], **_) -> None:
        if self.cannot_take in names:
            task.answer({"left": {self.cannot_take: "it does not unpickle"}})
            return
        self.names |= dict(zip(names, values.loads(task.buffers[0]), strict=True))
        task.answer({"names": names, "left": {}})

    def _variables(self) -> list[str]:
        own = ("rank", "world_size")
        return [name for name, its in self.names.items() if name not in own and not callable(its)]

    def _let_go(self) -> None:
        task, cell, self.asks = self.stuck, self.cell, None
        error = {
            "ename": "KeyboardInterrupt",
            "evalue": "",
            "traceback": ["KeyboardInterrupt"],
            "when": cells.moment(),
            "freed": True,
            "line": self.line,
        }
        self.stuck = self.waiting = self.cell = None
        self.line = ""
        # Idle before its answer is read, like the real one.
        if cell is None:
            task.reply({"status": "error", "error": error | {"kind": ""}})
        else:
            task.answer({"error": error, "seconds": 1.0})
        later, self.later = self.later, []
        for act in later:
            act()

    # What a cell may call.

    def _stick(self):
        raise cells.Hang

    def _wait_in(self, op, seq=None, group="0", **facts):
        raise cells.Hang(Collective(op, group, seq=seq, **facts))

    def _called(self, op, seq, group="0", **facts):
        self.recent.append(Collective(op, group, seq=seq, done=True, **facts))

    def _stop(self, of="debugger", text="", place="In [1] line 1"):
        raise cells.Stop(Asks(len(self.answered) + 1, of, text, place))

    def _die(self, status=-9):
        raise cells.Death(status)


def _ignore(status: int) -> None:
    """Of an engine that stands in no pool."""
