"""Events at random, on objects at random: the next steps give what an undisturbed run gives."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from random import Random
from signal import SIGKILL
from statistics import median
from tempfile import TemporaryDirectory

import psutil
from objects import COMMON, LOAD, OBJECTS, SAVE, STEP
from world import at_any_moment, until

import rankbook as rb
from rankbook.sessions.session import Session

__all__ = ["run"]

_STEPS = 6
_RANKS = 4
_PATIENCE = 30.0

_NOT_COPIED = ("FSDP, the older one",)

_PLACES = ("forward", "between", "backward")

_FORGET = """
import gc, sys
model = optimizer = mesh = weight = update = pairs = evens = odds = schedule = stage = None
sys.last_value = sys.last_traceback = sys.last_exc = None
gc.collect()
"""


@dataclass
class Healing:
    """What became of the trials."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    by_event: dict[str, int] = field(default_factory=dict)
    resets: list[float] = field(default_factory=list)
    grown: str = ""

    @property
    def is_good(self) -> bool:
        return not self.wrong

    def lines(self) -> list[str]:
        events = ", ".join(f"{count} {name}" for name, count in sorted(self.by_event.items()))
        count = self.right + len(self.wrong)
        took = f"; a reset took {median(self.resets):.2f} s" if self.resets else ""
        return [
            f"healing: {self.right} of {count} trials right ({events}){took}",
            f"         {self.grown}",
        ]


def run(count: int, random: Random) -> Healing:
    """Try so many events.

    Args:
        count: Events.
        random: Draws objects, steps and events.
    """
    report = Healing()
    session = rb.start("gloo", _RANKS)
    try:
        expected: dict[str, list[object]] = {}
        for name in OBJECTS:
            _make(session, name)
            expected[name] = [_step(session, k) for k in range(_STEPS)]
        before = _held(session)
        for _ in range(count):
            _try(session, random, expected, report)
        session.reset(clean=True)
        session.run(_FORGET)
        # What a former group has left is released a moment after it.
        until(lambda: _threads(_held(session)) <= _threads(before), _PATIENCE)
        report.grown = f"threads, descriptors, MB of the ranks: {before} before, {_held(session)}"
    finally:
        session.shutdown()
    return report


def _try(session: Session, random: Random, expected: dict, report: Healing) -> None:
    name, k = random.choice([*OBJECTS]), random.randrange(_STEPS - 1)
    events = [*_EVENTS, *(["kill"] if name not in _NOT_COPIED else [])]
    event, rank = random.choice(events), random.randrange(_RANKS)
    if event == "kill" and name in SAVE:
        k = max(k, 1)  # torch's get_state_dict takes a step of an optimizer without state
    what = f"{name}, {event} on rank {rank} before or in step {k}, generation {session.generation}"
    try:
        _make(session, name)
        for step in range(k):
            _step(session, step)
        begin = time.perf_counter()
        held = _seen(session, "seen = state()")
        if event == "kill":
            _kill(session, random, rank, k, name)
        else:
            what += f", after which is said: {_EVENTS[event](session, random, rank, k)!r}"
        if event == "reset":
            report.resets.append(time.perf_counter() - begin)
        assert _seen(session, "seen = state()") == held, "the event has changed parameters"
        for step in range(k, _STEPS):
            assert _close(_step(session, step), expected[name][step]), f"step {step} differs"
    except (AssertionError, rb.RankbookError) as error:
        report.wrong.append(f"{what}: {type(error).__name__}: {str(error)[:500]}")
        print(report.wrong[-1], flush=True)  # noqa: T201 - a run takes long
        if session.dead_ranks:
            session.restart_ranks()
        session.reset(clean=True, interrupt=True)
    else:
        report.right += 1
    report.by_event[event] = report.by_event.get(event, 0) + 1


def _close(seen: object, expected: object) -> bool:
    """Equal to the bit, or but for rounding: of a DDP module that was cut in its second step."""
    numbers = [
        [float.fromhex(x) for its in states.values() for values in its for x in values]
        for states in (seen, expected)
    ]
    return seen == expected or all(
        abs(a - b) < 1e-5 + 1e-4 * abs(b) for a, b in zip(*numbers, strict=True)
    )


