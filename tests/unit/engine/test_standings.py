"""Where ranks stand: what a rank tells of its frames, and one tree of all ranks."""

from __future__ import annotations

import os
import stat
import sys
import threading

import pytest
import torch
from processes import let_pass
from samples import EVIL

from rankbook.cellnames import file_of
from rankbook.display.standings import to_html, to_text
from rankbook.engine.looking import standing as engine_standing
from rankbook.engine.looking.locals import in_few_words, variables
from rankbook.engine.looking.standing import native, standing
from rankbook.models.frames import Frame, Standing
from rankbook.models.meshes import NamedMesh
from rankbook.sessions.reporting import masked_standings

CALL = Frame("In [4] line 2", "step()")
WAIT = Frame("distributed_c10d.py:9 in all_reduce", "work.wait()")


def reduce(rank):
    return Frame("In [3] line 5 in step", "dist.all_reduce(x)", {"x": f"int64 [1] = [{rank}]"})


def test_what_ranks_share_stands_once_and_what_differs_is_told_of_each():
    standings = {rank: Standing((CALL, reduce(rank // 2), WAIT)) for rank in range(4)}
    sleeps = Frame("In [3] line 4 in step", "time.sleep(9)", {"n": "3"})
    standings[3] = Standing((CALL, sleeps))
    standings[4] = Standing()
    assert to_text(standings).splitlines() == [
        "[0-3] In [4] line 2: step()",
        "  [0-2] In [3] line 5 in step: dist.all_reduce(x)",
        "        x: [0-1] int64 [1] = [0]  [2] int64 [1] = [1]",
        "    distributed_c10d.py:9 in all_reduce: work.wait()",
        "  [3] In [3] line 4 in step: time.sleep(9)",
        "        n: 3",
        "[4] no cell runs",
    ]


def test_ranks_are_named_by_the_dimension_that_means_exactly_them():
    mesh = NamedMesh(("dp", "tp"), (2, 2), (0, 1, 2, 3))
    standings = {rank: Standing((CALL, reduce(0)) if rank < 2 else ()) for rank in range(4)}
    text = to_text(standings, mesh)
    assert text.startswith("[dp=0] In [4] line 2")
    assert text.endswith("[dp=1] no cell runs")


def test_a_thousand_ranks_at_one_place_are_as_short_as_one():
    one = to_text({0: Standing((CALL, reduce(0), WAIT))})
    many = to_text({rank: Standing((CALL, reduce(0), WAIT)) for rank in range(1000)})
    assert len(many.splitlines()) == len(one.splitlines())


def test_native_frames_stand_below_and_their_absence_says_why():
    standings = {
        0: Standing((CALL,), ("epoll_wait (libc.so.6)", "wait (c10d.so)")),
        1: Standing((CALL,), no_native="py-spy is not installed there"),
    }
    assert to_text(standings).splitlines()[1:] == [
        "[0] native, the innermost first",
        "  epoll_wait (libc.so.6)",
        "  wait (c10d.so)",
        "Rank 1: no native frames, for py-spy is not installed there.",
    ]


def test_what_ranks_stand_in_cannot_be_markup():
    evil = Frame(EVIL, EVIL, {EVIL: EVIL})
    assert "<b" not in to_html({0: Standing((evil,), (EVIL,))})


# -- secrets ---------------------------------------------------------------------------------


def test_texts_under_the_name_of_a_secret_are_masked_and_tensors_are_not():
    variables = {
        "password": "'sesame'",
        "tokens": "int64 [2] = [1, 2]",
        "auth_tokens": "['a', 'b']",
        "note": "'use hf_abcdefghijklmnopqrstuv'",
        "n": "3",
    }
    frame = Frame("In [4] line 2", 'login(password="sesame")', variables)
    masked = masked_standings({1: Standing((frame,), ("f (lib.so)",), "why")})
    [shown] = masked[1].frames
    assert shown.variables == {
        "password": "<masked>",
        "tokens": "int64 [2] = [1, 2]",
        "auth_tokens": "<masked>",
        "note": "'use <masked>'",
        "n": "3",
    }
    assert "sesame" not in shown.code
    assert (masked[1].native, masked[1].no_native) == (("f (lib.so)",), "why")


# -- what a rank tells -----------------------------------------------------------------------


class Blocking:
    def __repr__(self):
        let_pass(60)

    __str__ = __iter__ = __len__ = __repr__


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (3, "3"),
        ("x" * 200, f"'{'x' * 79}…"),
        (None, "None"),
        (torch.tensor([1.5, 2.0]), "float32 [2] = [1.5, 2]"),
        (torch.tensor(3), "int64 [] = 3"),
        (torch.zeros(100, 3), "float32 [100, 3]"),
        (torch.zeros(2, device="meta"), "float32 [2] on meta"),
        (torch.nn.Parameter(torch.zeros(1)), "float32 [1] = [0]"),
        (torch.zeros(2).to_sparse(), "float32 [2]"),
        (torch.nn.Linear(3, 2), "Linear, 8 parameters"),
        ([1, 2], "[1, 2]"),
        ({"a": 1}, "{'a': 1}"),
        ([torch.zeros(1)] * 2, "list of 2 items (Tensor)"),
        ({"a": Blocking()}, "dict of 1 item (Blocking)"),
        (list(range(100)), "list of 100 items (int)"),
        (Blocking(), "Blocking"),
        (torch.float32, "torch.float32"),
        (torch.zeros(2, dtype=torch.float8_e4m3fn), "float8_e4m3fn [2] = [0, 0]"),
        (torch.zeros(2, dtype=torch.complex64), "complex64 [2] = [0j, 0j]"),
        (torch.zeros(0, 3), "float32 [0, 3] = []"),
        (torch.nn.LazyLinear(3), "LazyLinear"),
        (torch.nn.LazyLinear(3).weight, "UninitializedParameter"),
        pytest.param(10**5000, "int", id="an enormous integer"),
        (b"x" * 200, f"b'{'x' * 78}…"),
        ({"a": "x" * 200}, "dict of 1 item (str)"),
    ],
)
def test_a_value_is_reported_in_few_words_and_no_code_of_a_user_is_run(value, told):
    assert in_few_words(value) == told


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_tensor_without_a_shape_is_reported_by_its_class():
    assert in_few_words(torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])) == "Tensor"


