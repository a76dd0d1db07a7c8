"""What the user asks for when ranks are to run elsewhere: read and checked, nothing started."""

from __future__ import annotations

import pytest

from rankbook.cluster.hosts.targets import Mpi, Slurm, Ssh, read_target, shares
from rankbook.cluster.launchers.host import seats_to_fill
from rankbook.errors import InputError


@pytest.mark.parametrize(
    ("hosts", "nproc", "read"),
    [
        ("alpha:4,beta:4", None, [("alpha", 4), ("beta", 4)]),
        ("alpha:4,beta:4", 8, [("alpha", 4), ("beta", 4)]),
        ("alpha,beta", 5, [("alpha", 3), ("beta", 2)]),
        ("alpha,beta", None, [("alpha", 1), ("beta", 1)]),
        ("alpha:1,beta", 5, [("alpha", 1), ("beta", 4)]),
        ("node-01:2, 10.0.0.7:1", None, [("node-01", 2), ("10.0.0.7", 1)]),
        ("123:2", None, [("123", 2)]),
        ("me@alpha:2", None, [("me@alpha", 2)]),
        ("[fd00::1]:2", None, [("fd00::1", 2)]),
        ("[fd00::1]", None, [("fd00::1", 1)]),
        ("me@[fe80::1%eth0]:2", None, [("me@fe80::1%eth0", 2)]),
        ("[fe80::1%br-lan.7]", None, [("fe80::1%br-lan.7", 1)]),
        ("ålpha:2,gpu_node.site", None, [("ålpha", 2), ("gpu_node.site", 1)]),
        ({"alpha": 2, "beta": 1}, None, [("alpha", 2), ("beta", 1)]),
        (["alpha", "beta"], 2, [("alpha", 1), ("beta", 1)]),
    ],
)
def test_hosts_and_their_numbers_of_ranks(hosts, nproc, read):
    assert read_target(nproc, ssh=hosts) == Ssh(tuple(read))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"ssh": "alpha:4,beta:4", "nproc": 7}, "-n 7 contradicts --ssh alpha:4,beta:4, 8 ranks"),
        ({"ssh": "alpha,beta:2", "nproc": 2}, "at least 3 ranks"),
        ({"ssh": ""}, "A host is missing beside a comma"),
        ({"ssh": "alpha:2,"}, "A host is missing beside a comma"),
        ({"ssh": "alpha,,beta"}, "A host is missing beside a comma"),
        ({"ssh": "alpha:22:4"}, "--ssh alpha:4 means 4 ranks there; a port belongs in"),
        ({"ssh": "ssh://alpha:22"}, "a port belongs in ~/.ssh/config"),
        ({"ssh": "me@:2"}, "is not a host"),
        ({"ssh": "@alpha:2"}, "is not a host"),
        ({"ssh": "alpha/beta"}, "is not a host"),
        ({"ssh": "alpha:4 beta:4"}, "is not a host"),
        ({"ssh": "[fd00::1]:x"}, "is not a host"),
        ({"ssh": "fd00::1:2"}, "write an IPv6 address in brackets, --ssh [fd00::1:2]:4"),
        ({"ssh": "me@fe80::1%eth0"}, "write an IPv6 address in brackets"),
        ({"ssh": "alpha:99999999999"}, "each host has 1 to 1024"),
        ({"ssh": 4}, "4 are not hosts"),
        ({"ssh": b"alpha"}, "are not hosts"),
        ({"mpi": 4}, "4 are not hosts"),
        ({"ssh": {}}, "needs hosts"),
        ({"ssh": "alpha:"}, "is not a host with a number of ranks"),
        ({"ssh": "alpha:two"}, "is not a host with a number of ranks"),
        ({"ssh": "alpha:0"}, "each host has 1 to 1024"),
        ({"ssh": "alpha:1,alpha:2"}, "alpha is named twice"),
        ({"ssh": "-oProxyCommand=x:1"}, "is not a host"),
        ({"ssh": {"alpha": True}}, "is not a number of ranks"),
        ({"mpi": True}, "The number of ranks is missing"),
        ({"mpi": "alpha:2", "nproc": 3}, "-n 3 contradicts --mpi alpha:2, 2 ranks"),
        ({"slurm": True}, "The number of ranks is missing"),
        ({"slurm": "nodes=3", "nodes": 2, "nproc": 4}, "--nodes 2 contradicts --nodes=3"),
        ({"slurm": "ntasks=3", "nproc": 4}, "-n 4 contradicts --ntasks=3"),
        ({"slurm": "nodes=1-4", "nproc": 4}, "--nodes=1-4 is not a number"),
        ({"slurm": True, "nodes": 4, "nproc": 2}, "2 ranks on 4 nodes leave some without a rank"),
        ({"slurm": "output=x", "nproc": 2}, "rankbook decides where output goes"),
        ({"slurm": "array=1-3", "nproc": 2}, "rankbook decides how many jobs there are"),
        ({"slurm": "-J mine", "nproc": 2}, "rankbook decides the job's name"),
        ({"slurm": "-a1-3", "nproc": 2}, "rankbook decides how many jobs there are"),
        ({"slurm": "job-n=x", "nproc": 2}, "rankbook decides the job's name"),
        ({"slurm": "clusters=x", "nproc": 2}, "rankbook decides which cluster it asks"),
        ({"slurm": "help", "nproc": 2}, "rankbook decides what sbatch does"),
        ({"slurm": "test-only", "nproc": 2}, "--dry-run shows the job script"),
        ({"slurm": {"o": "x"}, "nproc": 2}, "rankbook decides where output goes"),
        ({"slurm": ["exclusive"], "nproc": 2}, "are not options of sbatch: give a text"),
        ({"slurm": 5, "nproc": 2}, "are not options of sbatch: give a text"),
        ({"slurm": True, "nodes": 0, "nproc": 2}, "A job needs at least 1 node, not 0."),
        ({"slurm": "-n2", "nproc": 4}, "-n 4 contradicts --ntasks=2"),
        ({"slurm": {"comment": "a\nb"}, "nproc": 2}, "is one line"),
        ({"slurm": "comment='a", "nproc": 2}, "are not options of sbatch"),
        ({"nodes": 2, "nproc": 2}, "--nodes needs --slurm"),
        ({"nodes": 2, "ssh": "a:1"}, "--nodes needs --slurm"),
        ({"slurm": True, "mpi": True, "nproc": 2}, "--slurm and --mpi exclude each other"),
        ({"profile": "x", "ssh": "a:1"}, "--ssh and --profile exclude each other"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_line(asked, message):
    asked = {"nproc": None} | asked
    with pytest.raises(InputError) as caught:
        read_target(asked.pop("nproc"), **asked)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def job(n, nodes, *options):
    return Slurm(n, nodes, options)


@pytest.mark.parametrize(
    ("asked", "nodes", "nproc", "read"),
    [
        (True, None, 2, job(2, None)),
        (
            "partition=gpu time=1:00:00",
            2,
            8,
            job(8, 2, "--partition=gpu", "--time=1:00:00"),
        ),
        ("exclusive", 2, 4, job(4, 2, "--exclusive")),
        ("-p gpu --exclusive", None, 4, job(4, None, "-p gpu", "--exclusive")),
        (
            {"partition": "gpu", "exclusive": True},
            1,
            2,
            job(2, 1, "--partition=gpu", "--exclusive"),
        ),
        ({"cpus_per_task": 4, "p": "gpu"}, None, 2, job(2, None, "--cpus-per-task=4", "-p gpu")),
        ({"hold": False, "qos": None}, None, 2, job(2, None)),
        ("nodes=2 ntasks=4", None, None, job(4, 2)),
        ("-N 2 -n 4", None, None, job(4, 2)),
        ("-N2 -n4", None, None, job(4, 2)),
        ("--partition gpu --exclusive", None, 1, job(1, None, "--partition=gpu", "--exclusive")),
        ("ntasks-per-node=4", 2, None, job(8, 2, "--ntasks-per-node=4")),
        ("gpus-per-node=a100:4", 2, None, job(8, 2, "--gpus-per-node=a100:4")),
        ("gpus=6", None, None, job(6, None, "--gpus=6")),
        ("comment='two words'", None, 1, job(1, None, "--comment=two words")),
    ],
)
def test_options_of_sbatch_pass_through(asked, nodes, nproc, read):
    assert read_target(nproc, slurm=asked, nodes=nodes) == read


def test_without_any_of_them_ranks_run_here():
    assert read_target(4) is None
    assert read_target(4, profile="x") is None
    assert read_target(4, mpi=True) == Mpi(4)
    assert read_target(None, mpi="a:2,b:1") == Mpi(3, (("a", 2), ("b", 1)))


def test_ranks_are_shared_equally_among_nodes():
    assert shares(5, 2) == [3, 2]
    assert shares(4, 3) == [2, 1, 1]


@pytest.mark.parametrize(
    ("n", "room", "filled"),
    [
        (4, [2, 2], [2, 2]),
        (1, [0, 1], [0, 1]),
        (3, [1, 1], [2, 1]),
        (2, [0, -1], [2, 0]),
        (0, [1, 1], [0, 0]),
    ],
)
def test_new_engines_fill_the_places_of_those_that_ended_first(n, room, filled):
    assert seats_to_fill(n, room) == filled
