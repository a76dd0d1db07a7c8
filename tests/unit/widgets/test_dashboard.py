"""The dashboard as a widget: what it sends to the page, and what it does with what comes back."""

from __future__ import annotations

import queue
import re
import threading
import time

import comm
import ipywidgets
import pytest
from fakes import FOR_GOOD, FakePool
from IPython.utils.capture import capture_output
from markup import tree
from processes import wait_until
from steps import SOON, end_of, run_stuck
from wire import Wire, say, stands_in

from rankbook.display.dashboard.panel import Panel
from rankbook.display.dashboard.panel import to_html as panel_html
from rankbook.display.table import to_html, to_text
from rankbook.errors import EngineError
from rankbook.models import Recorded
from rankbook.sessions.session import Session
from rankbook.widgets import Dashboard, dashboard, hearing
from rankbook.widgets.panel import PanelView

pytestmark = stands_in

WIDGET = "application/vnd.jupyter.widget-view+json"


class StillMonitor:
    """A monitor that never looks by itself."""

    def __init__(self, session, listener, on_error):
        self.on_error = on_error
        self.stopped = 0
        self.looks = []

    def watched(self, someone):
        self.looks.append(someone)

    def stop(self):
        self.stopped += 1


class Clock:
    """The kernel's, where it waits for pages to hear."""

    now = 1000.0

    def monotonic(self):
        return self.now


def ask(comm, times, pause=2.5):
    """Ask as a page does that hears nothing, with a pause after each question."""
    for _ in range(times):
        say(comm, {"kind": "hearing", "page": "a"})
        hearing.time.now += pause


@pytest.fixture
def make_board(monkeypatch, make, session):
    """Makes dashboards of sessions of one's own."""
    monkeypatch.setattr(comm, "create_comm", Wire)
    monkeypatch.setattr(dashboard, "Monitor", StillMonitor)
    made = []

    def make(session):
        made.append(Dashboard(session))
        made[-1].panel.comm.sent.clear()
        return made[-1]

    yield make
    for board in made:
        board.close()


@pytest.fixture
def board(make_board, formed):
    """The dashboard of a session whose group of four is formed."""
    return make_board(formed)


def tell(board, **content):
    """What a page says."""
    say(board.panel.comm, content)


def click(board, do, late=0.0, during=None, **form):
    """Click as a page does, and wait for what comes of it."""
    during = board.panel.during if during is None else during
    tell(board, kind="ask", id="p-1")
    tell(board, kind="click", id="p-1", do=do, age=late, during=during, form=form)
    for thread in threading.enumerate():
        if thread.name == f"rankbook-{do}":
            end_of(thread)


def page(board):
    return tree(board.panel.html)


def status(board):
    return page(board).one(role="status").text


def health(board):
    return page(board).one(kind="rb-words").text


def fact(board, name):
    return page(board).one("div", f"rb-{name}").one("dd").text


# -- what it shows ---------------------------------------------------------------------------


def test_the_timeline_has_a_lane_for_every_rank_before_a_page_shows_it(board):
    assert [lane["rank"] for lane in board.timeline.lanes] == [0, 1, 2, 3]


def test_the_dashboard_shows_the_panel_of_its_session(board, formed):
    assert board.panel.html == panel_html(Panel(formed.snapshot(), timeout_minutes=1))
    assert len(page(board).all("tr", "rb-row")) == 4


def test_the_form_proposes_the_timeout_of_the_group(make_board, session):
    session.initialize("gloo", timeout_minutes=2.5)
    assert page(make_board(session)).one("input", name="timeout")["value"] == "2.5"


def test_a_session_has_one_dashboard_however_often_it_is_shown(board):
    assert isinstance(board, ipywidgets.VBox)
    assert isinstance(board.children[0], PanelView)
    assert board._repr_mimebundle_()[WIDGET] == board._repr_mimebundle_()[WIDGET]
    assert repr(board) == "<Dashboard: gloo · 4 ranks · generation 1 · all idle>"


def test_the_dashboard_draws_snapshots(board, formed):
    formed.initialize(nproc=2)
    board.show(formed.snapshot())
    assert fact(board, "world-size") == "2"
    assert fact(board, "generation") == "2"


def test_the_dashboard_sends_nothing_for_an_equal_snapshot(board, formed):
    board.show(formed.snapshot())
    assert board.panel.comm.sent == []
    formed.initialize(nproc=2)
    board.show(formed.snapshot())
    [state] = board.panel.comm.states
    assert set(state) == {"html", "drawn"}


