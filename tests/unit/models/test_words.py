"""Phrases that many messages share."""

from __future__ import annotations

import pytest

from rankbook import words
from rankbook.models.meshes import NamedMesh
from rankbook.words import (
    agree,
    how_ended,
    how_to_replace,
    in_words,
    plural,
    ranks_do,
    sentence_start,
)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 ranks"), (1, "1 rank"), (2, "2 ranks"), (64, "64 ranks")]
)
def test_a_count_and_its_noun_agree(count, text):
    assert plural(count, "rank") == text


@pytest.mark.parametrize(
    ("ranks", "pronoun"), [([1], "it"), ({0, 1}, "them"), ([2, 2], "it"), ((), "them")]
)
def test_a_word_agrees_with_the_number_of_ranks(ranks, pronoun):
    assert agree(ranks, "it", "them") == pronoun


@pytest.mark.parametrize(
    ("ranks", "subject", "clause"),
    [
        ([1], "rank 1", "rank 1 waits"),
        ([4, 1, 0, 2], "ranks 0-2,4", "ranks 0-2,4 wait"),
        ([3, 3], "rank 3", "rank 3 waits"),
    ],
)
def test_ranks_stand_in_a_sentence(ranks, subject, clause):
    assert in_words(ranks) == subject
    assert ranks_do(ranks, "waits", "wait") == clause


MESH = NamedMesh(("dp", "tp"), (2, 2), (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("ranks", "subject"),
    [
        ([0, 2], "ranks 0,2 (tp=0)"),
        ([3, 2], "ranks 2-3 (dp=1)"),
        ([0, 3], "ranks 0,3"),
        ([1], "rank 1"),
        (range(4), "ranks 0-3"),
    ],
)
def test_ranks_that_are_a_place_of_a_mesh_have_its_name_beside_their_numbers(ranks, subject):
    assert in_words(ranks, MESH) == subject
    assert in_words(ranks) == subject.partition(" (")[0]
    assert ranks_do(iter(ranks), "waits", "wait", MESH).startswith(f"{subject} wait")


def test_ranks_may_come_from_an_iterator():
    assert in_words(iter([0, 1])) == "ranks 0-1"
    assert ranks_do(iter([0]), "waits", "wait") == "rank 0 waits"


@pytest.mark.parametrize(
    ("text", "written"),
    [("rank 1 waits", "Rank 1 waits"), ("", ""), ("4 ranks", "4 ranks"), ("nCCL", "NCCL")],
)
def test_a_sentence_starts_with_a_capital_and_the_rest_stays(text, written):
    assert sentence_start(text) == written


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "has ended"),
        (-15, "was killed by SIGTERM"),
        (-200, "ended with exit code -200"),
        (1, "ended with exit code 1"),
    ],
)
def test_how_a_process_ended_is_reported_by_its_exit_status(status, words):
    assert how_ended(status) == words


def test_the_way_to_replace_ranks_is_given_as_magic_and_as_call():
    assert how_to_replace((3, 1)) == "%dist_restart 1,3 (or restart_ranks([1, 3]))"
    assert how_to_replace(range(64)) == "%dist_restart 0-63 (or restart_ranks('0-63'))"


def test_the_choices_of_on_hang_are_free_report_and_wait():
    assert words.ON_HANG == ("free", "report", "wait")
