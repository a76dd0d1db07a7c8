"""What a session returns, as a front end without magics shows it: marimo, a plain cell, a REPL.

Such a front end asks a value for its HTML. Results and verdicts belong to lower floors, which do
not know how anything looks; :func:`give_faces` teaches them.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib import import_module
from itertools import zip_longest
from typing import Any

from rankbook.errors import PromptError
from rankbook.models import Diagnosis, to_dict
from rankbook.models.benchmarks import Benchmark
from rankbook.models.diffs import Diff
from rankbook.models.events import HELD, Display, Result, Stream
from rankbook.models.exchanges import Exchanges
from rankbook.models.meshes import NamedMesh
from rankbook.models.profiles import Profile
from rankbook.models.shown import Shown
from rankbook.sessions.cells.results import CellResult

__all__ = ["give_faces", "html_of_result", "text_of_result"]

_FACES: tuple[tuple[type, str, str, str], ...] = (
    (CellResult, "faces", "html_of_result", ""),
    (Benchmark, "bench", "to_html", "to_text"),
    (Diagnosis, "verdict", "to_html", ""),
    (Diff, "diffs", "to_html", "to_text"),
    (Profile, "profile", "to_html", "to_text"),
    (Shown, "shown", "to_html", "to_text"),
    (Exchanges, "shown", "exchanges_to_html", "exchanges_to_text"),
    (NamedMesh, "shown", "mesh_to_html", "mesh_to_text"),
)
"""What is shown, the module of this package that does it, and its functions for HTML and text."""

_STYLE = "margin: 0; white-space: pre-wrap; font-family: var(--jp-code-font-family, monospace)"


def give_faces() -> None:
    """Make results and verdicts show themselves; a second call changes nothing."""
    for kind, module, to_html, to_text in _FACES:
        kind._repr_html_ = _drawn_by(module, to_html)  # type: ignore[attr-defined]
        if to_text:
            kind.__repr__ = _drawn_by(module, to_text)  # type: ignore[method-assign, assignment]


def _drawn_by(module: str, name: str) -> Callable[[Any], str]:
    """A method that calls a function of this package, imported when something is drawn."""

    def draw(value: Any) -> str:
        text: str = getattr(import_module(f"{__package__}.{module}"), name)(value)
        return text

    return draw


def text_of_result(result: CellResult) -> str:
    """What a cell printed and its last values, merged by rank, then what went wrong."""
    from rankbook.display import verdict

    parts = [_printed(result)]
    if result.diagnosis is not None:
        parts.append(f"{verdict.to_text(result.diagnosis)}\n{result.note}".rstrip())
    return "\n".join(filter(None, parts)) or repr(result)


def html_of_result(result: CellResult) -> str:
    """The same as HTML, with values that are drawn as pictures."""
    from rankbook.display import shown, verdict

    parts = [_block(_printed(result, with_drawn=False))]
    if held := {rank: own.held for rank, own in result.items() if own.held}:
        parts.append(shown.to_html(Shown("", held, mesh=result.mesh)))
    parts += _displayed(result)
    if result.diagnosis is not None:
        parts += [verdict.to_html(result.diagnosis), _block(result.note)]
    return "".join(parts) or _block(repr(result))


def _displayed(result: CellResult) -> list[str]:
    """Figures and tables under the ranks that showed them; equal ones once."""
    from rankbook.display import html

    parts = []
    for row in zip_longest(*(own.displays for own in result.values())):
        alike: list[tuple[Display, list[int]]] = []
        for rank, display in zip(result, row, strict=True):
            ranks = next((ranks for one, ranks in alike if one == display), None)
            if ranks is not None:
                ranks.append(rank)
            elif display is not None:
                alike.append((display, [rank]))
        for display, ranks in alike:
            drawn = html.of_display(display.data, display.metadata)
            parts.append(html.caption(ranks, result.mesh)[0]["text/html"])
            parts.append(drawn or _block(str(display.data.get("text/plain", ""))))
    return parts


def _block(text: str) -> str:
    return f'<pre style="{_STYLE}">{escape(text)}</pre>' if text else ""


def _printed(result: CellResult, *, with_drawn: bool = True) -> str:
    from rankbook.display.cells.cell import LiveOutput
    from rankbook.display.text import plain

    page = _Page()
    output = LiveOutput(page, list(result), clock=lambda: 0.0, mesh=result.mesh)
    for name in ("stdout", "stderr"):
        texts = [getattr(own, name).splitlines(keepends=True) for own in result.values()]
        # Line by line, as ranks in step print: equal lines of several ranks become one.
        for row in zip_longest(*texts):
            for rank, line in zip(result, row, strict=True):
                if line is not None:
                    output.event(rank, Stream(name, line))
    for rank, own in result.items():
        if own.held is not None and with_drawn:
            output.event(rank, Result({HELD: to_dict(own.held)}))
        elif own.result_repr is not None and own.held is None:
            output.event(rank, Result({"text/plain": own.result_repr}))
        for display in own.displays if with_drawn else ():
            output.event(rank, Result({"text/plain": str(display.data.get("text/plain", ""))}))
    output.finish()
    raised = "\n".join(result.traceback_lines())
    return plain("".join([*page.texts, raised])).rstrip("\n")


class _Page:
    """A screen that keeps all text written to it."""

    can_clear = False

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, name: str, text: str) -> None:
        del name
        self.texts.append(text)

    def show(
        self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, *, update: bool
    ) -> None:
        del metadata, display_id, update
        self.texts.append(f"{data['text/plain']}\n")

    def redraw(self, text: str, display_id: str, *, first: bool, final: bool) -> None:
        del display_id, first
        if final:
            self.texts.append(f"{text}\n")

    def clear(self, *, wait: bool) -> None:
        """What is written stays."""

    def ask(self, prompt: str, *, secret: bool) -> str:
        del prompt, secret
        raise PromptError("a page that keeps a result cannot ask for input")
