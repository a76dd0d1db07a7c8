"""Cells on real engines: what they print, return and raise, and how they are interrupted."""

from __future__ import annotations

import re
import signal
import sys
import threading
import time

import pytest
from processes import let_pass, wait_until, waits_for

from rankbook.display.text import plain
from rankbook.errors import InputError, RankError, SessionError, StuckError
from rankbook.models.events import Display


def stdout(result):
    return [result[rank].stdout for rank in result]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("!echo from the shell", "from the shell"),
        ("out = !echo listed\nprint(list(out))", "['listed']"),
        ("%timeit -n1 -r1 pass", "1 loop"),
        ("%%timeit -n1 -r1\npass", "1 loop"),
        ("import asyncio\nawait asyncio.sleep(0.01)\nprint('awaited')", "awaited"),
        ("async def f():\n    return 'value'\nprint(await f())", "value"),
        ("print('a', 'b', sep='-', end='!')", "a-b!"),
        ("print('grüße, 世界 🎉')", "grüße, 世界 🎉"),
    ],
)
def test_ipython_syntax_runs_on_the_ranks(two, code, expected):
    result = two.run(code)
    assert result.ok, result[0].error
    assert all(expected in text for text in stdout(result))


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nprint('e', file=sys.stderr)",
        "import logging\nlogging.getLogger('t').warning('e')",
        "import warnings\nwarnings.warn('e')",
    ],
)
def test_stderr_logging_and_warnings_arrive(two, code):
    for _ in range(2):  # handlers made in one cell must be heard in the next
        result = two.run(code + f"  # {time.time_ns()}")
        assert all("e" in result[rank].stderr for rank in (0, 1))


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("3 * 7", "21"),
        ("3 * 7;", None),
        ("x = 21", None),
        ("None", None),
        ("!echo :-(\n21", "21"),
        ("!echo :-(\n21;  # it's hidden", None),
        ("import asyncio\nawait asyncio.sleep(0)\n'v';", None),
        ("import asyncio\nawait asyncio.sleep(0)\n'v'", "'v'"),
    ],
)
def test_the_last_value_is_shown_unless_a_semicolon_hides_it(two, code, value):
    assert [two.run(code)[rank].result_repr for rank in (0, 1)] == [value, value]


def test_an_error_on_one_rank_leaves_the_others_alone(two):
    result = two.run("if rank == 1:\n    1 / 0\nprint('went on')")
    assert not result.ok
    assert result[0].ok
    assert result[0].stdout == "went on\n"
    assert (result[1].error.ename, result[1].error.evalue) == (
        "ZeroDivisionError",
        "division by zero",
    )
    assert "1" in "".join(result[1].error.traceback)


def test_a_traceback_names_the_cell_and_its_line(two):
    result = two.run("a = 1\nb = 0\na / b", number=17)
    text = "".join(result[0].error.traceback)
    assert "17" in text
    assert "rankbook" not in text


def test_context_variables_hold_in_the_next_cell(two):
    two.run("import contextvars, decimal\nmine = contextvars.ContextVar('mine', default=0)\n")
    two.run("mine.set(1)\ndecimal.getcontext().prec = 4")
    two.run("import asyncio\nawait asyncio.sleep(0)\nmine.set(mine.get() + 1)")
    result = two.run("mine.get(), str(decimal.Decimal(1) / 3)")
    two.run("decimal.getcontext().prec = 28").raise_for_error()
    assert {its.result_repr for its in result.values()} == {"(2, '0.3333')"}


def test_a_context_manager_is_left_in_a_later_cell(two):
    """The tokens of context variables are those of one context."""
    two.run(
        "import contextvars, contextlib\n"
        "level = contextvars.ContextVar('level', default=0)\n"
        "@contextlib.contextmanager\n"
        "def raised():\n"
        "    token = level.set(1)\n"
        "    yield\n"
        "    level.reset(token)\n"
        "it = raised()\n"
        "it.__enter__()"
    ).raise_for_error()
    assert {its.result_repr for its in two.run("level.get()").values()} == {"1"}
    two.run("it.__exit__(None, None, None)").raise_for_error()
    assert {its.result_repr for its in two.run("level.get()").values()} == {"0"}


def test_all_values_of_a_cell_are_shown_where_the_person_wants_that(two):
    setting = "get_ipython().ast_node_interactivity"
    two.run(f"{setting} = 'all'").raise_for_error()
    try:
        result = two.run("3\nprint('between')\n4")
    finally:
        two.run(f"{setting} = 'last_expr'").raise_for_error()
    for its in result.values():
        shown = [display.data["text/plain"] for display in its.displays]
        assert (shown, its.stdout) == (["3", "4"], "between\n")
    assert {its.result_repr for its in two.run("3\n4").values()} == {"4"}


