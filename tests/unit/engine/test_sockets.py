"""Which sockets are a group's own, with real ones on loopback, and real gloo."""

from __future__ import annotations

import datetime as dt
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d
from processes import wait_until
from steps import SOON

from rankbook import calls
from rankbook.engine.group import sockets as gloo
from rankbook.engine.group.sockets import GlooSockets


@pytest.fixture
def sockets(monkeypatch):
    """A watch of what a stand-in for torch's own function makes: it calls what it is given."""

    def make_group(make, name=""):
        made = make()
        monkeypatch.setitem(c10d._world.pg_names, "group", name)
        return "group", made

    monkeypatch.setattr(c10d, "_new_process_group_helper", make_group)
    return GlooSockets()


@pytest.fixture
def making(sockets):
    """Makes something as part of a group."""
    return lambda *args: c10d._new_process_group_helper(*args)[1]


@pytest.fixture
def opened():
    """Closes what a test has opened."""
    with ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def pair(opened):
    """Makes the two ends of one TCP connection."""

    def connect(family=socket.AF_INET, address="127.0.0.1"):
        with socket.socket(family) as listener:
            listener.bind((address, 0))
            listener.listen()
            near = opened(socket.create_connection(listener.getsockname()[:2], timeout=SOON))
            far = opened(listener.accept()[0])
        far.settimeout(SOON)
        return near, far

    return connect


def works(near, far):
    """Whether what is sent at one end arrives at the other, both ways."""
    with suppress(OSError):
        near.sendall(b"there")
        arrived = far.recv(5)
        far.sendall(b"back.")
        return arrived + near.recv(5) == b"thereback."
    return False


def descriptors():
    return len(list(Path("/dev/fd").iterdir()))


# -- which are cut ---------------------------------------------------------------------------


def test_only_connections_that_were_made_with_the_group_are_cut(sockets, making, pair):
    before = pair()
    during = making(pair)
    after = pair()
    assert all(works(*each) for each in (before, during, after))
    assert sockets.cut() == 2
    assert not works(*during)
    assert works(*before)
    assert works(*after)


def test_both_ends_of_a_cut_connection_notice_at_once(sockets, making, pair):
    near, far = making(pair)
    sockets.cut()
    assert near.recv(1) == b""
    assert far.recv(1) == b""


def test_connections_of_every_group_are_cut(sockets, making, pair):
    first, second = making(pair), making(pair)
    assert sockets.cut() == 4
    assert not works(*first)
    assert not works(*second)


def test_without_a_group_nothing_is_cut(sockets, pair):
    own = pair()
    assert sockets.cut() == 0
    assert works(*own)


def test_a_second_cut_finds_nothing_more_and_harms_nothing(sockets, making, pair):
    other = pair()
    making(pair)
    sockets.cut()
    sockets.cut()
    assert works(*other)


def test_connections_over_ipv6_are_cut_as_well(sockets, making, pair):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("needs IPv6 on loopback")
    connection = making(lambda: pair(socket.AF_INET6, "::1"))
    assert sockets.cut() == 2
    assert not works(*connection)


# -- whether something is on its way ---------------------------------------------------------

SILENT = 0.1


@pytest.fixture
def silent(sockets, making, pair):
    """The two ends of a group's connection, over which nothing has gone for a while."""
    ends = making(pair)
    assert works(*ends)
    wait_until(lambda: (sockets.silent_for() or 0) > SILENT, SOON)
    return ends


LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says it")


@LINUX_ONLY
def test_sending_over_a_connection_of_a_group_ends_its_silence(sockets, silent):
    near, _ = silent
    near.sendall(b"one")
    assert sockets.silent_for() < SILENT


@LINUX_ONLY
def test_data_that_arrives_unread_ends_the_silence_of_a_group(sockets, silent):
    near, far = silent
    del sockets._inodes[os.fstat(near.fileno()).st_ino]  # as if it were another process's
    assert sockets.silent_for() > SILENT
    near.sendall(b"one")
    wait_until(lambda: sockets.silent_for() < SILENT, SOON)
    assert far.recv(3) == b"one"


