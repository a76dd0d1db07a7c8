"""What a session adds to the looks of ranks: which raised, which ended, which are silent."""

from __future__ import annotations

import pytest

from rankbook.models import Collective, Failure, GroupInfo, Look
from rankbook.models.calls import Call, LastCalls, Place
from rankbook.sessions.members import looks
from rankbook.sessions.members.outcomes import PENDING, when_it_was_lost

REDUCE = Collective("all_reduce", "0", seq=3)
GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538]"
LOST = Failure("RuntimeError", f"{GLOO} Connection closed by peer [127.0.0.1]:31250")


@pytest.fixture
def complete(formed):
    """Adds to the looks of the ranks what the session knows."""

    def completed(seen, progress):
        return looks.complete(formed.members, formed.members.ranks(), seen, progress)

    return completed


def idle(**facts):
    return Look("idle", **facts)


def unseen(engine, state, **facts):
    """What is known of an engine that did not answer."""
    return Look(state, engine=engine, host="a", pid=100 + engine, **facts)


def test_looks_of_ranks_that_answered_are_unchanged(complete):
    seen = {rank: idle(still=rank) for rank in range(4)}
    assert complete(seen, {}) == seen


def test_a_silent_rank_is_reported_as_not_answering(complete):
    found = complete({0: idle(), 1: idle(), 3: idle()}, {})
    assert found[2] == unseen(2, "no answer")
    assert set(found) == {0, 1, 2, 3}


@pytest.mark.parametrize("registered", [True, False])
def test_a_dead_rank_is_reported_with_its_signal_and_last_words(complete, pool, registered):
    pool[2].words = ["terminate called", "  what():  no"]
    pool.kill(2, -6, registered=registered)
    found = complete({0: idle(), 1: idle(), 2: idle(), 3: idle()}, {2: PENDING})
    assert found[2] == unseen(
        2, "gone", ended="was killed by SIGABRT", last_words=("terminate called", "no")
    )


def test_a_crash_is_reported_with_its_line_of_the_cell(complete, pool):
    pool[2].words = [
        "before it",
        "Fatal Python error: Segmentation fault",
        "Thread 0x2 (most recent call first):",
        '  File "/home/me/beside.py", line 89 in keep',
        "Current thread 0x1 (most recent call first):",
        '  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at',
        '  File "/tmp/ipykernel_12/8/In [3].py", line 4 in f',
        '  File "/tmp/ipykernel_12/9/In [4].py", line 2 in <module>',
        "Thread 0x3 (most recent call first):",
        '  File "/tmp/ipykernel_12/9/In [4].py", line 7 in <module>',
    ]
    pool.kill(2, -11)
    assert complete({}, {})[2] == unseen(
        2,
        "gone",
        line="In [3] line 4 in f, called from In [4] line 2",
        ended="was killed by SIGSEGV",
        last_words=("before it",),
    )


def test_a_crash_in_a_thread_of_cpp_is_reported_with_the_line_of_the_person(complete, pool):
    pool[2].words = [
        "Fatal Python error: Aborted",
        "Thread 0x2 (most recent call first):",
        '  File "/src/rankbook/distributed/destroying.py", line 109 in run',
        "Thread 0x1 (most recent call first):",
        '  File "/src/rankbook/engine/cells/bodies.py", line 40 in run',
        '  File "/tmp/ipykernel_12/9/In [4].py", line 2 in <module>',
    ]
    pool.kill(2, -6)
    assert complete({}, {})[2].line == "In [4] line 2"


