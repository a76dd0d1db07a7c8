"""What the dashboard's buttons do, on a session whose engines live in this process."""

from __future__ import annotations

import re
import threading
import types
from dataclasses import replace

import pytest
from fakes import FOR_GOOD
from processes import wait_until
from steps import SOON, end_of, run_stuck

from rankbook.display import stacks, verdict
from rankbook.display.dashboard.controls import CONTROLS
from rankbook.display.dashboard.panel import Answer
from rankbook.errors import EngineError
from rankbook.models import Diagnosis
from rankbook.widgets import actions
from rankbook.widgets.actions import Actions
from rankbook.widgets.clicks import Click

LABELS = {control.do: control.label for control in CONTROLS}
CHANGES = ("initialise", "reset", "restart")
ASKS = ("why", "stacks")


class Board:
    """Clicks, waits for what comes of it, and keeps what is said."""

    def __init__(self, session):
        self.said = []
        self.looked = []  # in which threads, and after what
        self.actions = Actions(session, self._heard, self._ended)

    def _heard(self):
        message = self.actions.message
        self.said.append((message.kind, message.text) if message else None)

    def _ended(self):
        self.looked.append((threading.current_thread().name, self.actions.message.kind))

    def press(self, do, during=0, late=0.0, **form):
        """Click; return the thread in which it is carried out, None if it is not."""
        return self.actions.take(Click(do, late, during, form))

    def click(self, do, during=0, late=0.0, **form):
        """Click and wait for the end; return the last message without how long it took."""
        self.said.clear()
        thread = self.press(do, during, late, **form)
        if thread is not None:
            end_of(thread)
        return self.last

    @property
    def last(self):
        if self.actions.message is None:
            return None
        return self.actions.message.kind, re.sub(
            r" \(\d+\.\d\d s\)$", "", self.actions.message.text
        )


@pytest.fixture
def board(formed):
    """The buttons of a session whose group of four is formed."""
    return Board(formed)


OLD = Answer("Stacks", "<pre>of an earlier group</pre>")


# -- each of them ----------------------------------------------------------------------------


def test_before_the_first_click_there_is_no_message_and_no_answer(board):
    assert board.actions.message is None
    assert board.actions.answer is None
    assert board.said == []


def test_initialise_takes_backend_number_and_timeout(board, formed, make):
    assert board.click("initialise", backend="gloo", nproc="3", timeout="2.5") == (
        "done",
        "Initialise: gloo, 3 ranks, generation 2.",
    )
    assert (formed.world_size, formed.generation, formed.timeout_minutes) == (3, 2, 2.5)
    gpus = make(2, gpus=2)
    assert (
        Board(gpus)
        .click("initialise", backend="nccl", nproc="2")[1]
        .startswith("Initialise: nccl, 2 ranks")
    )
    assert gpus.backend == "nccl"


@pytest.mark.parametrize("form", [{}, {"backend": "", "nproc": "", "timeout": ""}])
def test_initialise_keeps_what_the_form_leaves_empty(board, formed, form):
    formed.initialize("gloo", 3, 2.5)
    board.click("initialise", **form)
    assert (formed.world_size, formed.generation, formed.timeout_minutes) == (3, 3, 2.5)


def test_initialise_makes_the_first_group_too(session):
    assert Board(session).click("initialise", backend="gloo", nproc="1", timeout="1") == (
        "done",
        "Initialise: gloo, 1 rank, generation 1.",
    )


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"nproc": "many"}, "Ranks: 'many' is not a whole number."),
        ({"nproc": "2.5"}, "Ranks: '2.5' is not a whole number."),
        ({"timeout": "1 h"}, "Timeout: '1 h' is not a number."),
        ({"nproc": "0"}, "A group needs at least 1 rank, not 0."),
        ({"timeout": "0"}, "The timeout must be positive, for example 1, and not 0."),
    ],
)
def test_initialise_refuses_numbers_that_make_no_group(board, formed, form, said):
    assert board.click("initialise", **form) == ("error", f"Initialise: {said}")
    assert (formed.world_size, formed.generation) == (4, 1)


