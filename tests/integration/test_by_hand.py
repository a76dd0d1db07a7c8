"""``init_process_group`` in a cell, however it is called: as under torchrun, and repeatedly."""

from __future__ import annotations

import socket
import sys
from textwrap import indent

import psutil
import pytest
from ports import reserved
from processes import family, listening, wait_until, waits_for
from watching import left_alone

from rankbook.display.facts import headline

pytestmark = pytest.mark.usefixtures("eager")

LEAVE = "dist.destroy_process_group()\n"
REDUCE = "\ny = torch.ones(2)\ndist.all_reduce(y)\ny.tolist()"

METHODS = {
    "env": "dist.init_process_group('gloo')",
    "env, written out": "dist.init_process_group('gloo', init_method='env://')",
    "env, with rank and size": (
        "dist.init_process_group('gloo', rank=rank, world_size=world_size)"
    ),
    "no backend": "dist.init_process_group()",
    "a short timeout": (
        "import datetime\ndist.init_process_group('gloo', timeout=datetime.timedelta(seconds=20))"
    ),
    "tcp": (
        "dist.init_process_group(\n"
        "    'gloo', init_method='tcp://127.0.0.1:29500', rank=rank, world_size=world_size\n)"
    ),
    "tcp, localhost": (
        "dist.init_process_group(\n"
        "    'gloo', init_method='tcp://localhost:29501', rank=rank, world_size=world_size\n)"
    ),
    "file": (
        "dist.init_process_group(\n"
        "    'gloo', init_method='file://{folder}/f', rank=rank, world_size=world_size\n)"
    ),
    "a port of one's own": (
        "import os\nkept = dict(os.environ)\n"
        "os.environ.update(MASTER_ADDR='localhost', MASTER_PORT='12355')\n"
        "dist.init_process_group('gloo')\n"
        "os.environ.update(kept)"
    ),
    "a store of one's own": (
        "prefix = globals().get('prefix', 0) + 1\n"
        "store = dist.PrefixStore(str(prefix), dist.FileStore('{folder}/s', -1))\n"
        "dist.init_process_group('gloo', store=store, rank=rank, world_size=world_size)"
    ),
    "by a mesh": (
        "from torch.distributed.device_mesh import init_device_mesh\n"
        "init_device_mesh('cpu', (world_size,))"
    ),
    "by a library": "helper.begin()",
    "the seed's way": (
        "from rankbook.distributed import initialize_distributed\ninitialize_distributed('gloo')"
    ),
}


