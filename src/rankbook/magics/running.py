"""Running a cell for a magic: where its output goes, and where its result and errors end up."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from rankbook.errors import HangError, RankbookError, RankError, StuckError
from rankbook.magics import missing
from rankbook.magics.lines import Typed, number_of
from rankbook.magics.syntax import check_cell

# What shows results is imported when there are some: loading the extension must stay quick.
if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from rankbook.display.cells.cell import LiveOutput
    from rankbook.display.cells.entries import Screen
    from rankbook.display.cells.page import Named
    from rankbook.models.profiles import Profile
    from rankbook.notebook import Session
    from rankbook.sessions.cells.results import CellResult

__all__ = ["end_background", "run_cell", "show"]

_named: WeakKeyDictionary[Session, Named] = WeakKeyDictionary()
"""By session, the displays that later cells may update."""

_in_background: WeakKeyDictionary[Session, Thread] = WeakKeyDictionary()
"""By session, the thread that runs its latest cell in the background."""


def run_cell(
    shell: InteractiveShell,
    session: Session,
    cell: Typed,
    ranks: str,
    *,
    out: str | None = None,
    wait: bool = True,
    **how: Any,
) -> None:
    """Run a cell on ranks, as :meth:`rankbook.Session.run` does, and show its output.

    Args:
        shell: The notebook's IPython.
        session: The session whose ranks run it.
        cell: The code.
        ranks: A selection of ranks.
        out: Name of the variable here that keeps the result.
        wait: Return when the cell has ended, else at once; then its errors are shown, not raised.
        **how: The other arguments of :meth:`rankbook.Session.run`.

    Raises:
        RankError: The cell failed on some rank.
        RankbookError: The cell could not be run.
    """
    check_cell(shell, cell, partial(_is_understood, session, ranks))
    if (limit := session.pool.launcher.limit) and (warning := limit.due_warning()):
        print(warning)
    chosen = session.select(ranks)

    def run(output: LiveOutput) -> CellResult:
        return session.run(
            cell.text,
            list(chosen),
            output=output,
            number=cell.number,
            first_line=cell.first_line,
            **how,
        )

    show(shell, session, chosen, run, out=out, wait=wait)


def _is_understood(session: Session, ranks: str, code: str) -> bool:
    """Whether a cell that is invalid here is valid on the ranks."""
    from rankbook.sessions.members.inspecting import understands

    with suppress(RankbookError):  # the syntax error is the one to report
        party = session.members.living().only(session.select(ranks))
        return bool(party) and understands(party, code)
    return False


def show(
    shell: InteractiveShell,
    session: Session,
    ranks: Sequence[int],
    run: Callable[[LiveOutput], CellResult],
    *,
    out: str | None,
    wait: bool,
) -> None:
    """Run something on ranks, and show its output.

    Args:
        shell: The notebook's IPython.
        session: The session whose ranks run it.
        ranks: Those that do.
        run: Does it, given what shows the output.
        out: Name of the variable here that keeps the result.
        wait: See :func:`run_cell`.

    Raises:
        RankError: It failed on some rank.
        RankbookError: It could not be run.
    """
    from rankbook.display.cells.background import BackgroundScreen
    from rankbook.display.cells.cell import LiveOutput
    from rankbook.display.cells.screens import NotebookScreen, screen_for

    screen: Screen = screen_for(shell)
    if not wait and isinstance(screen, NotebookScreen):
        screen = BackgroundScreen(screen)
    named = _named.setdefault(session, {})
    number = number_of(shell)  # of this cell: one in the background may end when another runs
    output = LiveOutput(screen, ranks, mesh=session.members.named_mesh, named=named)

    def keep(result: object) -> None:
        if out:
            shell.user_ns[out] = result

    def ran() -> None:
        try:
            result = run(output)
        except StuckError as error:
            keep(error.result)
            raise
        keep(result)
        if result.profile is not None:
            screen.show(*_bundle(result.profile), uuid.uuid4().hex, update=False)
        if result.diagnosis is not None and result.diagnosis.stuck and screen.can_clear:
            _show_hang(session, screen, number)
        _raise_for(result, shell)

    if wait:
        ran()
    else:
        _in_background[session] = session.in_background(lambda: _shown_errors(ran, screen))


def _raise_for(result: CellResult, shell: InteractiveShell) -> None:
    """Raise the ranks' error; where they lacked a name of the notebook, say so."""
    try:
        result.raise_for_error()
    except RankError as error:
        only_here = missing.only_here(result, shell.user_ns)
        if isinstance(error, HangError):
            error.hint = "\n".join(filter(None, [only_here, error.hint]))
        else:
            error.note = error.note or only_here
        raise


def end_background(session: Session, timeout: float = 5.0) -> None:
    """Wait until a cell in the background that was interrupted has shown how it ended.

    Args:
        session: The session that runs the cell.
        timeout: Seconds to wait; a cell that does not end is reported elsewhere.
    """
    if (thread := _in_background.get(session)) is not None:
        thread.join(timeout)


def _show_hang(session: Session, screen: Screen, number: int) -> None:
    """Show who waited for whom in a cell, as a picture that the saved notebook keeps."""
    from rankbook.display import timeline

    with suppress(RankbookError):  # the picture is optional
        chart = session.timeline(number)
        if chart.bars:
            bundle = {"text/plain": repr(chart), "text/html": timeline.to_html(chart)}
            screen.show(bundle, {}, uuid.uuid4().hex, update=False)


def _bundle(found: Profile) -> tuple[dict[str, Any], dict[str, Any]]:
    from rankbook.display import profile

    return {"text/plain": profile.to_text(found), "text/html": profile.to_html(found)}, {}


def _shown_errors(run: Callable[[], None], screen: Screen) -> None:
    """Run a cell in the background: its error can only be shown, not raised."""
    try:
        run()
    except (RankError, StuckError) as error:
        screen.write("stderr", "\n".join(error._render_traceback_()) + "\n")
    except RankbookError as error:
        screen.write("stderr", f"{error}\n")