@pytest.mark.parametrize("form", [{"nproc": "many"}, {"timeout": "1 h"}])
def test_initialise_with_text_for_a_number_interrupts_nothing(board, formed, form):
    thread, _ = run_stuck(formed)
    board.actions.answer = OLD
    assert board.click("initialise", during=formed.turn, **form)[0] == "error"
    assert thread.is_alive()
    assert board.actions.answer is OLD
    formed.interrupt()
    end_of(thread)


def test_reset_makes_a_new_generation(board, formed):
    assert board.click("reset") == ("done", "Reset: gloo, 4 ranks, generation 2.")
    assert formed.generation == 2


@pytest.mark.parametrize("do", ["initialise", "reset"])
@pytest.mark.parametrize("code", ["stick()", "wait_in('all_reduce', seq=1)"])
def test_initialise_and_reset_interrupt_the_cell_and_make_one_group(board, formed, do, code):
    formed.run("kept = rank")
    thread, ended = run_stuck(formed, code=code)
    assert board.click(do, during=formed.turn) == (
        "done",
        f"{LABELS[do]}: gloo, 4 ranks, generation 2.",
    )
    end_of(thread)
    assert {its.error.ename for its in ended["result"].values()} == {"KeyboardInterrupt"}
    assert formed.generation == 2
    assert formed.pull("kept") == {rank: rank for rank in range(4)}


@pytest.mark.parametrize(
    ("dead", "said"),
    [([2], "rank 2 has a new process"), ([0, 2, 3], "ranks 0,2-3 have new processes")],
)
def test_restart_replaces_the_dead_and_names_them(board, formed, pool, dead, said):
    for rank in dead:
        pool.kill(rank)
    assert board.click("restart") == (
        "done",
        f"Restart ended ranks: {said}; gloo, 4 ranks, generation 2.",
    )
    assert formed.run("rank").ok


def test_restart_from_the_details_of_a_rank_replaces_that_one_though_it_lives(board, formed):
    before = [state.pid for state in formed.snapshot().states]
    assert board.click("restart", rank="2") == (
        "done",
        "Restart: rank 2 has a new process; gloo, 4 ranks, generation 2.",
    )
    after = [state.pid for state in formed.snapshot().states]
    assert [old != new for old, new in zip(before, after, strict=True)] == [0, 0, 1, 0]


def test_the_outcome_of_an_action_goes_when_it_is_no_news_though_no_cell_follows(
    board, monkeypatch
):
    board.click("reset")
    board.actions.let_go()
    assert board.actions.message is not None
    monkeypatch.setattr(actions, "_NEWS", 0.0)
    board.actions.let_go()
    assert board.actions.message is None
    board.click("initialise", backend="nccl")
    board.actions.let_go()
    assert board.actions.message.kind == "error"  # until something else is asked for


def test_restart_says_that_no_rank_has_died(board, formed):
    board.actions.answer = OLD
    assert board.click("restart") == ("done", "Restart ended ranks: no rank has ended.")
    assert formed.generation == 1
    assert board.actions.answer is OLD


def test_restart_interrupts_the_cell_of_the_other_ranks(board, formed, pool):
    thread, _ = run_stuck(formed, "0-1")
    pool.kill(2)
    assert board.click("restart", during=formed.turn)[0] == "done"
    end_of(thread)
    assert formed.generation == 2
    assert formed.run("rank").ok


@pytest.mark.parametrize("code", ["stick()", "wait_in('all_reduce', seq=1)"])
def test_interrupt_frees_the_ranks(board, formed, code):
    thread, ended = run_stuck(formed, code=code)
    assert board.click("interrupt", during=formed.turn) == (
        "done",
        "Interrupt: the ranks are free, their variables in place.",
    )
    end_of(thread)
    assert not ended["result"].ok
    assert formed.run("rank").ok


def test_interrupt_says_that_nothing_runs(board, formed):
    assert board.click("interrupt") == ("done", "Interrupt: nothing runs on any rank.")
    assert formed.generation == 1


def test_interrupt_names_the_rank_that_does_not_let_go(board, formed, pool):
    pool[1].ignores = FOR_GOOD
    thread, _ = run_stuck(formed, "1")
    kind, text = board.click("interrupt", during=formed.turn)
    assert kind == "error"
    assert text.startswith(
        "Interrupt: The interrupt did not end the cell: rank 1 is at cell 1 line 1"
    )
    pool[1].ignores = 0
    formed.interrupt()
    end_of(thread)


