"""Where the processes meet that a rank spawns as a world of their own."""

from __future__ import annotations

from importlib import import_module

import pytest

from rankbook.distributed import families
from rankbook.distributed.by_hand import Ports

rendezvous = import_module("torch.distributed.rendezvous")  # a function has its name, too


@pytest.mark.parametrize(
    ("host", "port", "rank", "where"),
    [
        ("localhost", 12355, 1, 13355),
        ("127.0.0.1", 29500, 1, 30500),
        ("localhost", 65000, 1, 1488),
        ("localhost", 12355, 3, 12355),  # it belongs to a larger world
        ("10.0.0.1", 12355, 1, 12355),
        ("localhost", 20000, 1, 31000),  # the session's own
    ],
)
def test_the_second_process_that_local_rank_1_starts_meets_its_world_1000_ports_higher(
    host, port, rank, where, monkeypatch
):
    made = []
    monkeypatch.setattr(families, "_originals", [])
    monkeypatch.setattr(
        rendezvous, "_create_c10d_store", lambda *given, **named: made.append((given, named))
    )

    def work(rank):
        rendezvous._create_c10d_store(host, port, rank, 2, None, use_libuv=True)

    families._Member(work, 1, 1000, Ports(20000, 30000))(rank)
    assert made == [((host, where, rank, 2, None), {"use_libuv": True})]
