"""Comparing calls before they are issued: what ranks post, who waits, what is refused."""

from __future__ import annotations

import threading

import pytest
import torch
import torch.distributed as dist
from processes import wait_until
from steps import SOON

from rankbook.calls import Ledger
from rankbook.calls.boards import PASSED, FileBoard, StoreBoard
from rankbook.calls.checks import Check
from rankbook.calls.records import Group, Record, Site
from rankbook.errors import MismatchError

THREE = (0, 1, 2)


class Made:
    """What stands for torch's group."""


PG = Made()


def group_of(name="0", ranks=THREE):
    return Group(PG, name, ranks, generation=1)


@pytest.fixture(params=["file", "store"])
def boards(request, tmp_path):
    """A board for each of three ranks."""
    if request.param == "file":
        made = [FileBoard(str(tmp_path / "board-{}"), rank) for rank in THREE]
    else:
        store = dist.HashStore()
        made = [StoreBoard(store, rank) for rank in THREE]
    yield made
    for board in made:
        board.close()
    assert not list(tmp_path.glob("board-*"))


def test_a_key_that_one_rank_posts_is_read_by_the_others(boards):
    group = group_of()
    boards[0].post(group, 1, 7)
    assert boards[1].read(0, group_of(), 1) == 7
    assert boards[1].read(0, group, 2) is None
    assert boards[1].read(2, group, 1) is None
    assert boards[1].read(0, group_of("1"), 1) is None


def test_of_a_call_long_ago_it_is_only_known_that_it_came(boards):
    group = group_of()
    for number in range(1, 301):
        boards[0].post(group, number, number + 1000)
    assert boards[1].read(0, group, 1) == PASSED
    assert boards[1].read(0, group, 300) == 1300


def test_a_rank_with_too_many_groups_keeps_nobody_waiting(tmp_path):
    boards = [FileBoard(str(tmp_path / "board-{}"), rank) for rank in THREE]
    for number in range(600):
        boards[0].post(group_of(str(number)), 1, 7)
    assert boards[1].read(0, group_of("3"), 1) == 7
    assert boards[1].read(0, group_of("599"), 1) == PASSED


def record_of(op="all_reduce", number=1, elements=4):
    record = Record()
    record.site = Site(op, "sum", op, None, None)
    record.group = group_of()
    record.number, record.root, record.elements = number, None, elements
    record.awaited, record.reduces = 0, None
    record.dtypes, record.shapes = (torch.float32,), ((elements,),)
    return record


def check(boards, rank, record, *, is_blocking=True, timeout=SOON):
    Check(boards[rank], rank, timeout).before(Ledger(), record, is_blocking=is_blocking)


def test_blocking_calls_that_agree_go_on_together(boards):
    threads = [threading.Thread(target=check, args=(boards, rank, record_of())) for rank in (1, 2)]
    for thread in threads:
        thread.start()
    assert all(thread.is_alive() for thread in threads)
    check(boards, 0, record_of())
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "other", [record_of(elements=5), record_of("broadcast")], ids=["size", "operation"]
)
def test_a_blocking_call_that_differs_is_refused_on_both_ranks(boards, other):
    caught = []

    def first():
        try:
            check(boards, 0, record_of())
        except MismatchError as error:
            caught.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    wait_until(lambda: boards[1].read(0, group_of(), 1) is not None, SOON)
    with pytest.raises(
        MismatchError, match=r"#1 on rank 1 does not match the call of rank 0\."
    ) as raised:
        check(boards, 1, other)
    thread.join(SOON)
    assert [error.slot for error in caught] == [raised.value.slot]
    assert (raised.value.slot.group, raised.value.slot.number) == ("0", 1)


def test_a_non_blocking_call_waits_for_nobody_and_is_seen(boards):
    check(boards, 0, record_of(), is_blocking=False)
    with pytest.raises(MismatchError):
        check(boards, 1, record_of(elements=5), is_blocking=False)


def test_send_and_recv_are_not_compared(boards):
    check(boards, 0, record_of("send"))
    check(boards, 1, record_of("recv"))


def test_a_rank_that_does_not_come_ends_the_wait_with_the_groups_timeout(boards):
    check(boards, 2, record_of(), is_blocking=False)
    with pytest.raises(RuntimeError, match=r"all_reduce #1: rank 1 did not call it within 0\.1 s"):
        check(boards, 0, record_of(), timeout=0.1)
