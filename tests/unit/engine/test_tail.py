"""What is written past Python: passed on in pieces, and no more of it than can be read."""

from __future__ import annotations

import threading

import pytest

from rankbook.engine.cells.tail import Tail


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


def test_all_that_was_appended_is_passed_on_in_pieces(log):
    tail, shown = Tail(str(log), piece=4), []
    log.write_text("grüße\n")
    assert tail.show_piece(shown.append)
    tail.show(shown.append)
    assert shown[0] == "grü"
    assert "".join(shown) == "grüße\n"
    assert not tail.show_piece(shown.append)


def test_it_stops_between_two_pieces_where_it_is_told_to(log):
    tail, shown = Tail(str(log), piece=4), []
    log.write_text("one two three")
    tail.show(shown.append, lambda: len(shown) == 2)
    assert "".join(shown) == "one two "
    tail.show(shown.append)
    assert "".join(shown) == "one two three"


def test_the_last_whole_lines_are_left_where_the_rest_is_passed_over(log):
    tail, shown = Tail(str(log)), []
    log.write_text("first\nsecond\nthird\n")
    assert tail.skip(9) == len("first\nsecond\n")
    tail.show(shown.append)
    assert shown == ["third\n"]
    assert tail.skip(9) == 0


def test_a_thread_that_must_not_wait_passes_on_nothing_while_another_does(log):
    tail, begun, go = Tail(str(log)), threading.Event(), threading.Event()
    log.write_text("once\n")

    def slow(_text):
        begun.set()
        go.wait(10)

    other = threading.Thread(target=tail.show, args=(slow,))
    other.start()
    begun.wait(10)
    assert not tail.show_piece(lambda _: None)
    assert tail.has_more()  # it is not yet passed on
    go.set()
    other.join()
    assert not tail.has_more()
