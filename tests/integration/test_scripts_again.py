"""What a process can do once, a script may do whenever it is run."""

from __future__ import annotations

import gzip

import pytest
from ports import reserved
from steps import SOON

ONCE = {
    "interop threads": (
        "import torch\ntorch.set_num_interop_threads(3)\nprint(torch.get_num_interop_threads())",
        "3",
    ),
    "exit closes stdin": (
        "import sys\nprint(sys.stdin.isatty(), repr(sys.stdin.readline()))\nexit(0)",
        "False ''",
    ),
    "threads before torch": (
        (
            "import os\nos.environ['OMP_NUM_THREADS'] = '3'\nimport torch\n"
            "print(torch.get_num_threads())"
        ),
        "3",
    ),
    "threads after torch": (
        (
            "import os, torch\ntorch.set_num_threads(2)\nos.environ.update(OMP_NUM_THREADS='5')\n"
            "print(torch.get_num_threads())"
        ),
        "2",
    ),
    "operators": (
        (
            "import torch\nlibrary = torch.library.Library('again', 'DEF')\n"
            "library.define('add(Tensor x) -> Tensor')\n"
            "library.impl('add', lambda x: x + 1, 'CPU')\n"
            "torch.library.define('again2::twice', '(Tensor x) -> Tensor')\n"
            "torch.library.impl('again2::twice', 'cpu')(lambda x: x * 2)\n"
            "print(torch.ops.again.add(torch.ops.again2.twice(torch.tensor(2))).item())"
        ),
        "5",
    ),
    "its own builtins": (
        "print(__builtins__.__name__, hasattr(__builtins__, 'len'))",
        "builtins True",
    ),
    "no mark of IPython": (
        "import sys\nsys.displayhook(hasattr(__builtins__, '__IPYTHON__'))",
        "False",
    ),
    "streams of its own": (
        (
            "import os, sys\nfile = os.fdopen(1, 'w', 1)\nheld = {'here': os.fdopen(2, 'wb', 0)}\n"
            "os.write(1, b'raw\\n')"
        ),
        "raw",
    ),
    "precisions by their new names": (
        (
            "import torch\nprint(torch.get_float32_matmul_precision())\n"
            "torch.backends.cuda.matmul.fp32_precision = 'tf32'"
        ),
        "highest",
    ),
    "what it replaces in libraries": (
        (
            "import torch\nformer = torch.nn.Linear.forward\n"
            "def forward(self, x):\n    print('mine')\n    return former(self, x)\n"
            "torch.nn.Linear.forward = forward\ntorch.nn.Linear(1, 1)(torch.ones(1))"
        ),
        "mine",
    ),
    "a server of its own, and a thread that would end it": (
        (
            "import http.server, os, threading, time\n"
            "rank = int(os.environ['RANK'])\n"
            "handler = http.server.BaseHTTPRequestHandler\n"
            "server = http.server.ThreadingHTTPServer(('127.0.0.1', 28418 + rank), handler)\n"
            "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
            "print(sum(thread.name == 'watchdog' for thread in threading.enumerate()))\n"
            "def watch():\n    while True:\n        time.sleep(0.05)\n"
            "threading.Thread(target=watch, name='watchdog', daemon=True).start()"
        ),
        "0",
    ),
    "captured warnings": (
        (
            "import logging, sys, warnings\n"
            "logging.basicConfig(stream=sys.stdout, format='%(name)s')\n"
            "logging.captureWarnings(True)\nwarnings.warn('careful')"
        ),
        "py.warnings",
    ),
    "its profiler": (
        (
            "import cProfile, sys\nprint(sys.getprofile())\n"
            "profile = cProfile.Profile()\nprofile.enable()"
        ),
        "None",
    ),
    "input from a stream of its own": (
        "import io, sys\nsys.stdin = io.StringIO('typed\\n')\nprint(input('which? '))",
        "which? typed",
    ),
    "how lines are written": (
        "import sys\nprint(sys.stdout.line_buffering, sys.stderr.line_buffering)",
        "True True",
    ),
    "its loader": (
        "print(__loader__.get_source('__main__')[:5], __loader__.name)",
        "print __main__",
    ),
}


@pytest.mark.parametrize(("code", "expected"), ONCE.values(), ids=ONCE)
def test_a_script_does_the_same_each_time(two, tmp_path, code, expected):
    script = tmp_path / "train.py"
    script.write_text(code)
    for _ in range(2):
        result = two.run_script(str(script))
        result.raise_for_error()
        assert {its.stdout.strip() for its in result.values()} == {expected}
        assert {its.stderr for its in result.values()} == {""}


def test_a_package_in_another_folder_of_the_path_is_imported_again(two, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "src" / "rankbook_own_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("known = []\n")
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\nsys.path.insert(0, 'src')\n"
        "from rankbook_own_package import core, known\n"
        "known.append(core.VALUE)\nprint(known)"
    )
    for value in (1, 22):  # of another size: Python compares that, and seconds
        (package / "core.py").write_text(f"VALUE = {value}")
        result = two.run_script("train.py")
        result.raise_for_error()
        assert {its.stdout for its in result.values()} == {f"[{value}]\n"}


