"""Where the processes meet that a rank spawns as a world of their own."""

from __future__ import annotations

from importlib import import_module

import pytest

from rankbook.distributed.families import _Member

rendezvous = import_module("torch.distributed.rendezvous")  # a function has its name, too


@pytest.mark.parametrize(
    ("host", "port", "size", "where"),
    [
        ("localhost", 12355, 2, 13355),
        ("127.0.0.1", 29500, 2, 30500),
        ("localhost", 65000, 2, 1488),
        ("localhost", 12355, 4, 12355),  # they are a part of a larger world
        ("10.0.0.1", 12355, 2, 12355),
    ],
)
def test_a_world_that_local_rank_1_spawns_meets_1000_ports_higher_on_loopback(
    host, port, size, where, monkeypatch
):
    made = []
    monkeypatch.setattr(
        rendezvous, "_create_c10d_store", lambda *given, **named: made.append((given, named))
    )

    def work(rank):
        rendezvous._create_c10d_store(host, port, rank, size, None, use_libuv=True)

    _Member(work, 2, 1000)(1)
    assert made == [((host, where, 1, size, None), {"use_libuv": True})]
