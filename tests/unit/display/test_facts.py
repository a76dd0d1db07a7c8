"""What every view says of a snapshot, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from samples import GPU, member, snapshot, with_gpu

from rankbook.display import facts
from rankbook.display.facts import headline, health
from rankbook.models import Look, Snapshot


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (snapshot(), "no process group · ready"),
        (snapshot(doing="initialising the process group"),
         "no process group · initialising the process group"),
        (snapshot(Look("idle", engine=0)), "no process group · ready"),
        (snapshot(member(0, world_size=1)), "gloo · 1 rank · generation 1 · all idle"),
        (snapshot(member(0), member(1), generation=2), "gloo · 2 ranks · generation 2 · all idle"),
        (snapshot(member(0), member(1, host="b")),
         "gloo · 2 ranks · generation 1 · 2 hosts · all idle"),
        (snapshot(member(0), member(1), Look("idle", engine=2, host="b")),
         "gloo · 2 ranks · generation 1 · all idle"),
        (snapshot(member(0), member(1), doing="resetting"),
         "gloo · 2 ranks · generation 1 · resetting"),
        (snapshot(member(0, "running"), member(1, "running"), doing="running a cell on ranks 0-1"),
         "gloo · 2 ranks · generation 1 · ranks 0-1 running"),
        (snapshot(member(0, "gone"), member(1)),
         "gloo · 2 ranks · generation 1 · rank 0 ended · rank 1 idle"),
        (snapshot(member(0), member(1), Look("gone", engine=2)),
         "gloo · 2 ranks · generation 1 · all idle"),
    ],
)  # fmt: skip
def test_the_headline_describes_the_session_in_one_line(shown, line):
    assert headline(shown) == line


def test_a_group_that_no_engine_is_in_has_a_headline_without_loose_ends():
    """They may have left it behind the back of this session."""
    shown = Snapshot("gloo", 2, 1, "", (Look("idle", engine=0), Look("idle", engine=1)))
    assert headline(shown) == "gloo · 2 ranks · generation 1 · no rank is in the group"


# -- health ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (snapshot(member(0), member(1)), "all idle"),
        (snapshot(member(0), member(1), doing="pulling x"), "pulling x"),
        (snapshot(member(0, last_error="ValueError: no"), doing="pulling x"), "pulling x"),
        (snapshot(member(0, "left"), member(1, "left"), doing="shut down"), "shut down"),
        (snapshot(member(0, "left"), member(1, "left")), "all idle"),
        (snapshot(), "no rank is in the group"),
        (snapshot(Look("idle", engine=0), doing="resetting"), "resetting"),
        # What the ranks do says more than what the session is busy with.
        (snapshot(member(0), member(1, "running"), doing="x"), "rank 1 running · rank 0 idle"),
        (snapshot(member(0, "compiling"), member(1)), "rank 1 idle · rank 0 compiling"),
        (snapshot(member(0, "running"), Look("gone", engine=1)), "rank 0 running"),
    ],
)
def test_health_describes_the_ranks_or_what_the_session_does(shown, words):
    assert health(shown) == words


def test_health_groups_ranks_by_state_with_the_most_urgent_first():
    states = ["idle", "running", "waiting", "waiting", "no answer", "gone", "waiting"]
    shown = snapshot(*(member(rank, state) for rank, state in enumerate(states)))
    assert health(shown) == (
        "rank 5 ended · no answer from rank 4 · ranks 2-3,6 in a collective · rank 1 running · "
        "rank 0 idle"
    )


def of(count, running):
    return snapshot(
        *(member(rank, "running" if rank in running else "idle") for rank in range(count))
    )


def test_health_names_a_long_run_of_ranks():
    assert health(of(512, range(100, 512))) == "ranks 100-511 running · ranks 0-99 idle"


def test_health_counts_scattered_ranks():
    """A list of dozens would be no sentence, and change all the time."""
    assert health(of(8, {1, 3, 5, 7})) == "ranks 1,3,5,7 running · ranks 0,2,4,6 idle"
    assert health(of(10, {1, 3, 5, 7, 9})) == "5 ranks running · 5 ranks idle"
    assert health(of(512, {9, 99, 199, 299})) == "ranks 9,99,199,299 running · 508 ranks idle"


def test_a_number_of_ranks_is_never_taken_for_the_number_of_a_rank():
    states = ["gone" if rank % 2 else "idle" for rank in range(9)]
    states[3:6] = ["no answer"] * 3
    shown = snapshot(*(member(rank, state) for rank, state in enumerate(states)))
    assert health(shown) == "ranks 1,7 ended · no answer from ranks 3-5 · ranks 0,2,6,8 idle"
    mixed = snapshot(*(member(rank, "gone" if rank % 2 else "idle") for rank in range(10)))
    assert health(mixed) == "5 ranks ended · 5 ranks idle"


def test_health_names_the_ranks_whose_last_cell_failed():
    fine, failed = member(0), [member(rank, last_error="ValueError: no") for rank in range(1, 4)]
    assert health(snapshot(fine, failed[0])) == "all idle · error on rank 1"
    assert health(snapshot(fine, *failed)) == "all idle · error on ranks 1-3"
    assert headline(snapshot(fine, failed[0])).endswith(" · all idle · error on rank 1")
    waiting = member(0, "waiting")
    assert health(snapshot(waiting, failed[0], doing="running a cell on ranks 0-1")) == (
        "rank 0 in a collective · rank 1 idle · error on rank 1"
    )


def test_health_ignores_the_last_error_of_a_rank_that_runs_again():
    assert health(snapshot(member(0, "running", last_error="ValueError: no"))) == "rank 0 running"


def test_health_does_not_change_with_time_alone():
    """It is read aloud: not every second again."""
    before = member(0, "running", line="line 1: f(x)", since=3.0)
    after = member(0, "running", line="line 2: g(x)", since=4.0, memory=1)
    assert health(snapshot(before)) == health(snapshot(after))


# -- of one rank -----------------------------------------------------------------------------


def test_an_engine_without_a_rank_is_called_spare():
    assert facts.rank_name(member(3)) == "3"
    assert facts.rank_name(Look("idle", engine=3)) == "spare"


@pytest.mark.parametrize(
    ("since", "said"),
    [
        (0.0, "f(x)"),
        (0.99, "f(x)"),
        (1.0, "f(x), 1 s"),
        (59.6, "f(x), 60 s"),
        (3600, "f(x), 3600 s"),
    ],
)
def test_the_age_of_an_activity_is_shown_from_one_second_on(since, said):
    assert facts.doing(member(0, "running", line="f(x)", since=since)) == said


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ("ended with exit code 3", "exit code 3"),
        ("was killed by SIGKILL", "was killed by SIGKILL"),
        ("has ended", ""),
    ],
)
def test_how_a_rank_ended_is_reported_without_the_word_that_stands_before_it(ended, said):
    assert facts.doing(member(0, "gone", ended=ended)) == said


def test_no_age_is_shown_without_an_activity():
    assert facts.doing(member(0, since=12.0)) == ""


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (member(0), "250 MB"),
        (member(0, memory=0), ""),
        (member(0, gpu_memory=2_000_000_000), "250 MB + 2.0 GB GPU"),
        (member(0, gpu_memory=0), "250 MB + 0 B GPU"),
        (with_gpu(member(0)), "250 MB + 42.0 GB GPU"),
        # What all processes use counts, not this rank's part alone.
        (with_gpu(member(0, gpu_memory=2_000_000_000)), "250 MB + 42.0 GB GPU"),
    ],
)
def test_memory_is_that_of_the_host_and_of_the_gpu(state, said):
    assert facts.memory(state) == said


def test_of_a_gpu_that_ranks_share_the_part_of_each_is_shown():
    state = with_gpu(member(0, gpu_memory=2_000_000_000))
    assert state.info is not None
    shared = replace(state, info=replace(state.info, device="cuda:0", sharing=4))
    assert facts.memory(shared) == "250 MB + 2.0 GB GPU"
    assert facts.device(shared) == "cuda:0, 1 of 4"
    assert facts.device(state) == state.info.device


def test_gpu_memory_is_none_without_a_gpu():
    assert facts.gpu_memory(member(0)) is None
    assert facts.gpu_memory(with_gpu(member(0))) == GPU.used


# -- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1499, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (250_000_000, "250 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1.0 GB"),
        (1_400_000_000, "1.4 GB"),
        (99_449_000_000, "99.4 GB"),
        (99_500_000_000, "100 GB"),
        (850_000_000_000, "850 GB"),
        (999_500_000_000, "1.0 TB"),
        (2_000_000_000_000, "2.0 TB"),
        (5_000_000_000_000_000, "5000 TB"),
    ],
)
def test_sizes_are_written_in_readable_units(count, said):
    assert facts.size(count) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("ValueError: no", "ValueError: no"),
        ("ValueError: no\nsecond line", "ValueError: no"),
        ("\nsecond line", ""),
        ("x" * 110, "x" * 110),
        ("x" * 111, "x" * 108 + " …"),
    ],
)
def test_the_first_line_of_an_error_is_cut_if_it_is_long(text, said):
    assert facts.short(text) == said


def test_a_whole_error_is_cut_only_if_it_is_very_long():
    """An exception may hold megabytes, and hundreds of ranks raise it."""
    assert facts.whole("ValueError: no\nsecond line") == "ValueError: no\nsecond line"
    assert facts.whole("x" * 5000) == "x" * 5000
    assert facts.whole("x" * 5001) == "x" * 4998 + " …"


def test_every_state_has_a_shape_of_its_own():
    assert len(set(facts.MARKS.values())) == len(facts.MARKS)
