"""The magics in a fresh IPython without a kernel, over a session on fake engines."""

from __future__ import annotations

import re
import threading

import pytest
from fakes import FakePool
from IPython.core.error import UsageError
from IPython.display import display
from IPython.utils.capture import capture_output

import rankbook
from rankbook import api
from rankbook.display.table import Table
from rankbook.display.text import plain
from rankbook.errors import RankError, SessionError
from rankbook.magics import RankMagics
from rankbook.magics.syntax import CellSyntaxError
from rankbook.sessions.results import CellResult
from rankbook.sessions.session import Session

LINE = set(RankMagics.magics["line"])
CELL = set(RankMagics.magics["cell"])

RANKS = "write all, 0, 0,2, 0-3, 1:, ::2 or -1"
BACKENDS = "write one of gloo, mpi, nccl, ucc, xccl"

# One use of every magic that needs ranks.
NEEDS_RANKS = [
    "%dist_reset",
    "%dist_shutdown",
    "%dist rank",
    "%%dist\nrank",
    "%%rank 0\nrank",
    "%dist_status",
    "%dist_interrupt",
    "%dashboard",
    "%dist_pull x",
    "%dist_push x",
]


class StandIn:
    """What the magics need of a dashboard."""

    def __init__(self, session):
        self.session = session

    def display(self):
        display(Table(self.session.snapshot()))


class Notebook:
    """Runs cells and keeps what they show."""

    def __init__(self, shell):
        self.shell = shell
        self.out = self.err = ""
        self.displays = []

    def run(self, cell):
        """Run a cell; return its value."""
        with capture_output() as shown:
            result = self.shell.run_cell(cell)
            for thread in threading.enumerate():
                if thread.name == "rankbook-cell":
                    thread.join(10)
        self.out, self.err, self.displays = shown.stdout, shown.stderr, shown.outputs
        self.error = result.error_before_exec or result.error_in_exec
        return result.result

    def fail(self, cell):
        """Run a cell that fails; return its error."""
        self.run(cell)
        assert self.error is not None, "the cell did not fail"
        return self.error

    def usage(self, cell):
        """Run a cell that is a mistake; return the line that says so."""
        error = self.fail(cell)
        assert type(error) is UsageError, repr(error)
        assert "\n" not in str(error)
        return str(error)

    def __getitem__(self, name):
        return self.shell.user_ns[name]


@pytest.fixture
def empty(shell, monkeypatch):
    """A notebook with the magics and no session."""
    monkeypatch.setattr(api, "_current", None)
    rankbook.load_ipython_extension(shell)
    yield Notebook(shell)
    rankbook.unload_ipython_extension(shell)


@pytest.fixture
def notebook(empty, session, monkeypatch):
    """A notebook with the magics and four ranks."""
    session.initialize("gloo")
    monkeypatch.setattr(session, "_view", StandIn)
    monkeypatch.setattr(api, "_current", session)
    return empty


@pytest.fixture
def started(empty, monkeypatch):
    """What ``%dist_init`` hands to the Python API, which starts nothing here."""
    calls = []

    def fake(name):
        def call(backend=None, nproc=None, **options):
            calls.append((name, backend, nproc, options))
            session = Session(FakePool(nproc or 2), StandIn)
            session.initialize("gloo")
            monkeypatch.setattr(api, "_current", session)
            return session

        monkeypatch.setattr(api, name, call)

    fake("start")
    fake("connect")
    yield calls
    if session := api.session():
        session.shutdown()


# -- the extension ---------------------------------------------------------------------------


def state_of(shell):
    manager = shell.magics_manager
    return (
        {kind: set(names) for kind, names in manager.magics.items()},
        set(manager.registry),
        list(shell.input_transformers_cleanup),
        list(shell.input_transformers_post),
    )


def test_unloading_removes_everything(shell):
    before = state_of(shell)
    shell.extension_manager.load_extension("rankbook")
    assert state_of(shell) != before
    shell.extension_manager.unload_extension("rankbook")
    assert state_of(shell) == before


def test_reloading_leaves_one_of_each(shell):
    shell.run_line_magic("load_ext", "rankbook")
    before = len(shell.input_transformers_cleanup)
    shell.run_line_magic("reload_ext", "rankbook")
    assert len(shell.input_transformers_cleanup) == before
    shell.run_line_magic("unload_ext", "rankbook")


def test_unloading_what_is_not_loaded_is_no_trouble(shell):
    before = state_of(shell)
    rankbook.unload_ipython_extension(shell)
    assert state_of(shell) == before


