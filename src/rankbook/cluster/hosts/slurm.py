"""Asking Slurm through its own programs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rankbook.cluster.hosts.addresses import address_to
from rankbook.errors import ClusterError, InputError, RankbookError

__all__ = [
    "JobState",
    "address_towards",
    "addresses",
    "ask",
    "end_of",
    "idle_nodes",
    "is_in_job",
    "job_state",
    "may_have_others",
    "missing",
    "node_address",
    "nodes_of",
    "own_job",
    "own_nodes",
    "own_tasks",
    "plain",
    "without_job",
]

_ANSWER = 20.0
"""Seconds for a Slurm command to answer."""


def own_job() -> str:
    """The job whose allocation this process runs in; empty if there is none."""
    return os.environ.get("SLURM_JOB_ID", "")


def is_in_job() -> bool:
    """Whether that allocation still exists: the variable may be left from a job that has ended."""
    try:
        return bool(own_job()) and job_state(own_job()).is_alive
    except RankbookError:  # Slurm does not say
        return True


def own_nodes() -> int:
    """Number of nodes of that job; 1 if there is none."""
    nodes = os.environ.get("SLURM_JOB_NUM_NODES", "") if own_job() else ""
    return int(nodes) if nodes.isdigit() else 1


def may_have_others() -> bool:
    """Whether that job has nodes besides this host."""
    return own_nodes() > 1 or (bool(own_job()) and _is_beside_job())


def idle_nodes(used: Collection[str]) -> int:
    """How many nodes of that job are not among the hosts that are used."""
    beside = {socket.gethostname()} if _is_beside_job() else set()
    return own_nodes() - len(set(used) - beside)


def _is_beside_job() -> bool:
    """Whether this process runs on none of the job's nodes: in a shell of salloc's."""
    return not os.environ.get("SLURMD_NODENAME")


def own_tasks() -> int | None:
    """Number of tasks requested for that job; None if there is none."""
    tasks = os.environ.get("SLURM_NTASKS", "") if own_job() else ""
    return int(tasks) if tasks.isdigit() else None


_NEVER = {
    "BadConstraints": "no node has all that is asked for",
    "DependencyNeverSatisfied": "the job that it depends on has not ended as asked for",
    "PartitionConfig": "the partition does not have, or does not allow, so many CPUs",
    "PartitionNodeLimit": "the partition does not have, or does not allow, so many nodes",
    "PartitionTimeLimit": "the partition does not allow so much time",
}
"""Slurm's names of reasons for which an accepted job waits forever."""


@dataclass(frozen=True)
class JobState:
    """The state of a job as squeue reports it."""

    name: str
    reason: str = ""
    start: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or will."""
        return self.name in ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "REQUEUED")

    @property
    def never_starts(self) -> str:
        """Why Slurm's configuration never lets it start; empty if it may."""
        why = _NEVER.get(self.reason, "") if self.name == "PENDING" else ""
        return f"{why} ({self.reason})" if why else ""

    def in_words(self, job: str) -> str:
        """``job 8 is pending: Resources (expected 14:05)``."""
        words = f"job {job} is {self.name.lower()}"
        if self.reason not in ("", "None"):
            words += f": {self.reason}"
        if match := re.search(r"(\d+-\d+-\d+)T(\d+:\d+)", self.start):
            today = time.strftime("%Y-%m-%d") == match[1]
            words += f" (expected {match[2] if today else f'{match[1]} {match[2]}'})"
        return words


def job_state(job: str) -> JobState:
    """The state of a job in the queue; ``GONE`` if it is no longer there."""
    try:
        answer = ask(["squeue", "--noheader", f"--jobs={job}", "--format=%T|%r|%S"])
    except ClusterError as error:
        if "Invalid job id" in str(error):
            return JobState("GONE")
        raise
    first = next((line for line in answer.splitlines() if line.strip()), "GONE||")
    name, reason, start = [*first.strip().split("|"), "", ""][:3]
    return JobState(name, reason, start)


def is_alive(job: str) -> bool:
    """Whether a job runs, or will; False if Slurm does not say."""
    try:
        return job_state(job).is_alive
    except ClusterError:
        return False


def end_of(job: str) -> float | None:
    """When a job reaches its time limit, in seconds since 1970; None if it has none."""
    try:
        shown = ask(["squeue", "--noheader", f"--jobs={job}", "--format=%e"]).strip()
        return time.mktime(time.strptime(shown, "%Y-%m-%dT%H:%M:%S"))
    except (ClusterError, ValueError):
        return None


def nodes_of(job: str) -> dict[str, int]:
    """The nodes of a job, in order, and how many CPUs it has on each."""
    shown = ask(["scontrol", "--oneliner", "--details", "show", "job", job])
    nodes: dict[str, int] = {}
    for names, cpus in re.findall(r"\bNodes=(\S+) CPU_IDs=(\S+)", shown):
        for node in ask(["scontrol", "show", "hostnames", names]).split():
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
    shown = ask(["scontrol", "--oneliner", "show", "node", node])
    match = re.search(r"\bNodeAddr=(\S+)", shown)
    return match[1] if match else node


def addresses(*options: str, form: str = "%o") -> list[str]:
    """Where Slurm reaches its nodes.

    Args:
        *options: Options of sinfo that select nodes.
        form: What sinfo prints of each; by default its address.
    """
    return ask(["sinfo", "--noheader", "--Node", *options, f"--format={form}"]).split()


def address_towards(partition: str | None) -> str:
    """This host's address on the way to the nodes of a partition.

    Raises:
        ClusterError: There is no such partition, or its nodes cannot be reached by IPv4.
    """
    chosen = [f"--partition={partition}"] if partition else []
    answer = addresses(*chosen)
    if not answer:
        # sbatch explains best what is wrong with the partition.
        ask(["sbatch", "--test-only", *chosen, "--wrap=true"], env=dict(os.environ))
        raise ClusterError("Slurm has no nodes there.")
    return address_to(answer[0])


def ask(command: Sequence[str], text: str = "", env: Mapping[str, str] | None = None) -> str:
    """Run a Slurm command and return what it prints.

    Raises:
        ClusterError: It failed; the message is the first sentence of its own that says why.
    """
    try:
        done = subprocess.run(
            list(command),
            input=text,
            capture_output=True,
            text=True,
            timeout=_ANSWER,
            check=False,
            env=without_job(os.environ) if env is None else dict(env),
        )
    except FileNotFoundError:
        raise missing(command[0]) from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{command[0]} does not answer within {_ANSWER:g} s.") from None
    if done.returncode:
        raise ClusterError(f"{command[0]}: {_cause(done.stderr)}.")
    return done.stdout


def missing(program: str) -> InputError:
    """The error for a Slurm program that is not there."""
    return InputError(f"There is no {program} on this host: Slurm is not installed here.")


def _cause(errors: str) -> str:
    """The sentence with the reason, from a Slurm program's standard error."""
    lines = [plain(line) for line in errors.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Try ")]  # sbatch --help
    errors_only = [line for line in lines if not line.startswith("Warning")]
    return (errors_only or lines or ["it gave no reason"])[-1].rstrip(".")


def plain(line: str) -> str:
    """A line without the program's name and the word error."""
    return re.sub(r"^(\w+: )?(error: )*", "", line.strip())


def without_job(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without the variables of this process's job."""
    return {
        name: value
        for name, value in env.items()
        if not name.startswith(("SLURM_", "SLURMD_", "SRUN_", "SBATCH_")) or name == "SLURM_CONF"
    }
