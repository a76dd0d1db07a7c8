"""What is said between cells: kept, marked with the cell that it comes from, bounded."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rankbook.display.cells.lines import Item, Merger
from rankbook.display.text import alike, is_notice
from rankbook.engine.cells import between
from rankbook.engine.cells.between import Between


def test_lines_are_marked_with_the_cell_that_began_their_thread():
    kept, go = Between(), threading.Event()

    def talk():
        go.wait(10)
        kept.write("stdout", "a")
        kept.write("stdout", "\nb\n")

    thread = threading.Thread(target=talk)
    thread.start()
    kept.ended("In [4]")
    kept.ended("In [5]")
    go.set()
    thread.join()
    kept.keep("stderr", "of a process\n")
    assert kept.take() == [
        ("stdout", "(from In [4]) a\n(from In [4]) b\n"),
        ("stderr", "(from In [5]) of a process\n"),
    ]
    assert kept.take() == []


def test_of_too_much_the_latest_is_kept_and_the_loss_is_said(monkeypatch):
    monkeypatch.setattr(between, "_MOST", 10)
    kept = Between()
    for text in ("first\n", "second\n", "third\n"):
        kept.keep("stdout", text)
    lost, (_, last) = kept.take()
    assert "13 characters" in lost[1]
    assert last.endswith("third\n")


def test_of_one_long_text_the_end_is_kept():
    kept = Between()
    kept.keep("stdout", "x\n" * 1_000_000)
    (_, lost), (_, last) = kept.take()
    assert last.endswith("(from an earlier cell) x\n")
    assert last.count("x") < 20_000
    assert f"({2_000_000 - 2 * last.count('x'):,} characters" in lost


def test_what_was_passed_over_is_said_with_what_is_kept():
    kept = Between()
    kept.lose(5)
    kept.keep("stdout", "end\n")
    assert kept.take()[0] == ("stdout", "(5 characters before this are lost)\n")
    assert kept.take() == []


def test_tasks_and_callbacks_of_a_cell_are_marked_with_it_and_other_code_is_not_kept():
    kept = Between()

    async def cells():
        loop = asyncio.get_running_loop()
        with kept.cell("In [4]"):
            loop.call_soon(kept.write, "stdout", "by a callback\n")
            task = asyncio.create_task(
                asyncio.to_thread(kept.write, "stdout", "by a thread of it\n")
            )
        kept.ended("In [4]")
        kept.ended("In [5]")
        assert not kept.write("stdout", "by another client\n")
        await task

    asyncio.run(cells())
    marked = "".join(text for _, text in kept.take())
    assert sorted(marked.splitlines()) == [
        "(from In [4]) by a callback",
        "(from In [4]) by a thread of it",
    ]


def test_a_thread_that_was_there_before_a_cell_is_not_of_that_cell():
    kept, go, of_cell = Between(), threading.Event(), []

    def talk():
        go.wait(10)
        of_cell.append(kept.write("stdout", "of another client\n"))

    thread = threading.Thread(target=talk)
    thread.start()
    kept.begun()
    kept.ended("In [4]")
    go.set()
    thread.join()
    assert of_cell == [False]


def merged(*lines, stream="stderr"):
    merger = Merger(range(len(lines)))
    for rank, line in enumerate(lines):
        merger.push(rank, Item((stream, alike(line, stream)), line, is_notice(line)), 0.0)
    return [(item.ranks, item.item.shown) for item in merger.due((), 1.0)[0]]


def test_warnings_and_log_lines_merge_in_spite_of_pids_ranks_and_times():
    for one, other in (
        (
            "/t/ipykernel_12/34.py:1: UserWarning: hi",
            "/t/ipykernel_99/34.py:1: UserWarning: hi",
        ),
        (
            '  File "/t/ipykernel_12/36/In [4].py", line 3, in f',
            '  File "/t/ipykernel_99/28/In [4].py", line 3, in f',
        ),
        (
            "[rank0]:[W1127 22:57:08.893779130 TCPStore.cpp:340] [c10d] failed",
            "[rank1]:[W1127 22:57:09.1 TCPStore.cpp:340] [c10d] failed",
        ),
        (
            "[rank0]:W1128 20:38:57.106000 14581 torch/x.py:12] careful",
            "[rank1]:W1128 20:38:57.108000 9 torch/x.py:12] careful",
        ),
        (
            "W1128 20:38:57.106000 14581 torch/x.py:12] no group yet",
            "W1128 20:38:57.108000 14582 torch/x.py:12] no group yet",
        ),
        ("[20:38:57] INFO begun", "[20:38:58] INFO begun"),
        (
            "INFO:2026-11-28 21:29:52 1265:1265 Profiler.cpp:52] profiler_start",
            "INFO:2026-11-28 21:29:53 1276:1276 Profiler.cpp:52] profiler_start",
        ),
        ("11/28/2026 20:38:57 - INFO - begun", "11/28/2026 20:38:58 - INFO - begun"),
        (
            "[Gloo] Rank 0 is connected to 1 peer ranks.",
            "[Gloo] Rank 1 is connected to 1 peer ranks.",
        ),
        ("2026-11-27 22:57:08,123 INFO begun", "2026-11-27 22:57:08,999 INFO begun"),
    ):
        assert merged(one, other) == [((0, 1), one)]


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ("In [25] line 12: DeprecationWarning: old", True),
        ("/t/x.py:36: UserWarning: You have chosen to seed training.", True),
        ("[rank0]:W1128 20:38:57.106000 14581 torch/x.py:12] careful", True),
        ("W1128 20:38:57.106000 14581 torch/x.py:12] careful", True),
        ("[W1128 20:38:57.106000 x.cpp:1] careful", True),
        ("[Gloo] Rank 0 is connected to 1 peer ranks.", True),
        ("Epoch 1: loss 0.3", False),
        ("Warning: mine", False),
        ("[1/4]  25%", False),
        ("", False),
    ],
)
def test_a_notice_is_a_warning_or_a_line_of_torch_s_log(line, is_one):
    assert is_notice(line) is is_one


def test_output_of_user_code_is_not_merged_as_a_log_line():
    one, other = "[2026-11-27 22:57:08,123][INFO] begun", "[2026-11-27 22:57:09,456][INFO] begun"
    assert merged(one, other, stream="stdout") == [((0, 1), one)]  # logging wrote it
    one, other = "2026-11-27 22:57:08 begun", "2026-11-27 22:57:09 begun"
    assert merged(one, other, stream="stdout") == [((0,), one), ((1,), other)]
    assert len(merged("loss[0] = 1", "loss[1] = 1")) == 2
    assert len(merged("took 00:01:02", "took 00:01:03")) == 2
