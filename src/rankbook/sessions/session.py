"""The session: the notebook's handle on one cluster and its process group.

Methods that change the group or run a cell take the session's turn and never wait for it: a busy
session raises. Methods that only look, or interrupt, work at any time, from any thread.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from rankbook.cluster.pool import Pool
from rankbook.errors import InputError
from rankbook.interrupts import ignore_ctrl_c
from rankbook.sessions.records import SessionRecords
from rankbook.sessions.renewal import Renewal
from rankbook.timing import Timing

if TYPE_CHECKING:
    from typing_extensions import Self

    from rankbook.sessions.group.filling import Filled

__all__ = ["Session"]


class Session(SessionRecords):
    """One cluster and its process group, seen from the notebook.

    Made by :func:`start` or :func:`connect`.
    """

    def __init__(self, pool: Pool, timing: Timing | None = None) -> None:
        super().__init__(pool, timing)
        self._renewal = Renewal(self.members, self._group, self._repair, self._cells, self._turns)

    # -- the group ---------------------------------------------------------------------------

    def adopt(self, *, with_ended: bool = False) -> bool:
        """Take over the group of joined engines as it is, also while they are busy.

        Args:
            with_ended: Also one of which ranks have ended, which :meth:`restart_ranks` replaces.

        Returns:
            Whether there is a whole one; else :meth:`initialize` makes one.
        """
        with self._turns.take("looking for a process group"):
            return self._group.adopt(with_ended=with_ended)

    def initialize(
        self,
        backend: str | None = None,
        nproc: int | None = None,
        timeout_minutes: float | None = None,
        *,
        check: bool | None = None,
        share_gpus: bool | None = None,
        interrupt: bool = False,
    ) -> None:
        """Make the next generation: leave the present group, if any, and form a new one.

        Engines and their variables stay; missing engines are started, others become spares.

        Args:
            backend: See :func:`start`; None keeps what was asked for last.
            nproc: Number of ranks; None keeps it.
            timeout_minutes: Timeout of the initialisation and of every collective; None keeps it.
            check: Compare every collective across ranks before it runs; None keeps it.
            share_gpus: See :func:`start`; None keeps it.
            interrupt: First end what the session is busy with, instead of refusing.

        Raises:
            SessionError: The session is busy, or a rank has ended.
            RankbookError: No group was formed, and none is left half-made; the message says why.
        """
        self._turns.refuse_closed()
        self._renewal.initialize(
            backend,
            nproc,
            timeout_minutes,
            check=check,
            share_gpus=share_gpus,
            interrupt=interrupt,
        )

    def reset(
        self,
        backend: str | None = None,
        hard: bool = False,  # noqa: FBT001, FBT002
        *,
        clean: bool = False,
        interrupt: bool = False,
    ) -> None:
        """Run ``destroy_global_state`` on every rank, then make a new generation.

        With gloo, existing DDP and FSDP modules, meshes and subgroups go on.

        Args:
            backend: Another backend, None keeps it.
            hard: Replace the engines too. Their variables are lost.
            clean: Forget objects of earlier groups: they raise an error when used.
            interrupt: End what the session is busy with first, instead of refusing.

        Raises:
            SessionError: The session is busy (``hard`` ends what it is busy with), or ``hard`` on
                engines that it did not start.
            RankbookError: See :meth:`initialize`.
        """
        self._turns.refuse_closed()
        self._renewal.reset(backend, hard=hard, clean=clean, interrupt=interrupt)

    def restart_ranks(
        self,
        ranks: str | int | list[int] | None = None,
        *,
        from_rank: str | int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        interrupt: bool = False,
        announce: Callable[[str], object] | None = None,
    ) -> Filled | None:
        """Give ranks new engines, and make the next generation with the others as they are.

        The new engines run on the same hosts and GPUs as the old ones. They start empty, unless
        ``from_rank`` is given. Then the imports, functions and classes of earlier cells are run on
        them, and the variables of that rank are copied to them; they take part in its DDP modules,
        meshes and subgroups as if they had been there from the start.

        Args:
            ranks: A selection of ranks; None: those that have ended.
            from_rank: The rank whose variables are copied; None: none are.
            checkpoint: A folder of ``torch.distributed.checkpoint``, from which *all* ranks load
                their modules and optimizers: for those whose state is sharded.
            interrupt: End what the session is busy with first, instead of refusing.
            announce: Called with a line on what all ranks are about to load, when nothing refuses
                that any more and nothing is replaced yet.

        Returns:
            What was copied and what was not, and why; None without ``from_rank``.

        Raises:
            SessionError: The session is busy, or no rank has ended and none was given.
            InputError: ``from_rank`` is one of the replaced ranks, or not a rank.
            ClusterError: No engine can take the place of one that has ended.
        """
        chosen = () if ranks is None else self.members.select(ranks)
        source: tuple[int | None, ...] = (None,)
        if from_rank is not None:
            source = self.members.select(from_rank)
            if len(source) > 1:
                raise InputError(f"{from_rank!r} is more than one rank: copy from one.")
        elif checkpoint:
            raise InputError("A checkpoint is for filling a new rank: give from_rank, too.")
        path = os.path.abspath(checkpoint) if checkpoint else ""  # noqa: PTH100 - as os knows it
        return self._renewal.restart(
            chosen, source[0], path, interrupt=interrupt, announce=announce
        )

    def destroy(self) -> None:
        """Run ``destroy_global_state`` on every rank and form no new group."""
        with self._turns.take("destroying the process group"):
            self._group.leave()

    def interrupt(self, turn: int | None = None) -> bool:
        """Free the ranks, whatever they do; their variables stay.

        Python code gets a ``KeyboardInterrupt``; a waiting collective is ended on every rank, and
        the group is re-created.

        Args:
            turn: The ``turn`` of this session to end; nothing happens if it has ended already.
                None: the present one.

        Returns:
            Whether anything was running.

        Raises:
            StuckError: Some rank did not end within seconds; the message says where it is.
        """
        self._turns.refuse_closed()
        if not self.doing:
            self.members.placed()
        return self._renewal.interrupt(turn)

    # -- ends --------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Begin a block at whose end the session shuts down."""
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()

    def shutdown(self) -> None:
        """Stop the engines that this session started; leave joined ones, their group destroyed.

        Idempotent, and possible while a cell runs: that cell ends with its engines.
        """
        if self.is_closed:
            return
        self.is_ending = True
        try:
            self.endings.notify()
        finally:
            self.is_ending = False
        if not self.members.is_owned:
            self._renewal.leave()
        self._close()

    def detach(self) -> None:
        """End with the notebook's process: joined engines stay, and so does their group.

        Another session can :meth:`adopt` it. Engines that this one started end, unless kept.
        """
        if self.is_closed:
            return
        if self.members.stay:
            self._group.leave_behind()
        self._close(leave=True)

    def _close(self, *, leave: bool = False) -> None:
        # A second call does nothing, so Ctrl-C must not leave engines running now.
        with ignore_ctrl_c(self.timing.stop):
            self._turns.close()
            try:
                self.members.close(leave=leave)
            finally:
                self._group.close()
                self.changes.notify()
                # Otherwise the interpreter would keep the session until its exit.
                atexit.unregister(self.detach)
