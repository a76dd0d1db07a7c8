"""Interrupting a session, and renewing its process group on request."""

from __future__ import annotations

import threading
from ast import literal_eval
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rankbook.errors import InputError, RankbookError, SessionError
from rankbook.ranks import label
from rankbook.sessions.cells.cell import Cell
from rankbook.sessions.cells.cells import Cells
from rankbook.sessions.group import adopting, stuck
from rankbook.sessions.group.group import Group
from rankbook.sessions.group.repair import Event, Repair, Step
from rankbook.sessions.members import Members, looks
from rankbook.sessions.turns import Turns
from rankbook.words import agree, in_words, ranks_do, sentence_start

if TYPE_CHECKING:
    from rankbook.sessions.group.filling import Filled

__all__ = ["Renewal"]

_CHECKPOINTS = "rankbook.distributed.copying.checkpoints"


class Renewal:
    """Interrupts the ranks and has the next group made, one request at a time."""

    def __init__(
        self, members: Members, group: Group, repair: Repair, cells: Cells, turns: Turns
    ) -> None:
        self._members = members
        self._group = group
        self._repair = repair
        self._cells = cells
        self._turns = turns
        self._replacing = threading.Lock()

    def interrupt(self, turn: int | None = None) -> bool:
        """Free the ranks; see :meth:`~rankbook.sessions.session.Session.interrupt`."""
        was_busy = self._turns.end(self._free, turn)

        # The thread that runs the cell re-creates the group; without one, this thread does.
        def is_due() -> bool:
            return self._repair.step(Event.INTERRUPT_ENDS) is Step.MAKE

        with self._turns.between(is_due) as is_ours:
            if is_ours:
                self._repair.after(Event.INTERRUPT_ENDS)
        return was_busy

    def initialize(
        self,
        backend: str | None,
        size: int | None,
        timeout_minutes: float | None,
        *,
        check: bool | None,
        share_gpus: bool | None,
        interrupt: bool,
    ) -> None:
        """Make the next group; see :meth:`~rankbook.sessions.session.Session.initialize`."""
        if interrupt:  # do not interrupt anything for an impossible group
            self._group.check_feasible(backend, size, timeout_minutes, share_gpus)
        with self._renewing("initialising the process group", interrupt=interrupt):
            self._group.initialize(
                backend, size, timeout_minutes, check=check, share_gpus=share_gpus
            )

    def reset(self, backend: str | None, *, hard: bool, clean: bool, interrupt: bool) -> None:
        """Make the next group; with ``hard``, on new engines."""
        size = self._members.size
        if hard:
            self._replace_engines()
        elif interrupt:
            self._group.check_feasible(backend, size, None)
        wait = self._members.timing.replaced if hard else 0
        with self._renewing("resetting", wait=wait, interrupt=interrupt):
            self._group.initialize(backend, size, clean=clean)

    def restart(
        self,
        ranks: Collection[int],
        source: int | None,
        checkpoint: str,
        *,
        interrupt: bool,
        announce: Callable[[str], object] | None = None,
    ) -> Filled | None:
        """Make the next group with new engines for ``ranks`` and dead ranks; fill them if asked.

        See :meth:`~rankbook.sessions.session.Session.restart_ranks`.
        """
        # Refuse before anything is interrupted.
        if not ranks and not self._members.dead:
            raise SessionError("No rank has ended: name the ranks to replace.")
        ranks = {*ranks, *self._members.dead}
        if source in ranks:
            raise InputError(f"Rank {source} is one of those to replace: copy from another one.")
        if checkpoint and self._members.placed().is_local:
            _refuse_others(checkpoint)
        self._members.refuse_replacing(ranks)
        with self._renewing("replacing ranks", interrupt=interrupt):
            if checkpoint and announce is not None:
                announce(
                    f"All ranks load modules and optimizers from {checkpoint}: "
                    "what they hold now is replaced."
                )
            try:
                self._group.restart(ranks)
                if source is None:
                    return None
                return self._fill(ranks, source, checkpoint)
            except RankbookError as error:
                if source is not None and (told := self._died_meanwhile(ranks, checkpoint)):
                    raise SessionError(told) from error
                raise

    def _fill(self, ranks: Collection[int], source: int, checkpoint: str) -> Filled:
        """Give new ranks what another one has."""
        from rankbook.sessions.group import filling  # here: the start must stay quick

        free, with_shards = self._repair.free, bool(checkpoint)
        filled = filling.fill(self._members, ranks, source, free, with_shards=with_shards)
        if checkpoint:
            filled = self._load(filled, checkpoint)
        self._group.settle()
        return filled

    def _died_meanwhile(self, ranks: Collection[int], checkpoint: str) -> str:
        """Say that ranks died while others were filled, and what to do; empty if none did."""
        ends = self._members.ends
        lack = sorted({*ranks, *ends})
        source = min(set(self._members.seated()) - set(lack), default=None)
        if not ends or source is None or not self._members.can_replace:
            return ""
        died = sentence_start(", ".join(f"rank {rank} {how}" for rank, how in ends.items()))
        given = f"{label(lack)} --from {source}" + (
            f" --checkpoint {checkpoint}" * bool(checkpoint)
        )
        filled = agree(ranks, "it", "they") if set(ranks) == set(ends) else in_words(ranks)
        return (
            f"{died} while {filled} {agree(ranks, 'was', 'were')} being filled: "
            f"%dist_restart {given} replaces {in_words(lack)} and keeps the others."
        )

    def _load(self, filled: Filled, path: str) -> Filled:
        """Have all ranks load a checkpoint, watched like any cell."""
        arguments = f"{path!r}, globals(), {filled.ranks}"
        call = f"__import__({_CHECKPOINTS!r}, fromlist=['load']).load({arguments})"
        cell = Cell(call, tuple(self._members.ranks()), title="loading the checkpoint")
        result = self._cells.run(cell, None)
        if not result.ok:
            failed = [one.error.evalue for one in result.values() if one.error]
            found = result.diagnosis.summary if result.diagnosis else ""
            reasons = (found, *failed, result.ended, "it was interrupted.")
            reason = next(filter(None, reasons))
            raise SessionError(
                f"{sentence_start(ranks_do(filled.ranks, 'was', 'were'))} filled, but the "
                f"checkpoint was not loaded: {reason}"
            )
        loaded, missing = literal_eval(result[0].result_repr or "((), ())")
        left = dict.fromkeys(missing, "not in the checkpoint")
        left |= filled.left
        return replace(filled, checkpoint=path, loaded=loaded, left=left)

    def leave(self) -> None:
        """At a shutdown, end the group of joined engines and their work for this session."""
        with suppress(RankbookError), self._repair.renewing():  # the session ends in any case
            self._end_abandoned()
            self._group.leave()

    @contextmanager
    def _renewing(self, doing: str, *, wait: float = 0, interrupt: bool = False) -> Iterator[None]:
        """Take the turn to make another group, on joined engines as well."""
        with ExitStack() as until_it_is_there:
            make_way: Callable[[], object] | None = None
            if interrupt:
                # The interrupted cell must not re-create a group that this is about to renew.
                until_it_is_there.enter_context(self._repair.renewing())
                make_way = self._free
            with self._turns.take(doing, wait=wait, make_way=make_way):
                until_it_is_there.close()
                self._cells.forget_verdict()
                self._end_abandoned()
                try:
                    yield
                except BaseException:
                    self._repair.after(Event.RENEWAL_FAILS)
                    raise
                looks.forget_errors(self._members.everyone())

    def _free(self) -> bool:
        """Free the ranks; tell whether any was busy."""
        self._cells.interrupt()
        freed = self._repair.free()
        if freed.busy:
            raise self._repair.stuck(stuck.of(freed))
        return freed.was_busy

    def _end_abandoned(self) -> None:
        """End the work of joined engines for a notebook that is gone."""
        if self._members.is_owned:
            return
        if self._members.placement is not None:
            self._free()
        else:
            adopting.refuse_others_work(self._members)
            self._repair.free()

    def _replace_engines(self) -> None:
        """Replace all engines, busy or not: running work ends, and so do waits for it."""
        if not self._members.can_replace:
            how = self._members.instead or "restart them where they were started, then join again."
            raise SessionError(f"This session joined its engines and cannot replace them: {how}")
        if not self._replacing.acquire(blocking=False):
            raise SessionError("The engines are being replaced already: wait.")
        try:
            self._members.refuse_replacing()
            self._group.forget()
            self._members.replace_all()
        finally:
            self._replacing.release()


def _refuse_others(path: str) -> None:
    """Raise if a path is not a checkpoint, before anything is replaced."""
    if not Path(path, ".metadata").is_file():
        raise InputError(
            f"{path} is not a checkpoint of torch.distributed.checkpoint: it has no .metadata."
        )
