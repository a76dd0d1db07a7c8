from __future__ import annotations

from dataclasses import replace

import pytest

from rankbook.cluster.placement import LOOPBACK, choose_backend, place
from rankbook.errors import BackendError, DeviceError, InputError
from rankbook.models import EngineFacts


def engine(number, host="a", gpus=0):
    addresses, nccl = (f"{host}-1", f"{host}-2"), "2.28.9" if gpus else ""
    return EngineFacts(number, host, addresses, 100 + number, ("GPU",) * gpus, nccl=nccl)


def engines(*hosts, gpus=0):
    return [engine(number, host, gpus) for number, host in enumerate(hosts)]


def drawn(placement):
    return [(p.rank, p.engine, p.host, p.local_rank, p.local_world_size) for p in placement.places]


def test_on_one_host_ranks_follow_the_engines():
    placement = place(engines("a", "a", "a"))
    assert drawn(placement) == [(0, 0, "a", 0, 3), (1, 1, "a", 1, 3), (2, 2, "a", 2, 3)]
    assert placement.spare == ()
    assert placement.is_local
    assert placement.world_size == 3


def test_the_order_in_which_engines_answer_does_not_matter():
    facts = engines("a", "b", "a", "b")
    assert place(facts[::-1]) == place(facts)


def test_ranks_of_a_host_are_neighbours_though_engines_interleave():
    placement = place(engines("a", "b", "a", "b", "c"))
    assert drawn(placement) == [
        (0, 0, "a", 0, 2),
        (1, 2, "a", 1, 2),
        (2, 1, "b", 0, 2),
        (3, 3, "b", 1, 2),
        (4, 4, "c", 0, 1),
    ]
    assert not placement.is_local


def test_engine_ids_may_have_gaps():
    placement = place([engine(9), engine(4), engine(7, "b")])
    assert placement.engines == (4, 9, 7)


def test_engines_beyond_the_world_size_are_spare():
    placement = place(engines("a", "b", "a", "b"), 3)
    assert placement.engines == (0, 2, 1)
    assert placement.spare == (3,)


def test_engines_that_were_ranks_come_first_in_that_order():
    placement = place(engines("a", "a", "a", "a"), before=(2, 0))
    assert placement.engines == (2, 0, 1, 3)
    assert [p.local_rank for p in placement.places] == [0, 1, 2, 3]


def test_an_engine_that_was_a_rank_stays_one_before_any_spare_engine():
    placement = place(engines("a", "a", "a", "a"), 2, before=(3, 1))
    assert placement.engines == (3, 1)
    assert placement.spare == (0, 2)


def test_engines_that_were_ranks_and_have_ended_are_skipped():
    assert place(engines("a", "a", "a"), before=(7, 2, 9)).engines == (2, 0, 1)


def test_on_several_hosts_the_host_of_the_first_rank_stays_first():
    placement = place(engines("a", "b", "a", "b"), before=(3, 1, 2, 0))
    assert drawn(placement) == [
        (0, 3, "b", 0, 2),
        (1, 1, "b", 1, 2),
        (2, 2, "a", 0, 2),
        (3, 0, "a", 1, 2),
    ]
    assert placement.addresses == ("b-1", "b-2")


def test_an_unchanged_cluster_gives_the_same_placement():
    facts = engines("a", "b", "a", "b", "c")
    first = place(facts)
    assert place(facts[::-1], before=first.engines) == first


def test_the_local_world_size_does_not_count_spares():
    placement = place(engines("a", "b", "a", "b"), 3)
    assert [p.local_world_size for p in placement.places] == [2, 2, 1]


def test_a_group_is_local_though_another_host_has_spares():
    placement = place(engines("a", "a", "b"), 2)
    assert placement.is_local
    assert placement.addresses == (LOOPBACK,)


def test_a_single_rank_can_be_placed():
    assert drawn(place(engines("a"))) == [(0, 0, "a", 0, 1)]


