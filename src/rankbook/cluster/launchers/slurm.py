"""Engines in an allocation of Slurm's: one that sbatch gets, or the one that the notebook is in.

The job itself only holds the nodes. The engines run in steps of it, one per node, that ``srun``
starts from here: its standard input and output reach the node, as those of ``ssh`` do.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankbook.cluster.addresses import address_to
from rankbook.cluster.launchers.hosts import REMOTE_MODULE, Host, HostsLauncher, seats_to_fill
from rankbook.cluster.targets import Slurm, shares
from rankbook.errors import ClusterError, InputError

if TYPE_CHECKING:
    import ipyparallel

__all__ = ["AllocationLauncher", "JobLauncher", "own_job"]

_POLL = 1.0
"""Seconds between two looks at a job that is pending."""

_ANSWER = 20.0
"""Seconds for a command of Slurm's to answer."""

_SCRIPT = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --output=/dev/null
#SBATCH --ntasks={n}
{options}
# rankbook starts its ranks in steps of this job. The job ends with the notebook, or when the
# notebook's controller has not been there for most of a minute.
missed=0
while [ $missed -lt 4 ]; do
    sleep 10
    if timeout 5 bash -c ": < /dev/tcp/{address}/{port}" 2> /dev/null
    then missed=0
    else missed=$((missed + 1))
    fi
