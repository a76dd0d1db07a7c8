"""The screens on which a cell's output is put."""

from __future__ import annotations

import pytest
from cell_output import html
from IPython.utils.capture import capture_output

from rankbook.display.cells.screens import (
    NotebookScreen,
    TerminalScreen,
    screen_for,
)


def test_a_notebook_shows_and_updates_displays_by_their_id(shell, capsys):
    with capture_output() as shown:
        screen = NotebookScreen()
        screen.show(html("old"), {"k": 1}, "d", update=False)
        screen.show(html("new"), {}, "d", update=True)
        screen.redraw("bar", "b", first=True, final=False)
        screen.redraw("BAR", "b", first=False, final=True)
    assert [(o.data, o.transient, o.update) for o in shown.outputs] == [
        (html("old"), {"display_id": "d"}, False),
        (html("new"), {"display_id": "d"}, True),
        ({"text/plain": "bar"}, {"display_id": "b"}, False),
        ({"text/plain": "BAR"}, {"display_id": "b"}, True),
    ]
    assert shown.outputs[0].metadata == {"k": 1}


@pytest.mark.parametrize(
    "screen", [NotebookScreen(), TerminalScreen()], ids=["notebook", "terminal"]
)
def test_a_screen_writes_to_the_stream_it_is_given(screen, capsys):
    screen.write("stdout", "out\n")
    screen.write("stderr", "err\n")
    assert capsys.readouterr() == ("out\n", "err\n")


def test_a_flood_goes_on_as_displays_where_the_server_would_drop_a_stream(shell, capsys):
    now = 0.0
    line = "x" * 99 + "\n"
    with capture_output() as shown:
        screen = NotebookScreen(clock=lambda: now)
        for _ in range(4):
            screen.write("stdout", line * 10_000)
        now = 3.5  # the server has forgotten by now
        screen.write("stdout", line)
    displays = [o.data["text/plain"] + "\n" for o in shown.outputs]
    assert len(shown.stdout) == 2_000_000 + len(line)
    assert len("".join(displays)) == 2_000_000
    assert set("".join([shown.stdout, *displays]).splitlines()) == {line.strip()}
    assert max(map(len, displays)) <= 200_000


def test_one_line_longer_than_a_message_is_not_cut(shell):
    with capture_output() as shown:
        NotebookScreen().write("stdout", "y" * 500_000 + "\nz\n")
    assert shown.stdout == "y" * 500_000 + "\nz\n"


def test_a_terminal_shows_plain_text_and_bars_only_when_final(capsys):
    screen = TerminalScreen()
    screen.show(html("figure"), {}, "d", update=False)
    screen.redraw("10%", "b", first=True, final=False)
    screen.redraw("100%", "b", first=False, final=True)
    screen.redraw("", "c", first=True, final=True)
    assert capsys.readouterr().out == "figure\n100%\n"


def test_a_screen_suits_its_shell(shell):
    assert isinstance(screen_for(shell), TerminalScreen)
    shell.kernel = object()
    assert isinstance(screen_for(shell), NotebookScreen)
