"""What can be asked of a session; asking changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rankbook.cluster.pool import Pool
from rankbook.models import CellSpan, Diagnosis, GroupInfo, Look, Snapshot
from rankbook.sessions.cells.cells import Cells
from rankbook.sessions.cells.watch import Hang
from rankbook.sessions.changes import Changes
from rankbook.sessions.group import carried
from rankbook.sessions.group.group import Group
from rankbook.sessions.group.repair import Repair
from rankbook.sessions.members import Members, looks
from rankbook.sessions.turns import Turns
from rankbook.timing import Timing

if TYPE_CHECKING:
    from rankbook.distributed import DistInfo

__all__ = ["SessionView"]


class SessionView:
    """The parts of a session, and what can be read from them at any time, in any thread.

    Attributes:
        pool: The engines.
        members: Which engine is which rank.
        timing: How long it waits.
        on_hang: What to do about a proven hang: ``free`` its ranks, ``report`` it and go on
            waiting, or ``wait``.
        changes: Notifies subscribers when the group, an engine, or its activity changes.
        endings: Notifies subscribers that it is about to be shut down; it waits for them.
        is_ending: Whether subscribers of ``endings`` are being called.
    """

    def __init__(self, pool: Pool, timing: Timing | None = None) -> None:
        self.pool = pool
        self.timing = timing or Timing()
        self.on_hang = "free"
        self.changes = Changes()
        self.endings = Changes()
        self.is_ending = False
        self.members = Members(pool, self.timing)
        self._group = Group(self.members)
        self._repair = Repair(self.members, self._group)
        self._cells = Cells(self.members, self._group, self._repair)
        self._turns = Turns(self.changes, self.timing)
        self._snapshots = itertools.count(1)
        self.members.changes.subscribe(self.changes.notify)

    @property
    def doing(self) -> str:
        """What it is busy with, in words; empty when it is ready."""
        return self._turns.doing

    @property
    def turn(self) -> int:
        """How many things it has been busy with so far."""
        return self._turns.number

    @property
    def generation(self) -> int:
        """Which process group of this session is the present one, from 1."""
        return self._group.number

    @property
    def world_size(self) -> int:
        """Number of ranks; 0 while there is no group."""
        return len(self._group.infos)

    @property
    def backend(self) -> str:
        """The group's real backend, empty while there is no group."""
        infos = self._group.infos
        return infos[0].backend if infos else ""

    @property
    def timeout_minutes(self) -> float:
        """Timeout of the initialisation and of every collective."""
        return self._group.timeout_minutes

    @property
    def groups(self) -> Mapping[int, GroupInfo]:
        """By rank, its place in the group in plain types (importing no torch)."""
        return dict(self._group.infos)

    @property
    def carried(self) -> str:
        """Which objects of earlier groups go on with the present one, and which have ended.

        The end of a sentence about the new group; empty where there are no such objects.
        """
        text = carried.sentence_end(self._group.infos)
        return "" if text == "." else text

    @property
    def lacking(self) -> str:
        """What new ranks lack and the others hold, in a sentence; empty if nothing."""
        from rankbook.sessions.group import filling  # here: the start must stay quick

        new = [rank for rank, info in self._group.infos.items() if info.is_new]
        return filling.lacking(self.members, new) if new else ""

    @property
    def ended(self) -> Mapping[int, int | None]:
        """Engines that have ended, and their exit code or minus the signal."""
        return dict(self.members.ended)

    @property
    def dead_ranks(self) -> Mapping[int, str]:
        """By dead rank that is not replaced yet, how it ended."""
        return self.members.ends

    @property
    def told_of_dead(self) -> str:
        """How ranks ended, and how to replace them, in one line; empty if all live."""
        return self.members.told_of_dead

    @property
    def infos(self) -> dict[int, DistInfo]:
        """By rank, the ``DistInfo`` that ``initialize_distributed`` returned there."""
        import torch

        from rankbook.distributed import DistInfo

        return {
            rank: DistInfo(g.backend, g.rank, g.world_size, torch.device(g.device), g.is_main)
            for rank, g in self.groups.items()
        }

    @property
    def verdict(self) -> Diagnosis | None:
        """Why the running cell cannot end, by the last look, or why the last one could not.

        None if nothing was wrong with it, or if the group was renewed on request since.
        """
        return self._cells.verdict[0]

    @property
    def hang(self) -> Hang | None:
        """What was seen of the last cell before its ranks were freed; None if they were not."""
        return self._cells.hang

    @property
    def cells(self) -> Sequence[CellSpan]:
        """When the latest cells ran on the ranks, the newest last."""
        return self._cells.spans

    @property
    def failed(self) -> Sequence[int]:
        """The ranks on which the latest failed cell failed first."""
        return self._cells.failed

    @property
    def is_closed(self) -> bool:
        """Whether it was shut down."""
        return self._turns.is_closed

    def __repr__(self) -> str:
        if self.is_closed:
            return "<Session: shut down>"
        group = f"{self.backend}, {self.world_size} ranks" if self.groups else "no group"
        return f"<Session: {group}, generation {self.generation}{self.doing and ', '}{self.doing}>"

    def states(self) -> list[Look]:
        """Ask every engine what it does; answers within about a second, whatever they do.

        Returns:
            One state per rank, by rank, then one per engine that is no rank. An engine that does
            not answer has the state ``no answer``, one that has ended ``gone``.
        """
        return looks.states(self.members, self.groups)

    def snapshot(self) -> Snapshot:
        """Everything a view shows; see :meth:`states`."""
        # Read first: a look at this turn must not count as one at the next.
        number, turn = next(self._snapshots), self.turn
        doing = self.doing
        states = () if self.is_closed else tuple(self.states())
        verdict, hangs = self._cells.verdict
        limit = self.pool.launcher.limit
        return Snapshot(
            self.backend,
            self.world_size,
            self.generation,
            self.doing if self.is_closed else doing,
            states,
            self.pool.cluster_id,
            verdict,
            hangs=hangs,
            turn=turn if doing else 0,
            ends=limit.what if limit else "",
            ends_in=limit.seconds_left if limit else 0.0,
            ended=limit.ended if limit else "",
            mesh=self.members.named_mesh,
            number=number,
        )

    def stacks(self) -> dict[int, list[str]]:
        """By rank that answers, the Python stack of its main thread; at any time.

        Raises:
            SessionError: There was no group yet, or the session is shut down.
        """
        self._turns.refuse_closed()
        self.members.placed()
        return looks.stacks(self.members.living())

    def looks(self) -> dict[int, Look]:
        """By rank, the look that a diagnosis is made from; at any time.

        Raises:
            SessionError: There was no group yet, or the session is shut down.
        """
        self._turns.refuse_closed()
        self.members.placed()
        seen = looks.looks(self.members.living())
        return looks.complete(self.members, self.members.ranks(), seen, self._cells.progress)

    def diagnose(self) -> Diagnosis:
        """Say what the ranks do or wait for, and why; answered at any time.

        Returns:
            The verdict: ``.kind``, ``.ranks`` (the culprits), ``.summary`` (a sentence) and
            ``.per_rank`` (what each does).

        Raises:
            SessionError: There is no group.
        """
        self._turns.refuse_closed()
        return self._cells.diagnose()