def test_an_earlier_traceback_can_be_shown_again_and_fails_no_cell(two):
    two.run("def fail(): return {}['key']\nfail()")
    result = two.run("%tb\nprint('on')")
    result.raise_for_error()
    for its in result.values():
        assert ": 'key'\n" in its.stdout
        assert its.stdout.endswith("on\n")


def test_what_goes_past_python_is_shown_where_it_was_written(two):
    code = """
import os, subprocess
for turn in range(20):
    print("a")
    subprocess.run(["echo", "b"])
    print("c")
    os.system("echo d; echo e >&2")
    print("f")
"""
    for one in two.run(code).values():
        assert one.stdout == "a\nb\nc\nd\ne\nf\n" * 20


def test_a_signal_handler_may_print_while_the_cell_prints(two):
    code = """
import os, signal
before = signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
for turn in range(1000):
    os.write(1, b"x\\n")
    print("y")
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGALRM, before)
"""
    result = two.run(code, timeout=20)
    assert result.ok
    for one in result.values():
        assert "alarm" in one.stdout
        assert (one.stdout.count("x"), one.stdout.count("y")) == (1000, 1000)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no groups of exceptions")
def test_an_exception_group_is_shown_with_what_is_in_it(two):
    code = """
import asyncio
async def fail(): return {}["no such key"]
async def together():
    async with asyncio.TaskGroup() as group: group.create_task(fail())
await together()
"""
    result = two.run(code)
    for one in result.values():
        assert one.error.ename == "ExceptionGroup"
        text = "\n".join(one.error.traceback)
        assert "KeyError: 'no such key'" in text
        assert "in fail" in text
        assert 'File "cell ' in text
        assert "IPython" not in text
        assert one.stderr == ""
    with pytest.raises(RankError, match="on ranks 0-1"):  # once, as it is the same on both
        result.raise_for_error()
    # A debugger looks back at the last exception.
    assert two.run("import sys\ntype(sys.last_value).__name__")[0].result_repr == "'ExceptionGroup'"


@pytest.mark.parametrize(
    "code", ["import sys\nsys.exit(3)", "exit()", "quit()", "raise SystemExit(3)"]
)
def test_exit_raises_an_error_and_the_engine_lives(two, code):
    before = [state.pid for state in two.states()]
    result = two.run(code)
    assert [result[rank].error.ename for rank in (0, 1)] == ["SystemExit"] * 2
    assert "rankbook" not in "".join(result[0].error.traceback)
    assert result[0].stderr == ""
    assert two.run("1").ok
    assert [state.pid for state in two.states()] == before


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%nonsense", "Line magic function `%nonsense` not found."),
        (
            "%dist_status",
            "%dist_status is a magic of the notebook: run it in a cell without %%dist and %%rank.",
        ),
        (
            "%%rank 0\n1",
            "%%rank is a magic of the notebook: run it in a cell without %%dist and %%rank.",
        ),
    ],
)
def test_a_magic_that_a_rank_does_not_have_is_one_line(two, code, said):
    result = two.run(code)
    assert "\n".join(map(plain, result.traceback_lines())) == f"[0-1] UsageError: {said}"
    assert [result[rank].stderr for rank in result] == ["", ""]


@pytest.mark.parametrize("code", ["breakpoint()", "input()"])
def test_a_prompt_ends_a_cell_of_a_program_which_nobody_can_answer(two, code):
    result = two.run(code, timeout=20)
    assert not result.ok
    assert re.fullmatch(
        r"A prompt was reached \([^)]*(\(\))?[^)]*\), and nobody can be asked.*\.", result.ended
    )


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess\nsubprocess.run(['echo', 'past Python'])",
        "import os\nos.system('echo past Python')",
        "import os\nos.write(2, b'past Python\\n')",
    ],
)
def test_output_written_past_python_is_shown(two, code):
    result = two.run(code + ";")
    assert [text.splitlines() for text in stdout(result)] == [["past Python"]] * 2
    assert stdout(two.run("1")) == ["", ""]


def test_output_written_past_python_is_shown_while_the_cell_runs(two, tmp_path):
    seen, over = [], tmp_path / "over"

    class Output:
        def event(self, rank, body):
            seen.append((rank, body.text))
            if len(seen) == 2:
                over.touch()

        def pause(self, running):
            return 1.0

        def finish(self):
            pass

    code = f"import os\nos.write(1, b'now\\n')\n{waits_for(over)}"
    assert two.run(code, output=Output(), timeout=20).ok
    assert sorted(seen) == [(0, "now\n"), (1, "now\n")]


