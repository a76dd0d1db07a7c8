"""Where ranks meet."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from datetime import timedelta

import psutil
import pytest
import torch.distributed as dist
from processes import wait_until

from rankbook.distributed import rendezvous, stores
from rankbook.distributed.environment import Launch
from rankbook.distributed.init_utils import initialize_distributed
from rankbook.errors import EnvironmentVariableError, InputError, RendezvousError

pytestmark = pytest.mark.usefixtures("no_launcher")


def test_a_hosted_store_listens_on_one_address():
    url = rendezvous.host()
    port = int(url.rpartition(":")[2])
    # The sockets of an earlier test's group may still be closing.
    here = [c.laddr for c in psutil.Process().net_connections("inet") if not c.raddr]
    assert [address.ip for address in here if address.port == port] == ["127.0.0.1"]
    rendezvous.forget()


def test_a_new_meeting_place_closes_the_hosted_store():
    url = rendezvous.host()
    rendezvous.use("file:///tmp/elsewhere", 1)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1)


def test_hosting_on_an_address_of_another_host_is_refused():
    with pytest.raises(InputError, match=r"cannot listen on '192\.0\.2\.1'"):
        rendezvous.host("192.0.2.1")


@pytest.mark.parametrize("url", ["http://x:1", "file:", "tcp://host", "/store", ""])
def test_a_place_that_is_no_file_or_tcp_url_is_refused(url):
    with pytest.raises(InputError, match="write file:///path or tcp://address:port"):
        rendezvous.use(url, 1)


def test_a_temporary_place_is_forgotten_after_its_block():
    with rendezvous.at("tcp://127.0.0.1:1234", 3):
        assert rendezvous.port() == 1234
    assert rendezvous.port() == 0


def test_a_meeting_file_that_cannot_be_written_is_an_error(monkeypatch, tmp_path):
    two_ranks(monkeypatch)
    rendezvous.use(f"file://{tmp_path}/missing/store", 1)
    with pytest.raises(InputError, match=r"missing/store' \(No such file"):
        initialize_distributed("gloo")


def two_ranks(monkeypatch, **environ):
    defaults = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**defaults, **environ}.items():
        monkeypatch.setenv(name, value)


def test_the_missing_rank_is_named(monkeypatch, tmp_path):
    two_ranks(monkeypatch, WORLD_SIZE="4")
    rendezvous.use(f"file://{tmp_path}/store", 1)
    with pytest.raises(RendezvousError) as raised:
        initialize_distributed("gloo", 0.003)
    assert str(raised.value).startswith("ranks 0, 2 and 3 of 4 did not arrive within 0.18 s: ")


def test_ranks_that_gave_up_are_distinguished_from_ranks_that_never_came(monkeypatch, tmp_path):
    rendezvous.use(f"file://{tmp_path}/store", 1)
    for rank, says in (("1", "ranks 0 and 2"), ("2", "rank 0")):
        two_ranks(monkeypatch, WORLD_SIZE="3", RANK=rank, LOCAL_RANK=rank)
        with pytest.raises(RendezvousError, match=f"^{says} of 3 did not arrive") as raised:
            initialize_distributed("gloo", 0.002)
    assert "rank 1 of 3 came and gave up" in str(raised.value)


def test_each_of_two_processes_that_come_as_one_rank_is_told(tmp_path):
    rendezvous.use(f"file://{tmp_path}/store", 1)
    launch = Launch("none", 1, 4, 1, 4, one_host=True)
    told = []

    def come():
        with pytest.raises(RendezvousError, match=r"came as rank 1: .* 0 to 3 "):
            rendezvous.meet(launch, timedelta(seconds=20))
        told.append(1)

    threads = [threading.Thread(target=come) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [1, 1]


def test_an_address_where_nothing_listens_is_an_error(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    two_ranks(monkeypatch, MASTER_PORT=str(port))
    with pytest.raises(RendezvousError, match=f"rank 0 did not arrive: .*127.0.0.1:{port} .*refus"):
        initialize_distributed("gloo", 0.003)


def test_a_port_where_another_program_listens_is_an_error(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        two_ranks(monkeypatch, MASTER_PORT=str(server.getsockname()[1]))
        with pytest.raises(RendezvousError, match="does not answer as a TCPStore"):
            initialize_distributed("gloo", 0.02)


def test_a_taken_port_is_an_error(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        two_ranks(monkeypatch, RANK="0", LOCAL_RANK="0", MASTER_PORT=str(port))
        with pytest.raises(EnvironmentVariableError, match=f"MASTER_PORT={port} .*in use"):
            initialize_distributed("gloo", 0.005)


@pytest.mark.parametrize("place", ["file", "nobody listens", "something else listens", "hosted"])
def test_ctrl_c_ends_the_wait_for_the_other_ranks(monkeypatch, tmp_path, place):
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    if place != "something else listens":
        server.close()
    two_ranks(monkeypatch, MASTER_PORT=str(port))
    if place == "file":
        rendezvous.use(f"file://{tmp_path}/store", 1)
    elif place == "hosted":
        rendezvous.use(rendezvous.host(), 1)
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        initialize_distributed("gloo", 0.5)
    assert time.monotonic() - sent[0] < 0.2
    timer.join()
    # What connects ends soon, also while what it is connected to says nothing: it would end the
    # process with SIGABRT if it came back from C++ while Python finalizes.
    names = lambda: {thread.name for thread in threading.enumerate()}  # noqa: E731
    wait_until(lambda: "rankbook-connect" not in names(), timeout=10)
    server.close()
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("found", "one_host", "addresses"),
    [
        (["127.0.1.1"], True, ["127.0.1.1"]),
        (["127.0.1.1"], False, ["10.0.0.7"]),
        (["10.1.2.3"], False, ["10.1.2.3", "10.0.0.7"]),
    ],
)
def test_the_addresses_of_rank_0_are_chosen_by_how_its_name_resolves(
    monkeypatch, found, one_host, addresses
):
    monkeypatch.setattr(stores, "resolve", lambda name: found)
    monkeypatch.setattr(stores, "outbound_address", lambda: "10.0.0.7")
    assert stores.own_addresses("node1", one_host=one_host) == addresses


def test_an_ipv4_address_is_preferred():
    assert stores.resolve("localhost")[0] == "127.0.0.1"
    assert stores.resolve("::1") == ["::1"]
