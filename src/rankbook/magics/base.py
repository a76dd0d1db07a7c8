"""What every family of magics shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import Magics

from rankbook import api
from rankbook.errors import SessionError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from rankbook.notebook import Session

__all__ = ["RankMagics"]


class RankMagics(Magics):
    """A family of magics: each parses its line, delegates to the session, shows what comes back.

    A family is decorated with IPython's ``magics_class``, a magic with one of its markers and with
    :func:`rankbook.magics.usage.takes`.
    """

    shell: InteractiveShell

    def attach(self) -> None:
        """Set up what a family does besides its magics; called when the extension is loaded."""

    def detach(self) -> None:
        """Undo :meth:`attach`; called when the extension is unloaded."""

    def session(self) -> Session:
        """The current session.

        Raises:
            SessionError: There is none.
        """
        session = api.session()
        if session is None:
            raise SessionError("There are no ranks: run %dist_init first.")
        return session