def test_an_exception_whose_message_cannot_be_shown_is_still_an_error(two):
    code = "class Bad(Exception):\n    def __str__(self):\n        1 / 0\nraise Bad"
    assert two.run(code)[0].error.ename == "Bad"


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.sleep(60)",
        "while True: pass",
        "import asyncio\nawait asyncio.sleep(60)",
        "import subprocess\nsubprocess.run(['sleep', '60'])",
    ],
)
def test_a_timeout_interrupts_whatever_python_does(two, code):
    begin = time.monotonic()
    result = two.run(code, timeout=0.5)
    assert time.monotonic() - begin < 8
    assert [result[rank].error.ename for rank in (0, 1)] == ["KeyboardInterrupt"] * 2
    assert two.run("'next'")[0].result_repr == "'next'"


def test_a_timeout_ends_a_shell_command(two):
    begin = time.monotonic()
    # As in IPython, the command gets the interrupt and the cell goes on after it.
    result = two.run("!sleep 60\nprint('went on')", timeout=2)
    assert time.monotonic() - begin < 8
    assert all("went on" in text for text in stdout(result))


def test_interrupt_from_another_thread_ends_the_cell(two):
    results = []
    thread = threading.Thread(target=lambda: results.append(two.run("import time\ntime.sleep(60)")))
    thread.start()
    wait_until(lambda: all(state.state == "running" for state in two.states()))
    assert two.interrupt()
    thread.join(10)
    assert [results[0][rank].error.ename for rank in (0, 1)] == ["KeyboardInterrupt"] * 2


def test_interrupt_when_nothing_runs_does_nothing(two):
    assert not two.interrupt()
    assert two.run("1").ok


def test_states_tell_the_line_of_a_running_cell_and_its_collective(two, tmp_path):
    sign = tmp_path / "sign"
    code = (
        "import os, time\nif rank == 0:\n    dist.barrier()\n"
        f"else:\n    while not os.path.exists({str(sign)!r}): time.sleep(0.01)\n    dist.barrier()"
    )
    thread = two.in_background(lambda: two.run(code, number=5))
    wait_until(lambda: [s.state for s in two.states()] == ["waiting", "running"])
    waiting, computing = two.states()
    assert waiting.waiting.op == "barrier"
    assert re.fullmatch(r"In \[5\] line 3: dist.barrier\(\)", waiting.line)
    assert computing.waiting is None
    assert computing.line.startswith("In [5] line 5: while not os.path.exists(")
    assert waiting.cell == computing.cell == 5
    assert any("dist.barrier()" in line for line in two.stacks()[0])
    sign.touch()
    thread.join(20)
    assert [s.state for s in two.states()] == ["idle", "idle"]


def test_a_busy_session_refuses_a_second_cell_in_one_line(two, tmp_path):
    over = tmp_path / "over"
    thread = two.in_background(lambda: two.run(waits_for(over)))
    for action in (lambda: two.run("1"), two.reset, lambda: two.pull("x"), lambda: two.push(x=1)):
        with pytest.raises(SessionError, match="running a cell on ranks 0-1: wait, or"):
            action()
    over.touch()
    thread.join(20)
    assert two.run("1").ok


def test_output_of_many_lines_is_complete_and_in_order(two):
    result = two.run("for i in range(10_000): print(rank, i, 'x' * 90)")
    for rank in (0, 1):
        assert result[rank].stdout.splitlines() == [f"{rank} {i} {'x' * 90}" for i in range(10_000)]


def test_a_long_line_and_much_stderr_do_not_block(two):
    result = two.run("import sys\nprint('y' * 1_000_000)\nsys.stderr.write('e' * 400_000)\nNone")
    assert [len(result[rank].stdout) for rank in (0, 1)] == [1_000_001] * 2
    assert [len(result[rank].stderr) for rank in (0, 1)] == [400_000] * 2


def test_values_that_cannot_be_sent_are_refused_in_one_line(two):
    two.run("only = 1", 1)
    with pytest.raises(InputError, match="'only' exists only on rank 1; use -r 1"):
        two.pull("only")
    with pytest.raises(InputError, match="'nowhere' exists on none of ranks 0-1"):
        two.pull("nowhere")
    two.run("import threading\nlock = threading.Lock()")
    with pytest.raises(InputError, match=r"'lock' .* does not pickle"):
        two.pull("lock")
    with pytest.raises(InputError, match=r"'bad' .* does not pickle"):
        two.push(good=1, bad=threading.Lock())
    assert two.run("'good' in globals()")[0].result_repr == "False"