def _make(session: Session, name: str) -> None:
    session.run(_FORGET + COMMON + OBJECTS[name]).raise_for_error()


def _step(session: Session, k: int) -> object:
    return _seen(session, STEP.format(k))


def _seen(session: Session, code: str) -> dict:
    session.run(code).raise_for_error()
    return session.pull("seen")


def _skip(session: Session, random: Random, rank: int, k: int) -> str:
    return session.run(f"if rank != {rank}: grads({k})").note


def _raise(session: Session, random: Random, rank: int, k: int) -> str:
    session.run(f"if rank == {rank}: halt[{random.choice(_PLACES)!r}] = 'raise'")
    note = session.run(f"grads({k})").note
    session.run("halt.clear()")
    return note


def _interrupt(session: Session, random: Random, rank: int, k: int) -> str:
    return _interrupted(session, random, k, f"rank == {rank}")


def _interrupt_everywhere(session: Session, random: Random, rank: int, k: int) -> str:
    return _interrupted(session, random, k, "True")


def _interrupted(session: Session, random: Random, k: int, who: str) -> str:
    session.run(f"if {who}: halt[{random.choice(_PLACES)!r}] = 'sleep'")
    notes: list[str] = []
    cell = session.in_background(lambda: notes.append(session.run(f"grads({k})").note))
    at_any_moment(random, 1)
    session.interrupt()
    cell.join(_PATIENCE)
    session.run("halt.clear()")
    return "".join(notes)


def _raise_everywhere(session: Session, random: Random, rank: int, k: int) -> str:
    session.run("halt['backward'] = 'raise'")  # after a forward FSDP2 may leave parameters gathered
    note = session.run(f"grads({k})").note
    session.run("halt.clear()")
    return note


def _hang_elsewhere(session: Session, random: Random, rank: int, k: int) -> str:
    return session.run(f"if rank != {rank}: dist.barrier()").note


def _reset(session: Session, random: Random, rank: int, k: int) -> str:
    session.reset()
    return ""


def _twice(session: Session, random: Random, rank: int, k: int) -> str:
    notes = [_raise(session, random, rank, k), _reset(session, random, rank, k)]
    return " ".join([*notes, _skip(session, random, random.randrange(_RANKS), k)])


def _kill(session: Session, random: Random, rank: int, k: int, name: str) -> None:
    """Kill a rank, idle or in the middle of a step; fill another one from a rank that lives."""
    with TemporaryDirectory() as path:
        if name in SAVE:
            session.run(SAVE[name].format(path)).raise_for_error()
        place = random.choice([*_PLACES, None])
        if place is None:
            pid = _pids(session)[rank]
            os.kill(pid, SIGKILL)
        else:
            session.run(f"if rank == {rank}: halt[{place!r}] = 'die'")
            session.run(f"grads({k})")
        if until(lambda: rank in session.dead_ranks, _PATIENCE) > _PATIENCE:
            raise AssertionError(f"rank {rank} lives")
        source = random.choice([one for one in range(_RANKS) if one != rank])
        checkpoint = path if name in SAVE and name not in LOAD else None
        session.restart_ranks(from_rank=source, checkpoint=checkpoint)
        if name in LOAD:
            session.run(LOAD[name].format(path), ranks=rank).raise_for_error()


_EVENTS = {
    "skip": _skip,
    "raise": _raise,
    "raise everywhere": _raise_everywhere,
    "interrupt": _interrupt,
    "interrupt everywhere": _interrupt_everywhere,
    "hang elsewhere": _hang_elsewhere,
    "reset": _reset,
    "three in a row": _twice,
}


def _held(session: Session) -> list[tuple[int, int, int]]:
    processes = [psutil.Process(pid) for pid in _pids(session)]
    return [(p.num_threads(), p.num_fds(), p.memory_info().rss >> 20) for p in processes]


def _threads(held: list[tuple[int, int, int]]) -> int:
    return max(threads for threads, _, _ in held)


def _pids(session: Session) -> list[int]:
    return [*_seen(session, "import os\nseen = os.getpid()").values()]
