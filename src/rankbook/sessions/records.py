"""What a session measures, and saves for others to look at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rankbook.models import Diagnosis
from rankbook.models.frames import Standing
from rankbook.sessions.members import looks
from rankbook.sessions.values import SessionValues

# Methods import what few sessions use: the start must stay quick.
if TYPE_CHECKING:
    from rankbook.models.benchmarks import Benchmark
    from rankbook.models.report import SavedRecording, SavedReport

__all__ = ["SessionRecords"]


class SessionRecords(SessionValues):
    """A session's diagnosis with stacks, reports, recordings and measurements."""

    def diagnose_closely(self) -> tuple[Diagnosis, dict[int, Standing]]:
        """The diagnosis, and by rank the place of its main thread, with local variables.

        After a hang, while no cell runs, it is what was seen before the ranks were freed.
        Otherwise it is the present, with C++ frames where py-spy is installed and may read the
        process. What looks like a secret is masked, as in a report.

        Raises:
            SessionError: There is no group.
        """
        from rankbook.sessions import reporting

        self._turns.refuse_closed()
        hang = self.hang
        if hang is not None and hang.diagnosis is not None and not self.doing:
            return hang.diagnosis, reporting.masked_standings(hang.standings)
        found = self._cells.diagnose()
        seen = looks.standings(self.members.living(), native=True)
        return found, reporting.masked_standings(seen)

    def save_report(self, path: str | os.PathLike[str]) -> SavedReport:
        """Save what is needed to look at a hang elsewhere; at any time, also while a cell hangs.

        :func:`rankbook.load_report` shows it, without a session. Only you can read the file (mode
        0600), and what looks like a secret is masked in it.

        Args:
            path: A file, JSON. An older report is overwritten, nothing else is.

        Returns:
            An object that says in a line what the report contains, and what it does not.

        Raises:
            ReportError: It cannot be written there.
        """
        from rankbook.sessions import reporting

        return reporting.save(self, path)

    def save_recording(self, folder: str | os.PathLike[str]) -> SavedRecording:
        """Save the latest calls of the ranks as torch's flight recorder does; at any time.

        ``torchfrtrace FOLDER`` analyses it. After a hang it is what was seen before the ranks were
        freed.

        Args:
            folder: A new or empty one, or one with an earlier recording, which is replaced.

        Returns:
            An object that says in a line what was saved, and how to analyse it.

        Raises:
            ReportError: It cannot be written there.
        """
        from rankbook.sessions import recording

        return recording.save(self, folder)

    def bench(
        self,
        collective: str,
        sizes: str = "1K:64M",
        group: str = "",
        *,
        rounds: int = 20,
        number: int = 0,
    ) -> Benchmark:
        """Measure latency and bandwidth of a collective, by size; see ``%dist_bench``.

        Args:
            collective: ``all_reduce``, ``all_gather``, ``reduce_scatter``, ``all_to_all``,
                ``broadcast``, ``reduce``, ``gather``, ``scatter`` or ``send_recv``.
            sizes: Bytes of the largest buffer: ``FROM:TO``, ``FROM:TO:FACTOR``, or a list.
            group: A dimension of the mesh, or a variable of the ranks; empty: all ranks.
            rounds: Repetitions of each size; the median counts.
            number: The number of the cell that measures.

        Returns:
            Rows of seconds and bytes per second, and the fit; it shows itself with a plot.

        Raises:
            InputError: There is no such collective, size or group, the backend does not support
                the collective, or the group has one rank.
            SessionError: See :meth:`run`.
            RankError: It failed on a rank.
        """
        from rankbook.sessions import benching

        return benching.bench(self, self._run, collective, sizes, group, rounds, number)
