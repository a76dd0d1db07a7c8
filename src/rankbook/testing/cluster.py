"""The ranks of one pytest process: started by its first test that wants some, ended with it."""

from __future__ import annotations

import atexit
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rankbook.cluster.launchers import choose
from rankbook.cluster.starting import start_pool
from rankbook.display.cells.cell import LiveOutput
from rankbook.display.cells.screens import TerminalScreen
from rankbook.errors import PromptError, RankbookError, StuckError
from rankbook.models.events import Event, Result
from rankbook.testing.on_rank import RAISED, TEST

if TYPE_CHECKING:
    from rankbook.notebook import Session
    from rankbook.sessions.cells.results import CellResult

__all__ = ["Cluster"]

_CALL = f"__import__({__package__ + '.on_rank'!r}, fromlist=['run']).run(globals())"


class Cluster:
    """A session beside the current one: tests of code that calls ``start`` can have their own.

    Attributes:
        is_group_lost: Whether the last test has left the process group that it has found.
        environ: The variables of the environment with which the ranks began; None: there are none.
    """

    def __init__(self) -> None:
        self._session: Session | None = None
        self.is_group_lost = False
        self.environ: dict[str, str] | None = None

    def run(
        self, name: str, body: bytes, size: int, backend: str | None, timeout: float | None
    ) -> CellResult:
        """Run the body of a test on ``size`` ranks whose group works.

        Args:
            name: Of the test.
            body: A pickled :class:`~rankbook.testing.bodies.Body`.
            size: The number of ranks.
            backend: See :func:`rankbook.start`.
            timeout: Seconds after which it is interrupted; None waits.

        Raises:
            RankbookError: There are no such ranks, or some did not let go of the test.
            KeyboardInterrupt: The user has pressed Ctrl-C, and the ranks were interrupted.
        """
        session = self._ready(size, backend)
        begin = time.monotonic()
        try:
            session.push(**{TEST: body})
            output = _Output(range(size))
            result = session.run(_CALL, timeout=timeout, output=output, title=name)
        except StuckError:
            self.close()
            raise
        except BaseException:  # pytest-timeout's, say, while the ranks run on
            with suppress(RankbookError):
                session.interrupt()
            raise
        if result.interruption and (timeout is None or time.monotonic() - begin < timeout):
            raise KeyboardInterrupt
        return result

    def raised(self, ranks: list[int]) -> dict[int, bytes]:
        """By rank, what the last test raised there, pickled; nothing where that is not known."""
        if self._session is None or not ranks:
            return {}
        with suppress(RankbookError):  # then only the text is shown
            return self._session.pull(RAISED, ranks)
        return {}

    def close(self) -> None:
        """End the ranks."""
        if self._session is not None:
            session, self._session = self._session, None
            session.shutdown()

    def _ready(self, size: int, backend: str | None) -> Session:
        if self._session is not None:
            try:
                return self._renewed(self._session, size, backend)
            except RankbookError:  # what a test has left cannot be repaired
                self.close()
        self.environ = dict(os.environ)
        self._session = _started(size, backend)
        return self._session

    def _renewed(self, session: Session, size: int, backend: str | None) -> Session:
        if session.dead_ranks:
            session.restart_ranks()
        if self.is_group_lost:
            session.reset()
            self.is_group_lost = False
        if session.world_size != size or backend not in (None, session.backend):
            session.initialize(backend, size)
        return session


class _Screen(TerminalScreen):
    def ask(self, prompt: str, *, secret: bool) -> str:
        del prompt, secret
        raise PromptError("a test on ranks cannot ask for input: remove the prompt")


class _Output(LiveOutput):
    """Merges the output of the ranks into what pytest captures."""

    def __init__(self, ranks: range) -> None:
        super().__init__(_Screen(), ranks)

    def event(self, rank: int, body: Event) -> None:
        if not isinstance(body, Result):  # it is for us
            super().event(rank, body)


def _started(size: int, backend: str | None) -> Session:
    pool = start_pool(lambda: choose.here(size, None, ""), size)
    try:
        from rankbook.notebook import Session

        session = Session(pool)
        session.initialize(backend, size)
    except BaseException:
        pool.close()
        raise
    atexit.register(session.detach)
    return session
