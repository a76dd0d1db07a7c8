from __future__ import annotations

import pytest

from rankbook.display.text import overwrite, plain, prefixed

RED, END = "\x1b[31m", "\x1b[0m"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain", "plain"),
        ("", ""),
        ("10%\r20%\r30%", "30%"),
        ("longer\rshort", "shortr"),
        ("abc\rX", "Xbc"),
        ("done\r", "done"),
        ("\rfirst", "first"),
        ("\r\r", ""),
        ("a\r\rb", "b"),
        ("one   \rtwo", "two"),
        (f"{RED}10%{END}\r{RED}20%{END}", f"{RED}20%{END}"),
        ("é語\rab", "ab"),
    ],
)
def test_a_carriage_return_lays_later_text_on_earlier(line, shown):
    assert overwrite(line) == shown


@pytest.mark.parametrize(
    "move", ["\x1b[A", "\x1b[2A", "\x1b[K", "\x1b[2J", "\x1b[1;1H", "\x1b[?25l"]
)
def test_cursor_movements_are_dropped_from_a_line(move):
    assert overwrite(f"{move}bar{move}") == "bar"


def test_colours_stay_in_an_overwritten_line():
    assert overwrite(f"{RED}bar{END}") == f"{RED}bar{END}"


def test_text_without_carriage_return_keeps_its_trailing_blanks():
    assert overwrite("table  ") == "table  "


def test_overwriting_counts_visible_characters_of_a_coloured_line():
    assert plain(overwrite(f"{RED}abc{END}\rX")) == "Xbc"


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        (f"{RED}red{END}", "red"),
        ("\x1b[1;38;5;10mbold\x1b[0m", "bold"),
        ("\x1b[?25lhidden\x1b[?25h", "hidden"),
        ("nothing [31m special", "nothing [31m special"),
    ],
)
def test_plain_text_has_no_ansi(text, bare):
    assert plain(text) == bare


@pytest.mark.parametrize(
    ("ranks", "text", "shown"),
    [
        ([0], "x", "[0] x"),
        ([0, 1, 2], "x", "[0-2] x"),
        ([0, 2], "", "[0,2] "),
        ([3], "a\nb\nc", "[3] a\n    b\n    c"),
        ([10, 11], "a\nb", "[10-11] a\n        b"),
    ],
)
def test_a_prefix_of_ranks_stands_before_every_text(ranks, text, shown):
    assert prefixed(ranks, text) == shown
