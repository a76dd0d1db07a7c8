"""Processes that a rank has started, where ranks could meet: what is seen of them."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest
from ports import reserved
from processes import wait_until

from rankbook.distributed import outsiders
from rankbook.distributed.outsiders import FileDoor, KnockError, PortDoor

SOON = 10.0


@pytest.fixture
def children(monkeypatch):
    """What is told of this process's children: whether it has some, and at which ports."""
    told = {"some": False, "ports": set()}
    monkeypatch.setattr(outsiders, "has_children", [lambda: told["some"]])
    monkeypatch.setattr(outsiders, "is_served_by_child", [lambda port: port in told["ports"]])
    monkeypatch.setattr(outsiders, "LOOKS_EVERY", 0.0)
    return told


@pytest.fixture
def port():
    """A port where nothing listens; a socket bound to it shares it."""
    with reserved() as ports:
        yield ports[0]


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_a_port_is_opened_only_for_processes_that_there_are(children, port):
    with closing(PortDoor("localhost", port, serves=True)) as door:
        door.look()
        assert not listens(port)
        children["some"] = True
        door.look()
        assert listens(port)
        assert door.guest is None
    assert not listens(port)


def test_who_connects_is_no_rank(children, port):
    children["some"] = True
    with closing(PortDoor("localhost", port, serves=True)) as door:
        door.look()
        with socket.create_connection(("127.0.0.1", port)):
            wait_until(door.is_knocked, SOON)
        guest = door.guest
    with closing(guest):
        assert listens(port), "a process that has connected would lose its connection"


def test_a_port_that_is_in_use_is_left_alone(children):
    children["some"] = True
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        door = PortDoor("127.0.0.1", other.getsockname()[1], serves=True)
        door.look()
        assert listens(other.getsockname()[1])
        door.look()
        door.close()
        assert door.guest is None


def test_a_rank_that_is_to_connect_looks_whether_its_own_process_serves(children):
    door = PortDoor("localhost", 1234, serves=False)
    children["some"] = True
    door.look()
    children["ports"].add(1234)
    with pytest.raises(KnockError):
        door.look()
    assert door.guest is None


def test_a_file_is_written_by_processes_of_the_rank_only(children, tmp_path):
    path = tmp_path / "meet"
    path.write_text("left by an earlier group")
    door = FileDoor(str(path))
    children["some"] = True
    door.look()
    path.write_text("left by an earlier group, and written since")
    with pytest.raises(KnockError):
        door.look()
    children["some"] = False
    door.look()


def test_it_is_looked_now_and_then(children, monkeypatch, tmp_path):
    monkeypatch.setattr(outsiders, "LOOKS_EVERY", 60.0)
    children["some"] = True
    door = FileDoor(str(tmp_path / "meet"))
    door.look()
    (tmp_path / "meet").write_text("new")
    door.look()