@pytest.mark.parametrize("which", ["panel", "timeline"])
def test_views_that_a_page_does_not_hear_are_replaced(board, formed, monkeypatch, which):
    monkeypatch.setattr(hearing, "time", Clock())
    deaf, old = getattr(board, which), (board.panel, board.timeline)
    ask(deaf.comm, 3)
    assert board.children[:2] == (board.panel, board.timeline)
    assert not set(board.children) & set(old)
    assert health(board) == "all idle"
    assert [lane["rank"] for lane in board.timeline.lanes] == [0, 1, 2, 3]
    # What replaces them is alive, and is given more time.
    click(board, "why")
    assert "Every rank is idle" in status(board)
    panel = board.panel
    ask(panel.comm, 3)
    assert board.panel is panel
    # If the page was not told that they are to be shown, what it shows still asks.
    board.comm.sent.clear()
    ask(deaf.comm, 1)
    assert [set(state) for state in board.comm.states] == [{"children"}]
    # A page that drops the former panel still shows the present one.
    say(old[0].comm, {"kind": "gone", "view": "v"})
    assert board.monitor.looks == []


def test_replaced_views_do_not_accumulate(board, monkeypatch):
    monkeypatch.setattr(hearing, "time", Clock())
    made = [board.panel, board.timeline]
    for patience in (2, 4, 8):
        ask(board.panel.comm, 3, patience + 0.5)
        made += [board.panel, board.timeline]
    is_open = [view.comm is not None for view in made]
    assert is_open == [view.layout.comm is not None for view in made]
    assert is_open == [False] * 4 + [True] * 4  # those before the present ones may still be shown
    wire = board.panel.comm
    board.close()
    assert [view.comm for view in made] == [None] * 8
    ask(wire, 3, 20)
    assert board.panel is made[-2]


def test_the_dashboard_shows_a_rank_that_dies(board, formed, pool):
    pool.kill(2)
    board.show(formed.snapshot())
    assert health(board) == "rank 2 ended · ranks 0-1,3 idle"
    assert "was killed by SIGKILL" in board.panel.html


def test_the_page_knows_which_cell_runs(board, formed):
    assert board.panel.during == 0
    thread, _ = run_stuck(formed)
    board.show(formed.snapshot())
    assert board.panel.during == formed.turn > 0
    formed.interrupt()
    end_of(thread)
    board.show(formed.snapshot())
    assert board.panel.during == 0


def test_the_dashboard_shows_the_verdict_until_a_reset(board, formed, watchful):
    code = "wait_in('all_reduce' if rank else 'all_gather', seq=1)"
    thread, _ = run_stuck(formed, code=code, on_hang="wait")
    wait_until(lambda: formed.verdict is not None, SOON)
    board.show(formed.snapshot())
    assert page(board).one(kind="rb-verdict")["aria-label"] == "This cell cannot end"
    click(board, "interrupt")
    end_of(thread)
    board.show(formed.snapshot())
    label = page(board).one(kind="rb-verdict")["aria-label"]
    assert label == "Why the last cell could not end"
    click(board, "reset")
    assert not page(board).has(kind="rb-verdict")


# -- clicks ----------------------------------------------------------------------------------


def test_initialise_uses_the_values_of_the_form(board, formed):
    click(board, "initialise", backend="gloo", nproc="3", timeout="2")
    assert (formed.world_size, formed.generation, formed.timeout_minutes) == (3, 2, 2)
    assert status(board).startswith("Initialise: gloo, 3 ranks, generation 2.")
    assert fact(board, "world-size") == "3"
    assert page(board).one("input", name="timeout")["value"] == "2"


def test_the_dashboard_makes_a_group_where_there_is_none(make_board, timing):
    session = Session(FakePool(2), timing)
    board = make_board(session)
    assert health(board) == "no process group"
    click(board, "initialise", backend="gloo", nproc="2", timeout="1")
    assert health(board) == "all idle"
    session.shutdown()


def test_an_answer_is_shown_until_it_is_closed(board):
    click(board, "stacks")
    answer = page(board).one(kind="rb-answer")
    assert "stack of engine 0" in answer.text
    click(board, "close")
    assert not page(board).has(kind="rb-answer")
    assert status(board) == ""


def test_the_dashboard_shows_at_once_what_an_action_has_changed(board, formed):
    thread, _ = run_stuck(formed)
    board.show(formed.snapshot())
    assert health(board) == "ranks 0-3 running"
    click(board, "interrupt")
    end_of(thread)
    assert health(board) == "all idle"


