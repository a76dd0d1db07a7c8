"""The seed API among real processes: under torchrun, with Slurm's and mpirun's variables, and as a
session's engines use it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap

import ports
import pytest
from forked import Forking

LAUNCHER = re.compile(
    r"(RANK|WORLD_SIZE|LOCAL_|MASTER_|GROUP_|ROLE_|SLURM_|OMPI_|PMIX_|TORCHELASTIC_|GLOO_|NCCL_)"
)
PROLOGUE = '''
import logging, os, pathlib, signal, socket, sys, threading, time
import torch
import torch.distributed as dist
from rankbook.distributed import *
from rankbook.distributed import rendezvous
from rankbook.errors import *

torch.set_num_threads(1)

HERE = pathlib.Path(__file__).parent

def together(name):
    """Wait, through files, until all ranks are here: imports take as long as they take."""
    (HERE / f"{name}-{os.environ['RANK']}").touch()
    deadline = time.monotonic() + 50
    while len(list(HERE.glob(f"{name}-*"))) < int(os.environ["WORLD_SIZE"]):
        assert time.monotonic() < deadline, "the other ranks did not come"
        time.sleep(0.005)

def reduced():
    ones = torch.ones(2)
    dist.all_reduce(ones)
    return int(ones[0])

'''
LIMIT = 60  # seconds for anything here to end


@pytest.fixture
def script(tmp_path):
    """Write a rank's script; return its path."""

    def write(body):
        path = tmp_path / "rank.py"
        path.write_text(PROLOGUE + textwrap.dedent(body))
        return str(path)

    return write


@pytest.fixture(scope="module")
def forking():
    """Runs ranks that need not import torch each."""
    with Forking(**clean_environ()) as forking:
        yield forking


@pytest.fixture
def run_ranks(forking, script):
    """Run a rank's script with each launcher's variables; return what the ranks printed."""

    def run(body, environs, *args):
        return forking.run(script(body), [clean_environ(**environ) for environ in environs], *args)

    return run


def clean_environ(**changes):
    kept = {name: value for name, value in os.environ.items() if not LAUNCHER.match(name)}
    return {**kept, "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1", **changes}


