from __future__ import annotations

import pytest
from jupyter_client.session import Session

from rankbook import protocol


class Frame:
    """What pyzmq gives with copy=False."""

    def __init__(self, data):
        self.bytes = data


def frames_of(kind, content=None, ident=b"engine"):
    session = Session(key=b"secret")
    return [ident, *session.serialize(session.msg(kind, content or {}), ident=None)]


@pytest.mark.parametrize("kind", [protocol.REQUEST, protocol.EVENTS, protocol.REPLY])
@pytest.mark.parametrize("wrap", [bytes, Frame])
def test_our_messages_are_known(kind, wrap):
    assert protocol.is_ours([wrap(frame) for frame in frames_of(kind)])


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        ("a\ud83d", "a\\ud83d"),
        ({"k\ud83d": [1, 2.5, None, True, ("x",)]}, {"k\\ud83d": [1, 2.5, None, True, ["x"]]}),
        ({1: {2}}, {"1": "{2}"}),
        ("plain é", "plain é"),
    ],
)
def test_any_text_of_a_user_can_be_sent(value, carried):
    assert protocol.as_json(value) == carried
    Session(key=b"secret").serialize(Session().msg(protocol.EVENTS, {"its": carried}))


@pytest.mark.parametrize("kind", ["execute_request", "shutdown_request", "apply_reply"])
def test_messages_of_others_are_not_ours(kind):
    assert not protocol.is_ours(frames_of(kind))


def test_only_the_header_of_a_message_decides_its_kind():
    content = {"code": '"rankbook_request"', "msg_type": "rankbook_request"}
    assert not protocol.is_ours(frames_of("execute_request", content))
    assert not protocol.is_ours(frames_of("execute_request", ident=b'"rankbook_request"'))


def test_a_message_without_an_identity_is_read():
    assert protocol.is_ours(frames_of(protocol.REQUEST)[1:])


def test_the_header_is_returned_raw():
    header = protocol.header_of(frames_of(protocol.REPLY))
    assert header.startswith(b"{")
    assert b'"msg_type": "rankbook_reply"' in header


@pytest.mark.parametrize(
    "frames", [[], [b"noise"], [b"<IDS|MSG>"], [b"<IDS|MSG>", b"signature"], [b""] * 20]
)
def test_frames_that_are_not_a_message_have_no_header(frames):
    assert protocol.header_of(frames) == b""
    assert not protocol.is_ours(frames)