def test_the_dashboard_names_an_action_while_it_runs(board, formed, monkeypatch):
    shown = []
    reset = formed.reset
    monkeypatch.setattr(
        formed, "reset", lambda **given: (shown.append(page(board).one(role="status")), reset())
    )
    click(board, "reset")
    [busy] = shown
    assert (busy.text, busy.classes) == ("Reset", ["rb-message", "rb-busy"])
    assert status(board).startswith("Reset: gloo, 4 ranks, generation 2.")


def test_the_dashboard_shows_the_error_of_an_action_and_does_not_raise_it(board, formed):
    click(board, "initialise", backend="nccl")
    assert "nccl needs GPUs and a shows none" in status(board)
    assert formed.generation == 1


def test_a_message_of_the_dashboard_is_escaped(board, pool):
    pool[0].refuses = EngineError("<img src=x>")
    click(board, "reset")
    assert "<img src=x>" in status(board)
    assert "<img" not in board.panel.html


def test_the_message_of_a_success_replaces_an_old_error(board, pool):
    pool[0].refuses = EngineError("not now")
    click(board, "reset")
    assert "not now" in status(board)
    pool[0].refuses = None
    click(board, "reset")
    assert "not now" not in status(board)


def test_a_click_while_the_controller_is_gone_is_an_error_in_the_message(board, pool):
    pool.channel.lost.set()
    click(board, "reset")
    assert "controller is gone" in status(board)


def test_the_dashboard_hears_a_click_on_an_unknown_button_and_ignores_it(board):
    before = board.panel.html
    click(board, "dance")
    assert board.panel.comm.messages == [{"kind": "heard", "id": "p-1"}]
    assert board.panel.html == before


def test_the_dashboard_reports_a_late_click_and_does_not_carry_it_out(board, formed):
    click(board, "reset", late=5)
    assert "Reset: not done, the kernel received it only 5 s later. Click again." in status(board)
    assert formed.generation == 1


def test_the_dashboard_reports_a_click_for_an_ended_cell_and_does_not_carry_it_out(board, formed):
    thread, _ = run_stuck(formed)
    board.show(formed.snapshot())
    seen = board.panel.during
    formed.interrupt()
    end_of(thread)
    other, _ = run_stuck(formed)
    click(board, "reset", during=seen)
    assert "not done, the cell had ended already" in status(board)
    assert other.is_alive()
    formed.interrupt()
    end_of(other)


def test_every_button_works_while_a_cell_hangs(board, formed, pool):
    thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    board.show(formed.snapshot())
    for do, said in (("why", "Why? "), ("stacks", "Stacks: where ranks 0-3 stand.")):
        click(board, do)
        assert status(board).startswith(said)
    click(board, "reset")
    assert status(board).startswith("Reset: gloo, 4 ranks, generation 2.")
    end_of(thread)
    assert formed.run("rank").ok


def test_the_dashboard_names_a_rank_that_does_not_let_go(board, formed, pool):
    pool[1].ignores = FOR_GOOD
    thread, _ = run_stuck(formed, "1")
    board.show(formed.snapshot())
    click(board, "reset")
    assert "rank 1 is at cell 1 line 1: stick()" in status(board)
    pool[1].ignores = 0
    formed.interrupt()
    end_of(thread)


# -- the end ---------------------------------------------------------------------------------


def test_after_a_shutdown_the_dashboard_keeps_the_ranks_and_disables_its_controls(board, formed):
    click(board, "shutdown")
    assert formed.is_closed
    assert health(board) == "shut down"
    assert [its.text for its in page(board).all(kind="rb-pill")] == ["○ shut down"] * 4
    fields = page(board).all("button") + page(board).all("input") + page(board).all("select")
    kernel_s = [field for field in fields if field.attrs.get("data-do") != "beside"]
    assert all("disabled" in field.attrs for field in kernel_s)
    assert board.monitor.stopped >= 1


def test_an_engine_that_has_left_shows_no_activity(board, formed):
    thread, _ = run_stuck(formed)
    board.show(formed.snapshot())
    assert "line 1: stick()" in board.panel.html
    click(board, "shutdown")
    end_of(thread)
    assert "line 1: stick()" not in board.panel.html


# -- its monitor -----------------------------------------------------------------------------


def test_the_monitor_knows_whether_a_page_shows_the_dashboard(board):
    tell(board, kind="here", view="a")
    tell(board, kind="gone", view="a")
    assert board.monitor.looks == [True, False]


def test_the_dashboard_follows_its_session(formed, pool):
    """With the real monitor: what happens elsewhere is seen here."""
    board = Dashboard(formed)
    changes = queue.Queue()
    board.panel.observe(lambda change: changes.put(change["new"]), "html")
    pool.kill(2)
    while "was killed by SIGKILL" not in changes.get(timeout=SOON):
        pass
    formed.shutdown()
    assert board.monitor.join(SOON)
    assert health(board) == "shut down"
    board.close()


