"""What a cell has printed survives its process, and only what was not sent is shown."""

from __future__ import annotations

import pytest

from rankbook import lastcalls
from rankbook.calls.blackbox import BlackBox
from rankbook.engine.cells.lastwords import LastWords
from rankbook.engine.cells.outbox import Outbox
from rankbook.engine.cells.tail import Tail
from rankbook.engine.starting.files import OWN
from rankbook.models.calls import LastOutput
from rankbook.models.events import Stream
from rankbook.sessions.cells.collecting import Collector

ROOM = lastcalls.WORDS_ROOM


@pytest.fixture
def box(tmp_path):
    box = BlackBox(tmp_path / "file")
    yield box
    box.detach()


def read(box):
    last = lastcalls.read(box.path)
    assert last is not None
    return last.outputs


def test_a_file_tells_what_each_stream_was_given_by_the_latest_cell(box):
    words, outbox = LastWords(box), Outbox(lambda: None)
    outbox.last_words = words
    words.begin(3)
    outbox.write("stdout", "of an earlier cell")
    words.begin(4)
    for stream, text in (("stdout", "né\n"), ("stderr", "!"), ("stdout", "zwei \ud800")):
        outbox.write(stream, text)
    assert read(box) == (LastOutput("stdout", 4, 9, "né\nzwei ?"), LastOutput("stderr", 4, 1, "!"))
    words.begin()
    assert read(box) == (LastOutput("stdout", 0, 0, ""), LastOutput("stderr", 0, 0, ""))


@pytest.mark.parametrize("length", [1, 7, 1000, ROOM - 1, ROOM, ROOM + 1, 3 * ROOM])
def test_of_much_text_a_file_tells_the_end(box, length):
    words, text = LastWords(box), ""
    words.begin(1)
    while len(text) < 2 * ROOM:
        piece = "".join(str(n % 10) for n in range(length))
        text += piece
        words.write("stdout", piece)
    assert read(box)[0] == LastOutput("stdout", 1, len(text), text[-ROOM:])


def test_a_character_that_was_half_overwritten_is_left_out(box):
    words = LastWords(box)
    words.begin(1)
    words.write("stdout", "é" * ROOM + "x")
    assert read(box)[0].text == "é" * (ROOM // 2 - 1) + "x"


def test_without_a_file_or_after_its_end_nothing_is_kept(box):
    box.close()
    for words in (LastWords(None), LastWords(box)):
        words.begin(1)
        words.write("stdout", "text")


class Output:
    """Takes what is shown."""

    def __init__(self):
        self.shown = []

    def event(self, rank, body):
        self.shown.append((rank, body))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (LastOutput("stdout", 1, 5, "ab\ncd"), "cd"),
        (LastOutput("stdout", 1, 3, "ab\n"), ""),
        (LastOutput("stdout", 1, 9, "yz"), "(4 characters before this are lost)\nyz"),
    ],
    ids=["the rest", "nothing", "the end"],
)
def test_only_unsent_output_of_an_ended_rank_is_added(said, shown):
    output = Output()
    collector = Collector([1], output)
    collector.event(1, Stream("stdout", "ab\n"))
    collector.complete(1, said)
    assert "".join(body.text for _, body in output.shown) == f"ab\n{shown}"


def test_what_was_written_past_python_and_not_sent_is_reported_without_the_dump_of_a_crash(
    box, tmp_path
):
    log, sent = tmp_path / "log", []
    log.write_text("of earlier\n")
    words = LastWords(box)
    tail = Tail(str(log), words)
    words.begin(1)
    words.write("stdout", "printed\n")
    with log.open("a") as file:
        file.write("sent\n")
        file.flush()
        tail.show(sent.append)
        file.write("last\nFatal Python error: Aborted\n\nThread 0x1\n")
    assert sent == ["sent\n"]
    assert read(box)[0] == LastOutput("stdout", 1, 13, "printed\nlast\n")


def test_a_log_without_a_name_is_not_read(box):
    words = LastWords(box)
    Tail(OWN, words)
    words.begin(1)
    assert read(box)[0] == LastOutput("stdout", 1, 0, "")


def test_the_last_lines_of_a_log_are_those_of_the_latest_cell(box, tmp_path):
    log = tmp_path / "log"
    log.write_text("of the start\n")
    words = LastWords(box)
    tail = Tail(str(log), words)

    def lines_after(text, cell):
        with log.open("a") as file:
            file.write(text)
        tail.show(lambda _: None)
        words.begin(cell)
        return lastcalls.read(box.path).log

    assert lines_after("between cells\n", 1) == ()
    with log.open("a") as file:
        file.write("sent\n")
        file.flush()
        tail.show(lambda _: None)
        file.write("not sent\n")
    assert lastcalls.read(box.path).log == ("sent", "not sent")
    assert lines_after("", 0) == ()


def test_the_last_lines_of_a_log_without_a_name_are_not_known_by_the_file(box):
    words = LastWords(box)
    Tail(OWN, words)
    words.begin(1)
    assert lastcalls.read(box.path).log is None
