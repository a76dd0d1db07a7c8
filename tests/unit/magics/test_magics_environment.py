"""``%dist_env``, on engines that live in this process."""

from __future__ import annotations

from dataclasses import replace

from steps import end_of, run_stuck

from rankbook import api
from rankbook.display.environment import Environments
from rankbook.errors import EngineError


def test_dist_env_shows_what_differs(notebook, pool):
    pool[2].runs_with = replace(pool[2].runs_with, threads=1)
    shown = notebook.run("%dist_env")
    assert isinstance(shown, Environments)
    assert repr(shown).splitlines()[0] == "4 ranks on 1 host · threads differs"
    assert "<table" in shown._repr_html_()


def test_dist_env_answers_while_a_cell_hangs(notebook, session):
    thread, _ = run_stuck(session)
    assert repr(notebook.run("%dist_env")).startswith("4 ranks on 1 host · nothing differs")
    session.interrupt()
    end_of(thread)


def test_dist_env_names_ranks_that_do_not_answer(notebook, pool):
    pool.kill(0)
    pool[3].answers = False
    shown = repr(notebook.run("%dist_env"))
    assert shown.startswith("2 ranks on 1 host · nothing differs")
    assert shown.splitlines()[0].endswith(" · no answer from ranks 0,3")
    pool[3].answers = True


def test_dist_env_of_engines_that_do_not_know_the_question_is_one_line(notebook, pool):
    def unknown():
        raise EngineError("The engine on a does not know 'environment'.")

    for engine in pool.all.values():
        engine.environment = unknown
    assert "does not know 'environment'" in notebook.usage("%dist_env")


def test_dist_env_without_a_group_or_a_session_is_one_line(empty, session, monkeypatch):
    assert "%dist_init" in empty.usage("%dist_env")
    monkeypatch.setattr(api.current, "session", session)
    assert empty.usage("%dist_env") == "There is no process group: make one with %dist_init."


def test_dist_env_takes_no_arguments(notebook):
    assert "%dist_env?" in notebook.usage("%dist_env all")
