from __future__ import annotations

import itertools

import pytest

from rankbook.distributed.environment import Launch, is_loopback, master_address, read
from rankbook.errors import EnvironmentVariableError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_SIZE": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "3",
    "PMIX_NAMESPACE": "prterun-host-77@1",
}
SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "7",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_NODES": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
}


def without(variables, *names):
    return {name: value for name, value in variables.items() if name not in names}


def test_a_process_without_a_launcher_is_a_world_of_one():
    assert read({}) == Launch("none", 0, 1, 0, 1, one_host=True)


def test_the_variables_of_torchrun_are_read():
    assert read(TORCHRUN) == Launch("torchrun", 3, 4, 1, 2, one_host=False)


def test_torchrun_on_one_host_is_recognised():
    launch = read({**TORCHRUN, "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"})
    assert launch.one_host


def test_the_variables_of_mpirun_are_read():
    launch = read(MPIRUN)
    assert launch == Launch("mpirun", 2, 3, 2, 3, one_host=True, job="prterun-host-77@1")


def test_the_variables_of_slurm_are_read():
    assert read(SLURM) == Launch("slurm", 5, 7, 1, 2, one_host=False, job="1234.0")


@pytest.mark.parametrize(("node", "tasks"), [("0", 2), ("2", 2), ("3", 1)])
def test_the_slurm_tasks_of_a_node_are_counted(node, tasks):
    environ = {**SLURM, "SLURM_NODEID": node, "SLURM_LOCALID": "0"}
    assert read(environ).local_world_size == tasks


def test_slurm_on_one_node_needs_no_task_list():
    environ = {**without(SLURM, "SLURM_STEP_TASKS_PER_NODE"), "SLURM_STEP_NUM_NODES": "1"}
    assert read(environ).local_world_size == 7
    assert read(environ).one_host


def test_slurm_tasks_per_node_are_read_as_asked_for():
    environ = without(SLURM, "SLURM_STEP_TASKS_PER_NODE") | {"SLURM_NTASKS_PER_NODE": "2"}
    assert read(environ).local_world_size == 2


def test_slurm_local_world_size_can_be_unknown():
    assert read(without(SLURM, "SLURM_STEP_TASKS_PER_NODE")).local_world_size is None
    assert read(without(SLURM, "SLURM_NODEID")).local_world_size is None


@pytest.mark.parametrize(
    "variables", [{"SLURM_GPUS_PER_TASK": "1"}, {"SLURM_TRES_PER_TASK": "cpu=2,gres/gpu=1"}]
)
def test_slurm_gives_each_task_its_own_gpus(variables):
    assert read({**SLURM, **variables}).own_gpus
    assert not read(SLURM).own_gpus


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param(
            without(SLURM, "SLURM_PROCID", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS"), id="salloc"
        ),
        pytest.param(
            without(SLURM, "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS") | {"SLURM_PROCID": "0"},
            id="sbatch",
        ),
        pytest.param(
            {**SLURM, "SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967291"}, id="batch step"
        ),
        pytest.param(
            {**SLURM, "SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967290"}, id="interactive step"
        ),
    ],
)
def test_a_shell_inside_a_slurm_job_is_one_process(environ):
    assert read(environ).launcher == "none"
    assert read(environ).world_size == 1


def test_the_bare_variables_of_slurm_suffice():
    environ = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"}
    assert read(environ) == Launch("slurm", 1, 2, 1, None, one_host=False)


def test_a_slurm_step_counts_its_own_tasks():
    assert read({**SLURM, "SLURM_NTASKS": "64"}).world_size == 7


@pytest.mark.parametrize(
    "families", list(itertools.combinations([TORCHRUN, MPIRUN, SLURM], 2)), ids=["tm", "ts", "ms"]
)
def test_the_first_family_of_variables_wins_as_a_whole(families):
    first, second = families
    assert read({**second, **first}) == read(first)


@pytest.mark.parametrize(
    ("environ", "local_rank", "local_world_size"),
    [
        ({"MASTER_ADDR": "127.0.0.1"}, 3, 4),
        ({"MASTER_ADDR": "localhost"}, 3, 4),
        ({"MASTER_ADDR": "node1"}, 0, 1),
        ({"MASTER_ADDR": "node1", "LOCAL_RANK": "1"}, 1, None),
        ({"LOCAL_WORLD_SIZE": "4"}, 3, 4),
    ],
)
def test_missing_local_variables_are_derived_or_left_unknown(environ, local_rank, local_world_size):
    launch = read({"RANK": "3", "WORLD_SIZE": "4", **environ})
    assert (launch.local_rank, launch.local_world_size) == (local_rank, local_world_size)