# -- where it cannot live --------------------------------------------------------------------


def test_the_dashboard_has_a_live_a_static_and_a_text_form(board, formed):
    bundle = board._repr_mimebundle_()
    assert bundle[WIDGET]["model_id"] == board.model_id
    assert bundle["text/html"] == to_html(formed.snapshot())
    assert bundle["text/plain"] == to_text(formed.snapshot())


def test_the_static_forms_show_the_state_of_the_widget(board, formed):
    formed.initialize(nproc=2)
    board.show(formed.snapshot())
    assert "2 ranks" in board._repr_mimebundle_()["text/plain"]
    assert "2 ranks" in board._repr_mimebundle_()["text/html"]


def test_ipython_shows_all_forms_of_the_dashboard(board, shell):
    data, _ = shell.display_formatter.format(board)
    assert set(data) == {WIDGET, "text/html", "text/plain"}


def test_display_leaves_a_table_for_pages_without_a_kernel(board, shell):
    with capture_output() as shown:
        board.display()
    [table] = shown.outputs  # a terminal: no widget
    assert "4 ranks" in table.data["text/plain"]
    shell.kernel = object()
    with capture_output() as shown:
        board.display()
    table, live = shown.outputs
    assert WIDGET in live.data
    assert live.data["text/plain"] == ""  # nbconvert and GitHub show the table alone
    assert WIDGET not in table.data
    # Where the widget lives, its style hides the table.
    [hidden] = re.findall(r'<div class="(rankbook-\w+)">', table.data["text/html"])
    # Where no kernel has it any more, the table's style hides JupyterLab's error below it.
    assert f".jp-OutputArea-child:has(.{hidden}) + " in table.data["text/html"]
    assert any(f".{hidden} {{ display: none }}" in getattr(w, "value", "") for w in board.children)


def test_without_a_controller_every_rank_is_shown_as_not_answering(formed, pool):
    board = Dashboard(formed)
    changes = queue.Queue()
    board.panel.observe(lambda change: changes.put(change["new"]), "html")
    pool.channel.lost.set()
    formed.changes.notify()
    while "no answer from ranks 0-3" not in (html := changes.get(timeout=SOON)):
        pass
    assert "controller is gone" in html
    assert "all idle" not in html
    pool.channel.lost.clear()
    board.close()


def test_the_message_about_a_lost_controller_goes_when_it_answers_again(board, formed):
    board.monitor.on_error("the controller does not answer.")
    assert status(board) == "the controller does not answer."
    board.show(formed.snapshot())
    assert (status(board), health(board)) == ("", "all idle")


def test_a_newer_message_stays_when_the_controller_answers_again(board, formed):
    board.monitor.on_error("the controller does not answer.")
    board.actions.say("Reset: done.")
    board.show(formed.snapshot())
    assert status(board) == "Reset: done."


def test_a_look_during_a_shutdown_is_not_an_error(board, formed):
    formed.shutdown()
    board.monitor.on_error("The session was shut down meanwhile.")
    board.show(formed.snapshot())
    assert (status(board), health(board)) == ("", "shut down")


def test_an_older_snapshot_does_not_replace_a_newer_one(board, formed):
    older = formed.snapshot()
    formed.reset()
    board.show(formed.snapshot())
    board.show(older)
    assert fact(board, "generation") == "2"


def test_a_closed_dashboard_is_replaced_and_stops_watching(formed):
    board = formed.dashboard()
    assert formed.dashboard() is board
    board.close()
    assert board.monitor.join(SOON)
    again = formed.dashboard()
    assert again is not board
    again.close()


def open_bars(board):
    """How many open bars each message to the page had that told of them."""
    messages = board.timeline.comm.messages
    return [content["count"] for content in messages if content["kind"] == "open"]


def test_after_a_shutdown_the_timeline_has_no_open_bar_and_no_running_cell(
    formed, watchful, pool, monkeypatch
):
    monkeypatch.setattr(comm, "create_comm", Wire)
    for number in pool.engines:
        pool[number].recorded = [Recorded(0, "all_reduce", "0", (), 1, 1, time.time())]
    board = Dashboard(formed)
    thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)", on_hang="wait")
    wait_until(lambda: board.timeline.cells and any(open_bars(board)), SOON)
    formed.shutdown()
    end_of(thread)
    assert board.monitor.join(SOON)
    assert open_bars(board)[-1] == 0
    assert all(cell["ended"] for cell in board.timeline.cells)
    board.close()