def torchrun(path, nproc=2, *, fails=False):
    """Run a script on ranks of one host; return what they printed, sorted."""
    # torchrun's own warnings, about its log level and such, are none of ours.
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python"]
    ranks = [f"--nproc-per-node={nproc}", sys.executable, "-W", "error", path]
    done = subprocess.run(
        [*command, *ranks],
        env={**clean_environ(), "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert bool(done.returncode) is fails, done.stderr
    return sorted(done.stdout.splitlines()), done.stderr


def start(path, **environ):
    """Start one rank as a plain process with a launcher's variables."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", path],
        env=clean_environ(**environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outputs(processes):
    """What processes that must succeed printed, in their order."""
    printed = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, err
            printed.append((out.strip(), err.strip()))
    finally:
        for process in processes:
            process.kill()
            process.wait(LIMIT)
    return printed


@pytest.fixture
def launched():
    """Gives the variables of n ranks as torchrun sets them, without its agent and its store."""
    with ports.reserved() as [port]:

        def variables(n, **more):
            return [
                {
                    "RANK": str(rank),
                    "WORLD_SIZE": str(n),
                    "LOCAL_RANK": str(rank),
                    "LOCAL_WORLD_SIZE": str(n),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                    **more,
                }
                for rank in range(n)
            ]

        yield variables


GENERATIONS = """
for generation in range(5):
    time.sleep(0.3 * ((int(os.environ["RANK"]) + generation) % 2))  # the skew is what is tested
    info = initialize_distributed("gloo", timeout_minutes=0.5)
    assert (info.backend, info.world_size, info.device.type) == ("gloo", 2, "cpu")
    assert info.is_main == (info.rank == 0)
    assert reduced() == 2
    assert initialize_distributed("nccl") == info  # the group that is, not the one asked for
    destroy_global_state()
    assert not dist.is_initialized()
initialize_distributed("gloo")
reduced()
sys.stdout.write(f"{info.rank} fine\\n")  # in one piece, where ranks share a pipe
"""


def test_five_generations_under_torchrun_form_with_ranks_apart(script):
    out, err = torchrun(script(GENERATIONS))
    assert out == ["0 fine", "1 fine"]
    assert "Traceback" not in err


@pytest.mark.slow
def test_five_generations_form_without_the_store_of_torchrun(script, launched):
    path = script(GENERATIONS)
    ranks = [start(path, **environ) for environ in launched(2)]
    for rank, (out, err) in enumerate(outputs(ranks)):
        assert out == f"{rank} fine"
        assert err.count("the process group exists, with backend gloo, not nccl") == 5
        assert len(err.splitlines()) == 5


def test_no_process_of_rankbook_listens_beyond_loopback(run_ranks, launched):
    body = """
        import psutil
        info = initialize_distributed("gloo")
        dist.new_group([0, 1])
        found = {c.laddr.ip for c in psutil.Process().net_connections("inet")}
        assert found <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, found
        dist.barrier()
        print(info.rank)
        """
    assert run_ranks(body, launched(2)) == [("0", ""), ("1", "")]


def test_ranks_that_arrive_seconds_apart_meet(run_ranks, launched):
    body = """
        time.sleep(1.5 * int(os.environ["RANK"]))  # the skew is what is tested
        print(initialize_distributed("gloo").rank, reduced())
        """
    assert run_ranks(body, launched(2)[::-1]) == [("1 2", ""), ("0 2", "")]


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.sample(every=2)
def test_a_missing_rank_is_named_by_all_others_and_may_come_later(run_ranks, missing, launched):
    body = f"""
        if int(os.environ["RANK"]) != {missing}:
            try:
                initialize_distributed("gloo", timeout_minutes=0.02)
            except RendezvousError as error:
                assert "\\n" not in str(error)
                print(error)
            assert not dist.is_initialized()
        together("given-up")
        info = initialize_distributed("gloo", timeout_minutes=0.5)
        assert reduced() == 3
        """
    said = [out for out, _ in run_ranks(body, launched(3))]
    assert said.pop(missing) == ""
    expected = "rank 0 did not arrive: " if missing == 0 else "rank 1 of 3 did not arrive"
    assert all(message.startswith(expected) for message in said), said


@pytest.mark.slow
def test_a_missing_rank_under_torchrun_is_named(script):
    path = script("""
        together("imported")
        if os.environ["RANK"] == "1":
            sys.exit()
        initialize_distributed("gloo", timeout_minutes=0.02)
        """)
    _, err = torchrun(path, fails=True)
    assert "RendezvousError: rank 1 of 2 did not arrive within 1.2 s" in err


def test_a_rank_that_dies_while_connecting_is_an_error_not_a_half_made_group(run_ranks, launched):
    body = """
        if os.environ["RANK"] == "1":
            dist.init_process_group = lambda *args, **kwargs: os._exit(0)
        try:
            initialize_distributed("gloo", timeout_minutes=0.05)
        except RendezvousError as error:
            print(error)
        assert not dist.is_initialized()
        """
    [(said, _), _] = run_ranks(body, launched(2))
    assert said.startswith("gloo could not connect the 2 ranks (")


@pytest.mark.slow
def test_a_thread_destroys_the_group_while_the_main_thread_works(run_ranks, launched):
    body = """
        handler = signal.getsignal(signal.SIGINT)
        for _ in range(3):
            info = initialize_distributed("gloo")
            reduced()
            thread = threading.Thread(target=destroy_global_state)
            thread.start()
            thread.join(10)
            assert not thread.is_alive() and not dist.is_initialized()
            assert signal.getsignal(signal.SIGINT) is handler
        print(info.rank)
        """
    assert run_ranks(body, launched(2)) == [("0", ""), ("1", "")]


def test_ctrl_c_works_as_before_after_destroy(run_ranks, launched):
    body = """
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
        info = initialize_distributed("gloo")
        destroy_global_state()
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            print(info.rank)
        """
    assert run_ranks(body, launched(2)) == [("0", ""), ("1", "")]


@pytest.mark.slow
def test_a_collective_that_no_rank_joins_holds_up_neither_destroy_nor_exit(run_ranks, launched):
    body = """
        info = initialize_distributed("gloo", timeout_minutes=10)
        if info.is_main:
            lonely = dist.all_reduce(torch.ones(1), async_op=True)
            del lonely
        began = time.monotonic()
        destroy_global_state()
        initialize_distributed("gloo", timeout_minutes=10)
        assert reduced() == 2
        assert time.monotonic() - began < 5
        print(info.rank)
        """
    assert run_ranks(body, launched(2)) == [("0", ""), ("1", "")]


@pytest.mark.slow
def test_an_error_at_the_end_keeps_its_exit_code_and_one_prefix(script, launched):
    path = script("""
        for _ in range(3):
            initialize_distributed("gloo")
            destroy_global_state()
        initialize_distributed("gloo")
        raise SystemExit(7) if os.environ["RANK"] == "0" else ValueError("mine")
        """)
    ranks = [start(path, **environ) for environ in launched(2)]
    (_, _), (_, err) = (rank.communicate(timeout=LIMIT) for rank in ranks)
    assert [rank.returncode for rank in ranks] == [7, 1]
    assert "[rank1]: ValueError: mine" in err
    assert "[rank1]: [rank1]" not in err


def test_ranks_meet_under_slurm(run_ranks):
    body = """
        info = initialize_distributed("gloo")
        print(info.rank, info.world_size, reduced(), get_local_rank_preinit())
        """
    step = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_NODEID": "0",
    }
    ranks = [{**step, "SLURM_PROCID": str(r), "SLURM_LOCALID": str(r)} for r in range(2)]
    assert run_ranks(body, ranks) == [("0 2 2 0", ""), ("1 2 2 1", "")]


def test_the_script_of_sbatch_is_a_world_of_one(run_ranks):
    body = "print(initialize_distributed('gloo').world_size)"
    job = {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    assert run_ranks(body, [job]) == [("1", "")]


def test_ranks_meet_under_mpirun(run_ranks):
    body = """
        info = initialize_distributed("gloo")
        print(info.rank, info.world_size, reduced(), get_local_world_size_preinit())
        """
    prefix = "OMPI_COMM_WORLD_"
    ranks = [
        {
            "PMIX_NAMESPACE": f"prterun-{os.getpid()}@1",
            **{f"{prefix}{name}": "2" for name in ("SIZE", "LOCAL_SIZE")},
            **{f"{prefix}{name}": str(r) for name in ("RANK", "LOCAL_RANK")},
        }
        for r in range(2)
    ]
    assert run_ranks(body, ranks) == [("0 2 2 2", ""), ("1 2 2 2", "")]


SESSION = """
rank, place = int(os.environ["RANK"]), sys.argv[1]
if place == "tcp":
    # What the session does: rank 0 hosts, the others are told.
    if rank == 0:
        url = rendezvous.host()
        with open(sys.argv[2] + ".new", "w") as file:
            file.write(url)
        os.rename(sys.argv[2] + ".new", sys.argv[2])
    deadline = time.monotonic() + 30
    while not os.path.exists(sys.argv[2]) and time.monotonic() < deadline:
        time.sleep(0.01)
    url = pathlib.Path(sys.argv[2]).read_text()
else:
    url = "file://" + sys.argv[2]
for generation in (1, 2, 7):
    rendezvous.use(url, generation)
    for _ in range(2):  # a cell may destroy and make the group under the same generation
        assert initialize_distributed("gloo", 0.5).rank == rank
        assert reduced() == 3
        destroy_global_state()
together("done")
rendezvous.use(url, 8 if rank == 0 else 9)
try:
    initialize_distributed("gloo", 0.02)
except RendezvousError as error:
    print(error)
"""


@pytest.mark.parametrize("place", ["file", "tcp"])
@pytest.mark.sample(every=2)
def test_ranks_meet_where_a_session_says(run_ranks, tmp_path, place, launched):
    ranks = [{**environ, "MASTER_PORT": "0"} for environ in launched(3)]
    said = [out for out, _ in run_ranks(SESSION, ranks, place, str(tmp_path / "place"))]
    assert said[0].startswith("ranks 1 and 2 of 3 did not arrive within 1.2 s")
    assert "rank 0 of 3 did not arrive" in said[1]