def test_unloading_ends_the_mode(notebook):
    notebook.run("%dist_mode on")
    rankbook.unload_ipython_extension(notebook.shell)
    notebook.run("here = 1")
    assert notebook["here"] == 1


def test_unloading_leaves_the_session(notebook, session):
    rankbook.unload_ipython_extension(notebook.shell)
    assert not session.is_closed


# -- help ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(LINE | CELL))
def test_the_help_of_a_magic_is_complete(empty, name):
    kind = "line" if name in LINE else "cell"
    magic = empty.shell.magics_manager.magics[kind][name]
    help_text = magic.__doc__
    assert help_text.strip()
    parser = getattr(magic, "parser", None)
    for action in parser._actions if parser else ():
        assert action.help, f"{action.dest} has no help"
        for said in action.option_strings or [action.metavar or action.dest]:
            assert said in help_text
        help_of_it = action.help.replace("%%", "%")  # argparse's way to write one
        assert " ".join(help_of_it.split()[:3]) in " ".join(help_text.split())


@pytest.mark.parametrize("name", sorted(LINE | CELL))
def test_a_question_mark_shows_the_help(empty, name, monkeypatch):
    pages = []
    monkeypatch.setattr(
        "IPython.core.page.page", lambda data, *_, **__: pages.append(data["text/plain"])
    )
    sign = "%" if name in LINE else "%%"
    empty.shell.run_cell(f"{sign}{name}?")
    [page] = pages
    assert "Docstring:" in plain(page)


@pytest.mark.parametrize("name", sorted(LINE | CELL))
def test_the_help_shows_the_magic_as_it_is_typed(empty, name):
    magic = empty.shell.magics_manager.magics["line" if name in LINE else "cell"][name]
    sign = "%%" if name in CELL else "%"
    usage = re.findall(r"^ *(%+\w+)", magic.__doc__, re.MULTILINE)[:1]
    assert usage in ([f"{sign}{name}"], []), "one % too many"


# -- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", NEEDS_RANKS)
def test_without_ranks_every_magic_says_to_make_some(empty, cell):
    empty.shell.user_ns["x"] = 1
    assert empty.usage(cell) == "There are no ranks yet: write %dist_init first."


@pytest.mark.parametrize("cell", NEEDS_RANKS)
def test_after_a_shutdown_they_say_so_again(notebook, cell):
    notebook.run("%dist_shutdown")
    assert notebook.error is None
    assert notebook.usage(cell) == "There are no ranks yet: write %dist_init first."


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%dist", "There is nothing to run: write code below %%dist, or %dist EXPR."),
        ("%dist -r 0", "There is nothing to run: write code below %%dist, or %dist EXPR."),
        ("%%dist\n  \n", "There is nothing to run: write code below %%dist, or %dist EXPR."),
        ("%%dist x = 1\ny = 2", "'x = 1' is no option of %%dist: code goes below it."),
        ("%%dist -r 9\nx", "There is no rank 9 in '9': this group has 4, 0 to 3."),
        ("%%dist -r two\nx", f"'two' is no selection of ranks: {RANKS}."),
        ("%%rank\nx", f"No ranks given: {RANKS}."),
        ("%%rank 4\nx", "There is no rank 4 in '4': this group has 4, 0 to 3."),
        ("%dist_push missing", "There is no 'missing' in this notebook: assign it first."),
        ("%dist_pull missing", "'missing' exists on none of ranks 0-3."),
        ("%dist_pull -r 9 x", "There is no rank 9 in '9': this group has 4, 0 to 3."),
        ("%dist_init nccl", "nccl needs GPUs and a shows none: write %dist_init gloo."),
        ("%dist_init -n 0", "0 ranks make no group: ask for 1 or more."),
        ("%dist_init --timeout 0", "A timeout of 0 minutes is none: write 1 or so."),
        ("%dist_reset ncll", f"There is no backend 'ncll': {BACKENDS}."),
        (
            "%dist_init --profile slurm",
            "This notebook has a cluster already: write %dist_shutdown before another one.",
        ),
        (
            "%dist_init --cluster-id x",
            "This notebook has a cluster already: write %dist_shutdown before another one.",
        ),
        (
            "%dist_init --gpus 0",
            "This notebook has a cluster already: write %dist_shutdown before another one.",
        ),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_write(notebook, cell, said):
    assert notebook.usage(cell) == said


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%dist_init --nonsense", "--nonsense"),
        ("%dist_init gloo nccl", "nccl"),
        ("%dist_init -n four", "'four'"),
        ("%dist_init -n", "-n"),
        ("%dist_init --timeout soon", "'soon'"),
        ("%dist_reset --soft", "--soft"),
        ("%dist_shutdown now", "now"),
        ("%dist_status 0", "0"),
        ("%dist_interrupt 0", "0"),
        ("%dashboard please", "please"),
        ("%dist_mode", "mode"),
        ("%dist_mode maybe", "'maybe'"),
        ("%dist_pull", "NAME"),
        ("%dist_push", "NAME"),
        ("%%dist --timeout soon\nx", "'soon'"),
        ("%dist --nonsense x", "--nonsense"),
    ],
)
def test_a_line_that_does_not_parse_is_one_line_too(notebook, cell, said):
    assert said in notebook.usage(cell)


