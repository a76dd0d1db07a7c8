"""Scripts on the ranks, as torchrun runs them: a process of their own in all but name."""

from __future__ import annotations

import re
import signal
import socket
import textwrap

import psutil
import pytest
from counts import SCRIPTS
from processes import commands, wait_until

import rankbook.api
from rankbook.errors import InputError

INIT = "import torch, torch.distributed as dist\ndist.init_process_group('gloo')\n"
REDUCE = "\ny = torch.ones(2)\ndist.all_reduce(y)\n"
DESTROY = "dist.destroy_process_group()\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a script into the folder of the notebook."""
    monkeypatch.chdir(tmp_path)

    def write(code, name="train.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(code))
        return name

    return write


@pytest.fixture(scope="module")
def four():
    """Beside the session of two ranks."""
    former, rankbook.api.current.session = rankbook.api.current.session, None
    session = rankbook.start("gloo", 4)
    rankbook.api.current.session = former
    yield session
    session.shutdown()


def said(result):
    """What every rank printed, which must be the same."""
    result.raise_for_error()
    [text] = {its.stdout for its in result.values()}
    return text.strip()


def value(session, code):
    result = session.run(code, timeout=60)
    result.raise_for_error()
    [text] = {its.result_repr for its in result.values()}
    return text


def works(session):
    """Whether the session's own group works, with the session's own names."""
    code = "z = torch.ones(1)\ndist.all_reduce(z)\n(z.item(), world_size == dist.get_world_size())"
    return value(session, code) == f"({float(session.world_size)}, True)"


def test_a_script_is_run_as_by_torchrun(two, write):
    write("""
        import argparse, os, sys
        import torch.distributed as dist
        parser = argparse.ArgumentParser()
        parser.add_argument("--epochs", type=int)
        args = parser.parse_args()
        assert not dist.is_initialized()
        assert dist.is_torchelastic_launched()
        dist.init_process_group("gloo")
        assert (dist.get_rank(), dist.get_world_size()) == (int(os.environ["RANK"]), 2)
        assert __name__ == "__main__" and sys.modules["__main__"].args is args
        assert sys.path[0] == os.path.dirname(__file__)
        print(args.epochs, sys.argv, os.path.isabs(__file__), os.environ["WORLD_SIZE"])
        dist.destroy_process_group()
    """)
    result = two.run_script("train.py", ["--epochs", 3])
    assert said(result) == "3 ['train.py', '--epochs', '3'] True 2"
    assert [its.exit_code for its in result.values()] == [0, 0]
    assert works(two)


NAMES = """
RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE ROLE_RANK ROLE_WORLD_SIZE
ROLE_NAME MASTER_ADDR MASTER_PORT TORCHELASTIC_RESTART_COUNT TORCHELASTIC_MAX_RESTARTS
TORCHELASTIC_RUN_ID TORCHELASTIC_USE_AGENT_STORE OMP_NUM_THREADS
"""


def test_every_variable_of_torchrun_is_there(two, write):
    write(f"import os\nprint([name for name in {NAMES!r}.split() if not os.environ.get(name)])")
    assert said(two.run_script("train.py")) == "[]"


def test_changes_of_a_script_to_its_process_are_undone_at_its_end(two, write):
    write("""
        import builtins, gc, logging, multiprocessing, os, signal, sys, threading, warnings
        import torch
        torch.autograd.set_detect_anomaly(True)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = True
        multiprocessing.set_start_method("forkserver")  # which a process can do once
        builtins.print, builtins.mine = (lambda *_, **__: None), 1
        os.environ.update(RANK="7", MINE="1")
        os.environ.pop("HOME", None)
        os.chdir("/")
        sys.path.insert(0, "/nowhere")
        sys.argv[:] = ["?"]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        logging.basicConfig(level="DEBUG")
        warnings.simplefilter("error")
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.manual_seed(1)
        sys.stdout = open(os.devnull, "w")
        torch.set_printoptions(precision=2)
        torch.set_warn_always(True)
        threading.excepthook = sys.unraisablehook = print
        warnings.formatwarning = lambda *_: ""
        gc.set_threshold(5, 5, 5)
        sys.setswitchinterval(1)
        torch.set_default_device("meta")
        torch.overrides.TorchFunctionMode().__enter__()  # every function of torch raises
        rank = device = dist_info = None
    """)
    state = """
import builtins, gc, logging, multiprocessing, os, signal, sys, threading, warnings
sorted(os.environ.items()), os.getcwd(), sys.path, sys.argv, [
    repr(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
], signal.pthread_sigmask(signal.SIG_BLOCK, ()), warnings.filters[0], \\
len(logging.root.handlers), logging.root.level, \\
torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state().sum().item(), \\
sys.stdout, rank, device, dist_info, torch.is_anomaly_enabled(), print, \\
hasattr(builtins, "mine"), \\
torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark, \\
multiprocessing.get_start_method(allow_none=True), torch.tensor(1 / 3), \\
torch.is_warn_always_enabled(), threading.excepthook, sys.unraisablehook, \\
warnings.formatwarning, gc.get_threshold(), sys.getswitchinterval()
"""
    before = {rank: its.result_repr for rank, its in two.run(state).items()}
    two.run_script("train.py").raise_for_error()
    assert {rank: its.result_repr for rank, its in two.run(state).items()} == before


def test_the_loggers_of_a_script_write_each_line_once_however_often_it_runs(two, write):
    write("""
        import logging, sys
        log = logging.getLogger("train")
        log.addHandler(logging.StreamHandler(sys.stdout))
        log.warning("once")
    """)
    for _ in range(2):
        result = two.run_script("train.py")
        assert {its.stdout for its in result.values()} == {"once\n"}


def test_objects_with_the_sessions_group_work_after_a_script(two, write):
    write(INIT + REDUCE + DESTROY)
    two.run(
        "from torch.nn.parallel import DistributedDataParallel as DDP\n"
        "ddp = DDP(torch.nn.Linear(2, 2))\nsub = dist.new_group([0, 1])\n"
        "from torch.distributed.device_mesh import init_device_mesh\n"
        "mesh = init_device_mesh('cpu', (2,))\n"
    ).raise_for_error()
    generation = two.generation
    for _ in range(3):
        two.run_script("train.py").raise_for_error()
        code = (
            "ddp(torch.ones(1, 2)).sum().backward()\nw = torch.ones(1)\n"
            "dist.all_reduce(w, group=sub)\ndist.all_reduce(w, group=mesh.get_group())\nw.item()"
        )
        assert value(two, code) == "4.0"
    assert two.generation == generation


def test_the_names_of_a_script_stay_on_the_ranks(two, write):
    write("answer = 42\nclass Net: pass\nnet = Net()\nrank = 99\n")
    two.run_script("train.py").raise_for_error()
    code = "import pickle\n(answer, type(pickle.loads(pickle.dumps(net))) is Net, rank < 2)"
    assert value(two, code) == "(42, True, True)"


def test_with_clean_no_names_threads_and_processes_stay(two, write):
    write("""
        import subprocess, threading, time
        cleaned = 1
        threading.Thread(target=lambda: [time.sleep(0.05) for _ in range(10_000)]).start()
        child = subprocess.Popen(["sleep", "600"])
    """)
    result = two.run_script("train.py")
    assert {its.left for its in result.values()} == {"1 thread (<lambda>) and 1 process"}
    assert value(two, "cleaned") == "1"
    value(two, "del cleaned\nchild.kill()\nchild.wait()")
    result = two.run_script("train.py", clean=True)
    assert {its.left for its in result.values()} == {""}
    code = "import psutil\n'cleaned' in globals(), len(psutil.Process().children())"
    assert value(two, code) == "(False, 0)"


def test_a_thread_that_waits_in_a_queue_ends_or_is_named(two, write):
    write("""
        import queue, threading
        def load(): queue.Queue().get()
        def stay(): queue.SimpleQueue().get()
        for function in (load, stay):
            threading.Thread(target=function, daemon=True).start()
    """)
    result = two.run_script("train.py")
    assert {its.left for its in result.values()} == {"2 threads (load, stay)"}
    result = two.run_script("train.py", clean=True)
    assert {its.left for its in result.values()} == {"1 thread (stay)"}
    running = "import threading\nsorted(one.name.split()[-1] for one in threading.enumerate())"
    assert "(load)" not in value(two, running)
    two.restart_ranks([0, 1])


def test_a_module_is_run_as_by_python_m(two, write):
    write("", "package/__init__.py")
    write(
        "from package.inner import say\nimport sys\nsay(__name__, __package__, sys.argv[1:])",
        "package/train.py",
    )
    write("say = print", "package/inner.py")
    assert said(two.run_script("package.train", ["a b"], module=True)) == (
        "__main__ package ['a b']"
    )
    result = two.run_script("package.nothing", module=True)
    assert {its.error.ename for its in result.values()} == {"ModuleNotFoundError"}


def test_files_beside_a_script_are_read_again(two, write):
    write("from helper import VALUE\nprint(VALUE)")
    for text in ("one", "three"):  # of another size: Python compares that, and seconds
        write(f"VALUE = {text!r}", "helper.py")
        assert said(two.run_script("train.py")) == text


def test_a_script_on_some_ranks_has_their_number_as_world_size(four, write):
    write(f"""{INIT}{REDUCE}
import os
print(os.environ["RANK"], dist.get_rank(), dist.get_world_size(), y.tolist())
{DESTROY}""")
    result = four.run_script("train.py", ranks="1,3")
    result.raise_for_error()
    assert {rank: its.stdout for rank, its in result.items()} == {
        1: "0 0 2 [2.0, 2.0]\n",
        3: "1 1 2 [2.0, 2.0]\n",
    }
    assert works(four)
    assert said(four.run_script("train.py", ranks=2)) == "0 0 1 [1.0, 1.0]"


def test_a_hang_in_a_script_is_named_by_its_line_and_ends(two, write):
    write(INIT + "if dist.get_rank() == 0:\n    dist.all_reduce(torch.ones(1))\n")
    result = two.run_script("train.py", timeout=60)
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("missing_rank", (1,))
    assert "train.py:4" in result.diagnosis.summary
    assert result[0].exit_code == -signal.SIGINT
    assert works(two)


def test_a_hang_of_some_ranks_is_reported_by_the_ranks_of_the_session(four, write):
    write(INIT + "if dist.get_rank() == 0:\n    dist.all_reduce(torch.ones(1))\n")
    result = four.run_script("train.py", ranks="1,3", timeout=60)
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("missing_rank", (3,))
    assert works(four)


COMPUTES_AT_EXIT = "import atexit\natexit.register(torch.ones(1500, 1500).matrix_power, 255)\n"
"""In torch, for a second or more."""


@pytest.mark.parametrize("before", ["", COMPUTES_AT_EXIT], ids=["at once", "slowly"])
def test_a_rank_that_has_left_the_group_is_named_by_the_one_that_waits_for_it(two, write, before):
    write(f"{INIT}if dist.get_rank() == 0:\n    dist.all_reduce(torch.ones(1))\n{before}{DESTROY}")
    result = two.run_script("train.py", timeout=60)
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("missing_rank", (1,))
    assert "train.py:4" in result.diagnosis.summary
    assert result.diagnosis.summary.endswith("its script had ended.")
    assert works(two)


def test_a_rank_that_does_not_initialise_is_named(four, write):
    write(
        "import os, time, torch.distributed as dist\n"
        "if os.environ['RANK'] == '1': dist.init_process_group('gloo')\n"
    )
    result = four.run_script("train.py", ranks="1,3", timeout=60)
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("missing_rank", (1,))
    assert "init_process_group" in result.diagnosis.summary
    assert works(four)


def test_an_exception_in_a_script_beside_ranks_that_wait_is_the_verdict(two, write):
    write(INIT + "if dist.get_rank(): raise ValueError('no')\ndist.barrier()\n")
    result = two.run_script("train.py", timeout=60)
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("raised", (1,))
    assert "ValueError" in result.diagnosis.summary
    assert result[1].exit_code == 1
    assert "train.py" in "".join(result[1].error.traceback)
    assert works(two)


@pytest.mark.parametrize(
    ("code", "exit_code", "error"),
    [
        ("import sys; sys.exit()", 0, None),
        ("import sys; sys.exit(0)", 0, None),
        ("import sys; sys.exit(3)", 3, "SystemExit"),
        ("import sys; sys.exit(-1)", 255, "SystemExit"),
        ("import sys; sys.exit('reason')", 1, "SystemExit"),
        ("raise ValueError", 1, "ValueError"),
        (
            "import asyncio, sys\nasync def main(): sys.exit(4)\nasyncio.run(main())",
            4,
            "SystemExit",
        ),
    ],
)
def test_the_exit_code_of_a_script_is_in_its_result(two, write, code, exit_code, error):
    result = two.run_script(write(code))
    assert {its.exit_code for its in result.values()} == {exit_code}
    assert {its.error and its.error.ename for its in result.values()} == {error}
    assert works(two)


def test_a_script_that_is_not_there_or_no_python_is_refused(two, write):
    with pytest.raises(InputError, match=r"cannot open 'nothing\.py'"):
        two.run_script("nothing.py")
    write("x =\n")
    with pytest.raises(InputError, match=r"(?s)train.py.*invalid syntax.*not run on any rank"):
        two.run_script("train.py")
    assert works(two)


@pytest.mark.parametrize(
    "code",
    [
        "if not os.fork(): sys.exit(5)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
        "if not os.fork(): os._exit(5)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
        "pid = os.fork()\nif pid: print(5 if os.wait()[1] == 0 else 0)",
    ],
    ids=["exits", "ends at once", "runs to its end"],
)
def test_a_child_that_a_script_forks_does_not_go_on_as_the_rank(two, write, code):
    result = two.run_script(write(f"import os, sys\n{code}"), timeout=30)
    assert {its.stdout for its in result.values()} == {"5\n"}
    assert works(two)


@pytest.mark.parametrize(
    "code",
    [
        "sys.stdout.reconfigure(encoding='utf-8', line_buffering=True)\nprint('né')",
        "sys.stdout.buffer.write('né\\n'.encode())\nsys.stdout.flush()",
        "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, 'utf-8')\nprint('né', flush=True)",
        "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), line_buffering=True)\nprint('né')",
        "sys.stdout = codecs.getwriter('utf-8')(sys.stdout.buffer)\nprint('né')",
        "sys.stdout = os.fdopen(sys.stdout.fileno(), 'w', 1, closefd=False)\nprint('né')",
        (
            "def hook(kind, value, trace): print(value)\nsys.excepthook = hook\n"
            "torch.distributed.init_process_group('gloo')\nraise ValueError('né')"
        ),
        "print('né')\ntorch.distributed.init_process_group('gloo')\nraise ValueError",
    ],
    ids=["reconfigure", "bytes", "wrapped", "detached", "codec", "descriptor", "hook", "no hook"],
)
def test_output_of_a_script_through_its_own_stream_or_hook_is_shown(two, write, code):
    result = two.run_script(write(f"import codecs, io, os, sys, torch\n{code}"))
    assert {one.stdout for one in result.values()} == {"né\n"}
    assert {one.stderr for one in result.values()} == {""}  # no traceback but the rank's error
    assert said(two.run("print(2)")) == "2"
    assert works(two)


def test_the_workers_of_an_edited_script_run_what_stands_in_its_files_now(two, write):
    write("""
        import multiprocessing, helper
        def work(numbers): numbers.put(helper.number)
        if __name__ == "__main__":
            context = multiprocessing.get_context("forkserver")
            numbers = context.SimpleQueue()
            worker = context.Process(target=work, args=(numbers,))
            worker.start()
            print(numbers.get())
            worker.join()
    """)
    processes = psutil.Process().children(recursive=True)
    for number in (1, 22):
        write(f"number = {number}", "helper.py")
        result = two.run_script("train.py", timeout=60)
        assert said(result) == str(number)
        assert {one.left for one in result.values()} == {""}
    started = set(psutil.Process().children(recursive=True)) - set(processes)
    assert all("resource_tracker" in command for command in commands(started))


def test_processes_of_multiprocessing_end_with_the_script_or_are_awaited(two, write):
    write("""
        import multiprocessing, time
        from concurrent.futures import ProcessPoolExecutor
        context = multiprocessing.get_context("fork")
        def count():
            time.sleep(0.2)
            print("counted", flush=True)
        daemon = context.Process(target=time.sleep, args=(600,), daemon=True)
        daemon.start()
        pool = context.Pool(1)
        executor = ProcessPoolExecutor(1, context)
        print(pool.apply(len, ["12"]), executor.submit(len, "123").result())
        manager = context.Manager()
        other = context.Process(target=count)
        other.start()
    """)
    result = two.run_script("train.py", timeout=60)
    assert said(result) == "2 3\ncounted"
    assert {one.left for one in result.values()} == {""}
    assert value(two, "(daemon.exitcode, other.exitcode)") == "(-15, 0)"


def test_standard_streams_and_limits_are_as_before_after_a_script(two, write):
    write("""
        import os, resource
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.close(2)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, hard))
    """)
    limit = "import os, resource\nresource.getrlimit(resource.RLIMIT_NOFILE)"
    before = value(two, limit)
    two.run_script("train.py").raise_for_error()
    assert value(two, limit) == before
    assert said(two.run("os.write(1, b'one ') and os.write(2, b'two') and None")) == "one two"


def test_a_script_that_reads_stdin_is_told(two, write):
    result = two.run_script(write("input('name? ')"))
    assert result.ended.startswith("A prompt was reached (")
    assert said(two.run_script(write("import sys\nprint(repr(sys.stdin.read()))"))) == "''"


def test_a_script_may_leave_a_group_of_another_size(two, write):
    write(
        "import os, torch.distributed as dist\n"
        "dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)\n"
        "print(dist.get_world_size())\n"
    )
    for _ in range(2):
        assert said(two.run_script("train.py")) == "1"
        assert works(two)


def test_a_thread_that_prints_for_ever_does_not_disturb_what_follows(two, write):
    write("""
        import threading, time
        def talk():
            while True:
                print("and on")
                time.sleep(0.01)
        threading.Thread(target=talk, daemon=True).start()
    """)
    two.run_script("train.py", clean=True).raise_for_error()
    assert works(two)
    assert said(two.run("import time; time.sleep(0.1)")) == ""


def test_what_a_script_registers_is_called_at_its_end(two, write):
    write(
        f"import atexit\n{INIT}atexit.register(dist.destroy_process_group)\n"
        "atexit.register(print, 'bye')\nprint('end')\n"
    )
    for _ in range(2):
        assert said(two.run_script("train.py")) == "end\nbye"
    assert works(two)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import os; os._exit(5)", 5),
        ("import os, signal; os.killpg(os.getpgrp(), signal.SIGTERM)", -signal.SIGTERM),
        ("import os, signal; os.kill(0, signal.SIGKILL)", -signal.SIGKILL),
    ],
    ids=["exits at once", "ends its process group", "kills its process group"],
)
def test_a_script_that_ends_its_process_ends_that_rank_only(two, write, code, status):
    write(f"import os\nif os.environ['RANK'] == '1':\n    print('né', end='')\n    {code}\n")
    two.run("kept = 1").raise_for_error()
    result = two.run_script("train.py", timeout=30)
    assert result[0].exit_code == 0
    assert (result[1].exit_code, result[1].stdout) == (status, "né")
    two.restart_ranks()
    assert two.run("kept", ranks=0)[0].result_repr == "1"
    assert works(two)


