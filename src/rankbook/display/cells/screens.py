"""Screens: the notebook's, and one for a plain terminal."""

from __future__ import annotations

import getpass
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError
from IPython.core.getipython import get_ipython
from IPython.display import clear_output, publish_display_data

from rankbook.errors import PromptError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["NotebookScreen", "TerminalScreen", "screen_for"]

_WINDOW = 3.0
"""Seconds over which Jupyter's server counts what streams carry."""

_STREAM_BUDGET = 2_000_000
"""Characters that streams may carry in that time; the server's limit is 3,000,000 bytes."""

_PIECE = 200_000
"""The longest message, characters: front ends draw several of those faster than a large one."""

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

_MODEL_TIMEOUT = 2.0
"""Seconds for a widget made on a rank to arrive here."""


class NotebookScreen:
    """A Jupyter front end: streams, displays, and displays that change in place.

    Jupyter's server drops stream output beyond 3 MB in 3 s. It does not count displays, so a flood
    goes on as blocks of plain text, which look the same.
    """

    can_clear = True

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent: deque[tuple[float, int]] = deque()

    def write(self, name: str, text: str) -> None:
        """Append text to a stream, and have it sent at once."""
        stream = getattr(sys, name)
        for piece in _pieces(text):
            if self._is_flood(len(piece)):
                self.show(
                    {"text/plain": piece.removesuffix("\n")}, {}, uuid.uuid4().hex, update=False
                )
            else:
                stream.write(piece)
                # ipykernel would wait 0.2 s for more.
                stream.flush()

    def _is_flood(self, size: int) -> bool:
        now = self._clock()
        while self._sent and now - self._sent[0][0] > _WINDOW:
            self._sent.popleft()
        if sum(sent for _, sent in self._sent) + size > _STREAM_BUDGET:
            return True
        self._sent.append((now, size))
        return False

    def show(
        self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, *, update: bool
    ) -> None:
        """Show a display, or put another in its place."""
        if view := data.get(_WIDGET_VIEW):
            _wait_for_model(view["model_id"])
        publish_display_data(data, metadata, transient={"display_id": display_id}, update=update)

    def redraw(self, text: str, display_id: str, *, first: bool, final: bool) -> None:
        """Show text in its own display; the next text replaces it."""
        del final
        self.show({"text/plain": text}, {}, display_id, update=not first)

    def clear(self, *, wait: bool) -> None:
        """Clear what the cell has shown."""
        clear_output(wait=wait)

    def ask(self, prompt: str, *, secret: bool) -> str:
        """Ask in the cell's own input field."""
        return _ask(prompt, secret=secret)


class TerminalScreen:
    """A terminal, or anything that only shows text: what changes is shown when it is final."""

    can_clear = False

    def write(self, name: str, text: str) -> None:
        """Append text to a stream."""
        stream = getattr(sys, name)
        stream.write(text)
        stream.flush()

    def show(
        self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, *, update: bool
    ) -> None:
        """Print the plain text of a display."""
        del metadata, display_id, update
        print(data.get("text/plain", ""))

    def redraw(self, text: str, display_id: str, *, first: bool, final: bool) -> None:
        """Print the text once it is final."""
        del display_id, first
        if final and text:
            print(text)

    def clear(self, *, wait: bool) -> None:
        """What is printed stays."""

    def ask(self, prompt: str, *, secret: bool) -> str:
        """Ask below the output."""
        return _ask(prompt, secret=secret)


def _ask(prompt: str, *, secret: bool) -> str:
    """Ask with Python's own functions, which a kernel replaces by its own.

    Raises:
        PromptError: The front end cannot ask.
    """
    try:
        return getpass.getpass(prompt) if secret else input(prompt)
    except StdinNotImplementedError:
        raise PromptError(
            "this front end cannot ask for input: run the notebook in JupyterLab, or remove "
            "the prompt"
        ) from None
    except EOFError:
        raise PromptError("the input has ended") from None


def _wait_for_model(model_id: str) -> None:
    """Wait until the widget that a rank made is known here.

    ipyparallel relays the message that makes the widget and the display that shows it on different
    channels, and a front end that gets the display first shows an error.
    """
    manager = getattr(getattr(get_ipython(), "kernel", None), "comm_manager", None)
    deadline = time.monotonic() + _MODEL_TIMEOUT
    while manager is not None and model_id not in manager.comms:
        if time.monotonic() > deadline:
            return  # the front end then reports, correctly, that it has no such widget
        time.sleep(0.005)


def _pieces(text: str) -> Iterator[str]:
    """Cut a long text at line ends, into pieces of at most ``_PIECE`` characters or one line."""
    while len(text) > _PIECE:
        end = text.rfind("\n", 0, _PIECE) + 1 or text.find("\n") + 1 or len(text)
        yield text[:end]
        text = text[end:]
    if text:
        yield text


def screen_for(shell: InteractiveShell) -> NotebookScreen | TerminalScreen:
    """The screen that suits a shell: a kernel's, or a terminal's."""
    return NotebookScreen() if getattr(shell, "kernel", None) is not None else TerminalScreen()