@pytest.mark.parametrize(
    "cell", ["%dist_init --nonsense", "%dist_init -n four", "%dist_shutdown now", "%dist_pull"]
)
def test_a_line_that_does_not_parse_says_where_help_is(notebook, cell):
    name = cell.split()[0]
    assert name in notebook.usage(cell)


@pytest.mark.parametrize("cell", ['%dist_init "gloo', "%%dist -o 'name\nx", "%dist_pull 'x"])
def test_a_quotation_mark_without_its_partner_is_a_mistake_like_others(notebook, cell):
    assert "quotation" in notebook.usage(cell)


def test_a_mistake_is_shown_without_a_traceback(notebook):
    notebook.usage("%%dist -r 9\nx")
    assert notebook.out == ""
    assert notebook.err.strip() == (
        "UsageError: There is no rank 9 in '9': this group has 4, 0 to 3."
    )


def test_a_mistake_sends_nothing(notebook, pool):
    for cell in ("%dist", "%%dist -r 9\nx", "%%dist a\nb", "%dist_push missing"):
        notebook.usage(cell)
    assert pool.asked("run") == pool.asked("push") == []


# -- %dist_init ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("", ("start", None, None, {"profile": None, "gpus": "", "timeout_minutes": 1})),
        (
            "gloo -n 4 --timeout 5",
            ("start", "gloo", 4, {"profile": None, "gpus": "", "timeout_minutes": 5.0}),
        ),
        (
            "nccl --gpus 0,1 --timeout 0.5",
            ("start", "nccl", None, {"profile": None, "gpus": "0,1", "timeout_minutes": 0.5}),
        ),
        (
            "--profile slurm -n 16",
            ("start", None, 16, {"profile": "slurm", "gpus": "", "timeout_minutes": 1}),
        ),
        (
            "--cluster-id 1700-abcd",
            (
                "connect",
                None,
                None,
                {
                    "profile": None,
                    "cluster_id": "1700-abcd",
                    "connection_file": None,
                    "timeout_minutes": 1,
                },
            ),
        ),
        (
            "gloo --profile mpi --cluster-id ~/ipcontroller-client.json -n 2",
            (
                "connect",
                "gloo",
                2,
                {
                    "profile": "mpi",
                    "cluster_id": None,
                    "connection_file": "~/ipcontroller-client.json",
                    "timeout_minutes": 1,
                },
            ),
        ),
    ],
)
def test_dist_init_starts_or_joins(empty, started, line, call):
    empty.run(f"%dist_init {line}")
    assert empty.error is None
    assert started == [call]


def test_dist_init_shows_the_dashboard(empty, started):
    empty.run("%dist_init")
    [shown] = empty.displays
    assert "gloo · 2 ranks · generation 1" in shown.data["text/plain"]


def test_dist_init_without_the_dashboard_says_a_line(empty, started):
    empty.run("%dist_init --no-dashboard")
    assert empty.displays == []
    assert empty.out == "2 ranks, gloo, generation 1\n"


def test_dist_init_again_initialises_in_place(notebook, session, pool):
    notebook.run("%%dist\nx = rank")
    notebook.run("%dist_init gloo -n 3 --timeout 2 --no-dashboard")
    assert notebook.out == "3 ranks, gloo, generation 2\n"
    assert session.timeout_minutes == 2
    assert session.pull("x") == {0: 0, 1: 1, 2: 2}
    assert pool.closed == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gloo -n 0", "0 ranks make no group: ask for 1 or more."),
        ("gloo -n -3", "-3 ranks make no group: ask for 1 or more."),
        ("gloo --timeout 0", "A timeout of 0 minutes is none: write 1 or so."),
        ("ncll -n 2", f"There is no backend 'ncll': {BACKENDS}."),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_started(empty, monkeypatch, line, said):
    from rankbook.cluster.pool import Pool

    monkeypatch.setattr(Pool, "start", lambda *_, **__: pytest.fail("it was started"))
    assert empty.usage(f"%dist_init {line}") == said


