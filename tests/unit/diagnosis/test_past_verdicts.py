"""Verdicts after ranks were freed."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from looks import runs, waits
from verdicts import CASES

from rankbook.diagnosis import diagnose


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_on_freed_ranks_differs_in_its_words_only(name):
    looks = dict(enumerate(CASES[name].looks))
    now, then = diagnose(looks), diagnose(looks, past=True)
    assert replace(then, summary=now.summary, per_rank=now.per_rank) == now
    for text in then.per_rank.values():
        assert not re.match(r"waits |runs |is |does ", text)
    if then.kind in {"missing_rank", "mismatch"} and "killed" not in then.summary:
        words = re.sub(r"\S*wait\(\)", "", then.summary)
        assert not re.search(r"\b(waits?|calls?|sends|receives|its cell has)\b", words)


def test_a_slow_rank_is_said_to_have_been_computing():
    found = diagnose({0: waits(), 1: runs("In [4] line 2: f()"), 2: waits()}, past=True)
    assert found.summary == (
        "Rank 1 was still computing in In [4] line 2, ranks 0,2 waited for it in all_reduce #5."
    )