done
"""


def own_job() -> str:
    """The job whose allocation this process runs in; empty if there is none."""
    return os.environ.get("SLURM_JOB_ID", "")


class _StepLauncher(HostsLauncher):
    """Runs a step on each node of a job."""

    job = ""
    _reason = ""

    def reach_again(self, host: Host) -> Host:
        """Start another step on a node."""
        return self._step(host.name, host.seats)

    def why_it_ended(self, host: Host) -> str:
        """By what Slurm says of the job, or srun of the step."""
        if self.job and not self._reason:
            self._reason = why_job_ended(self.job)
        if self._reason:
            return self._reason
        said = [_plain(line) for line in host.process.errors()]
        return f"The step on {host.name} ended: {said[0]}" if said else f"{host.name} was lost"

    def _step(self, node: str, seats: int) -> Host:
        try:
            return Host(node, seats, self._srun(self.job, node), _without_job(os.environ))
        except FileNotFoundError:
            raise _missing("srun") from None

    def _srun(self, job: str, node: str) -> list[str]:
        # All of the node that the job has, beside other steps; who computes where is the ranks'.
        return [
            *("srun", f"--jobid={job}", "--overlap", f"--nodelist={node}", "--nodes=1"),
            *("--ntasks=1", "--mem=0", "--cpu-bind=none", "--kill-on-bad-exit=0", "--unbuffered"),
            *(self.python, "-m", REMOTE_MODULE),
        ]


class JobLauncher(_StepLauncher):
    """Gets an allocation by ``sbatch``, and gives it back at the end.

    Args:
        asked: The job.
        python: See :class:`HostsLauncher`.
        gpus: See :class:`HostsLauncher`.
        address: Of this host, for the engines; empty: the one on the way to the nodes.
    """

    def __init__(
        self, asked: Slurm, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(asked.nproc, python, gpus, address)
        self._asked = asked
        self._name = f"rankbook-{self.cluster_id}"

    def describe(self) -> str:
        """By the job."""
        return f"Slurm's job {self.job}" if self.job else "the job"

    def preview(self) -> list[str]:
        """The job script and the commands, for a person to read."""
        script = self._script(self.address or "ADDRESS", "PORT")
        steps = shlex.join(self._srun("JOB", "NODE"))
        return [
            f"sbatch --parsable <<'END'\n{script}END",
            f"{steps}   # on each node",
            "scancel JOB   # at the end",
        ]

    def start(self, n: int) -> ipyparallel.Client:
        """Start the controller, submit the job, wait for its nodes, and start steps there."""
        self.address = self.address or address_towards(self._asked.option("--partition", "-p"))
        self.start_controller()
        # Whatever happens from here on, also between sbatch's start and its answer.
        self.at_end(["scancel", f"--name={self._name}"])
        self.job = self._submit(n)
        self._wait_for_nodes()
        return super().start(n)

    def start_controller(self) -> None:
        """Start the controller, once."""
        if self.cluster.controller is None:
            super().start_controller()

    def reach(self) -> list[Host]:
        """Start a step on each node of the job."""
        nodes = nodes_of(self.job)
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
            # By its name, too: the answer of sbatch may not have come.
            cancelling = executor.submit(_ask, ["scancel", f"--name={self._name}"])
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
        lines = "".join(f"#SBATCH {_quoted(option)}\n" for option in options)
        return _SCRIPT.format(
            name=self._name, n=asked.nproc, options=lines, address=address, port=port
        )

    def _submit(self, n: int) -> str:
        del n
        script = self._script(self.address, self.info["registration"])
        answer = _ask(["sbatch", "--parsable"], script, env=dict(os.environ))
        return answer.strip().splitlines()[-1].partition(";")[0]

    def _wait_for_nodes(self) -> None:
        """Wait until the job runs, however long that takes.

        Raises:
            ClusterError: It never will, or somebody has given up.
        """
        pause = 0.1
        while (state := job_state(self.job)).name != "RUNNING":
            if not state.is_alive:
                raise ClusterError(f"{why_job_ended(self.job) or f'Job {self.job} has ended'}.")
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

    Args:
        asked: Number of ranks; options of sbatch come too late.
        python: See :class:`HostsLauncher`.
        gpus: See :class:`HostsLauncher`.
        address: Of this host, for the engines; empty: the one on the way to the nodes.
    """

    def __init__(
        self, asked: Slurm, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(asked.nproc, python, gpus, address)
        self._asked = asked
        self.job = own_job()

    def describe(self) -> str:
        """By the job."""
        return f"the allocation of job {self.job}"

    def preview(self) -> list[str]:
        """The commands, for a person to read."""
        return [f"{shlex.join(self._srun(self.job, 'NODE'))}   # on each node"]

    def reach(self) -> list[Host]:
        """Start a step on each node of the allocation, or on as many as were asked for."""
        nodes = nodes_of(self.job)
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
                return address_to(node_address(host.name))
        return address_to(node_address(self.hosts[0].name))


# -- asking Slurm ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _State:
    """What squeue says of a job."""

    name: str
    reason: str = ""
    start: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or will."""
        return self.name in ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "REQUEUED")

    def in_words(self, job: str) -> str:
        """``job 8 is pending: Resources (expected 14:05)``."""
        words = f"job {job} is {self.name.lower()}"
        if self.reason not in ("", "None"):
            words += f": {self.reason}"
        if match := re.search(r"(\d+-\d+-\d+)T(\d+:\d+)", self.start):
            today = time.strftime("%Y-%m-%d") == match[1]
            words += f" (expected {match[2] if today else f'{match[1]} {match[2]}'})"
        return words


def job_state(job: str) -> _State:
    """How a job stands in the queue; ``GONE`` if it is not there any more."""
    try:
        answer = _ask(["squeue", "--noheader", f"--jobs={job}", "--format=%T|%r|%S"])
    except ClusterError as error:
        if "Invalid job id" in str(error):
            return _State("GONE")
        raise
    first = next((line for line in answer.splitlines() if line.strip()), "GONE||")
    name, reason, start = (first.strip().split("|") + ["", ""])[:3]
    return _State(name, reason, start)


_ENDS = {
    "TIMEOUT": "time limit",
    "CANCELLED": "it was cancelled",
    "NODE_FAIL": "a node failed",
    "OUT_OF_MEMORY": "out of memory",
    "PREEMPTED": "it was preempted",
    "DEADLINE": "its deadline",
    "FAILED": "it failed",
    "COMPLETED": "it was given back",
    "BOOT_FAIL": "a node did not boot",
}


def why_job_ended(job: str) -> str:
    """``Slurm ended job 6: time limit``; empty if it lives, or nobody knows."""
    try:
        shown = _ask(["scontrol", "--oneliner", "show", "job", job])
    except ClusterError:
        return ""
    match = re.search(r"\bJobState=(\w+)", shown)
    if match is None or match[1] not in _ENDS:
        return ""
    return f"Slurm ended job {job}: {_ENDS[match[1]]}"


def nodes_of(job: str) -> dict[str, int]:
    """The nodes of a job, in their order, and how many CPUs it has on each."""
    shown = _ask(["scontrol", "--oneliner", "--details", "show", "job", job])
    nodes: dict[str, int] = {}
    for names, cpus in re.findall(r"\bNodes=(\S+) CPU_IDs=(\S+)", shown):
        for node in _ask(["scontrol", "show", "hostnames", names]).split():
            nodes[node] = _count(cpus)
    if not nodes:
        raise ClusterError(f"Slurm does not say which nodes job {job} has.")
    return nodes


def _count(ids: str) -> int:
    """Number of ids in ``0-3,8``."""
    spans = [part.partition("-") for part in ids.split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in spans)


def node_address(node: str) -> str:
    """The address, or the name, at which Slurm reaches a node."""
    shown = _ask(["scontrol", "--oneliner", "show", "node", node])
    match = re.search(r"\bNodeAddr=(\S+)", shown)
    return match[1] if match else node


def address_towards(partition: str | None) -> str:
    """This host's address on the way to the nodes of a partition.

    Raises:
        ClusterError: There is no such partition, or its nodes cannot be reached by IPv4.
    """
    chosen = [f"--partition={partition}"] if partition else []
    answer = _ask(["sinfo", "--noheader", "--Node", *chosen, "--format=%o"]).split()
    if not answer:
        # sbatch says best what is wrong with the partition.
        _ask(["sbatch", "--test-only", *chosen, "--wrap=true"], env=dict(os.environ))
        raise ClusterError("Slurm has no nodes there.")
    return address_to(answer[0])


def _ask(command: Sequence[str], text: str = "", env: Mapping[str, str] | None = None) -> str:
    """Run a command of Slurm's and return what it prints.

    Raises:
        ClusterError: It failed; the message is its own first sentence that says why.
    """
    try:
        done = subprocess.run(
            list(command),
            input=text,
            capture_output=True,
            text=True,
            timeout=_ANSWER,
            check=False,
            env=_without_job(os.environ) if env is None else dict(env),
        )
    except FileNotFoundError:
        raise _missing(command[0]) from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{command[0]} does not answer within {_ANSWER:g} s.") from None
    if done.returncode:
        raise ClusterError(f"{command[0]}: {_cause(done.stderr)}.")
    return done.stdout


def _quoted(option: str) -> str:
    """An option as a line of a job script has it: with quotation marks around spaces."""
    name, equals, value = option.partition("=")
    return f'{name}="{value}"' if equals and re.search(r"\s", value) else option


def _missing(program: str) -> InputError:
    return InputError(f"There is no {program} on this host: Slurm is not installed here.")


def _cause(errors: str) -> str:
    """The sentence that says why, of what a program of Slurm's wrote to its standard error."""
    lines = [_plain(line) for line in errors.splitlines() if line.strip()]
    errors_only = [line for line in lines if not line.startswith("Warning")]
    return (errors_only or lines or ["it gave no reason"])[-1].rstrip(".")


def _plain(line: str) -> str:
    """A line without the program's name and the word error."""
    return re.sub(r"^(\w+: )?(error: )*", "", line.strip())


def _without_job(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without what describes the job that this process is in."""
    return {
        name: value
        for name, value in env.items()
        if not name.startswith(("SLURM_", "SLURMD_", "SRUN_", "SBATCH_")) or name == "SLURM_CONF"
    }
