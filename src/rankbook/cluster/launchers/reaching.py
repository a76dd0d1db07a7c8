"""Hosts reached by a command, and reached again after they were lost."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping

from rankbook.cluster.launchers.answering import SOON, AnsweringLauncher
from rankbook.cluster.launchers.host import Host
from rankbook.errors import ClusterError, RankbookError
from rankbook.words import agree

__all__ = ["ReachingLauncher"]


class ReachingLauncher(AnsweringLauncher):
    """Keeps a process on each host, and reaches lost hosts again where they are needed.

    Its arguments are those of :class:`FarLauncher`.
    """

    def __init__(
        self, nproc: int, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(nproc, python, gpus, address)
        self._again: dict[Host, Host] = {}
        """The new process of each lost host that was reached again."""

    # -- defined by a subclass -----------------------------------------------------------------

    @abstractmethod
    def reach(self) -> list[Host]:
        """Start the process of each host; does not wait for any.

        Raises:
            ClusterError: That is not possible.
        """

    @abstractmethod
    def reach_again(self, host: Host) -> Host:
        """Start the process of a host whose process has ended, or no longer answers."""

    # -- reaching hosts ----------------------------------------------------------------------

    def reach_all(self) -> None:
        """Reach every host, and wait until each has introduced itself.

        Raises:
            ClusterError: One of them cannot be reached.
            EngineError: One has no rankbook, or another version.
        """
        self.hosts = self.reach()
        for host in self.hosts:
            self._listen(host)
        self.expect()
        self._wait_for_hello(self.hosts, until_one_fails=True)
        for problem in self._problems(self.hosts).values():
            raise problem

    def refuse_start(self, n: int | None = None, instead_of: Collection[int] = ()) -> None:
        """Raise if ``n`` engines need the seats of lost hosts.

        Lost hosts that are not needed stay lost. The others are reached again;
        :meth:`take_back` then puts them to use.
        """
        lost = self._lost()
        for host in [host for host in self._again if host not in lost]:
            self._close([self._again.pop(host)])
        lost = [host for host in lost if host not in self._again or self._again[host].has_ended]
        usable = [self._again.get(host, host) for host in self.hosts if host not in lost]
        missing = sum(host.seats for host in lost)
        if n is not None:
            free = sum(host.seats - len(host.engines - set(instead_of)) for host in usable)
            missing = min(missing, n - free)
        if missing > 0:
            self._again |= self._reach_again(lost, missing, sum(host.seats for host in usable))

    def take_back(self) -> None:
        """Replace lost hosts by those that were reached again."""
        again, self._again = self._again, {}
        back = {
            old: new for old, new in again.items() if old.has_ended
        }  # the others were only slow
        self._close([*back, *(new for old, new in again.items() if old not in back)])
        self.hosts = [back.get(host, host) for host in self.hosts]

    def how_to_go_on(self, lost: Collection[Host], seats: int) -> str:
        """Say what to do while hosts cannot be reached.

        Args:
            lost: These hosts.
            seats: How many seats the other hosts have.
        """
        text = f"Try again when {', '.join(host.name for host in lost)} can be reached"
        if seats:
            them = agree(lost, "it", "them")
            text += f"; %dist_init -n {seats} (or initialize(nproc={seats})) goes on without {them}"
        return f"{text}."

    def stop(self) -> None:
        """End the hosts' processes, with their engines, then the controller; remove files."""
        self.progress.cancelled.set()
        self._close([*self.hosts, *self._again.values(), *self._tried])
        super().stop()

    # ----------------------------------------------------------------------------------------

    def _lost(self) -> list[Host]:
        """The hosts that cannot have engines: their process has ended, or does not answer."""
        silent = self.silent(self.present, SOON)
        return [host for host in self.hosts if host.has_ended or host in silent]

    def _reach_again(self, lost: Collection[Host], missing: int, seats: int) -> dict[Host, Host]:
        """Reach hosts again, until they have the missing seats.

        Args:
            lost: The hosts.
            missing: Number of seats.
            seats: How many the other hosts have, for the message.

        Returns:
            By lost host, its new process.

        Raises:
            ClusterError: Too few can be reached; the message gives the first one's reason.
        """
        again: dict[Host, Host] = {}
        try:
            for host in lost:
                again[host] = self.reach_again(host)
                self._listen(again[host])
            self._wait_for_hello(again.values())
        except BaseException:
            self._close(again.values())
            raise
        problems = self._problems(again.values())
        back = {old: host for old, host in again.items() if host not in problems}
        if (found := sum(host.seats for host in back.values())) < missing:
            self._close(again.values())
            raise self._too_few(problems, seats + found)
        self._close(problems)
        return back

    def _too_few(self, problems: Mapping[Host, RankbookError], seats: int) -> ClusterError:
        why = str(next(iter(problems.values()))).rstrip(".")
        return ClusterError(f"{why}; nothing was ended. {self.how_to_go_on(problems, seats)}")