@pytest.fixture(scope="module")
def world(two, tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    (folder / "helper.py").write_text(
        "import torch.distributed\n"
        "def begin(): torch.distributed.init_process_group(backend='gloo')\n"
    )
    two.run(f"import sys, time\nsys.path.insert(0, {str(folder)!r})\nimport helper")
    return two


@pytest.fixture(autouse=True)
def a_group_afterwards(world):
    yield
    world.reset()
    assert values(world, REDUCE) == {"[2.0, 2.0]"}


def is_late(sign, rank):
    """Code in which a rank waits for a file."""
    return f"if rank == {rank}:\n{indent(waits_for(sign), '    ')}"


def values(session, code):
    result = session.run(code, timeout=60)
    result.raise_for_error()
    return {its.result_repr for its in result.values()}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_group_is_made_by_hand_three_times_in_a_row(world, method, tmp_path):
    code = LEAVE + method.replace("{folder}", str(tmp_path)) + REDUCE
    for _ in range(3):
        assert values(world, code) == {"[2.0, 2.0]"}


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("name", ["env", "tcp", "file"])
@pytest.mark.sample(every=4)
def test_a_group_made_by_hand_waits_for_a_late_rank(world, name, late, tmp_path):
    method = METHODS[name].replace("{folder}", str(tmp_path))
    for number in range(2):
        sign = tmp_path / f"sign {number}"
        result, _ = left_alone(world, sign, LEAVE + is_late(sign, late) + method + REDUCE, enough=2)
        assert {its.result_repr for its in result.values()} == {"[2.0, 2.0]"}


def test_a_group_is_made_by_hand_many_times_in_one_cell(world):
    code = (
        "for _ in range(20):\n"
        "    dist.destroy_process_group()\n"
        "    dist.init_process_group('gloo')\n"
        f"    y = torch.ones(2)\n    dist.all_reduce(y)\n{REDUCE}"
    )
    assert values(world, code) == {"[2.0, 2.0]"}


def test_a_store_can_be_opened_at_master_addr_and_port(world):
    [said] = values(world, "import os\nint(os.environ['MASTER_PORT']), os.environ['MASTER_ADDR']")
    port, _ = eval(said)  # noqa: S307 - of a cell of ours
    assert 0 < port < 65536
    code = (
        "store = dist.TCPStore(os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))\n"
        "store.set(f'k{rank}', str(rank))\n"
        "store.get('k0') + store.get('k1')"
    )
    assert values(world, code) == {"b'01'"}


def test_a_group_made_by_hand_listens_on_loopback_only(world):
    """Neither for groups made by hand nor for RPC."""
    for method in ("env", "tcp"):
        values(world, LEAVE + METHODS[method] + REDUCE)
    values(world, RPC.format(then=""))
    mine = psutil.Process()
    assert listening([mine, *family(mine)]) <= {"127.0.0.1", "::1"}
    values(world, "rpc.shutdown()")


RPC = (
    "import torch.distributed.rpc as rpc\n"
    "rpc.init_rpc(f'w{{rank}}', rank=rank, world_size=world_size)\n"
    "z = rpc.rpc_sync(f'w{{1 - rank}}', torch.add, args=(torch.ones(1), rank))\n"
    "{then}\n"
    "z.tolist()"
)


def test_rpc_can_be_initialised_and_shut_down_repeatedly(world):
    for _ in range(2):
        assert values(world, RPC.format(then="rpc.shutdown()")) == {"[1.0]", "[2.0]"}


@pytest.mark.parametrize("name", ["env", "tcp", "file"])
def test_a_rank_missing_from_a_group_made_by_hand_is_named_and_the_other_freed(
    world, name, tmp_path
):
    generation = world.generation
    method = METHODS[name].replace("{folder}", str(tmp_path)).replace("\n", " ")
    result = world.run(f"{LEAVE}if rank: {method}", timeout=30)
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("missing_rank", (0,))
    assert "init_process_group" in result.diagnosis.summary
    assert result[1].error.ename == "KeyboardInterrupt"
    assert world.generation == generation + 1
    assert values(world, LEAVE + METHODS["env"] + REDUCE) == {"[2.0, 2.0]"}


APART = {
    "env": (
        "import os\nos.environ['MASTER_PORT'] = str(29540 + rank)\ndist.init_process_group('gloo')",
        ("at 127.0.0.1:29540", "at 127.0.0.1:29541"),
    ),
    "tcp": (
        (
            "dist.init_process_group(\n    'gloo', f'tcp://127.0.0.1:{29543 + rank}', rank=rank, "
            "world_size=world_size\n)"
        ),
        ("at 127.0.0.1:29543", "at 127.0.0.1:29544"),
    ),
    "file": (
        (
            "dist.init_process_group(\n    'gloo', f'file://{folder}/f{rank}', rank=rank, "
            "world_size=world_size\n)"
        ),
        ("/f0", "/f1"),
    ),
    "a store of one's own": (
        (
            "store = dist.FileStore(f'{folder}/s{rank}', world_size)\n"
            "dist.init_process_group('gloo', store=store, rank=rank, world_size=world_size)"
        ),
        ("/s0", "/s1"),
    ),
    "a store at two ports": (
        "store = dist.TCPStore('127.0.0.1', 29546 + rank, world_size, rank == 0)",
        ("at 127.0.0.1:29546", "at 127.0.0.1:29547"),
    ),
    "two ways": (
        (
            "dist.init_process_group(\n    'gloo', ['env://', 'tcp://127.0.0.1:29549'][rank], "
            "rank=rank, world_size=world_size\n)"
        ),
        ("at 127.0.0.1:", "at 127.0.0.1:29549"),
    ),
    "two sizes": (
        "dist.init_process_group('gloo', rank=rank, world_size=world_size + rank)",
        ("with world_size 2", "with world_size 3"),
    ),
    "one rank twice": (
        "dist.init_process_group('gloo', 'tcp://127.0.0.1:29551', rank=1, world_size=2)",
        ("as rank 1", "29551"),
    ),
    "two prefixes": (
        (
            "store = dist.PrefixStore(f'job{rank}', dist.FileStore('{folder}/p', world_size))\n"
            "dist.init_process_group('gloo', store=store, rank=rank, world_size=world_size)"
        ),
        ("below the prefix job0", "below the prefix job1"),
    ),
    "two stores that are served": (
        "dist.TCPStore('localhost', 29571 + rank, world_size, is_master=True)",
        ("localhost:29571", "localhost:29572"),
    ),
}


@pytest.mark.parametrize(("method", "places"), APART.values(), ids=APART)
def test_ranks_that_do_not_meet_are_told_where_each_waits_and_freed(
    world, method, places, tmp_path
):
    method = method.replace("{folder}", str(tmp_path))
    result = world.run(LEAVE + method, timeout=30)
    found = result.diagnosis
    assert (found.kind, found.ranks, found.proven) == ("missing_rank", (0, 1), True)
    assert all(place in found.summary for place in places), found.summary
    assert "did not meet" in found.summary


LOADER = """
from torch.utils.data import DataLoader
batches = iter(DataLoader(range(64), num_workers=2, multiprocessing_context={method!r}))
[next(batches) for _ in range(4)]  # of both workers
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_ranks_that_do_not_meet_are_freed_though_their_loaders_have_workers(world, method):
    world.run(LOADER.format(method=method)).raise_for_error()
    try:
        at = "f'tcp://127.0.0.1:{29553 + rank}', rank=rank, world_size=world_size"
        result = world.run(f"{LEAVE}dist.init_process_group('gloo', {at})", timeout=30)
        assert result.diagnosis.proven
        assert "rank 1 waited at 127.0.0.1:29554" in result.diagnosis.summary
    finally:
        world.run("del batches").raise_for_error()
    assert {its.error.ename for its in result.values()} == {"KeyboardInterrupt"}


NEVER = {
    "a file": "dist.init_process_group('gloo', 'file://{folder}/f', rank=rank, world_size=3)",
    "a file of one's own": (
        "dist.init_process_group(\n"
        "    'gloo', store=dist.FileStore('{folder}/s', 3), rank=rank, world_size=3\n)"
    ),
    "a file in no folder": (
        "dist.init_process_group('gloo', 'file://{folder}/none/f', rank=rank, world_size=3)"
    ),
    "a stranger's port": (
        "dist.init_process_group('gloo', 'tcp://127.0.0.1:{port}', rank=rank + 1, world_size=3)"
    ),
    "a stranger at MASTER_PORT": (
        "import os\nkept = dict(os.environ)\n"
        "os.environ.update(MASTER_PORT='{port}', RANK=str(rank + 1), WORLD_SIZE='3')\n"
        "try:\n    dist.init_process_group('gloo')\nfinally:\n    os.environ.update(kept)"
    ),
    "a store at a stranger's port": (
        "dist.TCPStore('127.0.0.1', {port}, world_size, is_master=False)"
    ),
}


@pytest.mark.parametrize("method", NEVER.values(), ids=NEVER)
@pytest.mark.sample(every=2)
def test_ranks_that_wait_for_who_never_comes_are_told_so_and_freed(world, method, tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as stranger:
        port = str(stranger.getsockname()[1])
        method = method.replace("{folder}", str(tmp_path)).replace("{port}", port)
        result = world.run(LEAVE + method, timeout=3)
    assert {its.error.ename for its in result.values()} == {"KeyboardInterrupt"}
    waited_for = "for rank 2, which is no rank of this session"
    kind = "mismatch" if waited_for in result.diagnosis.summary else "missing_rank"
    assert result.diagnosis.kind == kind, result.diagnosis.summary
    assert ("file" in method.lower()) == (kind == "mismatch")  # it knows who is to come


def test_the_wait_for_a_stranger_ends_with_the_timeout(world):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as stranger:
        port = stranger.getsockname()[1]
        code = (
            "import datetime\nsoon = datetime.timedelta(seconds=0.5)\n"
            f"dist.TCPStore('127.0.0.1', {port}, 2, is_master=False, timeout=soon)"
        )
        result = world.run(code, timeout=30)
    assert {its.error.ename for its in result.values()} == {"DistNetworkError"}
    assert f"what listens at 127.0.0.1:{port} did not answer" in result[0].error.evalue


def test_the_file_of_a_group_of_another_size_is_removed_with_it(world, tmp_path):
    file = tmp_path / "file"
    code = (
        f"dist.init_process_group('gloo', f'file://{file}{{rank}}', rank=0, world_size=1)\n"
        "y = torch.ones(2)\ndist.all_reduce(y)\ndist.destroy_process_group()\ny.tolist()"
    )
    for _ in range(2):
        assert values(world, f"if dist.is_initialized(): {LEAVE}{code}") == {"[1.0, 1.0]"}
        wait_until(lambda: not [*tmp_path.iterdir()])


BACKEND = """
def make(store, rank, size, timeout):
    return dist.ProcessGroupGloo(dist.PrefixStore("mine", store), rank, size, timeout)
if "mine" not in dist.Backend.backend_list:
    dist.Backend.register_backend("mine", make, devices=["cpu"])
backend = "mine" if rank else "gloo"
"""


@pytest.mark.parametrize(
    ("make", "group"),
    [
        (f"{LEAVE}dist.init_process_group(backend)", "the process group"),
        ("dist.new_group(backend=backend)", "group 1"),
    ],
    ids=["init_process_group", "new_group"],
)
def test_ranks_that_make_a_group_with_different_backends_are_told_so(world, make, group):
    result = world.run(BACKEND + make, timeout=30)
    found = result.diagnosis
    assert (found.kind, found.ranks, found.proven) == ("mismatch", (0, 1), True)
    assert f"Rank 0 made {group} with backend gloo" in found.summary
    assert "rank 1 made it with backend mine" in found.summary


def test_two_names_of_one_backend_are_the_same(world):
    code = f"dist.init_process_group('cpu:gloo' if rank else 'gloo'){REDUCE}"
    assert values(world, LEAVE + code) == {"[2.0, 2.0]"}


def test_ranks_that_soon_give_up_meeting_by_themselves_are_left_alone(world):
    """They try a port of their own first, and then the one of all."""
    code = (
        "import datetime\nsoon = datetime.timedelta(seconds=3)\n"
        "try:\n    dist.init_process_group(\n"
        "        'gloo', f'tcp://127.0.0.1:{29557 + rank}', timeout=soon, "
        "rank=rank, world_size=world_size\n    )\n"
        "except Exception:\n    dist.init_process_group('gloo')"
    )
    assert values(world, LEAVE + code + REDUCE) == {"[2.0, 2.0]"}


def test_two_names_of_this_host_are_one_place_to_meet_at(world):
    code = (
        "name = ['localhost', '127.0.0.1'][rank]\ndist.init_process_group(\n"
        "    'gloo', f'tcp://{name}:29556', rank=rank, world_size=world_size\n)"
    )
    assert values(world, LEAVE + code + REDUCE) == {"[2.0, 2.0]"}


def test_a_late_rank_of_a_group_made_by_hand_is_no_hang(world, tmp_path):
    sign = tmp_path / "sign"
    left_alone(world, sign, LEAVE + is_late(sign, 1) + METHODS["env"] + REDUCE, enough=2)


@pytest.mark.parametrize("late", [0, 1])
def test_a_late_rank_in_a_group_made_by_hand_is_no_hang(world, late, tmp_path):
    """What it called last was number 1, too, but of the group that was destroyed."""
    sign = tmp_path / "sign"
    code = f"dist.barrier()\n{LEAVE}dist.init_process_group('gloo')\n{is_late(sign, late)}"
    left_alone(world, sign, code + REDUCE)


def test_a_hang_in_a_group_made_by_hand_is_explained(world):
    method = METHODS["env"]
    result = world.run(f"{LEAVE}{method}\nif rank: dist.all_reduce(torch.ones(2))", timeout=30)
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("missing_rank", (0,))
    assert "all_reduce" in result.diagnosis.summary


def test_an_interrupt_ends_ranks_that_meet_by_hand(world):
    result = world.run(
        f"{LEAVE}if rank: time.sleep(60)\ndist.init_process_group('gloo')", timeout=2
    )
    assert {its.error.ename for its in result.values()} == {"KeyboardInterrupt"}


def test_a_group_can_be_made_by_hand_after_one_that_failed_on_a_rank(world):
    code = f"{LEAVE}if rank: dist.init_process_group('gloo', init_method='nonsense://')"
    assert world.run(code)[1].error.ename in {"RuntimeError", "ValueError"}
    assert values(world, METHODS["env"] + REDUCE) == {"[2.0, 2.0]"}


@pytest.mark.parametrize("where", ["env://", "tcp://localhost:29513"])
def test_a_world_of_one_rank_is_made_by_hand(world, where):
    code = (
        f"{LEAVE}dist.init_process_group('gloo', {where!r}, rank=0, world_size=1)\n"
        "alone = dist.get_world_size()\ndist.destroy_process_group()\n"
        f"dist.init_process_group('gloo'){REDUCE}, alone"
    )
    assert values(world, code) == {"([2.0, 2.0], 1)"}


@pytest.mark.parametrize(
    "call",
    [
        "dist.init_process_group('gloo')",
        "dist.init_process_group()",
        "torch.distributed.init_process_group(backend='gloo', init_method='env://')",
        "dist.init_process_group('gloo', rank=rank, world_size=world_size)",
        "dist.init_process_group('cpu:gloo')",
        "import helper; helper.begin()",
    ],
)
def test_the_sessions_group_is_adopted_and_that_is_said_once(world, call):
    world.reset()
    code = f"group = dist.group.WORLD\n{call}\n{call}\nassert group is dist.group.WORLD{REDUCE}"
    result = world.run(code)
    assert [its.result_repr for its in result.values()] == ["[2.0, 2.0]"] * 2
    assert {its.stderr for its in result.values()} == {
        "init_process_group uses the existing process group (gloo, 2 ranks).\n"
    }
    assert world.run(call)[0].stderr == ""


def test_an_adopted_group_has_the_timeout_of_the_caller(world):
    code = (
        "import datetime\n"
        "dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=7))\n"
        "dist.group.WORLD._get_backend(torch.device('cpu')).options._timeout.total_seconds()"
    )
    assert values(world, code) == {"7.0"}


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("dist.init_process_group('nccl')", "the backend nccl"),
        ("dist.init_process_group('cpu:gloo,cuda:nccl')", "the backend cpu:gloo,cuda:nccl"),
        ("dist.init_process_group('gloo', rank=0, world_size=1)", "world_size=1"),
        ("dist.init_process_group('gloo', rank=1 - rank, world_size=2)", "rank="),
    ],
)
def test_init_process_group_with_other_arguments_than_the_existing_group_is_refused(
    world, call, what
):
    for its in world.run(call).values():
        assert its.error.ename == "ValueError"
        assert "there is a process group already (gloo, 2 ranks)" in its.error.evalue
        assert what in its.error.evalue
        assert "dist.destroy_process_group()" in its.error.evalue
    assert values(world, REDUCE) == {"[2.0, 2.0]"}


def test_a_group_that_a_cell_has_destroyed_stays_destroyed(world):
    assert values(world, f"{LEAVE}dist.is_initialized()") == {"False"}
    assert values(world, "dist.is_initialized()") == {"False"}
    assert headline(world.snapshot()) == (
        f"no process group · 2 ranks · generation {world.generation} · "
        "no process group on ranks 0-1: %dist_reset makes one"
    )
    for its in world.run("dist.all_reduce(torch.ones(1))").values():
        assert its.error.ename == "ValueError"
        assert "%dist_reset" in its.error.evalue
    assert values(world, "dist.is_initialized()") == {"False"}
    world.reset()
    assert values(world, REDUCE) == {"[2.0, 2.0]"}


TRAIN = """
import torch.distributed as dist, torch
dist.init_process_group("gloo")
def train():
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 8))
    model(torch.ones(2, 8)).sum().backward()
    dist.destroy_process_group()
