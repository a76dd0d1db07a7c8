"""Stores that code opens by itself: what they wait for, Ctrl+C ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from processes import wait_until
from torch.distributed import DistNetworkError, DistStoreError, TCPStore

from rankbook.distributed import opening
from rankbook.engine.cells.left import Left

HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def stands_in():
    opening.install()
    yield
    opening.remove()


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return probe.getsockname()[1]


@pytest.fixture
def ctrl_c_when_it_waits(monkeypatch):
    begins = opening.Opening.wait

    def wait(its, keys, timeout):
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        return begins(its, keys, timeout)

    monkeypatch.setattr(opening.Opening, "wait", wait)


@pytest.mark.usefixtures("ctrl_c_when_it_waits")
def test_ctrl_c_ends_the_wait_for_a_server(port):
    with pytest.raises(KeyboardInterrupt):
        TCPStore(HERE, port, 2, is_master=False)


@pytest.mark.usefixtures("ctrl_c_when_it_waits")
def test_ctrl_c_ends_the_wait_for_clients_and_the_port_can_be_taken_again(port):
    with pytest.raises(KeyboardInterrupt) as kept:
        TCPStore(HERE, port, 3, is_master=True)
    assert TCPStore(HERE, port, is_master=True).port == port
    assert kept.traceback


def test_a_server_is_there_once_its_clients_have_come(port):
    clients = []
    client = threading.Thread(
        target=lambda: clients.append(TCPStore(HERE, port, 2, is_master=False))
    )
    client.start()
    server = TCPStore(HERE, port, 2, is_master=True)
    client.join(10)
    server.set("key", "value")
    assert clients[0].get("key") == b"value"


def test_a_client_of_a_store_that_is_not_there_says_so_in_a_line(port):
    with pytest.raises(DistNetworkError, match=f"no store listened at {HERE}:{port} within 0.1 s"):
        TCPStore(HERE, port, 2, is_master=False, timeout=timedelta(seconds=0.1))


def test_a_server_whose_clients_do_not_come_gives_up_as_torch_does(port):
    with pytest.raises(RuntimeError, match="1/2 clients joined"):
        TCPStore(HERE, port, 2, is_master=True, timeout=timedelta(seconds=0.2))


def test_a_port_that_is_taken_is_reported_by_torch():
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        taken.listen()
        with pytest.raises(DistNetworkError):
            TCPStore(HERE, taken.getsockname()[1], 2, is_master=True)


def test_wrong_arguments_are_reported_by_torch():
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        TCPStore(HERE)


@pytest.fixture
def stranger():
    """A port at which something listens and says nothing."""
    with socket.create_server((HERE, 0), backlog=16) as listener:
        yield listener.getsockname()[1]
    wait_until(lambda: not connecting_threads())


def connecting_threads():
    return [one for one in threading.enumerate() if one.name == "rankbook-connect"]


@pytest.mark.usefixtures("ctrl_c_when_it_waits")
def test_ctrl_c_ends_the_wait_for_what_listens_and_does_not_answer(stranger):
    with pytest.raises(KeyboardInterrupt):
        TCPStore(HERE, stranger, 2, is_master=False)


def test_a_client_of_what_does_not_answer_says_so_after_its_timeout(stranger):
    said = f"what listens at {HERE}:{stranger} did not answer as a store within 0.3 s"
    with pytest.raises(DistNetworkError, match=said):
        TCPStore(HERE, stranger, 2, is_master=False, timeout=timedelta(seconds=0.3))


def test_a_client_keeps_the_timeout_that_it_was_given(port):
    server = TCPStore(HERE, port, is_master=True)
    client = TCPStore(HERE, port, None, False, timedelta(seconds=77))  # noqa: FBT003
    server.set("key", "value")
    assert (client.get("key"), client.timeout) == (b"value", timedelta(seconds=77))


def test_wrong_arguments_of_a_client_are_reported_by_torch(port):
    server = TCPStore(HERE, port, is_master=True)
    with pytest.raises(TypeError, match="incompatible constructor arguments"):
        TCPStore(HERE, port, "two", is_master=False)
    assert server.port == port


@pytest.mark.usefixtures("ctrl_c_when_it_waits")
def test_ctrl_c_ends_the_wait_for_the_folder_of_a_file(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        opening.wait_for_folder(str(tmp_path / "none" / "file"))


def test_the_folder_of_a_file_may_come_late(tmp_path):
    folder = tmp_path / "late"
    threading.Timer(0.05, folder.mkdir).start()
    opening.wait_for_folder(str(folder / "file"))
    assert folder.is_dir()


def test_a_folder_that_does_not_come_is_said(tmp_path):
    soon = timedelta(seconds=0.1)
    with pytest.raises(DistStoreError, match=r"did not come to be within 0\.1 s"):
        opening.wait_for_folder(str(tmp_path / "none" / "file"), soon)


def in_thread(function):
    """Call it in a thread; return that, and what it raised."""
    raised = []

    def run():
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - told
            raised.append(type(error))

    thread = threading.Thread(target=run, name="of-a-script", daemon=True)
    thread.start()
    return thread, raised


@pytest.fixture
def when_it_waits(monkeypatch):
    """Waits until a thread waits for the other end of a store."""
    waits, begins = threading.Event(), opening.Opening.wait

    def wait(its, keys, timeout):
        waits.set()
        return begins(its, keys, timeout)

    monkeypatch.setattr(opening.Opening, "wait", wait)
    return lambda: waits.wait(10)


@pytest.mark.parametrize("waits_for", ["a server", "clients", "what does not answer"])
def test_the_wait_of_a_thread_can_be_ended(port, stranger, when_it_waits, waits_for):
    at, serves = stranger if waits_for == "what does not answer" else port, waits_for == "clients"
    thread, raised = in_thread(lambda: TCPStore(HERE, at, 3, is_master=serves))
    assert when_it_waits()
    Left({thread}, set()).end_threads(patience=10)
    assert not thread.is_alive()
    assert raised == [SystemExit]
    wait_until(lambda: not connecting_threads())
    assert TCPStore(HERE, port, is_master=True).port == port


def test_threads_open_a_store_together(port):
    made = []
    threads = [
        in_thread(lambda serves=serves: made.append(TCPStore(HERE, port, 3, is_master=serves)))[0]
        for serves in (False, True, False)
    ]
    for thread in threads:
        thread.join(10)
    made[0].set("key", "value")
    assert [store.get("key") for store in made] == [b"value"] * 3


@pytest.mark.parametrize("serves", [False, True])
def test_a_process_ends_though_a_thread_waits(stranger, port, serves):
    code = f"""if True:
        import threading
        from torch.distributed import TCPStore
        from rankbook.distributed import opening
        opening.install()
        begins, waits = opening.Opening.wait, threading.Event()
        def wait(*given):
            waits.set()
            return begins(*given)
        opening.Opening.wait = wait
        make = lambda: TCPStore({HERE!r}, {port if serves else stranger}, 3, is_master={serves})
        threading.Thread(target=make, daemon=True).start()
        waits.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
