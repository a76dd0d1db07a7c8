"""What processes and threads of a rank print is shown under it, whenever they do."""

from __future__ import annotations

import pytest
from counts import CELLS
from processes import wait_until

FORMS = {
    "os.fork": """
import os
pid = os.fork()
if not pid:
    print("said", rank)
    os._exit(0)
os.waitpid(pid, 0)
""",
    "a forked process": """
from multiprocessing import get_context
p = get_context("fork").Process(target=print, args=("said", rank)); p.start(); p.join()
""",
    "a spawned process": """
from multiprocessing import get_context
def say(rank): print("said", rank)
p = get_context("spawn").Process(target=say, args=(rank,)); p.start(); p.join()
""",
    "a pool": """
from multiprocessing import get_context
def say(rank): print("said", rank)
with get_context("fork").Pool(1) as pool: pool.map(say, [rank])
""",
    "a spawned pool": """
from multiprocessing import get_context
class Value:
    def __init__(self, n): self.n = n
def say(value):
    print("said", value.n)
    return Value(value.n)
with get_context("spawn").Pool(1) as pool: assert pool.map(say, [Value(rank)])[0].n == rank
""",
    "an executor": """
from concurrent.futures import ProcessPoolExecutor
def say(rank): print("said", rank)
with ProcessPoolExecutor(1) as executor: list(executor.map(say, [rank]))
""",
    "a loader": """
class Data(torch.utils.data.Dataset):
    def __len__(self): return 1
    def __getitem__(self, i):
        print("said", rank)
        return i
list(torch.utils.data.DataLoader(Data(), num_workers=1))
""",
    "subprocess": """
import subprocess, sys
subprocess.run([sys.executable, "-c", f"print('said', {rank})"])
""",
    "subprocess, its stderr": """
import subprocess, sys
subprocess.run([sys.executable, "-c", f"import sys; print('said', {rank}, file=sys.stderr)"])
""",
    "the shell": "!echo said {rank}",
    "C's buffer": """
import ctypes
ctypes.CDLL(None).printf(f"said {rank}\\n".encode())
""",
    "the descriptor": """
import os
os.write(1, f"said {rank}\\n".encode())
""",
}


@pytest.mark.parametrize("code", FORMS.values(), ids=FORMS)
def test_what_a_child_prints_is_shown_under_its_rank(two, code):
    result = two.run(code, timeout=60)
    result.raise_for_error()
    for rank, its in result.items():
        assert f"said {rank}\n" in its.stdout + its.stderr


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_the_traceback_of_a_child_is_shown_under_its_rank(two, how):
    code = f"""
from multiprocessing import get_context
def fail(): raise ValueError("in a child")
p = get_context({how!r}).Process(target=fail); p.start(); p.join()
p.exitcode
"""
    result = two.run(code, timeout=60)
    for its in result.values():
        assert its.result_repr == "1"
        assert "ValueError: in a child" in its.stdout + its.stderr


@pytest.mark.parametrize("write", ["print('x' * 79)", "os.write(1, b'x' * 79 + b'\\n')"])
def test_a_child_that_prints_megabytes_does_not_block(two, write):
    code = f"""
import os
pid = os.fork()
if not pid:
    for _ in range(50_000): {write}
    os._exit(0)
os.waitpid(pid, 0)[1]
"""
    result = two.run(code, timeout=60)
    assert {its.result_repr for its in result.values()} == {"0"}
    assert {its.stdout.count("x") for its in result.values()} == {50_000 * 79}


@pytest.mark.parametrize(
    "how", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.slow)]
)
def test_lines_of_children_that_print_at_once_are_whole(two, how):
    code = f"""
import multiprocessing
def say(name, barrier):
    barrier.wait(30)
    for number in range(300):
        print("line", number, "of", name)
context = multiprocessing.get_context({how!r})
barrier = context.Barrier(3)
children = [context.Process(target=say, args=(name, barrier)) for name in "abc"]
for child in children: child.start()
for child in children: child.join()
"""
    said = [f"line {number} of {name}" for name in "abc" for number in range(300)]
    for its in two.run(code, timeout=60).values():
        assert sorted(its.stdout.splitlines()) == sorted(said)


