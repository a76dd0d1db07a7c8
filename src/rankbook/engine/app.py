"""A local engine: ipyparallel's, with our agent from the first message on."""

from __future__ import annotations

import asyncio
import logging
import selectors
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from ipykernel.iostream import OutStream
from ipyparallel.engine.app import IPEngine
from traitlets import default

from rankbook.engine import agent, masks
from rankbook.engine.cells import chance

__all__ = ["RankEngine", "going_on", "ignore_warnings"]

_LIBRARIES = ("ipykernel", "ipyparallel", "jupyter_client", "tornado", "traitlets", "zmq")
"""What an engine consists of."""


def ignore_warnings() -> None:
    """Ignore warnings of the libraries that an engine consists of, whatever filters say so far.

    Where all warnings are errors, as with ``PYTHONWARNINGS=error``, one of these would end the
    engine, or its answers.
    """
    warnings.filterwarnings("ignore", module=rf"({'|'.join(_LIBRARIES)})(\.|\Z)")


_LOOP = (__file__, selectors.__file__, str(Path(asyncio.__file__).parent))
"""Where the frames of a loop come from."""


def going_on(run: Callable[[], None], keep: Callable[[str], None]) -> Callable[[], None]:
    """Have a loop of events go on after what a handler of a signal has raised.

    Args:
        run: Runs the loop.
        keep: Called with the traceback that the handler ends with.

    Returns:
        What runs it until it is stopped, or until it fails itself.
    """

    def run_on() -> None:
        while True:
            try:
                return run()
            except (Exception, KeyboardInterrupt) as error:
                trace = _of_handler(error.__traceback__)
                if trace is None and not isinstance(error, KeyboardInterrupt):
                    raise
                said = "".join(traceback.format_exception(type(error), error, trace))
            keep(f"Ignored, as no cell ran when a signal came:\n{said}")

    return run_on


def _of_handler(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame on that is not a loop's; None if there is none."""
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_LOOP):
            return trace
        trace = trace.tb_next
    return None


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

    def initialize(self, argv: list[str] | None = None) -> None:
        """Begin with random numbers of its own."""
        chance.begin_anew()
        super().initialize(argv)

    def start_heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Install the agent, then start the heartbeat.

        The hub announces an engine after its first heartbeat, so no session can ask too early.
        """
        self._agent = agent.install(self.kernel)
        for thread in (self.kernel.control_thread, self.kernel.iopub_socket):
            thread.io_loop.add_callback(masks.block)
        with masks.kept_from_new_threads():
            super().start_heartbeat(*args, **kwargs)
        self.on_ready(self.id, self.ident)

    def start(self) -> None:
        """Answer until the end, which no handler of a signal brings about by an exception.

        A cell may leave one, and a timer: an alarm that was to end a collective, if the cell was
        freed from that before, rings while no cell runs, where no code would handle what it raises.
        """
        loop = self.loop.asyncio_loop
        loop.run_forever = going_on(loop.run_forever, self._keep)
        super().start()

    def _keep(self, text: str) -> None:
        if self._agent is not None:  # otherwise there was no cell yet
            self._agent.engine.runner.capture.between.keep("stderr", text)

    def _signal_stop(self, sig: int, frame: Any) -> None:
        """End as soon as the cell has ended; the end of other ranks may end it, too.

        Private in ipyparallel (9.0 to 9.2), and the only hook that is called at once.
        """
        if self._agent is not None:  # otherwise there is no cell yet
            self._agent.engine.expect_end()
        # It would say so among what the cell prints; where mpiexec ends all ranks, on each of them.
        self.log.setLevel(logging.CRITICAL + 1)
        super()._signal_stop(sig, frame)
