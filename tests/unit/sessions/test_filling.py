"""Filling a replaced rank from another, on engines that live in this process."""

from __future__ import annotations

import pytest

from rankbook.errors import InputError, SessionError
from rankbook.models import GroupInfo
from rankbook.sessions.group import carried
from rankbook.sessions.group.filling import Filled, fill, listed


@pytest.fixture
def trained(formed):
    """A session whose ranks hold something."""
    formed.push(model=[1, 2], lr=0.5)
    formed.push(1, lr=0.25)
    return formed


def test_a_new_rank_has_the_variables_of_another(trained):
    filled = trained.restart_ranks([2], from_rank=0)
    assert trained.pull("model") == {rank: [1, 2] for rank in range(4)}
    assert trained.pull("lr") == {0: 0.5, 1: 0.25, 2: 0.5, 3: 0.5}
    assert filled == Filled((2,), 0, ("model", "lr"), {}, ("lr",))


def test_a_replaced_rank_is_empty_without_from(trained):
    assert trained.restart_ranks([2]) is None
    with pytest.raises(InputError, match="only on ranks 0-1,3"):
        trained.pull("model")


def test_what_a_new_rank_cannot_set_is_left_out_and_named(trained, pool):
    grow = pool.launcher.add

    def add(*args):
        grown = grow(*args)
        for number in pool.engines:
            pool[number].cannot_take = "model"
        return grown

    pool.launcher.add = add
    filled = trained.restart_ranks([2], from_rank=0)
    assert (filled.names, dict(filled.left)) == (("lr",), {"model": "it does not unpickle"})
    assert trained.pull("lr")[2] == 0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"from_rank": 2}, "Rank 2 is one of those to replace"),
        ({"from_rank": "0,1"}, "more than one rank"),
        ({"from_rank": 7}, "no rank 7"),
        ({"checkpoint": "x"}, "give from_rank"),
        (
            {"from_rank": 0, "checkpoint": "/nowhere"},
            r"/nowhere is not a checkpoint.*no \.metadata",
        ),
    ],
)
def test_mistakes_are_refused_before_a_rank_is_replaced(trained, pool, options, said):
    engines = sorted(pool.engines)
    with pytest.raises(InputError, match=said):
        trained.restart_ranks([2], **options)
    assert (sorted(pool.engines), trained.generation) == (engines, 1)


def test_a_rank_cannot_be_filled_from_one_that_has_died(trained, pool):
    pool.kill(1)
    with pytest.raises(InputError, match="Rank 1 is one of those to replace"):
        trained.restart_ranks([2], from_rank=1)
    assert trained.restart_ranks([2], from_rank=0).ranks == (1, 2)
    with pytest.raises(SessionError, match="No rank has ended"):
        trained.restart_ranks(from_rank=1)


def test_a_rank_that_another_thread_has_ended_meanwhile_is_named(trained):
    with pytest.raises(SessionError, match=r"^Rank 7 was ended meanwhile by another thread: "):
        fill(trained.members, [2], 7, lambda _: None, with_shards=False)


def test_a_filled_rank_is_described_with_what_was_copied():
    filled = Filled((2,), 0, ("model", "x"), {"log": "an open file"}, ("x",), ("model",), "/c")
    assert str(filled).splitlines() == [
        "Rank 2 has from rank 0 its model, x.",
        "These differ from rank to rank, and rank 2 has those of rank 0 now: x.",
        "All ranks have loaded model from /c.",
        "Not copied: log (an open file).",
        "RNG states are not copied: seed all ranks where that matters.",
    ]
    assert str(Filled((1, 2), 0, ())).startswith(
        "Ranks 1-2 have from rank 0 what its cells have defined.\n"
    )


def test_long_lists_of_names_are_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed([f"x{n}" for n in range(9)]).endswith("x7, x8")
    assert listed([f"x{n}" for n in range(12)]).endswith("x6, x7 and 4 more")


def test_what_waits_for_a_new_rank_is_said_after_what_goes_on():
    def info(rank, **more):
        return GroupInfo("gloo", rank, 3, "cpu", rank == 0, **more)

    infos = {
        0: info(0, healed=("DDP modules", "subgroups"), waiting=("DDP modules",)),
        1: info(1, is_new=True, healed=("subgroups",)),
    }
    assert carried.sentence_end(infos) == (
        "; subgroups made before go on. DDP modules wait until rank 1 has them, too."
    )