@LINUX_ONLY
def test_data_over_other_connections_does_not_end_the_silence_of_a_group(sockets, silent, pair):
    assert works(*pair())
    assert sockets.silent_for() > SILENT


@LINUX_ONLY
def test_data_of_another_group_does_not_end_the_silence_of_a_group(sockets, making, pair):
    quiet, busy = making(pair, "1"), making(pair, "2")
    assert works(*quiet)
    assert works(*busy)
    wait_until(lambda: sockets.silent_for("1") > SILENT, SOON)
    assert works(*busy)
    assert sockets.silent_for("2") < SILENT < sockets.silent_for("1")
    # Where it is not known of which group, it may be any.
    assert sockets.silent_for("3") < SILENT
    assert sockets.silent_for() < SILENT


def test_a_socket_without_a_connection_does_not_count_as_a_group_s(sockets, making, opened):
    """As loggers have: it is connected, and not TCP."""

    def connect():
        its = opened(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        its.connect(("127.0.0.1", 9))
        return its

    its = making(connect)
    assert sockets.silent_for() is None
    assert sockets.cut() == 0
    assert its.getpeername() == ("127.0.0.1", 9)


def test_the_silence_of_no_group_is_unknown(sockets, pair):
    assert works(*pair())
    assert sockets.silent_for() is None


def test_the_silence_of_cut_connections_is_unknown(sockets, making, pair):
    making(pair)
    sockets.cut()
    assert sockets.silent_for() is None


def test_a_socket_that_listens_goes_on_listening(sockets, making, opened):
    listener = making(lambda: opened(socket.create_server(("127.0.0.1", 0))))
    assert sockets.cut() == 0
    near = opened(socket.create_connection(listener.getsockname(), timeout=SOON))
    far = opened(listener.accept()[0])
    assert works(near, far)


def test_sockets_that_connect_no_hosts_are_not_cut(sockets, making, opened):
    """Unix sockets, pipes, files."""

    def make():
        near, far = map(opened, socket.socketpair(socket.AF_UNIX))
        reader, writer = os.pipe()
        opened(_closing(reader))
        opened(_closing(writer))
        return near, far, reader, writer

    near, far, reader, writer = making(make)
    assert sockets.cut() == 0
    assert works(near, far)
    os.write(writer, b"x")
    assert os.read(reader, 1) == b"x"


@contextmanager
def _closing(descriptor):
    yield
    os.close(descriptor)


def test_the_cut_ends_a_wait_in_another_thread(sockets, making, pair):
    near, _ = making(pair)
    ended = []
    thread = threading.Thread(target=lambda: ended.append(near.recv(1)))
    thread.start()
    sockets.cut()
    thread.join(SOON)
    assert ended == [b""]


# -- while a group is made -------------------------------------------------------------------


def test_every_new_connection_is_cut_while_a_group_is_being_made(sockets, making, pair):
    """Ranks that wait for one that does not come have connected to the others already."""
    before = pair()
    old = making(pair)
    cut = []

    def make():
        new = pair()
        thread = threading.Thread(target=lambda: cut.append(sockets.cut()))
        thread.start()
        thread.join(SOON)
        return new

    new = making(make)
    assert cut == [4]
    assert not works(*new)
    assert not works(*old)
    assert works(*before)


def test_connections_of_a_group_that_could_not_be_made_are_cut(sockets, making, pair):
    left = []

    def make():
        left.append(pair())
        raise RuntimeError("a rank did not come")

    with pytest.raises(RuntimeError, match="did not come"):
        making(make)
    other = pair()
    assert sockets.cut() == 2
    assert not works(*left[0])
    assert works(*other)


def test_closed_connections_are_forgotten(sockets, making, pair):
    """Their numbers may be given to others."""
    for end in making(pair):
        end.close()
    making(lambda: None)
    assert sockets._inodes == {}


def test_the_watched_function_of_torch_takes_and_returns_the_same(monkeypatch):
    def _new_process_group_helper(*args, **kwargs):
        """The original."""
        return args, kwargs, "more"

    monkeypatch.setattr(c10d, "_new_process_group_helper", _new_process_group_helper)
    GlooSockets()
    assert c10d._new_process_group_helper(1, group_name="x") == ((1,), {"group_name": "x"}, "more")
    assert c10d._new_process_group_helper.__doc__ == "The original."


# -- ranks that never come -------------------------------------------------------------------


def test_missing_peers_are_stood_in_for_while_a_group_is_being_made(sockets, making, opened):
    """Each peer by its number in eight bytes, and an end at once."""
    said = []

    def make():
        listener = opened(socket.create_server(("127.0.0.1", 0), backlog=100))
        sockets.cut()
        for _ in range(64):
            connection, _ = listener.accept()
            with connection:
                said.append(int.from_bytes(connection.recv(8), sys.byteorder))
                assert connection.recv(1) == b""

    making(make)
    assert said == list(range(64))


def test_no_rank_connects_to_a_listener_of_user_code(sockets, making, opened):
    listener = opened(socket.create_server(("127.0.0.1", 0)))
    making(sockets.cut)
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.accept()


# -- descriptors -----------------------------------------------------------------------------


def test_no_descriptor_is_left_open(sockets, making, pair, opened):
    opened(socket.create_server(("127.0.0.1", 0)))
    for end in socket.socketpair():
        opened(end)
    pair()
    before = descriptors()
    making(pair)
    assert descriptors() == before + 2
    sockets.cut()
    making(lambda: None)
    sockets.cut()
    assert descriptors() == before + 2


def test_a_cut_socket_stays_open_until_its_owner_closes_it(sockets, making, pair):
    near, far = making(pair)
    sockets.cut()
    before = descriptors()
    near.close()
    far.close()
    assert descriptors() == before - 2


# -- gloo ------------------------------------------------------------------------------------


def test_a_collective_of_gloo_ends_with_its_connections(sockets, making):
    """Two ranks in two threads; the second never comes to the collective."""
    store, minute = dist.HashStore(), dt.timedelta(minutes=1)

    def make():
        with ThreadPoolExecutor(2) as executor:
            ranks = [
                executor.submit(dist.ProcessGroupGloo, store, rank, 2, minute) for rank in range(2)
            ]
            return [rank.result(SOON) for rank in ranks]

    first, _second = making(make)
    waits = threading.Event()

    def reduce():
        work = first.allreduce([torch.ones(1)])
        waits.set()
        with pytest.raises(RuntimeError, match=r"(?i)connection|socket|closed|reset"):
            work.wait()
        return time.monotonic()

    with ThreadPoolExecutor(1) as executor:
        ended = executor.submit(reduce)
        wait_until(waits.is_set, SOON)
        begin = time.monotonic()
        assert sockets.cut() > 0
        assert ended.result(SOON) - begin < SOON


def test_the_time_at_which_a_cell_makes_the_default_group_is_noted(monkeypatch):
    # So that torch's own function is there again afterwards.
    monkeypatch.setattr(c10d, "_new_process_group_helper", c10d._new_process_group_helper)
    sockets, began = GlooSockets(), []
    assert sockets.began == 0
    for _ in range(2):
        before = time.time_ns()
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        try:
            assert before <= sockets.began <= time.time_ns()
            began.append(sockets.began)
            dist.new_group([0])
            assert sockets.began == began[-1]
        finally:
            dist.destroy_process_group()
    assert began[0] < began[1]


def test_an_attempt_to_make_a_group_that_fails_is_forgotten(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a peer died")

    monkeypatch.setattr(c10d, "_new_process_group_helper", fail)
    GlooSockets()
    with pytest.raises(RuntimeError, match="a peer died"):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    assert c10d._world.group_count == 0


def test_without_the_function_in_which_torch_makes_groups_nothing_is_cut_and_that_is_said(
    monkeypatch, pair
):
    assert gloo.lacking() == ()
    monkeypatch.delattr(c10d, "_new_process_group_helper")
    sockets = GlooSockets()
    near, far = pair()
    assert sockets.cut() == 0
    assert works(near, far)
    [lack] = gloo.lacking()
    assert "torch has no _new_process_group_helper: a rank that hangs" in lack
    calls.install(calls.Ledger())
    calls.remove()
    assert not hasattr(c10d, "_new_process_group_helper")