def test_nccl_without_gpus_is_refused_before_anything_is_started(empty, monkeypatch):
    from rankbook.cluster.pool import Pool

    monkeypatch.setattr(Pool, "start", lambda *_, **__: pytest.fail("it was started"))
    monkeypatch.setattr(api, "visible_gpus", lambda asked="": 0)
    assert "write %dist_init gloo." in empty.usage("%dist_init nccl")


def test_a_second_session_is_refused(notebook):
    for begin in (rankbook.start, rankbook.connect):
        with pytest.raises(SessionError, match=r"There is a session already \(gloo, 4 ranks\)"):
            begin("gloo")


def test_the_session_of_the_magics_is_that_of_the_package(notebook, session):
    assert rankbook.session() is session
    notebook.run("%dist_shutdown")
    assert rankbook.session() is None
    assert session.is_closed


def test_dist_reset_makes_a_new_generation(notebook, session):
    notebook.run("%dist_reset")
    assert notebook.out == "4 ranks, gloo, generation 2\n"
    notebook.run("%%dist\nx = 1")
    notebook.run("%dist_reset gloo --hard")
    assert notebook.out == "4 ranks, gloo, generation 3\n"
    assert "'x' exists on none" in notebook.usage("%dist_pull x")


# -- cells -----------------------------------------------------------------------------------


def test_a_cell_runs_on_all_ranks(notebook):
    notebook.run("%%dist\nprint('hello')\nrank * 10")
    assert notebook.error is None
    assert notebook.out == "[0-3] hello\n[0] 0\n[1] 10\n[2] 20\n[3] 30\n"


def test_a_cell_returns_nothing_here(notebook):
    assert notebook.run("%%dist\nrank") is None


@pytest.mark.parametrize(
    ("head", "ranks"),
    [
        ("%%dist", [0, 1, 2, 3]),
        ("%%dist -r 0,2", [0, 2]),
        ("%%dist -r0,2", [0, 2]),
        ("%%dist --ranks 1:", [1, 2, 3]),
        ("%%dist --ranks=::2", [0, 2]),
        ("%%dist -r [0,2]", [0, 2]),
        ("%%dist -r -1", [3]),
        ("%%dist -r=-1", [3]),
        ("%%dist --ranks=-1", [3]),
        ("%%rank 0,2", [0, 2]),
        ("%%rank 0-2", [0, 1, 2]),
        ("%%rank -1", [3]),
        ("%%rank ::2", [0, 2]),
        ("%%rank [0, 2]", [0, 2]),
        ("%%rank all", [0, 1, 2, 3]),
    ],
)
def test_a_cell_runs_on_the_ranks_that_are_chosen(notebook, pool, head, ranks):
    notebook.run(f"{head}\nran = True")
    assert notebook.error is None
    assert [n for n in pool.engines if "ran" in pool[n].names] == ranks


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("rank + 1", "[0] 1\n[1] 2\n[2] 3\n[3] 4\n"),
        ("-r 0 rank", "[0] 0\n"),
        ("-r -1 rank", "[3] 3\n"),
        ("--ranks=0,1 'same'", "[0-1] 'same'\n"),
        ("-r 0 'a  b'", "[0] 'a  b'\n"),
        ('-r 0 "it\'s"', '[0] "it\'s"\n'),
        ("-r 0 [-1, - 2]", "[0] [-1, -2]\n"),
        ("-r 0 x = -1; x", "[0] -1\n"),
        ("--timeout 5 -r 0 rank", "[0] 0\n"),
        ("-r 0 {1: rank}", "[0] {1: 0}\n"),
        ("-r 0 '$HOME'", "[0] '$HOME'\n"),
    ],
)
def test_a_line_runs_untouched(notebook, line, shown):
    notebook.run(f"%dist {line}")
    assert notebook.error is None
    assert notebook.out == shown


def test_variables_of_the_notebook_do_not_leak_into_a_line_for_the_ranks(notebook):
    notebook.shell.user_ns["value"] = "of the notebook"
    notebook.run("%%dist\nvalue = 'of the rank'")
    notebook.run("%dist -r 0 f'{value}'")
    assert notebook.out == "[0] 'of the rank'\n"


