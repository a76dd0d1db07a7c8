"""Groups that are made with ranks which do not exist."""

from __future__ import annotations

import pytest
from looks import OVER, judged, makes, waits

from rankbook.models import Collective
from rankbook.models.calls import SCRIPTS


def test_ranks_that_wait_for_ranks_that_do_not_exist_are_told_so():
    found = judged([makes("0", 0, 1, 2, 3), makes("0", 0, 1, 2, 3)])
    assert (found.kind, found.ranks, found.proven) == ("mismatch", (0, 1), False)
    assert found.summary == (
        "Ranks 0-1 wait in new_group (line 3: g()) for ranks 2-3, which are no ranks of this "
        "session."
    )
    assert found.hint.startswith("world_size must be 2, the number of ranks, unless")


@pytest.mark.parametrize("group", ["", SCRIPTS], ids=["a cell", "a script"])
def test_who_meets_for_more_ranks_than_there_are_is_freed(group):
    call = Collective("init_process_group", group, ranks=(0, 1, 2), since=1.0)
    meets = waits(call, "line 2: f()")
    found = judged([meets, meets])
    assert (found.kind, found.ranks, found.proven) == ("mismatch", (0, 1), True)
    assert found.summary == (
        "Ranks 0-1 wait in init_process_group (line 2: f()) for rank 2, which is no rank of this "
        "session."
    )


def test_how_many_meet_does_not_tell_who():
    meets = waits(Collective("init_process_group", ranks=(0, 1), since=1.0), "line 2: f()")
    found = judged([OVER, OVER, meets])
    assert (found.kind, found.ranks) == ("missing_rank", (0, 1))
