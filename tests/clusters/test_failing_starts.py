"""A start that fails is one line with the first cause, and leaves no process, job or file."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from processes import wait_until

from clusters.conftest import notebook_on


@pytest.fixture(scope="module")
def one_notebook(hosts, tmp_path_factory):
    """The notebook of all tests here: what fails in one must not matter to the next."""
    with notebook_on(hosts, "login", tmp_path_factory.mktemp("failing")) as notebook:
        notebook.ok("import rankbook")
        yield notebook


@pytest.fixture
def failing(one_notebook, hosts):
    """A notebook whose starts fail; nothing is left of them, and it still is usable after."""
    before = hosts.pids()
    yield one_notebook
    wait_until(lambda: hosts.pids() <= before, 10)
    wait_until(lambda: one_notebook.files() == [], 5)
    assert hosts.ask("squeue", "--noheader") == ""
    assert one_notebook.ok("rankbook.session() is None") == "True"


def test_slurms_own_reason_is_said_for_a_wrong_partition(failing):
    said, took = failing.refused('%dist_init gloo --slurm "partition=nix" -n 4 --nodes 2')
    assert said == "UsageError: sbatch: allocation failure: Invalid partition name specified."
    assert took < 3


def test_slurms_own_reason_is_said_for_an_unknown_option(failing):
    said, took = failing.refused('%dist_init gloo --slurm "nonsense=1" -n 4')
    assert said == "UsageError: sbatch: unrecognized option '--nonsense=1'."
    assert took < 4


@pytest.mark.parametrize("asked", ["--nodes 2 -n 40", "--nodes 3 -n 3"])
def test_a_job_that_slurm_can_never_start_is_not_waited_for(failing, asked):
    said, took = failing.refused(f"%dist_init gloo --slurm {asked}")
    assert re.fullmatch(
        r"UsageError: Slurm cannot start job \d+: the partition does not have, or does not allow, "
        r"so many (nodes|CPUs) \(Partition\w+\)\.",
        said,
    )
    assert took < 5


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--slurm -n 2", "There is no sinfo on this host: Slurm is not installed here."),
        ("--mpi -n 2", "There is no mpiexec on this host: install Open MPI or MPICH"),
        ("--ssh alpha", "There is no ssh on this host: install OpenSSH's client."),
    ],
)
def test_a_program_that_is_not_installed_is_named(failing, line, reason):
    failing.ok("import os; path = os.environ['PATH']; os.environ['PATH'] = '/nowhere'")
    said, took = failing.refused(f"%dist_init gloo {line}")
    failing.ok("os.environ['PATH'] = path")
    assert reason in said
    assert took < 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nosuch:2", "ssh nosuch: Could not resolve hostname nosuch: Name or service not known"),
        ("alpha:1 --python /opt/nix/python", "There is no /opt/nix/python on alpha"),
        ("alpha:1 --python /opt", "/opt on alpha cannot be executed: give the path of a Python"),
    ],
)
def test_ssh_says_in_one_line_why_a_host_cannot_serve(failing, line, reason):
    said, took = failing.refused(f"%dist_init gloo --ssh {line}")
    assert reason in said
    assert took < 5


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "the login shell or Python there ended with exit code 3 and printed nothing"),
        ("echo This account is not available.; exit 1", "This account is not available"),
    ],
)
def test_a_python_that_ends_without_a_reason_gives_the_one_of_its_shell(
    failing, tmp_path, script, reason
):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    said, took = failing.refused(f"%dist_init gloo --ssh alpha:1 --python {python}")
    assert said == f"UsageError: ssh alpha: {reason}."
    assert took < 5


def test_a_login_script_that_prints_is_passed_over(notebook, tmp_path):
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho '{\"event\": 1}'\necho '[]'\nprintf 'Modules are loaded.'\n"
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    notebook.ok(f"%dist_init gloo --ssh alpha:1 --python {python} --no-dashboard")
    assert "1.0" in notebook.ok("%%dist\nprint(1.0)")
    notebook.ok("%dist_shutdown")


def test_a_python_without_rankbook_there_is_one_line_with_what_to_do(failing, tmp_path):
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\nexec env -u PYTHONPATH /usr/bin/python3 "$@"\n')
    bare.chmod(0o755)
    said, took = failing.refused(f"%dist_init gloo --ssh alpha:1 --python {bare}")
    assert f"{bare} on alpha has no rankbook: run `{bare} -m pip install rankbook` there" in said
    assert took < 5


def test_an_unknown_host_key_is_one_line_with_what_to_do(failing, hosts):
    known = hosts.folder / "ssh" / "known_hosts"
    before = known.read_text()
    known.write_text("")
    try:
        said, took = failing.refused("%dist_init gloo --ssh alpha:1,beta-2:1")
    finally:
        known.write_text(before)
    assert "Host key verification failed: run `ssh " in said
    assert took < 5


def test_a_host_that_does_not_answer_is_named_while_the_others_are_up(failing, hosts):
    hosts.cut("beta-2")
    try:
        said, took = failing.refused("%dist_init gloo --ssh alpha:1,beta-2:1")
    finally:
        hosts.join("beta-2")
    assert said.startswith("UsageError: ssh beta-2: connect to host beta-2 port 22: ")
    assert took < 6


def test_another_version_of_rankbook_on_a_host_is_refused_in_one_line(failing, tmp_path):
    fake = tmp_path / "python"
    fake.write_text(
        '#!/bin/sh\necho \'{"event": "hello", "host": "alpha", "client": "10.98.0.1", '
        '"python": "3.11.0", "rankbook": "0.0.1"}\'\ncat\n'
    )
    fake.chmod(fake.stat().st_mode | stat.S_IEXEC)
    said, took = failing.refused(f"%dist_init gloo --ssh alpha:1 --python {fake}")
    assert "alpha has rankbook 0.0.1 and this notebook has" in said
    assert took < 5


def test_the_direction_that_is_blocked_is_named(failing, hosts):
    hosts.ip("login", "addr", "add", "10.97.0.1/32", "dev", "lo")
    try:
        said, took = failing.refused("%dist_init gloo --ssh alpha:1 --address 10.97.0.1")
    finally:
        hosts.ip("login", "addr", "del", "10.97.0.1/32", "dev", "lo")
    assert "alpha cannot reach this notebook at 10.97.0.1:" in said
    assert "Network is unreachable" in said
    assert took < 15


@pytest.mark.parametrize(
    "line", ['--slurm "partition=main" -n 2', "--ssh alpha:1", "--mpi=alpha:1"]
)
def test_an_address_that_other_hosts_cannot_reach_is_refused_with_the_one_to_take(failing, line):
    said, took = failing.refused(f"%dist_init gloo {line} --address 127.0.0.1")
    assert said == (
        "UsageError: 127.0.0.1 is loopback, which other hosts cannot reach: leave out --address "
        "(or address=…), and it is 10.98.0.1."
    )
    assert took < 3
    said, took = failing.refused(f"%dist_init gloo {line} --address 10.98.0.11")
    assert "10.98.0.11 is no IPv4 address of this host, which has 10.98.0.1: leave out" in said
    assert took < 1


def test_mpiexecs_own_reason_is_said_for_more_ranks_than_slots(failing):
    ranks = 2 * (os.cpu_count() or 1) + 1
    said, took = failing.refused(f"%dist_init gloo --mpi -n {ranks}")
    assert said.startswith("UsageError: mpiexec: There are not enough slots available")
    assert took < 5


@pytest.mark.slow
def test_mpiexecs_own_reason_is_said_for_a_host_that_is_not_there(failing):
    said, took = failing.refused("%dist_init gloo --mpi=10.98.0.77:1 -n 1")
    assert "mpiexec: ssh: connect to host 10.98.0.77 port 22: No route to host" in said
    assert took < 10


@pytest.mark.slow
def test_a_host_for_which_mpiexec_would_wait_in_silence_is_named(failing, hosts):
    there = ("10.98.0.77", "lladdr", "02:00:00:00:00:77", "dev", "bridge", "nud", "permanent")
    # Packets leave, and nobody answers. The kernel may still remember that nobody did before.
    hosts.ip("login", "neigh", "replace", *there)
    try:
        said, took = failing.refused("%dist_init gloo --mpi=alpha:1,10.98.0.77:1")
    finally:
        hosts.ip("login", "neigh", "del", *there[:1], "dev", "bridge")
    assert said == "UsageError: mpiexec: 10.98.0.77 does not answer (10.98.0.77 port 22)."
    assert took < 8


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, for a few files."""
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(tmp_path)]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("cannot mount a small disk")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)  # noqa: S607


