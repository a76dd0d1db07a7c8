"""Engines in a Slurm allocation: one that sbatch gets, or the one that the notebook is in.

The job itself only holds the nodes. The engines run in steps of it, one per node, that ``srun``
starts from here: its standard input and output reach the node, as those of ``ssh`` do.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rankbook.cluster.hosts import sbatch, slurm, slurm_ends
from rankbook.cluster.hosts.addresses import address_to
from rankbook.cluster.hosts.targets import Slurm, shares
from rankbook.cluster.launchers.host import REMOTE_MODULE, Host, seats_to_fill
from rankbook.cluster.launchers.hosts import HostsLauncher
from rankbook.cluster.launchers.limit import TimeLimit
from rankbook.errors import ClusterError

if TYPE_CHECKING:
    import ipyparallel

__all__ = ["AllocationLauncher", "JobLauncher"]

_POLL = 1.0
"""Seconds between two looks at a job that is pending."""

_ELSEWHERE = "%dist_shutdown, then %dist_init, goes on in another job."
"""What to do without the job."""

_SCRIPT = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --output=/dev/null
#SBATCH --ntasks={n}
#SBATCH --no-requeue
{options}
# rankbook starts its ranks in steps of this job, which it would lose if it were requeued. It ends
# with the notebook, or when the notebook's controller has not been there for most of a minute.
missed=0
while [ $missed -lt 4 ]; do
    sleep 10
    if timeout 5 bash -c ": < /dev/tcp/{address}/{port}" 2> /dev/null
    then missed=0
    else missed=$((missed + 1))
    fi
done
"""


