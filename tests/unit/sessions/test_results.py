from __future__ import annotations

from dataclasses import replace

import pytest

from rankbook.display.text import plain
from rankbook.errors import HangError, RankError
from rankbook.models import Diagnosis, Failure
from rankbook.sessions.cells.failures import group_failures
from rankbook.sessions.cells.results import CellResult, RankResult


def result(**failures):
    """A result of four ranks; ``r1=Failure(...)`` fails rank 1."""
    return CellResult({rank: RankResult(rank, error=failures.get(f"r{rank}")) for rank in range(4)})


def failure(ename="ValueError", evalue="no", line=1, when=1.0):
    return Failure(ename, evalue, ("header", f"----> {line} raise", f"{ename}: {evalue}"), when)


def groups(cell):
    """The failures of a result, equal ones together."""
    return group_failures({rank: done.error for rank, done in cell.items() if done.error})


def shown(cell):
    """What a notebook shows of what a result raises, without colours."""
    with pytest.raises(RankError) as caught:
        cell.raise_for_error()
    return [plain(line) for line in caught.value._render_traceback_()]


def test_a_result_is_a_mapping_by_rank():
    cell = CellResult({0: RankResult(0, "out", "err", "42", None, 0.5), 2: RankResult(2)})
    assert list(cell) == [0, 2]
    assert len(cell) == 2
    assert cell[0].stdout == "out"
    assert cell[0].stderr == "err"
    assert cell[0].result_repr == "42"
    assert cell[0].seconds == 0.5
    assert cell[2].result_repr is None
    assert 1 not in cell
    assert dict(cell) == cell.ranks


def test_a_result_is_ok_if_every_rank_is():
    assert result().ok
    assert result()[0].ok
    failed = result(r2=failure())
    assert not failed.ok
    assert failed[0].ok
    assert not failed[2].ok


def test_a_cell_that_was_ended_at_a_prompt_is_not_ok_though_no_rank_has_failed():
    cell = result()
    cell.ended = "Ended at the prompt by q (rank 0: In [1] line 2)."
    assert not cell.ok
    assert shown(cell)[-1].endswith("Ended at the prompt by q (rank 0: In [1] line 2).")


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (result(), "<CellResult: ok on ranks 0-3>"),
        (CellResult({1: RankResult(1)}), "<CellResult: ok on rank 1>"),
        (result(r1=failure()), "<CellResult: ValueError on rank 1>"),
        (
            result(r0=failure(), r1=failure("KeyError", when=0.5), r3=failure()),
            "<CellResult: KeyError on rank 1, ValueError on ranks 0,3>",
        ),
    ],
)
def test_the_repr_of_a_result_says_which_ranks_failed(cell, shown):
    assert repr(cell) == shown


def test_a_result_that_was_ended_at_a_prompt_shows_why():
    cell = replace(result(), ended="nobody can be asked here")
    assert repr(cell) == "<CellResult: nobody can be asked here>"


def test_a_result_without_failures_has_no_failure_groups():
    assert groups(result()) == []


def test_equal_errors_are_one_group_whenever_they_happened():
    cell = result(r0=failure(when=3), r1=failure(when=1), r3=failure(when=2))
    [(ranks, first)] = groups(cell)
    assert ranks == [0, 1, 3]
    assert first.when == 1


@pytest.mark.parametrize(
    "other", [failure("KeyError"), failure(evalue="other"), failure(line=2)], ids=str
)
def test_errors_differ_by_class_message_and_line(other):
    assert [ranks for ranks, _ in groups(result(r0=failure(), r1=other))] == [[0], [1]]


def test_failures_are_grouped_with_the_earliest_first():
    cell = result(
        r0=failure("RuntimeError", "connection closed", when=5),
        r1=failure("RuntimeError", "connection closed", when=6),
        r2=failure("ZeroDivisionError", when=4.5),
        r3=failure("KeyError", when=7),
    )
    assert [(r, f.ename) for r, f in groups(cell)] == [
        ([2], "ZeroDivisionError"),
        ([0, 1], "RuntimeError"),
        ([3], "KeyError"),
    ]


