"""What is asked of the user when ranks stop, and who gets the answer."""

from __future__ import annotations

import pytest
from fakes import Clock

from rankbook.cluster.placement import place
from rankbook.diagnosis import diagnose
from rankbook.errors import InputError, PromptError, RankError
from rankbook.models import Collective, Look
from rankbook.models.events import Asks
from rankbook.sessions.cells import prompting
from rankbook.sessions.cells.prompting import Command, Prompting
from rankbook.sessions.members import Members
from rankbook.timing import Timing

TRIANGLE = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
EVERYONE = {0, 1, 2, 3}


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(prompting, "time", clock)
    return clock


@pytest.fixture
def asked(pool, clock):
    members = Members(pool, Timing())
    members.seat(place(members.facts()))
    return Prompting(members)


def at(line, number=1):
    return Asks(number, "debugger", "", f"In [7] line {line}")


def test_ranks_that_stop_at_one_line_are_asked_once(asked):
    for rank in EVERYONE:
        asked.take(rank, at(4))
    question = asked.question()
    assert question.ranks == (0, 1, 2, 3)
    assert question.text == f"[0-3] In [7] line 4 {TRIANGLE} "


def test_ranks_at_several_lines_are_asked_together_and_each_line_is_named(asked):
    for rank in EVERYONE:
        asked.take(rank, at(4 + rank // 3))
    question = asked.question()
    assert question.text == f"[0-2] In [7] line 4, [3] In [7] line 5 {TRIANGLE} "
    assert question.where == "ranks 0-2: In [7] line 4; rank 3: In [7] line 5"


def test_an_input_is_asked_apart_from_the_debugger_and_from_other_inputs(asked):
    asked.take(0, Asks(1, "input", "name? "))
    asked.take(1, Asks(1, "input", "age? "))
    asked.take(2, Asks(1, "input", "name? "))
    asked.take(3, at(4))
    question = asked.question()
    assert (question.ranks, question.text) == ((0, 2), "[0,2] name? ")
    asked.keep({1, 3})
    assert asked.question().text == "[1] age? "
    asked.keep({3})
    assert asked.question().text == f"[3] In [7] line 4 {TRIANGLE} "


def test_the_user_is_asked_at_once_where_every_rank_has_stopped(asked):
    assert not asked.is_due(EVERYONE)
    asked.take(0, at(4))
    assert not asked.is_due(EVERYONE)
    assert asked.is_due({0})


def test_ranks_that_may_be_about_to_stop_too_are_waited_for_a_moment(asked, clock):
    asked.take(2, at(4))
    clock.sleep(0.1)
    assert not asked.is_due(EVERYONE)
    clock.sleep(0.1)
    assert asked.is_due(EVERYONE)


def test_ranks_that_were_answered_together_are_waited_for_longer(asked, clock):
    for rank in EVERYONE:
        asked.take(rank, at(4))
    asked.answer(Command("n", (0, 1, 2, 3)))
    asked.take(0, at(5, 2))
    clock.sleep(0.3)
    assert not asked.is_due(EVERYONE)
    clock.sleep(0.2)
    assert asked.is_due(EVERYONE)


def test_the_time_at_prompts_is_counted_once_however_many_ranks_stand_there(asked, clock):
    clock.sleep(5)
    asked.take(0, at(4))
    clock.sleep(1)
    asked.take(1, at(4))
    clock.sleep(1)
    assert asked.held == pytest.approx(2)
    asked.answer(Command("c", (0, 1)))
    clock.sleep(5)
    assert asked.held == pytest.approx(2)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("n", Command("n", (0, 1, 2))),
        ("2: p x", Command("p x", (2,))),
        ("0-1: n", Command("n", (0, 1))),
        ("0,2:c", Command("c", (0, 2))),
        ("::2: p x[1:2]", Command("p x[1:2]", (0, 2))),
        ("[0,2]: n", Command("n", (0, 2))),
        ("x: int = 3", Command("x: int = 3", (0, 1, 2))),
        ("x[1:2]", Command("x[1:2]", (0, 1, 2))),
        ("p {0: 1}", Command("p {0: 1}", (0, 1, 2))),
        ("", Command("", (0, 1, 2))),
    ],
)
def test_a_command_is_for_all_ranks_at_the_prompt_or_for_those_before_the_colon(
    asked, line, command
):
    for rank in (0, 1, 2):
        asked.take(rank, at(4))
    assert asked.read(line, asked.question()) == command


@pytest.mark.parametrize(
    ("line", "ranks"), [("all: n", (0, 1, 2, 3)), ("-1: n", (3,)), ("1:: n", (1, 2, 3))]
)
def test_a_command_takes_every_kind_of_selection(asked, line, ranks):
    for rank in range(4):
        asked.take(rank, at(4))
    assert asked.read(line, asked.question()) == Command("n", ranks)


