"""What Slurm's programs answer, read; what they are told is tried on a real Slurm."""

from __future__ import annotations

import time

import pytest

from rankbook.cluster.hosts import sbatch, slurm, slurm_ends
from rankbook.cluster.hosts.slurm import JobState
from rankbook.errors import ClusterError, InputError


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (JobState("PENDING", "Resources", "2030-12-31T14:05:00"), "Resources (expected 14:05)"),
        (JobState("PENDING", "Priority", "2031-01-02T14:05:00"), "(expected 2031-01-02 14:05)"),
        (JobState("PENDING", "None", "N/A"), "job 8 is pending"),
        (JobState("CONFIGURING"), "job 8 is configuring"),
    ],
)
def test_a_job_that_waits_says_why_and_until_when(state, words, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda _form: "2030-12-31")  # today
    assert state.in_words("8").startswith("job 8 is ")
    assert state.in_words("8").endswith(words)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            (
                "slurmstepd: error: *** STEP 6.0 ON n1 CANCELLED AT 2026-11-27T14:05:00 DUE TO "
                "TIME LIMIT ***"
            ),
            "Slurm ended job 6: time limit",
        ),
        (
            "slurmstepd: error: *** STEP 6.0 ON n1 CANCELLED AT 2026-11-27T14:05:00 ***",
            "Slurm ended job 6: it was cancelled",
        ),
        (
            "srun: error: *** JOB 6 ON n1 CANCELLED AT 2026-11-27T14:05:00 DUE TO NODE FAILURE ***",
            "Slurm ended job 6: node failure",
        ),
        ("srun: error: Node failure on n1", "Slurm ended job 6: node n1 failed"),
        ("srun: Job step aborted: Waiting up to 32 seconds", ""),
    ],
)
def test_what_srun_passes_on_says_why_a_step_ended(line, why):
    assert slurm_ends.why_step_ended("6", ["srun: something", line]) == why


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a program on PATH that writes to its standard error and fails."""

    def make(name, errors):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{errors}\nEND\nexit 1\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return make


@pytest.mark.parametrize(
    ("errors", "cause"),
    [
        (
            (
                "sbatch: error: invalid partition specified: x\n"
                "sbatch: error: Batch job submission failed: Invalid partition name specified"
            ),
            "sbatch: Batch job submission failed: Invalid partition name specified.",
        ),
        (
            "sbatch: unrecognized option '--x'\nTry \"sbatch --help\" for more information",
            "sbatch: unrecognized option '--x'.",
        ),
        ("", "sbatch: it gave no reason."),
    ],
)
def test_a_refusal_is_the_sentence_that_says_why(program, errors, cause):
    program("sbatch", errors)
    with pytest.raises(ClusterError) as caught:
        slurm.ask(["sbatch"])
    assert str(caught.value) == cause


def test_a_program_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="There is no sbatch on this host"):
        slurm.ask(["sbatch"])


def test_what_describes_the_notebooks_own_job_is_not_passed_on_to_others():
    env = {"SLURM_JOB_ID": "8", "SLURM_NTASKS": "4", "SLURM_CONF": "/etc/x", "HOME": "/root"}
    assert slurm.without_job(env) == {"SLURM_CONF": "/etc/x", "HOME": "/root"}


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--gres=gpu:a100:4,tmpfs:10G", "--gres=gpu:a100:4,tmpfs:10G"),
        ("--nodelist=n[1-4,7]", "--nodelist=n[1-4,7]"),
        ("--exclusive", "--exclusive"),
        ("-p gpu", "-p gpu"),
        ("-C a b", '-C "a b"'),
        ("--constraint=a&b|c", '--constraint="a&b|c"'),
        ("--comment=it's", '--comment="it\'s"'),
        ("--comment=x #1", '--comment="x #1"'),
        ('--comment=a "b" \\', '--comment="a \\"b\\" \\\\"'),
        ("--comment=a=b c", '--comment="a=b c"'),
    ],
)
def test_an_option_means_the_same_to_sbatch_in_a_job_script(option, line):
    assert sbatch.quoted(option) == line


@pytest.mark.parametrize(
    ("squeue", "is_in_job"),
    [
        ("echo 'RUNNING|None|N/A'", True),
        ("echo 'COMPLETED|None|N/A'", False),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", False),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", True),
    ],
)
def test_a_job_that_has_ended_is_not_the_notebooks_although_its_variables_are_left(
    monkeypatch, tmp_path, squeue, is_in_job
):
    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{squeue}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert slurm.is_in_job() == is_in_job
    monkeypatch.delenv("SLURM_JOB_ID")
    assert not slurm.is_in_job()


@pytest.mark.parametrize(("told", "nodes"), [("2", 2), ("", 1), ("x", 1)])
def test_the_number_of_nodes_is_read_as_slurm_gives_it(monkeypatch, told, nodes):
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", told)
    assert slurm.own_nodes() == nodes
