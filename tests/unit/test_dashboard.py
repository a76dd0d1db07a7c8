from __future__ import annotations

import queue
import re

import ipywidgets
import pytest
from IPython.utils.capture import capture_output

from rankbook.display.table import to_html, to_text
from rankbook.errors import EngineError
from rankbook.widgets import Dashboard, dashboard

WIDGET = "application/vnd.jupyter.widget-view+json"
CONTROLS = ("initialise", "reset", "shutdown", "backend", "nproc")


class StillMonitor:
    """A monitor that never looks by itself."""

    def __init__(self, session, listener):
        self.stopped = 0

    def stop(self):
        self.stopped += 1


@pytest.fixture
def board(session, monkeypatch):
    """The dashboard of a session whose group of four is formed."""
    monkeypatch.setattr(dashboard, "Monitor", StillMonitor)
    session.initialize("gloo")
    board = Dashboard(session)
    yield board
    board.close()


def disabled(board):
    return {name for name in CONTROLS if getattr(board, name).disabled}


def test_it_shows_the_table(board, session):
    assert board.table.value == to_html(session.snapshot())
    assert "gloo · 4 ranks · generation 1 · all idle" in board.table.value


def test_it_proposes_what_the_group_has(board):
    assert board.backend.value == "gloo"
    assert set(board.backend.options) == {"gloo", "nccl"}
    assert board.nproc.value == 4
    assert disabled(board) == set()


def test_a_backend_of_its_own_can_be_kept(make_board):
    board = make_board("cpu:gloo,cuda:nccl")
    assert board.backend.value == "cpu:gloo,cuda:nccl"
    assert set(board.backend.options) == {"cpu:gloo,cuda:nccl", "gloo", "nccl"}


@pytest.fixture
def make_board(monkeypatch):
    from fakes import FakePool

    from rankbook.sessions.session import Session

    monkeypatch.setattr(dashboard, "Monitor", StillMonitor)
    made = []

    def make(backend=None):
        session = Session(FakePool(2, gpus=2), lambda its: None)
        if backend:
            session.initialize(backend)
        made.append((session, Dashboard(session)))
        return made[-1][1]

    yield make
    for session, board in made:
        session.shutdown()
        board.close()


def test_without_a_group_it_can_make_one(make_board):
    board = make_board()
    assert "no process group" in board.table.value
    board.nproc.value = 2
    board.initialise.click()
    assert "2 ranks" in board.table.value
    assert "Initialise: done." in board.message.value


def test_initialise_takes_backend_and_number(board, session):
    board.nproc.value = 3
    board.initialise.click()
    assert (session.world_size, session.generation) == (3, 2)
    assert "3 ranks · generation 2" in board.table.value
    assert "Initialise: done." in board.message.value


def test_reset_makes_a_new_generation(board, session):
    board.reset.click()
    assert session.generation == 2
    assert "Reset: done." in board.message.value


def test_shut_down_shuts_down_and_disables_everything(board, session):
    board.shutdown.click()
    assert session.is_closed
    assert disabled(board) == set(CONTROLS)
    assert "shut down" in board.table.value
    assert board._monitor.stopped == 1


def test_an_error_is_shown_in_the_message_and_not_raised(board, session):
    board.backend.value = "nccl"
    board._doing(board._initialise)(board.initialise)
    assert "nccl needs GPUs and a shows none" in board.message.value
    assert session.generation == 1
    assert "gloo · 4 ranks" in board.table.value


def test_a_message_is_escaped_and_announced(board, session, pool):
    pool[0].refuses = EngineError("<img src=x>")
    board.reset.click()
    assert "&lt;img src=x&gt;" in board.message.value
    assert "<img" not in board.message.value
    assert 'role="status"' in board.message.value


def test_a_success_takes_an_old_error_away(board, pool):
    pool[0].refuses = EngineError("not now")
    board.reset.click()
    pool[0].refuses = None
    board.reset.click()
    assert "not now" not in board.message.value