def test_a_port_that_another_program_has_taken_does_no_harm(two, write):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code = f"{INIT}{REDUCE}print(y.tolist())\n{DESTROY}"
        write(f"import os\nos.environ['MASTER_PORT'] = {port!r}\n{code}")
        assert said(two.run_script("train.py", timeout=60)) == "[2.0, 2.0]"


def test_two_sessions_on_one_host_run_scripts_at_the_same_time(two, write):
    write(INIT + REDUCE + "print(y.tolist())\n" + DESTROY)
    former = rankbook.api.current.session
    rankbook.api.current.session = None
    other = rankbook.start("gloo", 2)
    try:
        for _ in range(3):
            thread = other.in_background(lambda: said(other.run_script("train.py")))
            assert said(two.run_script("train.py")) == "[2.0, 2.0]"
            thread.join()
        assert works(other)
    finally:
        other.shutdown()
        rankbook.api.current.session = former


@pytest.mark.counted
def test_memory_and_handles_do_not_grow_over_many_scripts(two, write):
    last = "import math, weakref\nmath.last = weakref.ref(dist.group.WORLD)\n"
    write(INIT + REDUCE + last + "big = torch.ones(1000, 1000)\n" + DESTROY)
    mine = [look.pid for look in two.states()]

    def sizes():  # when the last group, which is kept for a moment, has ended
        wait_until(
            lambda: all(
                one.result_repr == "True"
                for one in two.run("import math\nmath.last() is None").values()
            )
        )
        two.run("import ctypes, gc; gc.collect(); ctypes.CDLL(None).malloc_trim(0)")
        seen = [psutil.Process(pid) for pid in mine]
        return [(p.num_fds(), p.num_threads(), p.memory_info().rss) for p in seen]

    for _ in range(3):
        two.run_script("train.py").raise_for_error()
    before = sizes()
    for _ in range(SCRIPTS):
        two.run_script("train.py").raise_for_error()
    for (fds, threads, rss), (fds_now, threads_now, rss_now) in zip(before, sizes(), strict=True):
        assert fds_now <= fds + 2
        assert threads_now <= threads + 1
        assert rss_now < rss + 10e6
    assert works(two)


def test_the_line_of_a_script_and_of_the_file_that_it_calls_are_both_named(two, write):
    write(
        "import torch\ndef sync():\n    torch.distributed.all_reduce(torch.ones(1))\n",
        "helper.py",
    )
    write(f"import helper\n{INIT}if dist.get_rank() == 0:\n    helper.sync()\n")
    summary = two.run_script("train.py", timeout=60).diagnosis.summary
    assert re.search(r"helper\.py:3 in sync, called from train\.py:5", summary)