def test_the_rest_of_a_statement_is_asked_of_those_that_have_begun_it_and_is_no_command(asked):
    asked.take(0, at(4))
    asked.take(1, Asks(1, "debugger", "...", "In [7] line 4"))
    question = asked.question()
    assert question.text == f"[1] In [7] line 4 ... {TRIANGLE} "
    assert asked.read("0: 3}", question) == Command("0: 3}", (1,))


def test_a_command_for_a_rank_that_stands_elsewhere_is_refused(asked):
    asked.take(1, at(4))
    with pytest.raises(
        InputError, match="Ranks 0,2 do not stand at this prompt, rank 1 does: ranks"
    ):
        asked.read("0-2: n", asked.question())
    with pytest.raises(InputError, match="no rank 9"):
        asked.read("9: n", asked.question())


def test_text_typed_for_an_input_is_no_command(asked):
    asked.take(1, Asks(1, "input", "? "))
    assert asked.read("0: q", asked.question()) == Command("0: q", (1,))


def test_an_answer_goes_to_the_rank_that_asked_with_the_number_of_its_question(asked, pool):
    asked.take(1, at(4, number=9))
    asked.answer(Command("p x", (1,)))
    assert pool.requested("answer") == [{1: {"number": 9, "text": "p x"}}]
    assert asked.asking == frozenset()
    assert pool.awaited == set()


# -- in a session ----------------------------------------------------------------------------


class Person:
    """Shows nothing, and types what a test has prepared."""

    def __init__(self, *lines):
        self.lines = list(lines)
        self.prompts = []
        self.said = []

    def event(self, rank, body):
        pass

    def pause(self, running):
        return 1.0

    def note(self, text):
        self.said.append(text)

    say = note

    def expect(self, ranks):
        pass

    def ask(self, prompt, *, secret):
        self.prompts.append(prompt)
        line = self.lines.pop(0)
        if isinstance(line, BaseException):
            raise line
        return line

    def finish(self):
        pass


def test_a_cell_goes_on_with_what_the_user_says(formed, pool):
    person = Person("9: p x", "c")
    result = formed.run("stop()", output=person)
    assert result.ok
    assert person.prompts == [f"[0-3] In [1] line 1 {TRIANGLE} "] * 2
    assert "no rank 9" in person.said[0]
    assert [pool[i].answered for i in range(4)] == [["c"]] * 4


@pytest.mark.parametrize("word", ["q", "quit", "exit", "EOF", "1: q"])
def test_quit_frees_all_ranks_and_says_where_they_stood(formed, pool, word):
    result = formed.run("stop()", output=Person(word))
    assert result.ended.endswith("(ranks 0-3: In [1] line 1).")
    assert all(pool[i].answered == [] for i in range(4))
    assert {pool[i].freed[0] for i in range(4)} == {"interrupt"}
    with pytest.raises(RankError, match="Ended at the prompt by"):
        result.raise_for_error()


def test_ctrl_c_at_the_prompt_frees_all_ranks(formed):
    result = formed.run("stop()", output=Person(KeyboardInterrupt()))
    assert result.ended == "Interrupted at a prompt (ranks 0-3: In [1] line 1)."


def test_where_nobody_can_be_asked_the_cell_fails_with_one_line(formed):
    for output, why in [
        (Person(PromptError("it is deaf")), "it is deaf"),
        (None, "without an output"),
    ]:
        result = formed.run("stop()", output=output)
        assert result.ended.startswith("A prompt was reached (ranks 0-3: In [1] line 1), and ")
        assert why in result.ended
        with pytest.raises(RankError) as caught:
            result.raise_for_error()
        assert caught.value.traceback_lines == []


def test_what_is_typed_for_an_input_reaches_the_rank_even_if_it_reads_like_a_command(formed, pool):
    formed.run("stop('input', 'go on? ', '')", output=Person("q"))
    assert [pool[i].answered for i in range(4)] == [["q"]] * 4


# -- in a verdict ----------------------------------------------------------------------------


def test_a_rank_that_waits_for_one_at_a_prompt_is_never_stuck():
    call = Collective("all_reduce", "0", seq=5, since=600)
    waits = Look("waiting", "line 5: dist.all_reduce(t)", waiting=call, still=600, quiet=600)
    looks = {0: waits, 1: Look("stopped", "In [7] line 4", since=600), 2: waits}
    found = diagnose(looks)
    assert (found.kind, found.ranks, found.stuck, found.proven) == ("slow", (1,), (), False)
    assert found.summary == (
        "Rank 1 stands at a prompt (In [7] line 4); "
        "ranks 0,2 have waited for it in all_reduce #5 for 600 s."
    )


def test_ranks_at_a_prompt_alone_are_no_trouble():
    looks = {0: Look("stopped", "In [7] line 4"), 1: Look("stopped", "In [7] line 4")}
    found = diagnose(looks)
    assert (found.kind, found.summary) == (
        "running",
        "Ranks 0-1 stand at a prompt (In [7] line 4).",
    )
