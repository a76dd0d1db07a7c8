"""Since when a rank waits, and for how long it has stood still."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from accounts import SETTLED, aside, awaits
from processes import let_pass, wait_until
from steps import SOON

from rankbook.engine.looking.frames import Position
from rankbook.engine.looking.stillness import Movement

# -- since when --------------------------------------------------------------------------------


def test_a_rank_in_python_has_waited_for_no_time(observer, at, account):
    at(line="line 2: f(x)")
    assert observer.look("run", 7, 0, closely=True).since == 0.0


def test_a_wait_that_is_not_announced_lasts_since_it_was_first_seen():
    movement = Movement()
    there, elsewhere = Position(mark=((1, 2),)), Position(mark=((1, 3),))
    assert movement.seen(there).here < 0.05
    wait_until(lambda: movement.seen(there).here > 0.05, SOON)
    assert movement.seen(elsewhere).here < 0.05
    movement.forget()
    assert movement.seen(elsewhere).here < 0.05


# -- asking again and again --------------------------------------------------------------------


def asks(**more):
    """What an account says of a main thread that has asked for two seconds."""
    wait = awaits("all_reduce", 3, kind="poll")
    return replace(wait, began=time.time() - 2, line="In [4] line 2", **more)


def test_a_rank_that_asks_again_and_again_waits_in_that_call(observer, at, account):
    at(line="In [4] line 3: time.sleep(1)")
    account.wait = asks()
    look = observer.look("run", 7, 0, closely=True)
    assert (look.state, look.line, look.polls) == ("waiting", "In [4] line 2", True)
    assert (look.waiting.op, look.waiting.seq) == ("all_reduce", 3)
    assert look.still == look.quiet >= 2


def test_a_rank_that_asks_in_a_loop_with_another_way_out_may_end_by_itself(observer, at, account):
    at(line="In [4] line 2")
    account.wait = asks(may_end=True)
    look = observer.look("run", 7, 0, closely=True)
    assert (look.state, look.may_end) == ("waiting", True)


def test_a_rank_whose_coroutine_asks_may_end_by_itself(observer, at, account):
    at(in_loop=True)
    account.wait = asks()
    assert observer.look("run", 7, 0, closely=True).may_end


def test_a_wait_with_a_short_timeout_of_its_own_ends_by_itself(settled, at, account):
    at(in_torch=True, awaits="work")
    account.wait = awaits("all_reduce", 3)
    assert not settled().may_end
    account.wait = replace(account.wait, may_end=True, timeout=8.0)
    look = settled()
    assert (look.state, look.may_end) == ("waiting", True)
    assert look.still > 0
    assert 0 < look.gives_up <= 8


# -- standing still ----------------------------------------------------------------------------


def test_a_look_says_for_how_long_the_main_thread_has_stood_still(observer, at, account):
    at(line="line 2: f(x)", mark=((1, 2),))

    def watch():
        begin = time.monotonic()
        first = observer.look("run", 7, 0, closely=True).still
        wait_until(lambda: observer.look("run", 7, 0, closely=True).still >= SETTLED, SOON)
        assert observer.look("run", 7, 0, closely=True).still <= time.monotonic() - begin
        return first

    assert aside(watch) == 0.0


def test_a_rank_that_begins_something_else_has_not_stood_still(observer, at, account):
    at(line="line 2: f(x)", mark=((1, 2),))

    def watch():
        wait_until(lambda: observer.look("run", 7, 0, closely=True).still >= SETTLED, SOON)
        observer.forget()
        return observer.look("run", 8, 0, closely=True).still

    assert aside(watch) == 0.0


def test_a_main_thread_that_was_given_a_core_has_moved(observer, at, account):
    """Even if it stands at the same place again: a loop in C, say."""
    at(line="line 2: f(x)", mark=((1, 2),))
    let_pass(0.001)
    observer.look("run", 7, 0, closely=True)
    for _ in range(5):
        let_pass(0.001)
        assert observer.look("run", 7, 0, closely=True).still == 0.0


def test_a_process_in_which_no_thread_computes_is_quiet(observer, at, account):
    at()
    aside(
        lambda: wait_until(lambda: observer.look("run", 7, 0, closely=True).quiet > SETTLED, SOON)
    )


@pytest.mark.parametrize("known", [0.0, 0.3, 1e6, None])
def test_a_rank_that_waits_says_for_how_long_no_data_has_moved(
    observer, at, account, silence, known
):
    silence[0] = known
    look = waiting_look(observer, at)
    assert (look.state, look.silent) == ("waiting", known)


def waiting_look(observer, at):
    at(in_torch=True, awaits="work")
    looks = []
    aside(
        lambda: wait_until(
            lambda: looks.append(observer.look("run", 7, 0, closely=True)) or looks[-1].waiting,
            SOON,
        )
    )
    return looks[-1]


@pytest.fixture
def computing():
    """Another thread of this process uses a core all the time."""
    done = threading.Event()

    def compute():
        while not done.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    yield
    done.set()
    thread.join()


def still_for_half_a_second(observer):
    """The last of looks at a rank that stands still, whose process has used a core meanwhile."""
    looks, of_others = [], []

    def watch():
        def has_seen_enough():
            looks.append(observer.look("run", 7, 0, closely=True))
            of_others.append(time.process_time() - time.thread_time())
            return looks[-1].still > 0.5 and of_others[-1] - of_others[0] > 0.2

        wait_until(has_seen_enough, SOON)

    aside(watch)
    return looks[-1]


def test_a_process_in_which_another_thread_computes_is_not_quiet(observer, at, account, computing):
    at()
    look = still_for_half_a_second(observer)
    assert look.quiet < look.still / 2


def test_a_rank_that_waits_in_a_store_is_as_quiet_as_it_is_still(observer, at, account, computing):
    """That threads of its process use a core is no reason to think otherwise."""
    at(in_torch=True, in_store=True)
    look = still_for_half_a_second(observer)
    assert look.quiet == look.still


@pytest.mark.parametrize(("kind", "long"), [("work", True), ("issue", False), ("store", False)])
def test_only_a_wait_for_a_handle_reports_the_time_without_traffic(
    observer, at, account, kind, long
):
    at(line="line 2: f(x)", call="all_reduce", in_torch=True, awaits=kind)
    account.wait = replace(awaits("all_reduce", 5, kind), began=time.time() - 9)
    looks = []

    def is_seen_to_wait():  # the main thread may have been scheduled meanwhile
        looks.append(observer.look("run", 7, 0, closely=True))
        return looks[-1].waiting is not None

    aside(lambda: wait_until(is_seen_to_wait, SOON))
    assert looks[-1].still < 9
    assert (looks[-1].in_wait >= 9) == long