@pytest.mark.parametrize(("asked", "there"), [(3, 2), (2, 1), (100, 4)])
def test_more_ranks_than_engines_are_refused(asked, there):
    with pytest.raises(InputError) as caught:
        place(engines(*"a" * there), asked)
    assert str(caught.value) == (
        f"{asked} ranks need {asked} engines and the cluster has {there}: "
        f"ask for -n {there} or fewer."
    )


def test_a_group_on_one_host_tries_loopback_only():
    assert place(engines("a", "a")).addresses == (LOOPBACK,)


def test_a_group_on_several_hosts_tries_the_addresses_of_rank_0_in_order():
    assert place(engines("b", "a", "a")).addresses == ("b-1", "b-2")


@pytest.mark.parametrize(
    ("facts", "backend"),
    [
        (engines("a", "a"), "gloo"),
        (engines("a", "a", gpus=2), "nccl"),
        (engines("a", "a", gpus=4), "nccl"),
        (engines("a", "a", gpus=1), "gloo"),
        (engines("a", "b", gpus=1), "nccl"),
        ([engine(0, "a", 1), engine(1, "b", 0)], "gloo"),
    ],
)
def test_the_default_is_nccl_where_every_rank_has_a_gpu_of_its_own(facts, backend):
    assert choose_backend(place(facts), None) == backend


def test_spare_engines_do_not_count_against_nccl():
    assert choose_backend(place(engines("a", "a", "a", gpus=2), 2), None) == "nccl"


@pytest.mark.parametrize(
    ("asked", "backend"),
    [
        ("gloo", "gloo"),
        ("GLOO", "gloo"),
        ("nccl", "nccl"),
        ("cpu:gloo,cuda:nccl", "cpu:gloo,cuda:nccl"),
        ("mpi", "mpi"),
        ("ucc", "ucc"),
        ("xccl", "xccl"),
    ],
)
def test_a_known_backend_is_taken(asked, backend):
    assert choose_backend(place(engines("a", gpus=1)), asked) == backend


@pytest.mark.parametrize(
    ("asked", "name"),
    [("ncll", "ncll"), ("cpu:glo,cuda:nccl", "glo"), ("4", "4"), ("cpu:gloo,", ""), (":", "")],
)
def test_an_unknown_backend_is_refused(asked, name):
    with pytest.raises(BackendError) as caught:
        choose_backend(place(engines("a", gpus=1)), asked)
    assert str(caught.value) == (
        f"There is no backend {name!r}: use one of gloo, mpi, nccl, ucc, xccl."
    )


@pytest.mark.parametrize("asked", ["nccl", "NCCL", "cpu:gloo,cuda:nccl"])
def test_nccl_without_any_gpu_is_refused(asked):
    with pytest.raises(DeviceError) as caught:
        choose_backend(place(engines("a", "b")), asked)
    assert str(caught.value) == "nccl needs GPUs and a, b shows none: run %dist_init gloo."


def test_nccl_with_too_few_gpus_names_the_host_and_the_number():
    with pytest.raises(DeviceError) as caught:
        choose_backend(place(engines("a", "a", "a", gpus=2)), "nccl")
    assert str(caught.value) == (
        "nccl needs a GPU per rank: a has 2 for 3 ranks; use -n 2, or add --share-gpus, or run "
        "%dist_init gloo."
    )


def test_the_refusal_of_nccl_never_proposes_zero_ranks():
    facts = [engine(0, "a", 1), engine(1, "b", 0)]
    with pytest.raises(DeviceError) as caught:
        choose_backend(place(facts), "nccl")
    assert "b has 0 for 1 ranks" in str(caught.value)
    assert "-n 0" not in str(caught.value)
    assert "--share-gpus" not in str(caught.value)