def fill(folder):
    """Write into a folder until its disk is full."""
    with suppress(OSError), (folder / "big").open("wb") as file:
        file.write(bytes(2**20))


def test_a_full_disk_here_is_named(failing, small_disk, hosts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    with notebook_on(hosts, "login", folder, IPYTHONDIR=str(small_disk)) as notebook:
        fill(small_disk)
        said, took = notebook.refused("%dist_init gloo --ssh alpha:1")
    assert said == (
        f"UsageError: The cluster did not start: no space is left in {small_disk}: free some, or "
        "set IPYTHONDIR to another folder."
    )
    assert took < 6


def test_a_host_that_dies_while_ranks_start_there_is_named(failing, hosts):
    before = hosts.pids("beta-2")
    failing.start("%dist_init gloo --ssh alpha:1,beta-2:1")
    wait_until(lambda: hosts.pids("beta-2") - before, 10)
    for pid in hosts.pids("beta-2"):
        hosts.kill(pid)
    assert failing.finish(15)["status"] == "error"
    [said] = failing.stderr.strip().splitlines()
    assert "beta-2" in said


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("processes", [1, 2], ids=["before it says hello", "as it forks ranks"])
def test_a_host_that_is_cut_off_while_ranks_start_is_named_and_ends_what_runs_there(
    failing, hosts, processes
):
    before = hosts.pids("beta-2")
    failing.start("%dist_init gloo --ssh alpha:1,beta-2:1")
    wait_until(lambda: len(hosts.pids("beta-2") - before) >= processes, 10)
    hosts.cut("beta-2")
    begun = time.monotonic()
    try:
        assert failing.finish(20)["status"] == "error"
        assert time.monotonic() - begun < 10
        [said] = failing.stderr.strip().splitlines()
        assert said.startswith("UsageError: ssh beta-2: connect to host beta-2 port 22: ")
        # Nobody can tell it to: it finds out by itself.
        wait_until(lambda: hosts.pids("beta-2") <= before, 60)
    finally:
        hosts.join("beta-2")


def test_a_pending_job_says_why_and_starts_when_it_may(notebook, clean):
    notebook.start('%dist_init gloo --slurm "partition=main hold" --nodes 2 -n 2 --no-dashboard')
    wait_until(lambda: "PENDING" in clean.ask("squeue", "-h", "-o", "%T"), 10)
    notebook.wait_for_output(20)  # which says why
    clean.ask("scontrol", "release", clean.ask("squeue", "-h", "-o", "%i").strip())
    assert notebook.finish(60)["status"] == "ok"
    assert "is pending: JobHeldUser; Ctrl-C cancels it" in notebook.stdout
    notebook.ok("%dist_shutdown")


def test_ctrl_c_cancels_a_pending_job(failing, hosts):
    failing.start('%dist_init gloo --slurm "partition=main hold" --nodes 2 -n 2')
    wait_until(lambda: "PENDING" in hosts.ask("squeue", "-h", "-o", "%T"), 10)
    begun = time.monotonic()
    failing.press_stop()
    reply = failing.finish(10)
    assert reply["ename"] == "KeyboardInterrupt"
    assert time.monotonic() - begun < 2
    assert hosts.ask("squeue", "-h", "-o", "%i") == ""


def test_a_job_that_is_cancelled_while_it_is_pending_ends_the_wait(failing, hosts):
    failing.start('%dist_init gloo --slurm "partition=main hold" --nodes 2 -n 2')
    wait_until(lambda: "PENDING" in hosts.ask("squeue", "-h", "-o", "%T"), 10)
    job = hosts.ask("squeue", "-h", "-o", "%i").strip()
    hosts.ask("scancel", job)
    assert failing.finish(10)["status"] == "error"
    assert f"UsageError: Slurm ended job {job}: it was cancelled." in failing.stderr


@pytest.mark.slow
def test_two_notebooks_can_start_at_once(clean, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    line = '%dist_init gloo --slurm "partition=main" --nodes 2 -n 2 --no-dashboard'
    with (
        notebook_on(clean, "login", tmp_path / "a") as one,
        notebook_on(clean, "login", tmp_path / "b") as two,
    ):
        for notebook in (one, two):
            notebook.start(line)
        for notebook in (one, two):
            assert notebook.finish(90)["status"] == "ok", notebook.stderr
            assert "2 ranks" in notebook.stdout
        for notebook in (one, two):
            notebook.ok("%dist_shutdown")
