"""What tests of a look share: an observer, and what it is told."""

from __future__ import annotations

import datetime as dt

import pytest
import torch.distributed as dist
from accounts import SETTLED, Account, aside
from processes import wait_until
from steps import SOON

from rankbook.engine.group.nccl import Streams
from rankbook.engine.looking import frames
from rankbook.engine.looking.frames import Position
from rankbook.engine.looking.look import Observer
from rankbook.engine.looking.recorder import Recorder


@pytest.fixture
def world():
    """A real process group of one rank, in which nothing waits longer than a second."""
    second = dt.timedelta(seconds=1)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=second)
    yield
    dist.destroy_process_group()


@pytest.fixture
def account():
    return Account()


@pytest.fixture
def silence():
    """How long the connections have been silent, as the observer is told."""
    return [None]


@pytest.fixture
def observer(silence, account):
    return Observer(account, Recorder(), lambda group: silence[0], Streams(dump=None))


@pytest.fixture
def at(monkeypatch):
    """Sets where the main thread stands, as far as its frames tell."""

    def stand(**facts):
        monkeypatch.setattr(frames, "position", lambda: Position(**facts))

    return stand


@pytest.fixture
def settled(observer):
    """Looks again and again until the main thread has stood still for long."""

    def look(doing="run", cell=7):
        seen = []

        def settle():
            def is_settled():
                seen.append(observer.look(doing, cell, 0, closely=True))
                return seen[-1].still > SETTLED

            wait_until(is_settled, SOON)
            return seen[-1]

        return aside(settle)

    return look