train()
assert not dist.is_initialized()
"""


def test_a_model_that_ends_right_after_its_group_does_not_stop_the_rank(world):
    """torch alone hangs within some 20 rounds, with Python's lock held."""
    assert values(world, f"for _ in range(40): exec({TRAIN!r})\ndist.is_initialized()") == {"False"}


def test_a_script_run_in_a_cell_leaves_the_group_that_it_adopts_and_destroys(world, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    code = f"group = dist.group.WORLD\n%run {script}\n%run {script}\ngroup is dist.group.WORLD"
    assert values(world, f"{code}, train.__name__") == {"(True, 'train')"}
    assert values(world, REDUCE) == {"[2.0, 2.0]"}


def test_a_group_that_a_script_run_in_a_cell_makes_ends_with_it(world, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(f"{TRAIN}dist.init_process_group('gloo')\ndist.barrier()\n1 / 0")
    code = f"group = dist.group.WORLD\ntry:\n    %run {script}\nfinally: here = dist.group.WORLD"
    result = world.run(code)
    assert {its.error.ename for its in result.values()} == {"ZeroDivisionError"}
    assert values(world, f"assert here is group{REDUCE}") == {"[2.0, 2.0]"}


PROGRAM = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
x = torch.ones(1)
dist.all_reduce(x)
print(f"reduced {x.item()}")  # in one piece: two processes write at once
dist.destroy_process_group()
"""


@pytest.mark.parametrize("how", ["!", "subprocess"])
def test_a_process_of_every_rank_makes_a_group_of_its_own_again_and_again(world, tmp_path, how):
    (tmp_path / "train.py").write_text(PROGRAM)
    command = f"{sys.executable} {tmp_path}/train.py"
    code = f"!{command}" if how == "!" else f"import subprocess\nsubprocess.run({command.split()})"
    for _ in range(2):
        result = world.run(code, timeout=100)
        result.raise_for_error()
        assert [its.stdout.count("reduced 2.0") for its in result.values()] == [1, 1]
    assert values(world, REDUCE) == {"[2.0, 2.0]"}


@pytest.mark.parametrize("how", [pytest.param("!", marks=pytest.mark.slow), "in the cell"])
def test_torchrun_runs_on_a_rank(world, tmp_path, how):
    (tmp_path / "train.py").write_text(PROGRAM)
    arguments = f"--standalone --nproc-per-node=2 {tmp_path}/train.py"
    code = (
        f"!{sys.executable} -m torch.distributed.run {arguments}"
        if how == "!"
        else f"from torch.distributed.run import main\nmain({arguments.split()})"
    )
    result = world.run(f"{code}{REDUCE}", timeout=100)
    result.raise_for_error()
    assert [its.stdout.count("reduced 2.0") for its in result.values()] == [2, 2]


FAMILY = """
import os, torch.multiprocessing as mp
def work(i, size):
    import torch, torch.distributed as dist
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="12355")
    dist.init_process_group("gloo", rank=i, world_size=size)
    x = torch.ones(1)
    dist.all_reduce(x)
    dist.destroy_process_group()
    if i: print(f"reduced {x.item()}")
{start}
"""


@pytest.mark.parametrize(
    "start",
    [
        pytest.param("mp.spawn(work, args=(2,), nprocs=2)", marks=pytest.mark.slow),
        (
            "processes = [mp.Process(target=work, args=(i, 2)) for i in range(2)]\n"
            "for one in processes: one.start()\nfor one in processes: one.join()"
        ),
        (
            "def alone(i, size):\n    assert not dist.is_initialized()\n    work(i, size)\n"
            "mp.start_processes(alone, args=(2,), nprocs=2, start_method='fork')"
        ),
        (
            "def told(i, size):\n    os.environ.update(RANK=str(i), WORLD_SIZE=str(size))\n"
            "    dist.init_process_group('gloo')\n    x = torch.ones(1)\n    dist.all_reduce(x)\n"
            "    if i: print(f'reduced {x.item()}')\n"
            "mp.start_processes(told, args=(2,), nprocs=2, start_method='fork')"
        ),
        (
            "os.environ['MASTER_PORT'] = port = os.environ['MASTER_PORT']\n"
            "def told(i, size):\n    os.environ.update(RANK=str(i), WORLD_SIZE=str(size))\n"
            "    os.environ['MASTER_PORT'] = port\n    dist.init_process_group('gloo')\n"
            "    x = torch.ones(1)\n    dist.all_reduce(x)\n"
            "    if i: print(f'reduced {x.item()}')\n"
            "mp.start_processes(told, args=(2,), nprocs=2, start_method='fork')"
        ),
    ],
    ids=["spawn", "fork", "fork by torch", "told by the environment", "told by the rank"],
)
def test_every_rank_starts_a_world_of_its_own_at_one_and_the_same_port(world, start):
    result = world.run(FAMILY.replace("{start}", start), timeout=100)
    result.raise_for_error()
    assert [its.stdout.count("reduced 2.0") for its in result.values()] == [1, 1]
    programs = "assert os.environ['MASTER_PORT'] != os.popen('echo $MASTER_PORT').read().strip()"
    assert values(world, programs + REDUCE) == {"[2.0, 2.0]"}


@pytest.mark.parametrize(
    "begin",
    [
        (
            "import os\nkept = dict(os.environ)\n"
            "os.environ.update(MASTER_ADDR='{far}', MASTER_PORT='29500')\n"
            "try: dist.init_process_group('gloo')\nfinally: os.environ.update(kept)"
        ),
        pytest.param(
            "dist.init_process_group('gloo', 'tcp://{far}:29500', rank=rank, world_size=2)",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["env", "tcp"],
)
def test_ranks_that_wait_at_an_address_of_no_host_are_told_that_nobody_answers(world, begin):
    found = []
    code = LEAVE + begin.replace("{far}", "240.0.0.1")  # reserved: nothing is sent there
    thread = world.in_background(lambda: found.append(world.run(code)))
    wait_until(lambda: world.diagnose().stuck, timeout=40)
    told = world.diagnose()
    assert (told.kind, told.ranks, told.proven) == ("missing_rank", (0, 1), False)
    assert "wait for each other at 240.0.0.1:29500" in told.summary
    assert world.interrupt()
    thread.join(20)
    assert "and none was missing: nobody answered there" in found[0].diagnosis.summary


WITH_CHILD = """
import subprocess, sys
where, size, other = {where}, world_size, 1 - {as_rank}
program = f'''
import torch, torch.distributed as dist
dist.init_process_group("gloo", "{where}", rank={other}, world_size={size})
dist.all_reduce(torch.ones(1))
dist.destroy_process_group()
'''
child = subprocess.Popen([sys.executable, "-c", program])
dist.init_process_group("gloo", where, rank={as_rank}, world_size=size)
total = torch.ones(1)
dist.all_reduce(total)
dist.destroy_process_group()
child.wait(), total.item()
"""


@pytest.mark.parametrize("as_rank", ["0", "1", "rank"])
@pytest.mark.parametrize("at", ["tcp://localhost:{port}", "file://{folder}/of{rank}"])
def test_a_rank_makes_a_group_with_a_process_that_it_has_started(world, at, as_rank, tmp_path):
    folder = tmp_path / as_rank
    folder.mkdir()
    with reserved(2) as ports:
        where = f"f{at!r}".replace("{port}", f"{{{ports}[rank]}}").replace("{folder}", str(folder))
    code = WITH_CHILD.replace("{where}", where, 1).replace("{as_rank}", as_rank)
    assert values(world, LEAVE + code) == {"(0, 2.0)"}


def test_processes_of_several_ranks_are_one_world_at_a_port_of_their_own(world):
    start = "one = mp.Process(target=work, args=(rank, 2))\none.start()\none.join()"
    result = world.run(FAMILY.replace("{start}", start), timeout=100)
    result.raise_for_error()
    assert [its.stdout.count("reduced 2.0") for its in result.values()] == [0, 1]


@pytest.mark.parametrize("method", ["raise ValueError('no')", "dist.is_initialized()"])
def test_a_rank_that_does_not_come_to_the_shutdown_of_rpc_is_named(world, method):
    code = RPC.format(then=f"if rank: {method}\nelse: rpc.shutdown()")
    result = world.run(code, timeout=60)
    kind = "raised" if "raise" in method else "missing_rank"
    assert (result.diagnosis.kind, result.diagnosis.ranks) == (kind, (1,))
    assert "shutdown" in result.diagnosis.summary
    world.reset(hard=True)
