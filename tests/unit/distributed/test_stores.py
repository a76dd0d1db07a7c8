"""Waiting in a store in Python, over real torch stores."""

from __future__ import annotations

import datetime as dt
import gc
import os
import signal
import threading
import time

import pytest
import torch
import torch.distributed as dist
from steps import SOON

from rankbook.distributed import stores
from rankbook.distributed.stores import Interruptible

SHORT = dt.timedelta(milliseconds=20)
LONG = dt.timedelta(minutes=1)


@pytest.fixture
def file(tmp_path):
    """A real store in a file, that of a rank that has come."""
    return dist.FileStore(str(tmp_path / "store"), 2)


@pytest.fixture
def other(file, tmp_path):
    """The same store as another rank opens it."""
    return dist.FileStore(str(tmp_path / "store"), 2)


@pytest.fixture
def store(file):
    return Interruptible(file, LONG)


@pytest.fixture
def server():
    """A real store behind a socket."""
    return dist.TCPStore("127.0.0.1", 0, 1, is_master=True)


# -- waiting ---------------------------------------------------------------------------------


def test_keys_that_are_set_are_not_waited_for(store, file):
    file.set("a", "1")
    file.set("b", "2")
    store.wait(["a", "b"])
    store.wait(["a"], SHORT)
    store.wait([])


def test_a_wait_ends_when_another_rank_sets_the_last_key(store, other):
    other.set("a", "1")
    thread = threading.Thread(target=lambda: other.set("b", "2"))
    thread.start()
    store.wait(["a", "b"])
    thread.join()
    assert other.check(["b"])


def test_a_wait_that_times_out_names_the_keys_that_are_missing(store, file):
    file.set("there", "1")
    with pytest.raises(dist.DistStoreError) as caught:
        store.wait(["there", "rank1", "rank2"], SHORT)
    assert str(caught.value) == "rank1, rank2 was not set within 0.02 s"


def test_a_wait_without_a_timeout_uses_that_of_the_store(file):
    begin = time.monotonic()
    with pytest.raises(dist.DistStoreError, match=r"rank1 was not set within 0\.02 s"):
        Interruptible(file, SHORT).wait(["rank1"])
    assert time.monotonic() - begin >= SHORT.total_seconds()


def test_the_timeout_of_the_store_can_be_changed(store, file):
    store.set_timeout(SHORT)
    assert file.timeout == SHORT
    with pytest.raises(dist.DistStoreError, match=r"within 0\.02 s"):
        store.wait(["rank1"])


def test_an_interrupt_ends_a_wait(file):
    class Interrupted(dist.Store):
        def check(self, keys):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interruptible(Interrupted(), LONG).wait(["rank1"])


# -- what gloo reads of every rank -----------------------------------------------------------


class Counted:
    """A real store that notes what it is asked."""

    def __init__(self, store):
        self._store, self.asked = store, []

    def __getattr__(self, name):
        if name != "has_extended_api":
            self.asked.append(name)
        return getattr(self._store, name)


def read_as_gloo_does(store, ranks, of="0//cpu//0"):
    for rank in range(ranks):
        store.wait([f"{of}/{rank}"])
        assert store.get(f"{of}/{rank}") == str(rank).encode()


@pytest.mark.parametrize("of", ["0//cpu//0", "of each rank/heal"])
def test_what_every_rank_sets_is_read_at_once(of):
    served = Counted(dist.HashStore())
    for rank in range(8):
        served.set(f"{of}/{rank}", str(rank))
    served.asked.clear()
    store = Interruptible(served, LONG, 8)
    read_as_gloo_does(store, 8, of)
    assert served.asked == ["check", "multi_get"]


def test_a_store_in_a_file_reads_them_one_after_another(file):
    served = Counted(file)
    for rank in range(2):
        file.set(stores.rank_key("heal", rank), str(rank))
    read_as_gloo_does(Interruptible(served, LONG, 2), 2, "of each rank/heal")
    assert served.asked == ["check", "get", "get"]


def test_ranks_that_are_late_hold_up_only_who_reads_theirs():
    served = dist.HashStore()
    served.set("0//cpu//0/0", "0")
    store = Interruptible(served, SHORT, 2)
    read_as_gloo_does(store, 1)
    with pytest.raises(dist.DistStoreError, match="0//cpu//0/1 was not set"):
        store.get("0//cpu//0/1")


def test_the_keys_of_a_smaller_group_and_of_a_user_are_read_one_by_one():
    hashed = dist.HashStore()
    for key in ("tp//cpu//0/0", "tp//cpu//0/1", "mine/0", "mine/1"):
        hashed.set(key, key[-1])
    store = Interruptible(hashed, LONG, 8)
    read_as_gloo_does(store, 2, "tp//cpu//0")
    read_as_gloo_does(store, 2, "mine")
    hashed.set("mine/0", "changed")
    assert store.get("mine/0") == b"changed"