def test_raise_for_error_raises_nothing_without_a_failure():
    assert result().raise_for_error() is None


@pytest.mark.parametrize(
    ("cell", "message", "ranks"),
    [
        (result(r1=failure()), "ValueError on rank 1: no", (1,)),
        (result(r0=failure(), r2=failure()), "ValueError on ranks 0,2: no", (0, 2)),
        (result(r0=failure(evalue="")), "ValueError on rank 0", (0,)),
        (result(r0=failure(evalue="first\nsecond")), "ValueError on rank 0: first", (0,)),
        (
            result(
                r3=failure(when=1), r0=failure("KeyError", when=2), r1=failure("OSError", when=3)
            ),
            "ValueError on rank 3: no; then KeyError on rank 0, OSError on rank 1",
            (0, 1, 3),
        ),
    ],
)
def test_the_error_names_the_ranks_and_the_first_cause(cell, message, ranks):
    with pytest.raises(RankError) as caught:
        cell.raise_for_error()
    assert str(caught.value) == message
    assert caught.value.ranks == ranks


def test_every_different_traceback_is_shown_once_headed_by_its_ranks():
    cell = result(
        r0=failure(when=2), r1=failure(when=3), r2=failure("KeyError", "'k'", line=7, when=1)
    )
    assert shown(cell) == [
        "[2] header",
        "----> 7 raise",
        "KeyError: 'k'",
        "[0-1] header",
        "----> 1 raise",
        "ValueError: no",
    ]


def test_errors_that_differ_only_in_the_message_share_a_traceback():
    cell = result(
        r0=failure(evalue="bad sample 0", when=2), r2=failure(evalue="bad sample 2", when=1)
    )
    assert shown(cell) == [
        "[0,2] header",
        "----> 1 raise",
        "[0] ValueError: bad sample 0",
        "[2] ValueError: bad sample 2",
    ]


LOST = "[/t/gloo/transport/tcp/pair.cc:1] Connection closed by peer [127.0.0.1]:{}. Long text.\n"


def test_errors_that_only_follow_from_a_lost_connection_are_one_line():
    lost = {
        f"r{rank}": replace(failure("RuntimeError", LOST.format(rank)), line="In [4] line 3: f()")
        for rank in (0, 1, 3)
    }
    assert shown(result(r2=failure("KeyError", "'k'", when=9), **lost)) == [
        "[2] header",
        "----> 1 raise",
        "KeyError: 'k'",
        "[0-1,3] RuntimeError (In [4] line 3: f()): Connection closed by peer",
    ]
    with pytest.raises(RankError) as caught:
        result(r2=failure("KeyError", "'k'", when=9), **lost).raise_for_error()
    assert str(caught.value) == "KeyError on rank 2: 'k'"


def test_the_note_of_an_error_is_shown_below_it():
    cell = result(r1=failure())
    cell.note = NOTE
    assert shown(cell) == ["[1] header", "----> 1 raise", "ValueError: no", NOTE]


INTERRUPTION = "Interrupted after 3 s: rank 1 was still computing in In [4] line 2."


def test_an_interrupted_cell_says_when_and_shows_no_traceback_of_it():
    cell = result(r0=FREED, r1=FREED)
    cell.interruption, cell.note = INTERRUPTION, NOTE
    assert shown(cell) == [f"RankError: {INTERRUPTION}", NOTE]
    with pytest.raises(RankError) as caught:
        cell.raise_for_error()
    assert str(caught.value) == f"{INTERRUPTION} {NOTE}"


def test_an_interrupted_hang_says_when_with_the_verdict():
    cell = hung(r0=FREED)
    cell.interruption = "Interrupted after 3 s: rank 10 never called all_reduce #1."
    assert shown(cell)[0] == f"HangError: {cell.interruption}"