def test_operators_of_a_script_can_be_called_in_cells(two, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(ONCE["operators"][0])
    two.run_script(str(script)).raise_for_error()
    result = two.run("torch.ops.again.add(torch.tensor(1)).item()")
    assert {its.result_repr for its in result.values()} == {"2"}


def test_files_that_a_script_leaves_open_are_complete_and_its_names_can_go_on(two, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import gzip, os\nrank = os.environ['RANK']\n"
        f"text = open({str(tmp_path)!r} + '/text' + rank, 'w')\ntext.write('a line')\n"
        f"packed = gzip.open({str(tmp_path)!r} + '/packed' + rank, 'wt')\npacked.write('z')\n"
    )
    two.run_script(str(script)).raise_for_error()
    for rank in range(2):
        assert (tmp_path / f"text{rank}").read_text() == "a line"
        with gzip.open(tmp_path / f"packed{rank}", "rt") as packed:
            assert packed.read() == "z"
    two.run("text.write(' more')\ntext.close()").raise_for_error()


STORE = """
import os, torch, torch.distributed as dist
def main():
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = dist.TCPStore("127.0.0.1", {port}, size, rank == 0)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    x = torch.ones(1)
    dist.all_reduce(x)
    print(int(x))
    return store
"""

ENDS = {
    "a name": "kept = main()",
    "a name, and a group that is destroyed": "kept = main()\ndist.destroy_process_group()",
    "a function": "main()",
    "a prefix": "kept = dist.PrefixStore('mine', main())",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_store_of_a_script_lets_its_next_run_use_the_port(two, tmp_path, end):
    script = tmp_path / "train.py"
    with reserved() as [port]:
        script.write_text(STORE.format(port=port) + end)
        for _ in range(3):
            result = two.run_script(str(script), timeout=SOON)
            result.raise_for_error()
            assert {its.stdout for its in result.values()} == {"2\n"}
            if "kept" in end:  # until then it can be looked at
                two.run("kept.set(f'cell {rank}', 'seen')").raise_for_error()
    two.run("dist.all_reduce(torch.ones(1))").raise_for_error()


def test_another_number_of_interop_threads_than_an_earlier_script_has_set_is_said(two, tmp_path):
    script = tmp_path / "train.py"
    for number in (3, 2):
        script.write_text(f"import torch\ntorch.set_num_interop_threads({number})")
        result = two.run_script(str(script))
        result.raise_for_error()
    for its in result.values():
        assert "train.py:2: UserWarning: this rank keeps 3 interop threads" in its.stderr


def test_an_exit_handler_that_fails_is_shown_as_by_python(two, tmp_path):
    script = tmp_path / "train.py"
    script.write_text("import atexit\n@atexit.register\ndef fail(): {}['key']\n")
    result = two.run_script(str(script))
    result.raise_for_error()
    for its in result.values():
        first, _, *lines, last = its.stderr.strip().splitlines()
        assert first.startswith("Exception ignored in atexit callback: <function fail")
        assert lines[0].endswith('train.py", line 3, in fail')
        assert last == "KeyError: 'key'"


TRACKER = """
import atexit, sys
class Tracker:
    said = "finished"
    def __init__(self):
        self.before, sys.excepthook = sys.excepthook, self.hook
        atexit.register(lambda: print(self.said))
    def hook(self, *raised):
        self.said = "failed"
        self.before(*raised)
tracker = Tracker()
"""


@pytest.mark.parametrize(
    ("end", "said"),
    [("1 / 0", "failed"), ("sys.exit(3)", "finished"), ("", "finished")],
    ids=["an exception", "an exit", "the end"],
)
def test_exit_handlers_know_from_the_hook_of_the_script_whether_it_failed(two, tmp_path, end, said):
    script = tmp_path / "train.py"
    script.write_text(TRACKER + end)
    for _ in range(2):
        result = two.run_script(str(script), timeout=SOON)
        assert {its.stdout for its in result.values()} == {f"{said}\n"}
        errors = {its.error and its.error.ename for its in result.values()}
        assert errors == {{"1 / 0": "ZeroDivisionError", "sys.exit(3)": "SystemExit"}.get(end)}


def test_what_a_script_registers_in_libraries_it_registers_again(two, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import torch\nfrom torch._dynamo import register_backend\n"
        "@register_backend\ndef mine(graph, inputs):\n    return graph.forward\n"
        "print(torch.compile(lambda x: x + 1, backend='mine')(torch.tensor(1)).item())"
    )
    for _ in range(3):
        result = two.run_script(str(script), timeout=60)
        result.raise_for_error()
        assert {its.stdout for its in result.values()} == {"2\n"}
    two.run("import os, sys").raise_for_error()


def test_a_script_may_put_a_dictionary_in_place_of_the_environment(two, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import os\nos.environ = {**os.environ, 'MINE': '1'}\nprint('MINE' in os.environ)"
    )
    for _ in range(2):
        result = two.run_script(str(script))
        result.raise_for_error()
        assert {its.stdout for its in result.values()} == {"True\n"}
    values = two.run("import os; ('MINE' in os.environ, type(os.environ).__name__)")
    assert {its.result_repr for its in values.values()} == {"(False, '_Environ')"}


def test_a_script_that_failed_with_rpc_begins_it_again(two, tmp_path):
    script = tmp_path / "train.py"
    rpc = (
        "import torch, torch.distributed.rpc as rpc, os\nrank = int(os.environ['RANK'])\n"
        "rpc.init_rpc(f'w{rank}', rank=rank, world_size=2)\n"
        "print(rpc.rpc_sync(f'w{1 - rank}', torch.add, args=(torch.tensor(1), 2)).item())\n"
    )
    for end in ("1 / 0", "1 / 0", "rpc.shutdown()"):
        script.write_text(rpc + end)
        result = two.run_script(str(script), timeout=SOON)
        # torch's own lines about the end of the last one may come first
        assert {its.stdout.splitlines()[-1] for its in result.values()} == {"3"}
    assert result.ok
    two.run("dist.all_reduce(torch.ones(1))").raise_for_error()


def test_rpc_begins_again_at_once_after_a_rank_has_left_it(two, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, os, torch.distributed.rpc as rpc\n"
        "rank, size = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])\n"
        "options = rpc.TensorPipeRpcBackendOptions(rpc_timeout=1000)\n"
        "rpc.init_rpc(f'w{rank}', rank=rank, world_size=size, rpc_backend_options=options)\n"
        "if rank and sys.argv[1:]: sys.exit()\n"
        "rpc.shutdown()\n"
    )
    two.run_script(str(script), timeout=SOON).raise_for_error()
    result = two.run_script(str(script), ["leave"], timeout=SOON)
    assert result.diagnosis.ranks == (1,)
    two.run_script(str(script), timeout=SOON).raise_for_error()


def test_a_script_that_failed_with_rpc_leaves_none_with_clean(two, tmp_path):
    script = tmp_path / "train.py"
    rpc = "import torch.distributed.rpc as rpc, os\nrank = int(os.environ['RANK'])\n"
    rpc += "rpc.init_rpc(f'w{rank}', rank=rank, world_size=2)\n"
    for end in ("1 / 0", "rpc.shutdown()"):
        script.write_text(rpc + end)
        result = two.run_script(str(script), clean=True, timeout=SOON)
    result.raise_for_error()


def test_it_is_said_that_remote_objects_work_once_in_a_process(two, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import torch, torch.distributed.rpc as rpc, os\nrank = int(os.environ['RANK'])\n"
        "rpc.init_rpc(f'w{rank}', rank=rank, world_size=2)\n"
        "print(rpc.remote(f'w{1 - rank}', torch.add, args=(torch.tensor(1), 2)).to_here().item())\n"
        "rpc.shutdown()\n"
    )
    # Whether an earlier test has begun RPC in these processes does not matter.
    results = [two.run_script(str(script), timeout=SOON) for _ in range(2)]
    errors = [its.error for its in results[-1].values()]
    assert all(error and "run %dist_reset --hard" in error.evalue for error in errors)
    two.reset(hard=True)
    result = two.run_script(str(script), timeout=SOON)
    result.raise_for_error()
    assert {its.stdout.splitlines()[-1] for its in result.values()} == {"3"}


def test_a_thread_that_clean_could_not_end_is_ended_before_the_next_script(two, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import threading, time\n"
        "def stay(sleep=time.sleep):\n"  # --clean takes its globals away
        "    try:\n"
        "        while True: sleep(0.02)\n"
        "    except SystemExit:\n"
        "        while True: sleep(0.02)\n"
        "threading.Thread(target=stay, name='stays', daemon=True).start()\n"
    )
    result = two.run_script(str(script), clean=True, timeout=SOON)
    assert {its.left for its in result.values()} == {"1 thread (stays)"}
    script.write_text("")
    two.run_script(str(script), timeout=SOON).raise_for_error()
    stays = two.run("import threading\n'stays' in {one.name for one in threading.enumerate()}")
    assert {its.result_repr for its in stays.values()} == {"False"}


def test_a_loader_with_workers_that_stay_goes_on_and_its_last_loop_says_nothing(two, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import torch\nfrom torch.utils.data import DataLoader\n"
        "loader = DataLoader(range(4), num_workers=2, persistent_workers=True)\n"
        "def added(): return sum(map(int, loader))\n"
        "print(added(), added())\n"
        "begun = iter(DataLoader(range(100), num_workers=1))\n"
        "next(begun)\n"
    )
    for _ in range(2):  # the second run replaces the names that the first has left
        result = two.run_script(str(script), timeout=SOON)
        result.raise_for_error()
        assert {(its.stdout, its.stderr, its.left) for its in result.values()} == {
            ("6 6\n", "", "")
        }
        again = two.run("added()", timeout=SOON)
        assert {its.result_repr for its in again.values()} == {"6"}
    gone = two.run("import gc\nloader = begun = None\nvalue = gc.collect()", timeout=SOON)
    assert {its.stdout + its.stderr for its in gone.values()} == {""}