@pytest.mark.parametrize("wait", [lambda s: s.wait(["rank1"]), lambda s: s.get("rank1")])
def test_a_real_sigint_ends_a_wait(store, file, wait, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sleep = time.sleep

    def sleep_and_interrupt(seconds):
        os.kill(os.getpid(), signal.SIGINT)
        sleep(seconds)

    monkeypatch.setattr(stores.time, "sleep", sleep_and_interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            wait(store)
    finally:
        signal.signal(signal.SIGINT, before)


# -- all else passes through -----------------------------------------------------------------


def test_a_store_reads_and_writes_the_store_below(store, other):
    store.set("a", "1")
    assert other.get("a") == b"1"
    other.set("b", "2")
    assert store.get("b") == b"2"


def test_a_value_that_another_rank_sets_later_is_waited_for(store, other):
    thread = threading.Thread(target=lambda: other.set("a", "1"))
    thread.start()
    assert store.get("a") == b"1"
    thread.join()


def test_a_value_that_is_never_set_is_named(file):
    with pytest.raises(dist.DistStoreError, match="rank1 was not set within"):
        Interruptible(file, SHORT).get("rank1")


def test_counters_of_a_store_are_shared_by_its_clients(store, other):
    assert store.add("n", 2) == 2
    assert other.add("n", 3) == 5
    assert store.add("n", 0) == 5


def test_compare_set_exchanges_an_expected_value(store, other):
    assert store.compare_set("a", "", "1") == b"1"
    assert store.compare_set("a", "x", "2") == b"1"
    assert other.get("a") == b"1"
    assert store.compare_set("a", "1", "2") == b"2"
    assert other.get("a") == b"2"


def test_keys_are_checked_and_counted(store, other):
    before = store.num_keys()
    other.set("a", "1")
    assert store.check(["a"])
    assert not store.check(["a", "b"])
    assert store.num_keys() == before + 1


def test_a_deleted_key_of_a_store_is_gone():
    below = dist.HashStore()  # a FileStore says that it has deleted what was never there
    store = Interruptible(below, LONG)
    below.set("a", "1")
    assert store.delete_key("a") is True
    assert store.delete_key("a") is False
    assert not below.check(["a"])


def test_a_store_claims_no_extended_api(store):
    assert not store.has_extended_api()


# -- for torch it is a store -----------------------------------------------------------------


def test_torch_accepts_our_store(store):
    assert isinstance(store, dist.Store)
    prefixed = dist.PrefixStore("p", store)
    prefixed.set("a", "1")
    assert prefixed.get("a") == b"1"
    assert store.get("p/a") == b"1"


def test_keys_of_our_store_are_deleted_and_counted_below_a_prefix():
    store = Interruptible(dist.HashStore(), LONG)
    prefixed = dist.PrefixStore("p", store)
    prefixed.set("a", "1")
    assert prefixed.num_keys() == 1
    assert prefixed.delete_key("a") is True
    assert prefixed.num_keys() == 0


def test_a_clone_of_our_store_below_a_prefix_works_as_long_as_the_store(server):
    store = Interruptible(server, LONG)
    clone = dist.PrefixStore("p", store).clone()
    gc.collect()
    clone.set("a", "1")
    assert store.get("p/a") == b"1"
    assert not clone.check(["b"])


def test_torch_waits_through_our_store_in_python(store, monkeypatch):
    """Called from C++, with a prefix before the keys."""
    asked = []
    monkeypatch.setattr(store, "wait", lambda keys, timeout=None: asked.append(list(keys)))
    dist.PrefixStore("p", store).wait(["a"], SHORT)
    assert asked == [["p/a"]]


def test_gloo_forms_a_group_through_our_store(tmp_path):
    """Two ranks in two threads."""
    results = {}

    def be(rank):
        file = dist.FileStore(str(tmp_path / "store"), 2)
        store = Interruptible(file, LONG)
        group = dist.ProcessGroupGloo(dist.PrefixStore("g", store), rank, 2, LONG)
        tensor = torch.ones(1) * (rank + 1)
        group.allreduce([tensor]).wait()
        results[rank] = tensor.item()

    threads = [threading.Thread(target=be, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert results == {0: 3.0, 1: 3.0}


def test_gloo_says_which_rank_it_waits_for(file):
    store = Interruptible(file, SHORT)
    with pytest.raises(Exception, match=r"was not set within 0\.02 s"):
        dist.ProcessGroupGloo(store, 0, 2, SHORT)
