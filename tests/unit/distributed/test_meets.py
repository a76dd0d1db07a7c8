"""The places where ranks meet: what is told of a wait, and of each kind of store."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import torch.distributed as dist

from rankbook.distributed import meets
from rankbook.distributed.stores import Interruptible
from rankbook.models.meetings import Meets

HERE = threading.get_ident()


@pytest.fixture
def prefixes():
    """The prefixes of stores are known."""
    meets.install()
    yield
    meets.remove()


def test_a_wait_is_told_while_it_lasts_by_the_outermost_who_knows_it():
    assert meets.of_thread(HERE) is None
    with meets.announced("host:1", 1, 2, only_ranks=True):
        with meets.announced("host:1", None, 0):
            assert meets.of_thread(HERE) == Meets("host:1", 1, 2, only_ranks=True)
        assert meets.of_thread(HERE) is not None
    assert meets.of_thread(HERE) is None


def test_a_wait_that_is_interrupted_is_told_no_longer():
    with pytest.raises(KeyboardInterrupt), meets.announced("host:1", 1, 2):
        raise KeyboardInterrupt
    assert meets.of_thread(HERE) is None


def test_each_kind_of_store_has_a_place(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    file = dist.FileStore(str(tmp_path / "link"), 2)
    served = dist.TCPStore("127.0.0.1", 0, is_master=True)
    assert meets.of_store(file, 1, 2) == Meets(str(tmp_path / "file"), 1, 2, prefix="")
    assert meets.of_store(served, 0, 2) == Meets(f"127.0.0.1:{served.port}", 0, 2, prefix="")
    assert "other processes do not see" in str(meets.of_store(dist.HashStore(), 0, 2))
    assert meets.of_store(None, 0, 2) is None


@pytest.mark.usefixtures("prefixes")
def test_the_prefixes_of_a_store_are_told_as_its_keys_have_them():
    base = dist.HashStore()
    inner = dist.PrefixStore("a", base)
    outer = dist.PrefixStore(prefix="b", store=inner)
    outer.set("key", "value")
    assert (meets.of_store(outer, 0, 2).prefix, base.check(["a/b/key"])) == ("a/b", True)
    del inner
    assert meets.of_store(outer, 0, 2).prefix == "a/b"
    stands = meets.interruptible(outer, timedelta(seconds=1), "host:1", prefix="a/b")
    there = Meets("host:1", 0, 2, prefix="a/b/c")
    assert meets.of_store(dist.PrefixStore("c", stands), 0, 2) == there


def test_a_prefix_that_was_given_unseen_is_not_known():
    store = dist.PrefixStore("a", dist.HashStore())
    assert meets.of_store(store, 0, 2).prefix is None
    meets.install()
    try:
        assert meets.of_store(dist.PrefixStore("b", store), 0, 2).prefix is None
    finally:
        meets.remove()


def test_a_store_that_waits_in_python_has_the_place_of_the_other():
    store = meets.interruptible(dist.HashStore(), timedelta(seconds=1), "host:1")
    assert isinstance(store, Interruptible)
    assert (store.kind, meets.of_store(store, 0, 2)) == (
        "other store",
        Meets("host:1", 0, 2, prefix=""),
    )
    ours = meets.interruptible(dist.HashStore(), timedelta(seconds=1), "host:1", 2)
    assert isinstance(ours, Interruptible)
    assert ours.kind == "store"


@pytest.mark.parametrize(
    ("host", "place"),
    [("localhost", "localhost:1"), ("::1", "[::1]:1"), ("10.0.0.1", "10.0.0.1:1")],
)
def test_a_port_is_told_with_its_host(host, place):
    assert meets.at_port(host, 1) == place
