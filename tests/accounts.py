"""What an engine's account of calls says in a test, and looks that take time."""

from __future__ import annotations

import threading
import time

import psutil
from processes import wait_until

from rankbook import calls
from rankbook.models.calls import Call, Wait

MAIN = threading.main_thread().ident
SETTLED = 0.1  # seconds of standing still that are enough for anything


class Account(calls.Ledger):
    """Takes the ledger's place: what the rank has called, and what its main thread awaits."""

    def __init__(self):
        super().__init__()
        self.calls, self.wait, self.asked = (), None, 0

    def say(self, *calls):
        self.calls = calls

    def present_waits(self):
        return {MAIN: self.wait} if self.wait else {}

    def latest(self, since, kept):
        self.asked += 1
        return list(self.calls)


def aside(call):
    """Make a call in another thread while this one, the main thread, stands still."""
    seen, scheduled = [], []

    def stands():
        # On Linux this counts the main thread only. It may still be on its way to the join.
        scheduled.append(psutil.Process().num_ctx_switches())
        return scheduled[-1:] == scheduled[-2:-1]

    def watch():
        wait_until(stands)
        seen.append(call())

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    return seen[0]


def call(op, number, group="0", *, done=True, created=1_000, sizes=(), dtypes=(), **more):
    """A call, and whether it is open."""
    found = Call(
        number,
        op,
        "",
        group,
        (),
        0,
        number,
        shapes=sizes,
        dtypes=dtypes,
        issued=created / 1e9,
        **more,
    )
    return found, not done


def awaits(op, number, kind="work", **more):
    """A wait of the main thread for a call."""
    return Wait(kind, MAIN, time.time(), call(op, number, **more)[0])


def numbers(calls):
    return [(its.group, its.seq) for its in calls]
