"""What ranks tell others of the buckets of DDP modules, and where one is gone."""

from __future__ import annotations

import pytest
import torch.distributed as dist

from rankbook.distributed.healing import joins, reducers, wrappers
from rankbook.distributed.healing.standings import Standing

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


def test_of_two_modules_of_a_kind_one_tells_its_buckets(monkeypatch):
    told = []
    monkeypatch.setattr(reducers, "lack", lambda _module: "")
    monkeypatch.setattr(reducers, "restart", lambda *_args: None)
    monkeypatch.setattr(joins, "leave", lambda _module: "")
    monkeypatch.setattr(reducers, "tell", lambda module, *_: told.append(module) or module != "a")
    found = wrappers.Found(ddp=(("0 net", "a"), ("0 net", "b"), ("0 net", "c"), ("1 net", "d")))
    reports = [{"0 net": [SORTED] * 3, "1 net": [SORTED]}]
    wrappers.restart(found, reports, (), dist.HashStore(), is_new=False)
    assert told == ["a", "b", "d"]
