"""What a fork of this process does not hold open."""

from __future__ import annotations

import os
import socket

import pytest

from rankbook.cluster.processes import lifelines


@pytest.fixture
def fork():
    """A fork of this process, that lives until the test is over."""
    children = []
    wait, release = os.pipe()
    hear, say = os.pipe()

    def fork():
        child = os.fork()
        if not child:
            os.close(release)
            os.write(say, b"!")
            os.read(wait, 1)
            os._exit(0)
        children.append(child)
        assert os.read(hear, 1) == b"!"

    yield fork
    for end in (wait, release, hear, say):
        os.close(end)
    for child in children:
        os.waitpid(child, 0)


def pipe_of_objects():
    read, write = os.pipe()
    return os.fdopen(read, "rb"), os.fdopen(write, "wb")


@pytest.mark.parametrize("make", [pipe_of_objects, socket.socketpair])
@pytest.mark.parametrize("is_held", [True, False])
def test_the_other_end_sees_that_it_is_closed_though_a_fork_lives_on(fork, make, is_held):
    theirs, ours = make()
    if is_held:
        lifelines.hold(ours)
    fork()
    ours.close()
    os.set_blocking(theirs.fileno(), False)
    with theirs:
        if is_held:
            assert os.read(theirs.fileno(), 1) == b""
        else:
            with pytest.raises(BlockingIOError):
                os.read(theirs.fileno(), 1)


def test_a_fork_after_one_was_closed_works(fork):
    for make in (pipe_of_objects, socket.socketpair):
        theirs, ours = make()
        lifelines.hold(ours)
        with theirs:
            ours.close()
            fork()