@pytest.mark.parametrize("take", ["pull", "diff"])
def test_ctrl_c_ends_what_ranks_do_for_a_value(two, tmp_path, take):
    two.run(f"""
import pathlib, time
class Endless:
    def __reduce__(self):
        pathlib.Path({str(tmp_path)!r}, str(rank)).touch()
        while True:
            time.sleep(0.01)
    def value(self):
        self.__reduce__()
endless = Endless()""").raise_for_error()
    main = threading.main_thread()

    def press():
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        signal.pthread_kill(main.ident, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        two.pull("endless") if take == "pull" else two.diff("endless.value()")
    thread.join()
    assert {state.state for state in two.states()} == {"idle"}
    assert two.run("dist.barrier()").ok


def test_widgets_figures_and_html_arrive_as_displays(two):
    seen = []

    class Output:
        def event(self, rank, body):
            seen.append((rank, body))

        def pause(self, running):
            return 1.0

        def finish(self):
            pass

    code = "from IPython.display import HTML, display\ndisplay(HTML('<b>bold</b>'))"
    two.run(code, 1, output=Output())
    [(rank, shown)] = seen
    assert isinstance(shown, Display)
    assert (rank, shown.data["text/html"], shown.update) == (1, "<b>bold</b>", False)


def test_a_timeout_frees_a_collective_and_shows_the_first_cause_in_front(two):
    result = two.run("if rank == 1:\n    1 / 0\ndist.barrier()", timeout=2, number=9)
    with pytest.raises(RankError) as caught:
        result.raise_for_error()
    assert "\n" not in str(caught.value)
    assert result[0].error.ename == "KeyboardInterrupt"
    assert result[1].error.ename == "ZeroDivisionError"
    # Of a rank that was freed the user's line is shown, and not what torch made of it.
    interrupted = plain("\n".join(result[0].error.traceback))
    assert interrupted.endswith("\n    dist.barrier()\nKeyboardInterrupt")
    assert "distributed_c10d" not in interrupted
    shown = plain("\n".join(caught.value._render_traceback_()))
    assert shown.startswith("[1] ---")
    assert two.run("x = torch.ones(1)\ndist.all_reduce(x)").ok


def test_text_that_is_not_unicode_is_shown(two):
    result = two.run("print('before')\nprint('half \\ud83d')\nprint('after')\n7")
    assert result[0].stdout == "before\nhalf \\ud83d\nafter\n"
    assert result[0].result_repr == "7"
    result = two.run("raise ValueError('half \\ud83d')", timeout=20)
    assert (result[0].error.ename, result[0].error.evalue) == ("ValueError", "half \\ud83d")
    assert two.states()[0].last_error == "ValueError: half \\ud83d"
    assert two.run("1").ok


def test_a_display_that_is_not_json_does_not_end_the_cell(two):
    code = (
        "from IPython.display import display\n"
        "display({'application/x': object(), 'text/plain': 'shown'}, raw=True)\n6"
    )
    assert two.run(code)[0].result_repr == "6"


def test_a_cell_that_was_interrupted_before_it_began_does_not_run_later(two, tmp_path):
    """It waited behind one that did not let go, and was interrupted."""
    stubborn = (
        "import time\ntimes = 0\nwhile True:\n    try: time.sleep(100)\n"
        "    except KeyboardInterrupt:\n"
        "        times += 1\n"
        "        if times > 6: break"
    )
    with pytest.raises(StuckError):
        two.run(stubborn, timeout=1)
    ghost = tmp_path / "ghost"
    result = two.run(f"open({str(ghost)!r}, 'w').close()", timeout=0.2)
    assert {its.error.ename for its in result.values()} == {"KeyboardInterrupt"}
    wait_until(lambda: two.interrupt() is False, 20)
    assert two.run("times")[0].result_repr == "7"
    assert not ghost.exists()


def test_output_that_arrived_before_the_timeout_is_kept(two):
    """The view that shows it is slow; the cell has ended long ago."""

    class Slow:
        def event(self, rank, body):
            if not self.shown:
                let_pass(1.5)
            self.shown += 1

        def pause(self, running):
            return 1.0

        def note(self, text):
            raise AssertionError(text)

        def finish(self):
            pass

        shown = 0

    result = two.run("for i in range(3000): print('x' * 1000)\n7", timeout=1, output=Slow())
    assert [its.stdout.count("\n") for its in result.values()] == [3000, 3000]
    assert {its.result_repr for its in result.values()} == {"7"}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("dist.send(x, 2)", "send to rank 2: there is no such rank, this group has ranks 0 to 1"),
        ("dist.recv(x, 7)", "recv from rank 7: there is no such rank"),
        ("dist.isend(x, 3)", "send to rank 3: there is no such rank"),
        ("dist.batch_isend_irecv([dist.P2POp(dist.irecv, x, 5)])", "recv from rank 5"),
    ],
)
def test_a_message_to_a_rank_that_does_not_exist_raises_in_its_line(two, call, says):
    result = two.run(f"x = torch.ones(1)\n{call}")
    for done in result.values():
        assert done.error.ename == "ValueError"
        assert done.error.evalue.startswith(says)
        assert done.error.line.endswith(f"line 2: {call}")
    assert two.run("dist.barrier()").ok