def test_why_shows_the_verdict_as_an_answer(board, formed, pool):
    thread, _ = run_stuck(formed, code="stick() if rank else wait_in('all_reduce', seq=1)")
    found = formed.diagnose()
    assert board.click("why") == ("done", f"Why? {found.summary}")
    assert board.actions.answer == Answer("Why?", verdict.to_html(found))
    assert thread.is_alive()
    formed.interrupt()
    end_of(thread)


def test_a_verdict_that_the_dashboard_shows_already_is_not_shown_twice(board, formed, watchful):
    thread, _ = run_stuck(
        formed, code="wait_in('all_reduce' if rank else 'barrier')", on_hang="wait"
    )
    wait_until(lambda: formed.verdict is not None, SOON)
    assert board.click("why") == ("done", f"Why? {formed.verdict.summary}")
    assert board.actions.answer is None
    formed.interrupt()
    end_of(thread)


def test_stacks_shows_the_stack_of_every_rank(board, formed, pool):
    assert board.click("stacks") == ("done", "Stacks: where ranks 0-3 stand.")
    assert board.actions.answer == Answer("Stacks", stacks.to_html(formed.stacks()))
    for rank in (0, 1, 3):
        pool.kill(rank)
    assert board.click("stacks") == (
        "done",
        "Stacks: where rank 2 stands; ranks 0-1,3 do not answer.",
    )


def test_a_message_of_an_earlier_turn_is_dropped_after_time_to_read_it(board, formed):
    board.click("stacks")
    said, answer = board.actions.message, board.actions.answer
    formed.timing = replace(formed.timing, read=0.0)
    board.actions.let_go()  # nothing else has happened since
    assert (board.actions.message, board.actions.answer) == (said, answer)
    formed.run("1")
    formed.timing = replace(formed.timing, read=1000.0)
    board.actions.let_go()
    assert (board.actions.message, board.actions.answer) == (said, answer)
    formed.timing = replace(formed.timing, read=0.0)
    board.actions.let_go()
    assert (board.actions.message, board.actions.answer) == (None, None)


def test_the_message_of_a_running_action_stays_until_it_has_ended(board, formed):
    formed.timing = replace(formed.timing, read=0.0)
    board.actions.say("Reset", "busy")
    formed.run("1")
    board.actions.let_go()
    assert board.last == ("busy", "Reset")


def test_a_new_answer_replaces_the_one_before(board):
    board.click("stacks")
    board.click("why")
    assert board.actions.answer.title == "Why?"


def test_shut_down_works_while_a_cell_runs(board, formed):
    thread, _ = run_stuck(formed)
    assert board.click("shutdown", during=formed.turn) == (
        "done",
        "Shut down: run %dist_init for new ranks.",
    )
    end_of(thread)
    assert formed.is_closed


def test_close_removes_the_answer_and_its_message(board):
    board.click("stacks")
    assert board.click("close") is None
    assert board.actions.answer is None
    assert board.said == [None]


@pytest.mark.parametrize("do", ["initialise", "reset", "restart", "shutdown"])
def test_an_action_that_changes_the_group_removes_an_answer_about_the_old_one(board, pool, do):
    if do == "restart":
        pool.kill(1)
    board.actions.answer = OLD
    board.click(do)
    assert board.actions.answer is None


@pytest.mark.parametrize("do", ["interrupt", "restart"])
def test_an_action_that_keeps_the_group_leaves_the_answer(board, do):
    board.actions.answer = OLD
    board.click(do)
    assert board.actions.answer is OLD


# -- what is said meanwhile and afterwards ---------------------------------------------------


@pytest.mark.parametrize("do", [control.do for control in CONTROLS])
def test_the_message_shows_a_running_action_and_then_its_seconds(board, do):
    board.click(do)
    (first, busy), (last, done) = board.said
    assert (first, busy) == ("busy", LABELS[do])
    assert last == "done"
    assert done.startswith(LABELS[do])
    assert re.search(r"\. \(\d+\.\d\d s\)$", done)


