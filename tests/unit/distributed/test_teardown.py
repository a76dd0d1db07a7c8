"""Destroying a group."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import types

import pytest
import torch.distributed as dist

from rankbook.distributed import init_utils, stores, teardown
from rankbook.distributed.init_utils import destroy_global_state, initialize_distributed
from rankbook.errors import RendezvousError

pytestmark = pytest.mark.usefixtures("no_launcher")


def test_destroying_without_a_group_does_nothing():
    destroy_global_state()
    destroy_global_state()


def test_the_environment_and_hook_are_put_back():
    hook = sys.excepthook
    for _ in range(3):
        initialize_distributed("gloo")
        destroy_global_state()
    assert sys.excepthook is hook
    assert "GLOO_SOCKET_IFNAME" not in os.environ


def test_an_interface_chosen_by_the_user_stays(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", stores.loopback_interface())
    initialize_distributed("gloo")
    destroy_global_state()
    assert os.environ["GLOO_SOCKET_IFNAME"] == stores.loopback_interface()


def test_the_exit_hook_is_registered_once(monkeypatch):
    registered = []
    monkeypatch.setattr(init_utils, "_exit_hook_registered", False)
    monkeypatch.setattr(atexit, "register", registered.append)
    for _ in range(3):
        initialize_distributed("gloo")
        destroy_global_state()
    assert registered.count(destroy_global_state) == 1


@pytest.fixture
def sigint_handler():
    """A handler of our own, which must be found again."""

    def handler(signum, frame):
        raise AssertionError("SIGINT came through")

    before = signal.signal(signal.SIGINT, handler)
    yield handler
    signal.signal(signal.SIGINT, before)


def interrupted_destroy(monkeypatch, *, fail):
    real = dist.destroy_process_group

    def destroy():
        real()
        os.kill(os.getpid(), signal.SIGINT)
        if fail:
            raise RuntimeError("torch failed")

    monkeypatch.setattr(dist, "destroy_process_group", destroy)


def test_sigint_is_ignored_and_its_handler_restored(monkeypatch, sigint_handler):
    initialize_distributed("gloo")
    interrupted_destroy(monkeypatch, fail=False)
    destroy_global_state()
    assert signal.getsignal(signal.SIGINT) is sigint_handler


def test_sigint_is_restored_when_destroy_raises(monkeypatch, sigint_handler):
    initialize_distributed("gloo")
    interrupted_destroy(monkeypatch, fail=True)
    with pytest.raises(RuntimeError, match="torch failed"):
        destroy_global_state()
    assert signal.getsignal(signal.SIGINT) is sigint_handler


def test_a_group_is_destroyed_from_another_thread(sigint_handler):
    initialize_distributed("gloo")
    thread = threading.Thread(target=destroy_global_state)
    thread.start()
    thread.join(10)
    assert not dist.is_initialized()
    assert signal.getsignal(signal.SIGINT) is sigint_handler


def test_a_destroy_that_hangs_is_abandoned_with_a_warning(monkeypatch, caplog):
    initialize_distributed("gloo")
    real, release = dist.destroy_process_group, threading.Event()

    def hang():
        release.wait(10)
        real()

    monkeypatch.setattr(dist, "destroy_process_group", hang)
    monkeypatch.setattr(teardown, "SECONDS", 0.05)
    started = time.monotonic()
    for _ in range(2):
        destroy_global_state()
    assert time.monotonic() - started < 1
    assert caplog.text.count("was not destroyed within 0.05 s") == 2
    with pytest.raises(RendezvousError, match=r"still being destroyed after 0\.06 s"):
        initialize_distributed("gloo", 0.001)
    release.set()
    assert initialize_distributed("cpu:gloo").backend == "cpu:gloo"


def test_a_group_is_destroyed_where_no_thread_can_be_started(monkeypatch):
    """As at exit of Python 3.12."""

    def start(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    initialize_distributed("gloo")
    monkeypatch.setattr(teardown._Leaving, "start", start)
    destroy_global_state()
    assert not dist.is_initialized()


def test_a_destroy_during_an_initialisation_gives_up_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(teardown, "SECONDS", 0.05)
    with init_utils._lock:
        thread = threading.Thread(target=destroy_global_state)
        thread.start()
        thread.join(10)
    assert "interrupt it first" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
def test_deepep_buffers_are_freed_first_and_never_stop_the_destroy(monkeypatch, caplog, fails):
    class Buffer:
        explicitly_destroy = True

        def destroy(self):
            assert dist.is_initialized()
            if fails:
                raise RuntimeError("no buffer")

    module = types.ModuleType("megatron.core.transformer.moe.fused_a2a")
    module._buffer = Buffer()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    initialize_distributed("gloo")
    destroy_global_state()
    assert module._buffer is None
    assert not dist.is_initialized()
    assert ("could not free" in caplog.text) is fails


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 and later
def test_a_forked_child_leaves_its_parents_group_alone():
    initialize_distributed("gloo")
    child = os.fork()
    if child == 0:
        destroy_global_state()
        os._exit(42 if dist.is_initialized() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