def test_an_error_of_user_code_is_shown_above_an_interruption():
    cell = result(r0=FREED, r1=failure())
    cell.interruption = INTERRUPTION
    assert shown(cell)[-2:] == ["ValueError: no", f"RankError: {INTERRUPTION}"]


def test_an_error_without_a_traceback_is_shown_by_its_name():
    with pytest.raises(RankError) as caught:
        result(r1=Failure("EngineError", "Engine 1 has ended.")).raise_for_error()
    assert plain(caught.value._render_traceback_()[0]) == "[1] EngineError: Engine 1 has ended."


def test_an_error_whose_message_is_blank_lines_can_be_raised():
    with pytest.raises(RankError, match="ValueError on rank 0"):
        result(r0=failure(evalue="\n\n")).raise_for_error()


# -- cells that could not end ----------------------------------------------------------------

VERDICT = Diagnosis(
    "missing_rank",
    (10,),
    "Rank 10 never called all_reduce #1, in which rank 0 waits: it runs no cell.",
    {0: "waits in all_reduce #1", 10: "idle: it runs no cell", 11: "waits in all_reduce #1"},
    (0, 11),
    proven=True,
    hint="Often it is a branch.",
)
NOTE = "The ranks are free."
FREED = replace(failure("KeyboardInterrupt", ""), freed=True)


def hung(note=NOTE, **failures):
    cell = result(**failures)
    cell.diagnosis, cell.note = VERDICT, note
    return cell


def test_the_error_of_a_hang_is_the_verdict_and_the_note():
    with pytest.raises(HangError) as caught:
        hung(r0=FREED).raise_for_error()
    assert str(caught.value) == f"{VERDICT.summary} {NOTE}"
    assert caught.value.diagnosis is VERDICT
    assert caught.value.ranks == (0,)
    assert isinstance(caught.value, RankError)


def test_the_error_of_a_hang_without_a_note_is_the_verdict_alone():
    with pytest.raises(HangError) as caught:
        hung("", r0=FREED).raise_for_error()
    assert str(caught.value) == VERDICT.summary
    assert plain(caught.value._render_traceback_()[-1]).startswith("  ranks 0,11  ")


def test_a_hang_is_shown_with_what_every_rank_did():
    assert shown(hung(r0=FREED)) == [
        f"HangError: {VERDICT.summary}",
        "Often it is a branch.",
        "◆ rank 10     idle: it runs no cell",
        "  ranks 0,11  wait in all_reduce #1",
        NOTE,
    ]


def test_freed_ranks_show_no_traceback():
    cell = hung(r0=FREED, r2=failure("KeyError", "'k'"))
    assert [plain(line) for line in cell.traceback_lines()] == [
        "[2] header",
        "----> 1 raise",
        "KeyError: 'k'",
    ]
    with pytest.raises(HangError) as caught:
        cell.raise_for_error()
    assert caught.value.ranks == (0, 2)


def test_an_interrupt_without_a_verdict_is_shown_like_any_error():
    cell = result(r1=FREED)
    cell.note = NOTE
    assert plain(cell.traceback_lines()[0]) == "[1] header"
    with pytest.raises(RankError) as caught:
        cell.raise_for_error()
    assert not isinstance(caught.value, HangError)
    assert str(caught.value).startswith("KeyboardInterrupt on rank 1")
    assert str(caught.value).endswith(NOTE)


def test_the_note_follows_the_error_as_a_sentence_of_its_own():
    cell = result(r1=failure())
    cell.note = NOTE
    with pytest.raises(RankError) as caught:
        cell.raise_for_error()
    assert str(caught.value) == f"ValueError on rank 1: no. {NOTE}"


def test_a_successful_result_with_a_note_raises_nothing():
    cell = result()
    cell.note = NOTE
    assert cell.raise_for_error() is None