def test_an_error_does_not_rely_on_its_colour(board, pool):
    """Its words say that it is one: they never end in 'done.'"""
    pool[0].refuses = EngineError("Engine 0 cannot.")
    board.reset.click()
    assert "Engine 0 cannot." in board.message.value
    assert "done." not in board.message.value


def test_a_click_while_the_controller_is_gone_is_an_error_in_the_message(board, pool):
    pool.channel.lost.set()
    board._doing(board._session.reset)(board.reset)
    assert "controller is gone" in board.message.value


def test_everything_is_disabled_while_the_session_is_busy(board, session):
    session.doing = "running a cell on ranks 0-3"
    board.show(session.snapshot())
    assert disabled(board) == set(CONTROLS)
    session.doing = ""
    board.show(session.snapshot())
    assert disabled(board) == set()


def test_what_it_does_itself_is_said_while_it_does_it(board):
    said = []
    board.message.observe(lambda change: said.append(change["new"]), "value")
    board._doing(lambda: said.append("acts"))(board.reset)
    assert "Reset …" in said[0]
    assert said[1] == "acts"
    assert "Reset: done." in said[2]


def test_nothing_is_sent_where_nothing_has_changed(board, session):
    sent = []
    board.table.observe(sent.append, "value")
    board.show(session.snapshot())
    assert sent == []
    session.initialize(nproc=2)
    board.show(session.snapshot())
    assert len(sent) == 1


def test_it_has_a_live_a_static_and_a_text_form(board, session):
    bundle = board._repr_mimebundle_()
    assert bundle[WIDGET]["model_id"] == board.model_id
    assert bundle["text/html"] == to_html(session.snapshot())
    assert bundle["text/plain"] == to_text(session.snapshot())


def test_the_static_forms_are_as_fresh_as_the_widget(board, session):
    session.initialize(nproc=2)
    board.show(session.snapshot())
    assert "2 ranks" in board._repr_mimebundle_()["text/plain"]
    assert "2 ranks" in board._repr_mimebundle_()["text/html"]


def test_ipython_shows_all_forms(board, shell):
    data, _ = shell.display_formatter.format(board)
    assert set(data) == {WIDGET, "text/html", "text/plain"}


def test_it_is_one_widget_however_often_it_is_shown(board):
    assert isinstance(board, ipywidgets.VBox)
    assert board._repr_mimebundle_()[WIDGET] == board._repr_mimebundle_()[WIDGET]
    assert repr(board) == "<Dashboard: gloo · 4 ranks · generation 1 · all idle>"


def test_every_button_has_words_and_says_what_it_does(board):
    for button in (board.initialise, board.reset, board.shutdown):
        assert button.description
        assert button.tooltip
    assert board.backend.description
    assert board.nproc.description


def test_it_follows_its_session(session, pool):
    """With the real monitor: what happens elsewhere is seen here."""
    session.initialize("gloo")
    board = Dashboard(session)
    changes = queue.Queue()
    board.table.observe(lambda change: changes.put(change["new"]), "value")
    pool.kill(2)
    while "was killed by SIGKILL" not in changes.get(timeout=10):
        pass
    session.shutdown()
    board._monitor._thread.join(10)
    assert not board._monitor._thread.is_alive()
    assert disabled(board) == set(CONTROLS)
    board.close()


def test_shown_it_leaves_a_table_where_it_cannot_live(board, shell):
    with capture_output() as shown:
        board.display()
    [table] = shown.outputs  # a terminal: no widget
    assert "4 ranks" in table.data["text/plain"]
    shell.kernel = object()
    with capture_output() as shown:
        board.display()
    table, live = shown.outputs
    assert WIDGET in live.data
    assert WIDGET not in table.data
    # Where the widget lives, its style hides the table.
    [hidden] = re.findall(r'<div class="(rankbook-\w+)">', table.data["text/html"])
    assert any(f".{hidden} {{ display: none }}" in getattr(w, "value", "") for w in board.children)
