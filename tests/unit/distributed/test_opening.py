"""Stores that code opens by itself: what they wait for, Ctrl+C ends."""

from __future__ import annotations

import os
import signal
import socket
import threading
from datetime import timedelta

import pytest
from torch.distributed import DistNetworkError, TCPStore

from rankbook.distributed import opening

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