def stand_in(source, name="In [4]", **names):
    """What is told of a thread that waits in a cell."""
    reached, go = threading.Event(), threading.Event()

    def wait():
        reached.set()
        go.wait(20)

    code = compile(source, file_of(name), "exec")
    namespace = {"wait": wait, "torch": torch, **names}
    thread = threading.Thread(target=lambda: exec(code, namespace))  # noqa: S102
    thread.start()
    assert reached.wait(20)
    try:
        return standing(sys._current_frames()[thread.ident])
    finally:
        go.set()
        thread.join()


def test_of_many_variables_those_are_counted_that_are_not_shown():
    """Functions, modules and names that begin with an underscore are no variables."""
    many = {f"x{number}": number for number in range(30)}
    hidden = {f"_hidden{number}": number for number in range(50)}
    code = "\n".join(f"{name} = {value}" for name, value in (hidden | many).items())
    found = []
    names = {"look": lambda: found.append(variables(sys._getframe(1)))}
    exec(f"import os\n{code}\nlook()", names)  # noqa: S102 - as a cell is run
    assert list(found[0].items())[-2:] == [("x23", "23"), ("…", "6 more")]


def test_frames_are_told_from_the_cell_inwards_with_a_users_variables():
    source = (
        "y = 2\nunused = 7\ndef f(n, _hidden=1):\n    x = torch.ones(1)\n    wait()\n\nf(y + 3)"
    )
    told = stand_in(source, late=1)
    places = [frame.place for frame in told.frames][:2]
    assert places == ["In [4] line 7", "In [4] line 5 in f"]
    assert told.frames[0].variables == {"y": "2", "unused": "7"}
    assert told.frames[1].variables == {"n": "5", "x": "float32 [1] = [1]"}


def test_only_the_innermost_frames_are_reported():
    told = stand_in("def f(n):\n    wait() if not n else f(n - 1)\n\nf(100)")
    assert len(told.frames) == 40
    assert "wait" in told.frames[-1].place


def test_a_rank_that_runs_no_cell_has_no_frames():
    assert standing(sys._getframe()) == Standing()


@pytest.fixture
def py_spy(tmp_path, monkeypatch):
    """Makes a program of that name, from a shell script."""

    def make(script):
        program = tmp_path / "py-spy"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(engine_standing.sys, "executable", str(tmp_path / "python"))
    return make


def test_the_native_frames_of_the_main_thread_are_reported(py_spy):
    main = threading.main_thread().native_id
    py_spy(
        f'test "$1 $2 $3 $4" = "dump --native --pid {os.getpid()}" || exit 3\n'
        'echo "Process 1: python"\necho "Thread 7 (idle)"\necho "    other (lib.so)"\n'
        f'echo "Thread {main} (idle): \\"MainThread\\""\n'
        "printf '    \\033[32mepoll_wait\\033[0m (libc.so.6)\\n'\n"
        f'echo "    {"x" * 300} (c10d.so)"\n'
        'echo "    wait (rankbook/calls/blocking.py:1)"\necho "    all_reduce (distributed.py:9)"\n'
        'echo "    run_code (IPython/core/interactiveshell.py:3)"\necho "    _start (python)"\n'
        'echo "Thread 9 (active)"\necho "    third (lib.so)"'
    )
    told, why = native()
    assert told == (
        "epoll_wait (libc.so.6)",
        f"{'x' * 100}… (c10d.so)",
        "all_reduce (distributed.py:9)",
    )
    assert why == ""


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (None, "py-spy is not installed there"),
        (
            "echo 'Error: Permission Denied: run as root' >&2; exit 1",
            "py-spy cannot read the process: Permission Denied: run as root",
        ),
        ("exit 1", "py-spy cannot read the process: no reason given"),
    ],
)
def test_where_there_are_no_native_frames_it_is_said_why(py_spy, script, why):
    if script:
        py_spy(script)
    assert native() == ((), why)


def test_py_spy_that_does_not_answer_is_given_up(py_spy, monkeypatch):
    monkeypatch.setattr(engine_standing, "_PATIENCE", 0.1)
    py_spy("exec sleep 20")
    told, why = native()
    assert told == ()
    assert why.startswith("py-spy does not answer")