def test_the_result_is_kept_under_a_name(notebook):
    notebook.run("%%dist -o result -r 0,1\nprint('x')\nrank")
    assert isinstance(notebook["result"], CellResult)
    assert list(notebook["result"]) == [0, 1]
    assert notebook["result"][1].stdout == "x\n"


def test_the_result_is_kept_though_the_cell_fails(notebook):
    notebook.fail("%%dist -o result\n1/0")
    assert notebook["result"][0].error.ename == "ZeroDivisionError"


def test_a_cell_that_fails_on_a_rank_fails_here(notebook):
    error = notebook.fail("%%dist\nif rank == 2: raise ValueError('no')")
    assert isinstance(error, RankError)
    assert error.ranks == (2,)
    shown = plain(notebook.out + notebook.err).strip()
    assert shown == "[2] ValueError: no\nRankError: ValueError on rank 2: no"


def test_a_syntax_error_is_sent_to_no_rank(notebook, pool):
    error = notebook.fail("%%dist\nx = = 1")
    assert isinstance(error, CellSyntaxError)
    assert pool.asked("run") == []
    assert "The cell was sent to no rank." in notebook.out + notebook.err


def test_a_timeout_interrupts(notebook):
    error = notebook.fail("%%dist --timeout 0.02 -r 1\nstick()")
    assert str(error) == "KeyboardInterrupt on rank 1"


def test_a_cell_that_nobody_waits_for_shows_its_output(notebook):
    notebook.run("%%dist --no-wait -o result\nprint('hello')\nrank")
    assert notebook.error is None
    assert notebook["result"].ok
    assert "[0-3] hello" in notebook.out
    assert "[2] 2" in notebook.out


def test_a_cell_that_nobody_waits_for_shows_its_error_and_does_not_raise_it(notebook):
    notebook.run("%%dist --no-wait\n1/0")
    assert notebook.error is None
    assert "RankError: ZeroDivisionError on ranks 0-3" in plain(notebook.out + notebook.err)


def test_not_waiting_leaves_the_notebook_free(notebook, session):
    with capture_output():
        notebook.shell.run_cell("%%dist --no-wait -o result\nstick()")
        assert session.doing == "running a cell on ranks 0-3"
        assert "The session is running a cell on ranks 0-3" in str(
            notebook.shell.run_cell("%dist rank").error_in_exec
        )
        while not session.interrupt():
            pass
    notebook.run("%dist_status")
    assert notebook["result"][0].error.ename == "KeyboardInterrupt"


# -- %dist_mode ------------------------------------------------------------------------------


@pytest.fixture
def everywhere(notebook):
    notebook.run("%dist_mode on")
    assert "%dist_mode off ends it" in notebook.out
    return notebook


def test_a_plain_cell_runs_on_all_ranks(everywhere, session):
    everywhere.run("x = rank\nx")
    assert everywhere.out == "[0] 0\n[1] 1\n[2] 2\n[3] 3\n"
    assert "x" not in everywhere.shell.user_ns
    assert session.pull("x") == {r: r for r in range(4)}


@pytest.mark.parametrize(
    "cell", ["\n\nx = 1", "# a comment\nx = 1", "    x = 1", "x = 1 if rank else 2"]
)
def test_whatever_a_plain_cell_begins_with(everywhere, session, cell):
    everywhere.run(cell)
    assert everywhere.error is None
    assert set(session.pull("x")) == {0, 1, 2, 3}
    assert "x" not in everywhere.shell.user_ns


@pytest.mark.parametrize("cell", ["", "\n", "# only a comment"])
def test_a_cell_without_code_is_no_mistake(everywhere, cell):
    everywhere.run(cell)
    assert everywhere.error is None


def test_a_local_cell_stays_here(everywhere, pool):
    before = len(pool.asked("run"))
    everywhere.run("%%local\nhere = 1\nhere += 1")
    assert everywhere.error is None
    assert everywhere["here"] == 2
    assert len(pool.asked("run")) == before


def test_a_local_cell_stays_here_without_the_mode_too(notebook):
    notebook.run("%%local\nhere = 1")
    assert notebook["here"] == 1


def test_a_local_cell_that_fails_fails(everywhere):
    assert isinstance(everywhere.fail("%%local\n1/0"), ZeroDivisionError)