def test_nccl_says_why_torch_can_use_no_gpu():
    old = "The NVIDIA driver on your system is too old (found version 12020)"
    facts = [engine(0), replace(engine(1), unusable_gpus=old)]
    with pytest.raises(DeviceError) as caught:
        choose_backend(place(facts), "nccl")
    assert str(caught.value) == (
        f"nccl needs GPUs, and torch can use none of those on a: {old}. Until that is repaired, "
        "run %dist_init gloo."
    )
    assert choose_backend(place(facts), None) == "gloo"


@pytest.mark.parametrize("share_gpus", [False, True])
def test_a_torch_without_nccl_gets_gloo_and_is_refused_nccl(share_gpus):
    facts = [engine(0, gpus=2), replace(engine(1, gpus=2), nccl="")]
    assert choose_backend(place(facts), None, share_gpus=share_gpus) == "gloo"
    with pytest.raises(BackendError) as caught:
        choose_backend(place(facts), "nccl")
    assert str(caught.value) == (
        "torch on a was built without NCCL: run %dist_init gloo, whose collectives take CUDA "
        "tensors, too."
    )


NEW, OLD = "2.30.7", "2.28.9"


def sharing(ranks, gpus, nccl):
    """One host with so many ranks and GPUs."""
    return place([replace(engine(number, "a", gpus), nccl=nccl) for number in range(ranks)])


@pytest.mark.parametrize(
    ("ranks", "gpus", "nccl", "asked", "backend"),
    [
        (4, 1, NEW, None, "nccl"),
        (4, 1, "2.30", None, "nccl"),
        (4, 1, "3.0.1", None, "nccl"),
        (4, 1, OLD, None, "gloo"),
        (4, 1, "", None, "gloo"),
        (4, 3, OLD, None, "gloo"),
        (4, 4, OLD, None, "nccl"),
        (2, 4, "2.9", "nccl", "nccl"),
        (4, 1, NEW, "nccl", "nccl"),
        (4, 1, NEW, "cpu:gloo,cuda:nccl", "cpu:gloo,cuda:nccl"),
        (4, 2, NEW, "gloo", "gloo"),
        (4, 1, OLD, "gloo", "gloo"),
        (4, 1, "", "GLOO", "gloo"),
    ],
)
def test_the_backend_of_ranks_that_share_gpus(ranks, gpus, nccl, asked, backend):
    assert choose_backend(sharing(ranks, gpus, nccl), asked, share_gpus=True) == backend


@pytest.mark.parametrize(("nccl", "there"), [(OLD, OLD), ("2.9.9", "2.9.9"), ("", "none")])
@pytest.mark.parametrize("asked", ["nccl", "cpu:gloo,cuda:nccl"])
def test_an_nccl_that_is_too_old_to_share_gpus_is_refused(asked, nccl, there):
    with pytest.raises(DeviceError) as caught:
        choose_backend(sharing(4, 2, nccl), asked, share_gpus=True)
    assert str(caught.value) == (
        f"Several ranks on one GPU need NCCL 2.30 or later, and a has {there}: "
        "run %dist_init gloo --share-gpus, whose collectives take CUDA tensors, too."
    )


@pytest.mark.parametrize("asked", [None, "gloo", "nccl"])
def test_where_a_host_has_no_gpu_none_is_shared(asked):
    facts = [replace(engine(0, "a", 1), nccl=NEW), replace(engine(1, "b", 0), nccl=NEW)]
    with pytest.raises(DeviceError) as caught:
        choose_backend(place(facts), asked, share_gpus=True)
    assert str(caught.value) == (
        "--share-gpus needs a GPU on every host, and b shows none: leave it out."
    )


def test_the_oldest_nccl_of_all_hosts_that_share_decides():
    facts = [replace(engine(n, "ab"[n // 2], 1), nccl=(NEW, OLD)[n // 2]) for n in range(4)]
    assert choose_backend(place(facts), None, share_gpus=True) == "gloo"
    with pytest.raises(DeviceError, match=r"and b has 2\.28\.9"):
        choose_backend(place(facts), "nccl", share_gpus=True)


def test_gloo_needs_no_gpu():
    assert choose_backend(place(engines("a", "b")), "gloo") == "gloo"
