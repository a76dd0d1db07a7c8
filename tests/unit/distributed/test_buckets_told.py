"""Ranks that wait for the buckets of a DDP module are told so where it is gone."""

from __future__ import annotations

import pytest
import torch.distributed as dist

from rankbook.distributed.healing import wrappers
from rankbook.distributed.healing.reducers import Standing

SORTED = Standing(has_begun=True, is_sorted=True, is_done=True)
NOT_SORTED = Standing(has_begun=True, is_sorted=False, is_done=True)


@pytest.mark.parametrize(("rank", "tells"), [(0, False), (1, True), (2, False)])
def test_the_rank_that_reported_a_module_which_is_gone_says_so(monkeypatch, rank, tells):
    monkeypatch.setattr("torch.distributed.distributed_c10d.get_rank", lambda: rank)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)
    store = dist.HashStore()
    reports = [{"0 net": [NOT_SORTED]}, {"0 net": [SORTED, NOT_SORTED]}, {"0 net": [SORTED]}]
    assert wrappers.restart(wrappers.Found(), reports, (), store, is_new=False) == []
    assert store.check(["healing/buckets/0 net"]) is tells
    if tells:
        assert store.get("healing/buckets/0 net") == b"null"