def test_after_a_local_cell_the_mode_goes_on(everywhere, session):
    everywhere.run("%%local\nhere = 1")
    everywhere.run("there = 1")
    assert session.pull("there", "0") == {0: 1}
    everywhere.fail("%%local\n1/0")
    everywhere.run("there = 2")
    assert session.pull("there", "0") == {0: 2}


@pytest.mark.parametrize(
    "cell",
    [
        "%dist_status",
        "%%capture said\nprint(1)",
        "!true",
        "?print",
        "  %dist_status",
        "%pinfo print",
    ],
)
def test_magics_stay_here(everywhere, pool, monkeypatch, cell):
    monkeypatch.setattr("IPython.core.page.page", lambda *_, **__: None)
    before = len(pool.asked("run"))
    everywhere.run(cell)
    assert everywhere.error is None
    assert len(pool.asked("run")) == before


def test_a_comment_before_a_magic_does_not_send_it_away(everywhere):
    everywhere.run("# back to normal\n%dist_mode off")
    everywhere.run("here = 1")
    assert everywhere["here"] == 1


def test_cell_magics_of_ours_still_choose_ranks(everywhere, pool):
    everywhere.run("%%rank 1\nran = True")
    assert [n for n in pool.engines if "ran" in pool[n].names] == [1]


def test_a_syntax_error_of_a_plain_cell_is_sent_to_no_rank(everywhere, pool):
    assert isinstance(everywhere.fail("x = = 1"), CellSyntaxError)
    assert pool.asked("run") == []


def test_an_error_of_a_plain_cell_is_that_of_the_ranks(everywhere):
    assert isinstance(everywhere.fail("1/0"), RankError)


def test_off_ends_it(everywhere):
    everywhere.run("%dist_mode off")
    everywhere.run("here = 1")
    assert everywhere["here"] == 1


def test_without_ranks_a_plain_cell_says_what_to_do(empty):
    empty.run("%dist_mode on")
    assert empty.usage("x = 1") == "There are no ranks yet: write %dist_init first."


# -- looking, interrupting, values -----------------------------------------------------------


def test_dist_status_is_a_table(notebook):
    table = notebook.run("%dist_status")
    assert isinstance(table, Table)
    assert repr(table).startswith("gloo · 4 ranks · generation 1 · all idle")


def test_dist_interrupt_says_whether_there_was_anything(notebook, session):
    notebook.run("%dist_interrupt")
    assert notebook.out == "Nothing runs on any rank.\n"
    with capture_output():
        notebook.shell.run_cell("%%dist --no-wait\nstick()")
    while not all(engine.stuck for engine in session.pool.all.values()):
        assert session.doing
    notebook.run("%dist_interrupt")
    assert notebook.out.startswith("Interrupted.\n")


def test_the_dashboard_is_shown_again(notebook):
    notebook.run("%dashboard")
    [shown] = notebook.displays
    assert "4 ranks" in shown.data["text/plain"]


def test_pull_brings_values_by_rank(notebook):
    notebook.run("%%dist\nx = rank\ny = -rank")
    notebook.run("%dist_pull x y")
    assert notebook["x"] == {0: 0, 1: 1, 2: 2, 3: 3}
    assert notebook["y"] == {0: 0, 1: -1, 2: -2, 3: -3}
    notebook.run("%dist_pull -r 1,2 x")
    assert notebook["x"] == {1: 1, 2: 2}


def test_pull_is_all_or_nothing(notebook):
    notebook.run("%%dist\nx = rank")
    assert "'missing' exists on none" in notebook.usage("%dist_pull x missing")
    assert "x" not in notebook.shell.user_ns


def test_push_sends_values(notebook, pool):
    notebook.run("a, b = 1, [2]")
    notebook.run("%dist_push a b")
    assert [(pool[n].names["a"], pool[n].names["b"]) for n in pool.engines] == [(1, [2])] * 4
    notebook.run("a = 5")
    notebook.run("%dist_push a -r 0")
    assert [pool[n].names["a"] for n in pool.engines] == [5, 1, 1, 1]


def test_functions_of_the_notebook_can_be_pushed(notebook):
    notebook.run("def double(x):\n    return 2 * x")
    notebook.run("%dist_push double")
    notebook.run("%dist -r 3 double(rank)")
    assert notebook.out == "[3] 6\n"


def test_what_does_not_pickle_is_a_mistake(notebook):
    notebook.run("import threading\nlock = threading.Lock()")
    assert "'lock' (lock) cannot be sent" in notebook.usage("%dist_push lock")