def test_take_returns_before_the_action_has_ended(board, formed, monkeypatch):
    """The thread that takes clicks must hear the next one."""
    go_on = threading.Event()
    monkeypatch.setattr(formed, "diagnose", lambda: go_on.wait(SOON) and Diagnosis("idle", (), "."))
    thread = board.press("why")
    assert (thread.name, thread.daemon) == ("rankbook-why", True)
    assert thread.is_alive()
    assert thread is not threading.current_thread()
    go_on.set()
    end_of(thread)
    assert board.last == ("done", "Why? .")


@pytest.mark.parametrize("do", ["initialise", "reset"])
def test_an_error_of_an_action_is_in_the_message(board, pool, do):
    pool[0].refuses = EngineError("not now. Try again.")
    assert board.click(do) == ("error", f"{LABELS[do]}: not now. Try again.")
    pool[0].refuses = None
    assert board.click(do)[0] == "done"


@pytest.mark.parametrize("do", ["why", "stacks", "interrupt"])
def test_an_action_without_a_group_says_so_in_the_message(session, do):
    board = Board(session)
    kind, text = board.click(do)
    assert kind == "error"
    assert text.startswith(f"{LABELS[do]}: There is no process group")
    assert board.actions.answer is None


@pytest.mark.parametrize("do", ["initialise", "reset", "interrupt", "why", "stacks"])
def test_an_action_after_the_shutdown_says_so_in_the_message(board, formed, do):
    formed.shutdown()
    assert board.click(do) == (
        "error",
        f"{LABELS[do]}: This session is shut down: start another with %dist_init.",
    )


@pytest.mark.parametrize("do", ["reset", "interrupt", "why"])
def test_an_action_without_a_controller_says_so_in_the_message(board, pool, do):
    pool.channel.lost.set()
    kind, text = board.click(do)
    assert kind == "error"
    assert "controller is gone" in text


@pytest.mark.parametrize(("do", "method"), [("reset", "reset"), ("why", "diagnose")])
def test_an_unexpected_error_is_shown_and_raised(board, formed, monkeypatch, do, method):
    raised = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))

    def fail(**_):
        raise ValueError("what?")

    with monkeypatch.context() as patch:
        patch.setattr(formed, method, fail)
        assert board.click(do) == ("error", f"{LABELS[do]}: ValueError: what?")
    assert [repr(error) for error in raised] == ["ValueError('what?')"]
    assert board.click(do)[0] == "done"


# -- clicks that are not meant any more ------------------------------------------------------


@pytest.mark.parametrize("do", LABELS)
def test_a_click_that_comes_late_is_not_carried_out(board, formed, do):
    before = len(formed.pool.wire.requests)
    board.actions.answer = OLD
    assert board.press(do, late=5) is None
    assert board.last == (
        "error",
        f"{LABELS.get(do, do)}: not done, the kernel received it only 5 s later. Click again.",
    )
    assert len(board.said) == 1
    assert len(formed.pool.wire.requests) == before
    assert board.actions.answer is OLD
    assert not formed.is_closed


@pytest.mark.parametrize("do", [*CHANGES, "shutdown"])
def test_a_click_for_a_cell_that_has_just_ended_is_carried_out(board, formed, do):
    """The page has not shown it yet; nothing else runs that could be hit."""
    formed.run("rank")
    assert board.click(do, during=formed.turn)[0] == "done"


def test_an_interrupt_of_a_cell_that_has_just_ended_does_nothing(board, formed):
    formed.run("rank")
    assert board.press("interrupt", during=formed.turn) is None
    assert board.last == ("done", "Interrupt: the cell had ended already.")


@pytest.mark.parametrize("do", [*CHANGES, "interrupt", "shutdown"])
def test_a_click_for_a_cell_that_has_ended_does_not_hit_the_next(board, formed, do):
    formed.run("rank")
    meant_for = formed.turn
    thread, _ = run_stuck(formed)
    assert board.press(do, during=meant_for) is None
    assert board.last == (
        ("done", "Interrupt: the cell had ended already.")
        if do == "interrupt"
        else (
            "error",
            f"{LABELS[do]}: not done, the cell had ended already. Click again.",
        )
    )
    assert thread.is_alive()
    assert (formed.generation, formed.is_closed) == (1, False)
    assert board.click("interrupt", during=formed.turn)[0] == "done"
    end_of(thread)


