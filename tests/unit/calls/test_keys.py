"""Waiting for keys in a store of a person's own: Ctrl+C ends it."""

from __future__ import annotations

import datetime as dt
import os
import signal
import threading

import pytest
import torch.distributed as dist
from processes import wait_until
from steps import SOON

from rankbook import calls
from rankbook.distributed import stores
from rankbook.distributed.stores import Interruptible
from rankbook.engine.looking import frames

MOMENT = dt.timedelta(milliseconds=20)


@pytest.fixture(autouse=True)
def account():
    calls.install(calls.Ledger(), [Interruptible])
    yield
    calls.remove()


@pytest.fixture(params=["wait", "get"])
def wait(request):
    return (
        (lambda its: its.wait(["key"])) if request.param == "wait" else lambda its: its.get("key")
    )


@pytest.mark.parametrize("prefix", [False, True])
def test_ctrl_c_ends_the_wait_for_a_key(wait, prefix, monkeypatch):
    def poll(*given):
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
        return polls(*given)

    polls = stores.poll
    monkeypatch.setattr(stores, "poll", poll)
    store = dist.HashStore()
    with pytest.raises(KeyboardInterrupt):
        wait(dist.PrefixStore("a", store) if prefix else store)


def test_a_key_that_is_set_late_ends_the_wait(wait):
    store = dist.HashStore()
    threading.Timer(0.02, store.set, ("key", "value")).start()
    assert wait(store) in (None, b"value")


def test_a_key_that_is_not_set_is_named(wait):
    store = dist.HashStore()
    store.set_timeout(MOMENT)
    with pytest.raises(dist.DistStoreError, match=r"^key was not set within 0.02 s$"):
        wait(store)


def test_a_rank_that_waits_for_a_key_stands_where_the_user_waits():
    store, seen = dist.HashStore(), []

    def look():
        wait_until(lambda: seen.append(frames.position()) or seen[-1].in_store, SOON)
        store.set("key", "")

    watcher = threading.Thread(target=look)
    watcher.start()
    store.wait(["key"])
    watcher.join()
    assert seen[-1].in_store


def test_a_wait_s_own_timeout_counts():
    with pytest.raises(dist.DistStoreError, match=r"key was not set within 0.02 s"):
        dist.HashStore().wait(["key"], MOMENT)


def test_a_store_that_waits_in_python_is_left_to_do_so():
    """So its own name of the key is in the error."""
    store = Interruptible(dist.HashStore(), MOMENT)
    with pytest.raises(dist.DistStoreError, match="a/key was not set"):
        dist.PrefixStore("a", store).wait(["key"], MOMENT)


def test_a_key_is_found_below_a_prefix_of_a_store_that_waits_in_python(wait):
    base = Interruptible(dist.HashStore(), MOMENT)  # which C++ alone does not keep
    store = dist.PrefixStore("a", base)
    store.set("key", "value")
    assert wait(store) in (None, b"value")
