"""The outbox: what is written from any thread leaves in its order, and in batches."""

from __future__ import annotations

import threading

from processes import wait_until
from steps import SOON

from rankbook.engine.cells.outbox import Outbox
from rankbook.models.events import Clear, Display, Stream


def test_neighbouring_pieces_of_a_stream_are_one_event():
    outbox = Outbox(lambda: None)
    for text in ("a", "b"):
        outbox.write("stdout", text)
    outbox.write("stderr", "c")
    outbox.put(Display({"text/plain": "d"}))
    outbox.write("stderr", "e")
    outbox.put(Clear())
    assert outbox.take() == [
        Stream("stdout", "ab"),
        Stream("stderr", "c"),
        Display({"text/plain": "d"}),
        Stream("stderr", "e"),
        Clear(),
    ]
    assert outbox.take() == []


def test_text_that_is_written_after_a_batch_is_another_event():
    outbox = Outbox(lambda: None)
    outbox.write("stdout", "a")
    assert outbox.take() == [Stream("stdout", "a")]
    outbox.write("stdout", "b")
    assert outbox.take() == [Stream("stdout", "b")]


def test_the_control_thread_is_woken_once_until_the_outbox_is_empty():
    calls = []
    outbox = Outbox(lambda: calls.append("come"))
    outbox.write("stdout", "a")
    outbox.write("stdout", "b")
    assert calls == ["come"]
    outbox.take()
    outbox.write("stdout", "c")  # it is about to look once more
    assert calls == ["come"]
    outbox.take()
    outbox.take()
    outbox.write("stdout", "d")
    assert calls == ["come", "come"]


def test_a_batch_ends_when_it_is_large_enough_for_a_message():
    outbox = Outbox(lambda: None, batch=10)
    for _ in range(2):
        outbox.write("stdout", "x" * 6)
        outbox.write("stderr", "x" * 6)
        outbox.write("stdout", "x")
        outbox.put(Clear())
    sizes = []
    while events := outbox.take():
        sizes.append(len(events))
    assert sizes == [2, 4, 2]


def test_a_writer_waits_while_too_much_is_unsent_and_until_it_is_closed():
    outbox = Outbox(lambda: None, high_water=10)
    written = []

    def write():
        for number in range(3):
            outbox.write("stdout", "x" * 20)
            written.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: written == [0], SOON)
    outbox.take()
    outbox.read(20)
    wait_until(lambda: written == [0, 1], SOON)
    outbox.close()
    writer.join(SOON)
    assert written == [0, 1, 2]
    assert outbox.take() == [Stream("stdout", "x" * 20)]


def test_a_writer_waits_no_longer_for_a_notebook_that_reads_nothing():
    outbox = Outbox(lambda: None, high_water=10, patience=0.2)
    assert outbox.write("stdout", "x" * 20)
    outbox.take()
    assert outbox.write("stdout", "y")
    outbox.take()
    assert outbox.write("stdout", "z" * 20)


def test_a_closed_outbox_takes_no_text_but_gives_what_it_has():
    outbox = Outbox(lambda: None)
    outbox.write("stdout", "a")
    outbox.close()
    assert not outbox.write("stdout", "b")
    assert outbox.take() == [Stream("stdout", "a")]


def test_the_main_thread_does_not_wait_where_its_cell_is_to_end_and_others_do():
    outbox = Outbox(lambda: None, high_water=10)
    outbox.write("stdout", "x" * 11)
    written = []
    other = threading.Thread(target=lambda: written.append(outbox.write("stdout", "y")))
    other.start()
    outbox.hurry()
    assert outbox.write("stdout", "the end\n")
    assert not written
    outbox.close()
    other.join()
    assert written == [False]


def test_what_must_not_wait_is_taken_though_there_is_no_room():
    outbox = Outbox(lambda: None, high_water=10)
    assert outbox.has_room
    outbox.write("stdout", "x" * 11)
    assert not outbox.has_room
    assert outbox.write("stdout", "y", waits=False)
    assert outbox.take() == [Stream("stdout", "x" * 11 + "y")]