def test_an_engine_that_left_a_joined_cluster_is_reported_as_gone(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    session.pool.end([1])
    members = session.members
    found = looks.complete(members, members.ranks(), {0: idle()}, {})
    assert found == {0: idle(), 1: unseen(1, "gone", ended="has ended")}


@pytest.mark.parametrize(
    ("outcome", "look"),
    [
        (PENDING, Look("running", "the cell in a moment")),
        (None, idle(line="its cell has ended")),
        (
            Failure("ValueError", "no\nsecond line", line="line 3: f()"),
            idle(line="line 3: f()", raised="ValueError: no"),
        ),
        (Failure("KeyboardInterrupt", ""), idle(raised="KeyboardInterrupt")),
    ],
)
def test_the_outcome_of_the_cell_is_added_to_an_idle_rank(complete, outcome, look):
    assert complete({1: idle()}, {1: outcome})[1] == look


BARRIER = Collective("barrier", "0", seq=2, done=True)


@pytest.mark.parametrize(
    ("recent", "call"),
    [
        ((BARRIER, REDUCE), REDUCE),
        ((REDUCE, BARRIER), REDUCE),
        ((BARRIER,), BARRIER),
        ((), Collective("wait")),
    ],
)
def test_a_rank_that_lost_a_connection_is_reported_in_its_last_collective(recent, call):
    """Its call ended because the rank at the other end did; that is no cause of its own."""
    failure = Failure(LOST.ename, LOST.evalue, line="line 2: dist.all_reduce(x)")
    look = when_it_was_lost(idle(recent=recent), failure)
    assert (look.state, look.waiting, look.line) == ("waiting", call, failure.line)
    assert look.raised == ""


def test_a_rank_that_lost_a_connection_had_waited_until_its_call_failed():
    call = Collective("barrier", "0", seq=1, done=True, since=1.3, took=0.05)
    look = when_it_was_lost(idle(recent=(call,)), Failure(LOST.ename, LOST.evalue))
    assert look.waiting.since == 0.05


@pytest.mark.parametrize(
    "failure",
    [
        Failure("ConnectionRefusedError", "[Errno 111] Connection refused"),
        Failure("BrokenPipeError", "[Errno 32] Broken pipe"),
        Failure("URLError", "<urlopen error [Errno 104] Connection reset by peer>"),
        Failure("RuntimeError", "database: connection refused"),
    ],
)
def test_a_connection_error_of_user_code_is_reported_as_raised(complete, failure):
    look = complete({1: idle(recent=(BARRIER,))}, {1: failure})[1]
    assert (look.state, look.raised) == ("idle", f"{failure.ename}: {failure.evalue}")


@pytest.mark.parametrize("outcome", [PENDING, None, Failure("ValueError", "no")])
@pytest.mark.parametrize(
    "look", [Look("running", "line 1: f()", 1), Look("waiting", "", 1, REDUCE)]
)
def test_the_look_of_a_busy_rank_is_unchanged_by_its_outcome(complete, look, outcome):
    assert complete({1: look}, {1: outcome})[1] == look


def test_looks_are_completed_for_the_ranks_that_began_the_cell(formed, pool):
    """All engines are being replaced while a thread still waits for a cell."""
    then = formed.members.ranks([0, 1])
    formed.members.placement = None
    pool.kill(1)
    found = looks.complete(formed.members, then, {0: idle()}, {})
    assert found == {0: idle(), 1: unseen(1, "gone", ended="was killed by SIGKILL")}


FILE = Place("/home/me/train.py", 6, "step")
LAST = LastCalls(
    102,
    (
        Call(1, "broadcast", group="0", generation=1, number=9, issued=1.0, completed=2.0),
        Call(2, "all_reduce", group="0", generation=2, number=1, place=FILE, issued=3.0),
    ),
    awaited=2,
)


def test_a_dead_rank_is_reported_with_its_last_calls_in_the_present_group(complete, pool, formed):
    """An engine that lives on the same host reads them."""
    pool[0].left = {"2.calls": LAST}
    pool.kill(2, -9)
    info = GroupInfo("gloo", 0, 4, "cpu", is_main=True, generation=2)
    called = Collective("all_reduce", "0", (0, 1, 2, 3), 1)
    formed.members.generation = 2
    found = complete({0: idle(info=info, recent=(called,))}, {})[2]
    assert [(call.op, call.seq, call.ranks) for call in found.recent] == [
        ("all_reduce", 1, (0, 1, 2, 3))
    ]
    assert found.waiting is not None
    assert found.line == "train.py:6 in step"
    complete({}, {})
    assert [engine.asked.count("last_calls") for engine in pool.all.values()] == [1, 0, 0, 0]


def test_without_a_living_rank_on_its_host_nothing_is_known_of_a_rank_that_died(complete, pool):
    for number in (0, 1, 3):
        pool.kill(number)
    pool.kill(2)
    found = complete({}, {})[2]
    assert (found.state, found.recent, found.waiting) == ("gone", (), None)


def test_who_has_ended_a_cell_of_another_session_is_known_by_the_cell_that_others_run(complete):
    seen = {
        0: Look("waiting", ran="In [3]"),
        1: idle(ran="In [3]"),
        2: idle(ran="In [3]", last_error="KeyError: 'x: y'", failed_at="In [3] line 2"),
        3: idle(ran="In [2]", last_error="ValueError: an older one"),
    }
    found = complete(seen, {})
    assert found[1].line == "its cell has ended"
    assert (found[2].raised, found[2].line) == ("KeyError: 'x: y'", "In [3] line 2")
    assert (found[3].line, found[3].raised) == ("", "")


@pytest.mark.parametrize("others", [["idle", ""], ["running", ""], ["waiting", "In [4]"]])
def test_without_a_common_cell_nothing_is_said_of_idle_ranks(complete, others):
    state, ran = others
    seen = {
        0: Look(state, ran=ran),
        1: Look("waiting" if ran else "idle", ran="In [3]"),
        **{rank: idle(ran="In [3]") for rank in (2, 3)},
    }
    assert {look.line for look in complete(seen, {}).values()} == {""}


def test_an_exception_of_a_loaders_worker_is_reported_by_what_it_was(complete):
    message = (
        "Caught OSError in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n"
        '  File "train.py", line 7, in __getitem__\n'
        "OSError: corrupt sample\n"
    )
    found = complete({0: idle(), 1: idle(), 2: idle(), 3: idle()}, {1: Failure("OSError", message)})
    assert found[1].raised == "OSError: corrupt sample (in DataLoader worker process 0)"
