"""A local engine: ipyparallel's, with our agent from the first message on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

from ipykernel.iostream import OutStream
from ipyparallel.engine.app import IPEngine
from traitlets import default

from rankbook.engine import agent

__all__ = ["RankEngine", "ignore_warnings"]

_LIBRARIES = ("ipykernel", "ipyparallel", "jupyter_client", "tornado", "traitlets", "zmq")
"""What an engine consists of."""


def ignore_warnings() -> None:
    """Ignore warnings of the libraries that an engine consists of, whatever filters say so far.

    Where all warnings are errors, as with ``PYTHONWARNINGS=error``, one of these would end the
    engine, or its answers.
    """
    warnings.filterwarnings("ignore", module=rf"({'|'.join(_LIBRARIES)})(\.|\Z)")


class _Stream(OutStream):
    """A stream that leaves the descriptor below it alone.

    Otherwise (except under pytest) ipykernel replaces it by a pipe, which a thread copies into
    the log, possibly after the end of the cell or of the process.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, watchfd=False, **kwargs)


class RankEngine(IPEngine):
    """An engine that answers sessions as soon as the cluster knows it.

    Attributes:
        on_ready: Called with its id and uuid, which route messages, once it answers.
    """

    on_ready: Callable[[int, str], None]
    _agent: agent.Agent | None = None

    @default("out_stream_factory")
    def _streams(self) -> type[OutStream]:
        return _Stream

    def start_heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Install the agent, then start the heartbeat.

        The hub announces an engine after its first heartbeat, so no session can ask too early.
        """
        self._agent = agent.install(self.kernel)
        super().start_heartbeat(*args, **kwargs)
        self.on_ready(self.id, self.ident)

    def _signal_stop(self, sig: int, frame: Any) -> None:
        """End as soon as the cell has ended; the end of other ranks may end it, too.

        Private in ipyparallel (9.0 to 9.2), and the only hook that is called at once.
        """
        if self._agent is not None:  # otherwise there is no cell yet
            self._agent.engine.expect_end()
        # It would say so among what the cell prints; where mpiexec ends all ranks, on each of them.
        self.log.setLevel(logging.CRITICAL + 1)
        super()._signal_stop(sig, frame)