def test_an_interrupt_that_comes_too_late_to_the_session_does_not_hit_the_next(
    board, formed, monkeypatch
):
    """Its cell ran when the click was taken, and has ended before its thread begins."""
    begins, interrupt = threading.Event(), formed.interrupt

    def late_interrupt(**options):
        begins.wait(SOON)
        return interrupt(**options)

    monkeypatch.setattr(formed, "interrupt", late_interrupt)
    first, _ = run_stuck(formed)
    late = board.press("interrupt", during=formed.turn)
    interrupt()
    end_of(first)
    second, _ = run_stuck(formed)
    begins.set()
    end_of(late)
    assert board.last == ("done", "Interrupt: nothing runs on any rank.")
    assert second.is_alive()
    interrupt()
    end_of(second)


@pytest.mark.parametrize("do", ASKS)
def test_why_and_stacks_are_carried_out_whatever_runs(board, formed, do):
    formed.run("rank")
    end_of(board.press(do, during=formed.turn))
    assert "not done" not in str(board.last)


def test_a_click_on_an_unknown_button_is_ignored(board):
    assert board.press("dance") is None
    assert board.said == []


# -- one change at a time --------------------------------------------------------------------


@pytest.fixture
def changing(board, pool, monkeypatch):
    """While an Initialise waits for another engine to start."""
    begun, go_on = threading.Event(), threading.Event()
    grow = pool.grow

    def slowly(n):
        begun.set()
        assert go_on.wait(SOON)
        grow(n)

    monkeypatch.setattr(pool, "grow", slowly)
    thread = board.press("initialise", nproc="5")
    assert begun.wait(SOON)
    yield types.SimpleNamespace(thread=thread, go_on=go_on)
    go_on.set()
    end_of(thread)


@pytest.mark.parametrize("do", CHANGES)
@pytest.mark.timing(settle=0.01)
def test_a_change_while_another_is_under_way_is_refused(board, formed, pool, changing, do):
    before = len(pool.wire.requests)
    assert board.click(do, during=formed.turn) == (
        "error",
        f"{LABELS[do]}: not done, Initialise is under way. Wait for it.",
    )
    assert changing.thread.is_alive()
    assert len(pool.wire.requests) == before


@pytest.mark.parametrize("do", ["why", "stacks", "interrupt"])
@pytest.mark.timing(settle=0.01)
def test_why_stacks_and_interrupt_run_while_a_change_is_under_way(board, formed, changing, do):
    assert board.click(do, during=formed.turn)[0] == "done"
    assert changing.thread.is_alive()


@pytest.mark.timing(settle=0.01)
def test_the_outcome_of_a_change_is_shown_whatever_was_asked_meanwhile(board, formed, changing):
    board.click("stacks", during=formed.turn)
    assert board.last[1].startswith("Stacks: ")
    board.said.clear()
    changing.go_on.set()
    end_of(changing.thread)
    assert board.last == ("done", "Initialise: gloo, 5 ranks, generation 2.")


def test_only_an_action_that_is_carried_out_is_followed_by_a_look(board, pool):
    board.click("close")
    board.click("reset", late=60.0)
    assert board.looked == []
    board.click("why")
    pool[0].refuses = EngineError("not now.")
    board.click("reset")
    assert board.looked == [("rankbook-why", "done"), ("rankbook-reset", "error")]


def test_a_change_can_follow_another(board, formed):
    for generation, do in enumerate(("initialise", "reset", "initialise"), start=2):
        assert board.click(do) == (
            "done",
            f"{LABELS[do]}: gloo, 4 ranks, generation {generation}.",
        )


def test_a_change_can_follow_one_that_failed(board, pool):
    pool[0].refuses = EngineError("not now.")
    board.click("reset")
    pool[0].refuses = None
    assert board.click("initialise")[0] == "done"


@pytest.mark.timing(settle=0.01)
def test_a_shutdown_does_not_wait_for_a_change(board, formed, changing):
    assert board.click("shutdown", during=formed.turn)[0] == "done"
    assert formed.is_closed


def test_an_answer_about_an_earlier_group_is_not_shown(board, formed, monkeypatch):
    stacks = formed.stacks

    def slowly():
        found = stacks()
        board.click("reset")
        return found

    monkeypatch.setattr(formed, "stacks", slowly)
    board.click("stacks")
    assert board.actions.answer is None
    assert board.last == ("done", "Reset: gloo, 4 ranks, generation 2.")
