"""The sockets of an ipyparallel client, on a client that is none."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest

from rankbook.cluster.transport.messages import Outgoing, Registered, Unregistered
from rankbook.cluster.transport.wire import ClientWire


@pytest.fixture
def client():
    client = MagicMock(_engines={1: "uuid-1", 0: "uuid-0"}, _registration_callbacks=[])
    client._io_loop.add_callback = lambda work, *args, **options: work(*args, **options)
    client._config = {"interface": "tcp://10.0.0.1"}
    client.session.msg = lambda kind, content: {"header": {"msg_id": "theirs"}, "content": content}
    return client


@pytest.fixture
def wire(client, monkeypatch):
    monkeypatch.setattr(ClientWire, "_watch", lambda wire: None)
    return ClientWire(client)


def test_a_controller_that_is_gone_is_not_told_that_an_engine_has_ended(wire, client):
    """A message to a controller that is gone is kept forever."""
    wire.unregister(1)
    client.session.send.assert_called_once()
    wire.lost.set()
    wire.unregister(2)
    client.session.send.assert_called_once()
    client._unregister_engine.assert_called_with({"content": {"id": 2}})


def test_an_engine_is_forgotten_at_once_though_the_controller_is_told_later(wire, client):
    wire.unregister(1, after=2.0)
    client._unregister_engine.assert_called_with({"content": {"id": 1}})
    client.session.send.assert_not_called()
    [(delay, tell)] = [call.args for call in client._io_loop.call_later.call_args_list]
    tell()
    assert delay == 2.0
    client.session.send.assert_called_once()


def test_requests_go_to_the_engines_that_they_name_under_their_own_ids(wire, client):
    wire.send([Outgoing("a", 0, {"op": "x"}), Outgoing("b", 1, {"op": "y"})], [b"data"])
    sent = [(each.args[1], each.kwargs) for each in client.session.send.call_args_list]
    assert [message["header"]["msg_id"] for message, _ in sent] == ["a", "b"]
    assert [message["content"]["op"] for message, _ in sent] == ["x", "y"]
    assert [options["ident"] for _, options in sent] == [b"uuid-0", b"uuid-1"]
    assert [options["buffers"] for _, options in sent] == [[b"data"]] * 2


def test_a_request_to_an_engine_that_has_just_left_is_dropped(wire, client):
    wire.send([Outgoing("a", 7, {}), Outgoing("b", 1, {})])
    client.session.send.assert_called_once()


def test_what_the_controller_announces_is_passed_on(wire, client):
    notices = []
    wire.subscribe(notices.append)
    [announce] = client._registration_callbacks
    announce({"event": "register", "id": 3, "uuid": "uuid-3"})
    announce({"event": "unregister", "id": 3, "uuid": "uuid-3"})
    assert notices == [Registered(3), Unregistered(3)]


def test_a_wire_says_where_engines_and_controller_are(wire):
    assert wire.engines == [0, 1]
    assert wire.address == "10.0.0.1"