class _StepLauncher(HostsLauncher):
    """Runs a step on each node of a job.

    Args:
        asked: The job; options of sbatch are too late for an existing one.
        python: See :class:`HostsLauncher`.
        gpus: See :class:`HostsLauncher`.
        address: This host's address for the engines; empty: the one on the route to the nodes.
    """

    _reason = ""

    def __init__(
        self, asked: Slurm, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(asked.nproc, python, gpus, address)
        self._asked = asked
        self.job = ""

    def reach_again(self, host: Host) -> Host:
        """Start another step on a node."""
        return self._step(host.name, host.seats)

    def how_to_go_on(self, lost: Collection[Host], seats: int) -> str:
        """Without a job, by another one."""
        if self._reason:
            return _ELSEWHERE
        return super().how_to_go_on(lost, seats)

    def why_it_ended(self, host: Host) -> str:
        """By what Slurm says of the job, or srun of the step."""
        if not self._reason:
            self._reason = slurm_ends.why_ended(self.job, self._errors)
            if self._reason:
                self.can_add, self.instead = False, _ELSEWHERE
            if self.limit is not None:
                self.limit.ended = self._reason
        if self._reason:
            return self._reason
        lines = host.process.errors()
        errors = [line for line in lines if "error:" in line] or lines  # or its other output
        if not errors:
            return f"{host.name} was lost"
        return f"The step on {host.name} ended: {slurm.plain(errors[0])}"

    def _errors(self) -> list[str]:
        return [line for host in self.hosts for line in host.process.errors()]

    def _note_limit(self) -> None:
        if (ends_at := slurm.end_of(self.job)) is not None:
            self.limit = TimeLimit(f"job {self.job}", ends_at)

    def _step(self, node: str, seats: int) -> Host:
        try:
            return Host(node, seats, self._srun(self.job, node), slurm.without_job(os.environ))
        except FileNotFoundError:
            raise slurm.missing("srun") from None

    def _srun(self, job: str, node: str) -> list[str]:
        # All of the job's part of the node, shared with other steps; ranks choose their own cores.
        return [
            *("srun", f"--jobid={job}", "--overlap", f"--nodelist={node}", "--nodes=1"),
            *("--ntasks=1", "--mem=0", "--cpu-bind=none", "--kill-on-bad-exit=0", "--unbuffered"),
            *(self.python, "-m", REMOTE_MODULE),
        ]


class JobLauncher(_StepLauncher):
    """Gets an allocation with ``sbatch``, and releases it at the end."""

    @property
    def _name(self) -> str:
        """Of the job."""
        return f"rankbook-{self.cluster_id}"

    def describe(self) -> str:
        """By the job."""
        return f"Slurm's job {self.job}" if self.job else "the job"

    def preview(self) -> list[str]:
        """The job script and the commands, for display."""
        script = self._script(self.address or "ADDRESS", "PORT")
        steps = shlex.join(self._srun("JOB", "NODE"))
        return [
            f"sbatch --parsable <<'END'\n{script}END",
            f"{steps}   # on each node",
            "scancel JOB   # at the end",
        ]

    def start(self, n: int) -> ipyparallel.Client:
        """Start the controller, submit the job, wait for its nodes, and start steps there."""
        self.settle_address()
        self.start_controller()
        # Covers everything from here on, even between sbatch's start and its answer.
        self.at_end(["scancel", f"--name={self._name}"])
        self._refuse_unreadable()
        self.job = self._submit(n)
        self._wait_for_nodes()
        return super().start(n)

    def find_address(self) -> str:
        """The address on the way to the nodes of the partition."""
        return slurm.address_towards(self._asked.option("--partition", "-p"))

    def start_controller(self) -> None:
        """Start the controller, once."""
        if self.cluster.controller is None:
            super().start_controller()

    def reach(self) -> list[Host]:
        """Start a step on each node of the job."""
        nodes = slurm.nodes_of(self.job)
        self._note_limit()
        n = self._asked.nproc
        if self._asked.nodes is None:
            per_rank = int(self._asked.option("--cpus-per-task", "-c") or 1)
            seats = seats_to_fill(n, [max(1, cpus // per_rank) for cpus in nodes.values()])
        else:
            seats = shares(n, len(nodes))
        return [self._step(node, k) for node, k in zip(nodes, seats, strict=True) if k]

    def stop(self) -> None:
        """Cancel the job while the steps end."""
        if self.cluster.controller is None:
            super().stop()
            return
        with ThreadPoolExecutor(1, "rankbook-scancel") as executor:
            # Also by name, because the answer of sbatch may not have come.
            cancelling = executor.submit(slurm.ask, ["scancel", f"--name={self._name}"])
            super().stop()
            cancelling.exception()

    # ----------------------------------------------------------------------------------------

    def _script(self, address: str, port: object) -> str:
        asked = self._asked
        options = list(asked.options)
        if asked.nodes:
            options.insert(0, f"--nodes={asked.nodes}")
            if not any("--ntasks-per-node" in option for option in options):
                options.insert(1, f"--ntasks-per-node={-(-asked.nproc // asked.nodes)}")
        lines = "".join(f"#SBATCH {sbatch.quoted(option)}\n" for option in options)
        return _SCRIPT.format(
            name=self._name, n=asked.nproc, options=lines, address=address, port=port
        )

    def _refuse_unreadable(self) -> None:
        """Have sbatch read the options while the controller starts, which takes a second.

        Raises:
            ClusterError: It cannot. Whether Slurm accepts the job is told when it is submitted.
        """
        try:
            script = self._script(self.address, 0)
            slurm.ask(["sbatch", "--test-only"], script, env=dict(os.environ))
        except ClusterError as error:
            if "allocation failure" not in str(error):
                raise

    def _submit(self, n: int) -> str:
        del n
        script = self._script(self.address, self.info["registration"])
        answer = slurm.ask(["sbatch", "--parsable"], script, env=dict(os.environ))
        job = (answer.split() or [""])[-1].partition(";")[0]
        if not job.isdigit():  # for example, a wrapper of the site
            raise ClusterError(f"sbatch has submitted no job: it answers {answer.strip()[:80]!r}.")
        return job

    def _wait_for_nodes(self) -> None:
        """Wait until the job runs, however long that takes.

        Raises:
            ClusterError: It never will, or the user gave up.
        """
        pause = 0.1
        while (state := slurm.job_state(self.job)).name != "RUNNING":
            if not state.is_alive:
                raise ClusterError(
                    f"{slurm_ends.why_job_ended(self.job) or f'Job {self.job} has ended'}."
                )
            if why := state.never_starts:
                raise ClusterError(f"Slurm cannot start job {self.job}: {why}.")
            if pause >= _POLL:  # not for a job that starts at once
                self.progress.waits_for = f"{state.in_words(self.job)}; Ctrl-C cancels it"
            until = time.monotonic() + pause
            pause = min(_POLL, 2 * pause)
            while time.monotonic() < until:
                self.progress.refuse_cancelled()
                time.sleep(0.02)
        self.progress.waits_for = ""


class AllocationLauncher(_StepLauncher):
    """Uses the allocation that the notebook is in.

    Its arguments are those of a launcher that submits a job.
    """

    def __init__(
        self, asked: Slurm, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(asked, python, gpus, address)
        self.job = slurm.own_job()

    def describe(self) -> str:
        """By the job."""
        return f"the allocation of job {self.job}"

    def preview(self) -> list[str]:
        """The commands, for display."""
        late = [f"# {self._too_late()}"] if self._asked.options else []
        return [*late, f"{shlex.join(self._srun(self.job, 'NODE'))}   # on each node"]

    def _too_late(self) -> str:
        """Say which options are not used, in words."""
        options = " ".join(option.removeprefix("--") for option in self._asked.options)
        return f"Not used, as this notebook is in job {self.job} already: {options}"

    def reach(self) -> list[Host]:
        """Start a step on each node of the allocation, or on as many as requested."""
        nodes = slurm.nodes_of(self.job)
        self._note_limit()
        if self._asked.options:
            self.progress.waits_for = self._too_late()
        wanted = self._asked.nodes or len(nodes)
        if wanted > len(nodes):
            raise ClusterError(
                f"Job {self.job} has {len(nodes)} nodes: ask for --nodes {len(nodes)} or fewer."
            )
        chosen = list(nodes)[:wanted]
        seats = shares(self._asked.nproc, wanted)
        return [self._step(node, k) for node, k in zip(chosen, seats, strict=True) if k]

    def find_address(self) -> str:
        """The address on the way to another node of the job."""
        for host in self.hosts:
            if host.hello["host"] != socket.gethostname():
                return address_to(slurm.node_address(host.name))
        return address_to(slurm.node_address(self.hosts[0].name))
