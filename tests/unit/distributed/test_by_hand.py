"""Which torch rendezvous take place where the session's ranks meet, and which elsewhere."""

from __future__ import annotations

import datetime as dt
import gc
import os
import socket
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from rankbook.distributed import by_hand, environment, rendezvous
from rankbook.distributed.stores import Interruptible
from rankbook.errors import RendezvousError

TORCHS = import_module("torch.distributed.rendezvous")  # a function has its name, too
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def met(monkeypatch):
    """Where the ranks have met: as (rank, world size, name), or what torch was asked for."""
    found = []

    def meet(launch, timeout, meanwhile=None):
        found.append((launch.rank, launch.world_size, launch.job))
        return SimpleNamespace(store=dist.HashStore())

    monkeypatch.setattr(rendezvous, "meet", meet)
    monkeypatch.setattr(TORCHS, "_create_c10d_store", lambda *its, **kw: found.append(its))
    monkeypatch.setattr(TORCHS, "FileStore", lambda *its, **kw: found.append(its))
    return found


@pytest.fixture
def session(tmp_path):
    """This process is rank 0 of two on one host, or what the variables say."""
    modules = (dist, dist.distributed_c10d)
    theirs = {module: module.init_process_group for module in modules}
    rendezvous.use(f"file://{tmp_path}/store", 1)
    rendezvous._process.opened = {f"file://{tmp_path}/store": dist.HashStore()}

    def begin(**variables):
        launch = environment.read(
            {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"} | variables
        )
        return by_hand.enable(launch, "127.0.0.1", MINUTE)

    yield begin
    by_hand.disable()
    for module, init in theirs.items():
        module.init_process_group = init
    rendezvous.forget()


def test_rank_0_has_a_port_of_loopback_and_tells_the_others(session):
    port = session().ours
    assert port > 0
    assert session().ours == port  # it is kept from one generation to the next
    assert session(RANK="1", LOCAL_RANK="1").ours == port
    with pytest.raises(OSError, match="refused"):  # it serves none of its own
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_the_session_s_own_address_is_where_its_ranks_meet(met, session):
    port = session().ours
    TORCHS._create_c10d_store("127.0.0.1", port, 0, 2, MINUTE)
    TORCHS._create_c10d_store("127.0.0.1", port, 1, 2, MINUTE, use_libuv=True)
    TORCHS._create_c10d_store("127.0.0.1", port, 0, 1, MINUTE)
    assert met == [
        (0, 2, f"by hand/localhost:{port}/2"),
        (1, 2, f"by hand/localhost:{port}/2"),
        (0, 1, f"by hand/localhost:{port}/1"),
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3", "::1"])
def test_all_ranks_of_one_host_meet_at_any_address_of_loopback_as_at_the_session_s_own(
    met, session, host
):
    session()
    TORCHS._create_c10d_store(host, 29500, 0, 2, MINUTE)
    assert met == [(0, 2, "by hand/localhost:29500/2")]


@pytest.mark.parametrize(
    "asked", [("127.0.0.1", 29500, 1, 2), ("127.0.0.1", 29500, 0, 3), ("192.0.2.1", 29500, 0, 2)]
)
def test_a_meeting_of_other_ranks_or_elsewhere_is_left_to_torch(met, session, asked):
    session()
    TORCHS._create_c10d_store(*asked, MINUTE)
    assert met == [(*asked, MINUTE)]


@pytest.mark.usefixtures("met")
def test_what_torch_makes_elsewhere_waits_in_python_and_others_may_reach_it(session):
    port = session().ours
    ours = TORCHS._create_c10d_store("127.0.0.1", port, 0, 2, MINUTE)
    theirs = TORCHS._create_c10d_store("127.0.0.1", 1, 0, 3, MINUTE)
    assert isinstance(theirs, Interruptible)
    assert (ours.kind, theirs.kind) == ("store", "other store")


def test_on_several_hosts_loopback_is_not_where_they_meet(met, session):
    session(LOCAL_WORLD_SIZE="1")
    TORCHS._create_c10d_store("127.0.0.1", 29500, 0, 2, MINUTE)
    assert met == [("127.0.0.1", 29500, 0, 2, MINUTE)]


def test_a_meeting_of_all_ranks_in_a_file_takes_place_where_the_session_meets(
    met, session, tmp_path
):
    session()
    file = str(tmp_path / "file")
    TORCHS.FileStore(file, 2)
    others = [TORCHS.FileStore(file, 3), TORCHS.FileStore(file)]
    assert met == [(0, 2, f"by hand/{file}/2"), (file, 3), (file, -1)]
    assert {its.kind for its in others} == {"other store"}


def test_a_file_in_which_others_meet_is_removed_with_the_group(session, tmp_path):
    session()
    file = tmp_path / "file"
    store = dist.PrefixStore("group", TORCHS.FileStore(str(file), 1))
    gc.collect()
    store.set("key", "value")
    assert (store.get("key"), file.exists()) == (b"value", True)
    del store
    assert not file.exists()


def test_a_process_that_was_forked_is_no_rank(met, session, monkeypatch):
    port = session().ours
    monkeypatch.setattr(os, "getpid", lambda: -1)
    TORCHS._create_c10d_store("127.0.0.1", port, 0, 2, MINUTE)
    TORCHS.FileStore("/some/file", 2)
    assert met == [("127.0.0.1", port, 0, 2, MINUTE), ("/some/file", 2)]


def test_on_several_hosts_the_port_is_that_of_the_store(session):
    url = rendezvous.host()
    rendezvous.use(url, 2)
    assert session(LOCAL_WORLD_SIZE="1").ours == int(url.rpartition(":")[2])


def test_after_an_attempt_in_vain_groups_are_counted_from_0_again(session, monkeypatch):
    """Or this rank would look for the others under another name than theirs."""

    def meet(launch, timeout, meanwhile=None):
        raise RendezvousError("rank 1 did not arrive")

    monkeypatch.setattr(rendezvous, "meet", meet)
    session()
    with pytest.raises(RendezvousError):
        dist.init_process_group(
            "gloo", init_method="tcp://127.0.0.1:29500", rank=0, world_size=2, timeout=MINUTE
        )
    assert dist.distributed_c10d._world.group_count == 0
    assert not dist.is_initialized()


def test_where_torch_lacks_the_function_the_ranks_still_meet_in_files_and_that_is_said(
    met, session, monkeypatch
):
    assert by_hand.lacking() == ()
    monkeypatch.delattr(TORCHS, "_create_c10d_store")
    session()
    TORCHS.FileStore("/some/file", 2)
    assert met == [(0, 2, "by hand//some/file/2")]
    [lack] = by_hand.lacking()
    assert "torch has no rendezvous._create_c10d_store: env:// may not work" in lack
    assert not hasattr(TORCHS, "_create_c10d_store")