def test_local_rank_alone_chooses_a_gpu():
    assert read({"LOCAL_RANK": "2"}).local_rank == 2


def test_an_empty_variable_is_unset():
    assert read({"RANK": "", "WORLD_SIZE": " "}) == read({})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({**TORCHRUN, "RANK": "x"}, "RANK='x' is not an integer"),
        ({**TORCHRUN, "RANK": "1.5"}, "RANK='1.5' is not an integer"),
        ({**TORCHRUN, "RANK": "٣"}, "RANK='٣' is not an integer"),
        ({**TORCHRUN, "RANK": "-1"}, "RANK='-1' is out of range"),
        ({**TORCHRUN, "RANK": "4"}, "RANK=4 does not fit WORLD_SIZE=4"),
        ({**TORCHRUN, "WORLD_SIZE": "0"}, "WORLD_SIZE='0' is out of range"),
        ({**TORCHRUN, "LOCAL_RANK": "2"}, "LOCAL_RANK='2' is out of range.*from 0 to 1"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "5"}, "LOCAL_WORLD_SIZE='5' is out of range"),
        ({"LOCAL_RANK": "first"}, "LOCAL_RANK='first' is not an integer"),
        ({"RANK": "0"}, "RANK='0' is set but WORLD_SIZE is not"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE='2' is set but RANK is not"),
        ({**SLURM, "WORLD_SIZE": "2"}, "WORLD_SIZE='2' is set but RANK is not"),
        (without(MPIRUN, "OMPI_COMM_WORLD_SIZE"), "OMPI_COMM_WORLD_RANK='2' is set but"),
        ({**MPIRUN, "OMPI_COMM_WORLD_LOCAL_RANK": "3"}, "OMPI_COMM_WORLD_LOCAL_RANK='3'"),
        (
            without(SLURM, "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"),
            "SLURM_PROCID='5' is set but SLURM_NTASKS is not",
        ),
        ({**SLURM, "SLURM_STEP_TASKS_PER_NODE": "2(x"}, r"SLURM_STEP_TASKS_PER_NODE='2\(x'"),
        ({**SLURM, "SLURM_NODEID": "4"}, "SLURM_NODEID='4' is out of range"),
        ({**SLURM, "SLURM_LOCALID": "2"}, "SLURM_LOCALID='2' is out of range"),
    ],
)
def test_an_impossible_variable_is_named_with_its_value(environ, message):
    with pytest.raises(EnvironmentVariableError, match=message) as raised:
        read(environ)
    assert "\n" not in str(raised.value)


def test_the_master_address_is_taken_as_set():
    environ = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    assert master_address(read(TORCHRUN), environ) == ("node1", 29500)


@pytest.mark.parametrize("environ", [MPIRUN, {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "7"}])
def test_master_address_is_derived_on_one_host(environ):
    host, port = master_address(read(environ), environ)
    assert host == "127.0.0.1"
    assert 20000 <= port < 32000
    assert master_address(read(environ), environ) == (host, port)


def test_jobs_derive_different_ports():
    jobs = [{**MPIRUN, "PMIX_NAMESPACE": f"job{n}"} for n in range(20)]
    assert len({master_address(read(job), job) for job in jobs}) > 15


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (TORCHRUN, "MASTER_ADDR is not set, and 4 ranks"),
        (SLURM, "MASTER_ADDR is not set.*scontrol"),
        ({**TORCHRUN, "MASTER_ADDR": "node1"}, "MASTER_PORT is not set"),
        ({**without(MPIRUN, "PMIX_NAMESPACE")}, "MASTER_PORT is not set"),
        ({**TORCHRUN, "MASTER_ADDR": "node1", "MASTER_PORT": "http"}, "MASTER_PORT='http'"),
        ({**TORCHRUN, "MASTER_ADDR": "node1", "MASTER_PORT": "0"}, "MASTER_PORT='0' is out of"),
        ({**TORCHRUN, "MASTER_ADDR": "node1", "MASTER_PORT": "65536"}, "from 1 to 65535"),
    ],
)
def test_an_unknown_master_address_is_an_error(environ, message):
    with pytest.raises(EnvironmentVariableError, match=message):
        master_address(read(environ), environ)


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("localhost", True),
        ("127.0.1.1", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("node1", False),
    ],
)
def test_loopback_addresses_are_recognised(host, answer):
    assert is_loopback(host) is answer