@pytest.mark.counted
def test_output_of_c_code_at_the_end_of_a_cell_is_not_lost(two):
    code = """
import ctypes, os, subprocess
subprocess.run(["sh", "-c", "echo one; echo two >&2"])
os.system("echo three")
ctypes.CDLL(None).puts(b"four")
os.write(2, b"five\\n")
"""
    for _ in range(CELLS):
        for its in two.run(code).values():
            assert sorted(its.stdout.split()) == ["five", "four", "one", "three", "two"]


def test_what_a_thread_prints_between_cells_is_shown_with_the_next_one_and_marked(two, tmp_path):
    go, said = tmp_path / "go", [tmp_path / "said-0", tmp_path / "said-1"]
    two.run(
        "import pathlib, threading, time\n"
        "def talk():\n"
        f"    while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)\n"
        "    print('from a thread')\n"
        f"    pathlib.Path(f'{tmp_path}/said-{{rank}}').touch()\n"
        "thread = threading.Thread(target=talk); thread.start()",
        number=7,
    )
    two.run("pass", number=8)
    go.touch()
    wait_until(lambda: all(each.exists() for each in said))
    result = two.run("print('of the cell')", number=9)
    assert {its.stdout for its in result.values()} == {"(from In [7]) from a thread\nof the cell\n"}
    assert two.run("pass")[0].stdout == ""


def test_what_a_process_prints_between_cells_is_shown_with_the_next_one_and_marked(two, tmp_path):
    go, said = tmp_path / "go", [tmp_path / "said-0", tmp_path / "said-1"]
    waits = f"until [ -e {go} ]; do sleep 0.01; done; echo from a process; touch {tmp_path}/said-"
    two.run(
        f"import subprocess\nchild = subprocess.Popen(['sh', '-c', f{(waits + '{rank}')!r}])",
        number=3,
    )
    go.touch()
    wait_until(lambda: all(each.exists() for each in said))
    result = two.run("child.wait()", number=4)
    assert {its.stdout for its in result.values()} == {"(from In [3]) from a process\n"}


def test_what_a_task_prints_between_cells_is_shown_with_the_next_one_and_marked(two, tmp_path):
    go, said = tmp_path / "go", [tmp_path / "said-0", tmp_path / "said-1"]
    two.run(
        "import asyncio, pathlib\n"
        "async def talk():\n"
        f"    while not pathlib.Path({str(go)!r}).exists(): await asyncio.sleep(0.01)\n"
        "    print('from a task')\n"
        f"    pathlib.Path(f'{tmp_path}/said-{{rank}}').touch()\n"
        "task = asyncio.create_task(talk())",
        number=5,
    )
    go.touch()
    wait_until(lambda: all(each.exists() for each in said))
    result = two.run("pass", number=6)
    assert {its.stdout for its in result.values()} == {"(from In [5]) from a task\n"}


def test_of_much_that_a_process_prints_between_cells_the_end_is_shown(two, tmp_path):
    go, said = tmp_path / "go", [tmp_path / "said-0", tmp_path / "said-1"]
    prints = (
        f"import os, pathlib, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "print('x' * 3_000_000 + '\\n' + 'the end')\n"
        f"pathlib.Path({str(tmp_path)!r}, 'said-' + os.environ['RANK']).touch()"
    )
    two.run(f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {prints!r}])")
    go.touch()
    wait_until(lambda: all(each.exists() for each in said))
    for its in two.run("child.wait()").values():
        lost, *_, last = its.stdout.splitlines()
        assert lost == "(3,000,001 characters before this are lost)"
        assert last.endswith("the end")
