"""The process groups of one session, one after another."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from rankbook.cluster.placement import Placement, check_backend, check_numbers, choose_backend
from rankbook.errors import RankbookError
from rankbook.models import GroupInfo
from rankbook.models.requests import Destroy, LookAt
from rankbook.sessions.group.adopting import adopt
from rankbook.sessions.group.forming import Terms, form
from rankbook.sessions.group.meeting import MeetingPlace
from rankbook.sessions.members import Members, found

__all__ = ["Group"]


class Group:
    """Makes and ends the process group.

    Attributes:
        members: Who is which rank.
        infos: By rank, its place in the present group; empty while there is none.
        is_being_made: Whether ranks are about to join one.
        is_owed: Whether the latest could not be made, which nobody had asked for.
        timeout_minutes: Timeout of the initialisation and of every collective.
        check: Whether every collective is compared across ranks before it runs.
        share_gpus: Whether several ranks of a host may share a GPU.
    """

    def __init__(self, members: Members) -> None:
        self.infos: dict[int, GroupInfo] = {}
        self.is_being_made = self.is_owed = False
        self.timeout_minutes: float = 1
        self.check = False
        self.share_gpus = False
        self.members = members
        self._asked: str | None = None
        self._whole = 0 if members.is_owned else -1
        """The latest generation that all ranks have joined; 0: none yet, -1: not known."""
        self._meeting = MeetingPlace(members.cluster_id)

    @property
    def number(self) -> int:
        """The number of the present group, or of the last one, from 1."""
        return self.members.generation

    def adopt(self, *, with_ended: bool = False) -> bool:
        """Take over the group that joined engines are in already, also while they are busy.

        Args:
            with_ended: Also one of which ranks have ended.

        Returns:
            Whether there is one that is whole.

        Raises:
            ClusterError: An engine does not say which group it is in, or where it stands.
        """
        infos = adopt(self.members, with_ended=with_ended)
        if not infos:
            return False
        first = infos[0]
        self.members.generation, self._asked = first.generation, first.backend
        self.timeout_minutes, self.check = first.timeout_minutes, first.check
        self.share_gpus = first.share_gpus
        self.infos, self._whole = infos, self.number
        return True

    def initialize(
        self,
        backend: str | None = None,
        size: int | None = None,
        timeout_minutes: float | None = None,
        *,
        check: bool | None = None,
        clean: bool = False,
        share_gpus: bool | None = None,
    ) -> None:
        """Make the next group; settings that are None stay as they are.

        Objects of earlier groups get its connections, unless it is to be ``clean``.

        Raises:
            RankbookError: No group was formed, and none is left half-made; the message says why.
        """
        self.check_feasible(backend, size, timeout_minutes, share_gpus)
        placement = self.members.place(size or self.members.size)
        self._form(
            placement,
            backend or self._asked,
            timeout_minutes,
            check,
            clean=clean,
            share_gpus=share_gpus,
        )

    def check_feasible(
        self,
        backend: str | None,
        size: int | None,
        timeout_minutes: float | None,
        share_gpus: bool | None = None,  # noqa: FBT001
    ) -> None:
        """Refuse an impossible group before anything changes.

        A smaller group than before does not need ranks that have ended.

        Raises:
            RankbookError: The message says why.
        """
        backend, size = backend or self._asked, self.members.size if size is None else size
        check_numbers(size, timeout_minutes)
        if backend is not None:
            check_backend(backend)
        if size is None or not self.members.can_shrink_to(size):
            self.members.refuse_dead()
        share = self.share_gpus if share_gpus is None else share_gpus
        choose_backend(self.members.plan(size), backend, share_gpus=share)

    def restart(self, ranks: Iterable[int]) -> None:
        """Give ranks new or spare engines, and make the next group.

        Raises:
            ClusterError: No engine can take the place of one that has ended.
        """
        ranks = sorted(set(ranks))
        self.members.count_missing(ranks)  # while the group still exists
        self.infos = {}
        self._form(self.members.replacement(ranks), self._asked)

    def settle(self) -> None:
        """Have objects that waited for replaced ranks go on, where those now hold them.

        Raises:
            RankbookError: A rank did not say what it holds.
        """
        from rankbook.sessions.group import filling  # here: the start must stay quick

        found = filling.settle(self.members)
        lacking = {rank for settled in found.values() for rank in settled.lacking}
        for rank, settled in found.items():
            info = self.infos[rank]
            healed = tuple(dict.fromkeys((*settled.healed, *info.healed)))
            is_new = rank in lacking if lacking else info.is_new
            self.infos[rank] = replace(info, healed=healed, waiting=settled.waiting, is_new=is_new)

    def leave(self) -> None:
        """End the group on every engine and make no new one."""
        self.infos, self.is_owed = {}, False
        self.members.everyone().ask(Destroy(), self.members.timing.leave)

    def forget(self) -> None:
        """Forget the group: its engines are about to be replaced."""
        self.infos, self.is_owed = {}, False

    def close(self) -> None:
        """Remove the files of the group, which must have ended or been left behind."""
        self.infos = {}
        self._meeting.close()

    def leave_behind(self) -> None:
        """Leave the group to the session that joins its engines next."""
        if self.infos:
            self._meeting.leave(self.number)

    def _form(
        self,
        placement: Placement,
        backend: str | None,
        timeout_minutes: float | None = None,
        check: bool | None = None,  # noqa: FBT001
        *,
        clean: bool = False,
        share_gpus: bool | None = None,
    ) -> None:
        members = self.members
        share = self.share_gpus if share_gpus is None else share_gpus
        name = choose_backend(placement, backend, share_gpus=share)
        # Another session may have initialised joined engines, too: ask them.
        seen = {} if members.is_owned else found.look(members)
        self.infos, self.is_being_made, self.is_owed = {}, True, False
        try:
            self._asked, self.share_gpus = backend, share
            self.timeout_minutes = timeout_minutes or self.timeout_minutes
            self.check = self.check if check is None else check
            members.generation = 1 + max(self.number, found.newest(seen))
            dropped = members.seat(placement, found.in_groups(seen))
            if len(dropped):
                # They are no longer ranks, whether or not this succeeds.
                with suppress(RankbookError):
                    heard = dropped.look(LookAt()).values  # a host that is down does not answer
                    dropped.only(heard).ask(Destroy(), members.timing.leave)
            url, address = self._meeting.open(members, placement, self.number)
            terms = Terms(name, self.timeout_minutes, self.check, clean, share, self._whole)
            self.infos = form(members, terms, self.number, url, address)
            self._whole = self.number
        finally:
            self.is_being_made = False
