"""The magics that make ranks, and what they say of mistakes, over a session on fake engines."""

from __future__ import annotations

import re

import pytest
from fakes import FakePool

import rankbook
from rankbook import api
from rankbook.display.text import plain
from rankbook.errors import SessionError
from rankbook.magics import families
from rankbook.notebook import Session

LINE = {name for family in families() for name in family.magics["line"]}
CELL = {name for family in families() for name in family.magics["cell"]}

RANKS = "use all, 0, 0,2, 0-3, 1:, ::2 or -1"
SECOND = "This notebook has a cluster already: run %dist_shutdown before another %dist_init."
BACKENDS = "use one of gloo, mpi, nccl, ucc, xccl"

# One use of every magic that needs ranks.
NEEDS_RANKS = [
    "%dist_reset",
    "%dist_shutdown",
    "%dist rank",
    "%%dist\nrank",
    "%%rank 0\nrank",
    "%dist_status",
    "%dist_why",
    "%dist_timeline",
    "%dist_interrupt",
    "%dashboard",
    "%dist_pull x",
    "%dist_push x",
]


@pytest.fixture
def started(empty, timing, stand_in, monkeypatch):
    """What ``%dist_init`` hands to the Python API, which starts nothing here."""
    calls = []

    def fake(name):
        def call(backend=None, nproc=None, **options):
            calls.append((name, backend, nproc, options))
            session = Session(FakePool(nproc or 2), timing)
            monkeypatch.setattr(session, "dashboard", lambda: stand_in(session))
            session.initialize("gloo")
            monkeypatch.setattr(api.current, "session", session)
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


def test_unloading_the_extension_removes_all_its_magics_and_transformers(shell):
    before = state_of(shell)
    shell.extension_manager.load_extension("rankbook")
    assert state_of(shell) != before
    shell.extension_manager.unload_extension("rankbook")
    assert state_of(shell) == before


def test_reloading_the_extension_leaves_one_input_transformer(shell):
    shell.run_line_magic("load_ext", "rankbook")
    before = len(shell.input_transformers_cleanup)
    shell.run_line_magic("reload_ext", "rankbook")
    assert len(shell.input_transformers_cleanup) == before
    shell.run_line_magic("unload_ext", "rankbook")


def test_unloading_the_extension_twice_changes_nothing(shell):
    before = state_of(shell)
    rankbook.unload_ipython_extension(shell)
    assert state_of(shell) == before


def test_the_extension_loads_where_ipython_has_no_matchers_that_see_the_cell(shell, monkeypatch):
    monkeypatch.delattr("IPython.core.completer.context_matcher", raising=False)
    before = state_of(shell)
    shell.extension_manager.load_extension("rankbook")
    assert "dist" in shell.magics_manager.magics["cell"]
    shell.extension_manager.unload_extension("rankbook")
    assert state_of(shell) == before


def test_unloading_the_extension_ends_dist_mode(notebook):
    notebook.run("%dist_mode on")
    rankbook.unload_ipython_extension(notebook.shell)
    notebook.run("here = 1")
    assert notebook["here"] == 1


def test_unloading_the_extension_leaves_the_session_open(notebook, session):
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
def test_a_question_mark_after_a_magic_shows_its_help(empty, name, monkeypatch):
    pages = []
    monkeypatch.setattr(
        "IPython.core.page.page", lambda data, *_, **__: pages.append(data["text/plain"])
    )
    sign = "%" if name in LINE else "%%"
    empty.shell.run_cell(f"{sign}{name}?")
    [page] = pages
    assert "Docstring:" in plain(page)


@pytest.mark.parametrize("name", sorted(LINE | CELL))
def test_the_help_writes_a_magic_with_its_own_number_of_percent_signs(empty, name):
    magic = empty.shell.magics_manager.magics["line" if name in LINE else "cell"][name]
    sign = "%%" if name in CELL else "%"
    usage = re.findall(r"^ *(%+\w+)", magic.__doc__, re.MULTILINE)[:1]
    assert usage in ([f"{sign}{name}"], []), "one % too many"


# -- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", NEEDS_RANKS)
def test_without_a_session_every_magic_says_to_run_dist_init(empty, cell):
    empty.shell.user_ns["x"] = 1
    assert empty.usage(cell) == "There are no ranks: run %dist_init first."


@pytest.mark.parametrize("cell", NEEDS_RANKS)
def test_after_a_shutdown_every_magic_says_to_run_dist_init(notebook, cell):
    notebook.run("%dist_shutdown")
    assert notebook.error is None
    assert notebook.usage(cell) == "There are no ranks: run %dist_init first."


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%dist", "There is nothing to run: write code below %%dist, or %dist EXPR."),
        ("%dist -r 0", "There is nothing to run: write code below %%dist, or %dist EXPR."),
        ("%%dist\n  \n", "There is nothing to run: write code below %%dist, or %dist EXPR."),
        (
            "%%dist x = 1\ny = 2",
            "'x = 1' is not an option of %%dist: write code on the lines below it.",
        ),
        ("%%dist -r 9\nx", "There is no rank 9 in '9': this group has 4, 0 to 3."),
        ("%%dist -r two\nx", f"'two' is not a selection of ranks: {RANKS}."),
        ("%%rank\nx", f"No ranks given: {RANKS}."),
        ("%%rank 4\nx", "There is no rank 4 in '4': this group has 4, 0 to 3."),
        ("%dist_push missing", "There is no 'missing' in this notebook: assign it first."),
        ("%dist_pull missing", "'missing' exists on none of ranks 0-3."),
        ("%dist_pull -r 9 x", "There is no rank 9 in '9': this group has 4, 0 to 3."),
        ("%dist_init nccl", "nccl needs GPUs and a shows none: run %dist_init gloo."),
        ("%dist_init -n 0", "A group needs at least 1 rank, not 0."),
        ("%dist_init --timeout 0", "The timeout must be positive, for example 1, and not 0."),
        ("%dist_reset ncll", f"There is no backend 'ncll': {BACKENDS}."),
        (
            "%dist_init --profile slurm",
            SECOND,
        ),
        (
            "%dist_init --cluster-id x",
            SECOND,
        ),
        (
            "%dist_init --gpus 0",
            SECOND,
        ),
    ],
)
def test_a_mistake_in_a_magic_is_one_line_that_says_what_to_type(notebook, cell, said):
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
        ("%dist_why not", "not"),
        ("%dist_init --on-hang pray", "'pray'"),
        ("%%dist --on-hang pray\nx", "'pray'"),
        (
            "%dist_timeline first",
            "'first' is not a cell: run %dist_timeline 4 for In [4], or %dist_timeline all.",
        ),
        ("%dist_timeline 99", "In [99] has not run on ranks"),
        ("%dist_timeline --save /nowhere/a.svg", "/nowhere/a.svg cannot be written: No such file"),
        ("%dist_timeline --save a.png", "The picture is SVG: a.svg, not a.png."),
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
def test_a_line_that_does_not_parse_is_an_error_of_one_line(notebook, cell, said):
    assert said in notebook.usage(cell)


@pytest.mark.parametrize(
    "cell", ["%dist_init --nonsense", "%dist_init -n four", "%dist_shutdown now", "%dist_pull"]
)
def test_a_line_that_does_not_parse_says_where_help_is(notebook, cell):
    name = cell.split()[0]
    assert name in notebook.usage(cell)


@pytest.mark.parametrize("cell", ['%dist_init "gloo', "%%dist -o 'name\nx", "%dist_pull 'x"])
def test_an_unclosed_quotation_mark_is_an_error_of_one_line(notebook, cell):
    assert "quotation" in notebook.usage(cell)


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("%%dist -o 1x\n1", "'1x' cannot name a variable"),
        ("%%dist -o for\n1", "'for' cannot name a variable"),
        ("%%dist --timeout 0\n1", "'0' is not a positive number of seconds, such as 30"),
        ("%%dist --timeout soon\n1", "'soon' is not a positive number of seconds, such as 30"),
        ("%dist_mesh dp=2 tp=2 --name 1x", "'1x' cannot name a variable"),
    ],
)
def test_a_name_or_a_time_that_cannot_be_is_refused_before_anything_runs(notebook, pool, cell, why):
    assert why in notebook.usage(cell)
    assert pool.asked("run") == []


def test_a_mistake_in_a_magic_is_shown_without_a_traceback(notebook):
    notebook.usage("%%dist -r 9\nx")
    assert notebook.out == ""
    assert notebook.err.strip() == (
        "UsageError: There is no rank 9 in '9': this group has 4, 0 to 3."
    )


def test_a_mistake_in_a_magic_sends_nothing_to_the_ranks(notebook, pool):
    for cell in ("%dist", "%%dist -r 9\nx", "%%dist a\nb", "%dist_push missing"):
        notebook.usage(cell)
    assert pool.asked("run") == pool.asked("push") == []


# -- %dist_init ------------------------------------------------------------------------------


START = {"gpus": "", "share_gpus": False, "timeout_minutes": 1, "check": False}
JOIN = {
    "profile": None,
    "cluster_id": None,
    "connection_file": None,
    "timeout_minutes": None,
    "check": None,
    "share_gpus": None,
}


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("", ("start", None, None, START)),
        ("gloo -n 4 --timeout 5", ("start", "gloo", 4, START | {"timeout_minutes": 5.0})),
        (
            "nccl --gpus 0,1 --timeout 0.5",
            ("start", "nccl", None, START | {"gpus": "0,1", "timeout_minutes": 0.5}),
        ),
        ("--profile slurm -n 16", ("start", None, 16, START | {"profile": "slurm"})),
        (
            '--slurm "partition=gpu time=1:00:00" --nodes 2 -n 8',
            ("start", None, 8, START | {"slurm": "partition=gpu time=1:00:00", "nodes": 2}),
        ),
        ("--slurm gloo -n 2", ("start", "gloo", 2, START | {"slurm": True})),
        ("--slurm=exclusive -n 2", ("start", None, 2, START | {"slurm": "exclusive"})),
        ("--ssh a:4,b-1:4", ("start", None, None, START | {"ssh": "a:4,b-1:4"})),
        ("--mpi gloo -n 4", ("start", "gloo", 4, START | {"mpi": True})),
        ("--mpi cpu:gloo,cuda:nccl", ("start", "cpu:gloo,cuda:nccl", None, START | {"mpi": True})),
        ("--mpi=a:2,b:2 gloo", ("start", "gloo", None, START | {"mpi": "a:2,b:2"})),
        ("--mpi 'a:2,b:2' gloo", ("start", "gloo", None, START | {"mpi": "a:2,b:2"})),
        ("--check", ("start", None, None, START | {"check": True})),
        ("--no-check", ("start", None, None, START)),
        ("nccl -n 4 --share-gpus", ("start", "nccl", 4, START | {"share_gpus": True})),
        ("--cluster-id 1700-abcd", ("connect", None, None, JOIN | {"cluster_id": "1700-abcd"})),
        (
            "gloo --profile mpi --cluster-id ~/ipcontroller-client.json -n 2",
            (
                "connect",
                "gloo",
                2,
                JOIN | {"profile": "mpi", "connection_file": "~/ipcontroller-client.json"},
            ),
        ),
        (
            "--cluster-id x --check",
            ("connect", None, None, JOIN | {"cluster_id": "x", "check": True}),
        ),
    ],
)
def test_dist_init_starts_or_joins(empty, started, line, call):
    empty.run(f"%dist_init {line}")
    assert empty.error is None
    assert started == [call]


@pytest.mark.parametrize(
    ("line", "on_hang"), [("", "free"), ("--on-hang report", "report"), ("--on-hang wait", "wait")]
)
def test_on_hang_of_dist_init_holds_for_the_session(empty, started, line, on_hang):
    empty.run(f"%dist_init {line}")
    assert api.session().on_hang == on_hang
    empty.run("%dist_init --no-dashboard")
    assert api.session().on_hang == on_hang
    empty.run("%dist_init --no-dashboard --on-hang free")
    assert api.session().on_hang == "free"


def test_check_stays_on_until_dist_init_turns_it_off(notebook, pool):
    for line in ("--check", "", "--no-check", ""):
        notebook.run(f"%dist_init --no-dashboard {line}")
    told = [args[0]["check"] for args in pool.requested("initialize")]
    assert told == [False, True, True, False, False]


def test_dist_init_shows_the_dashboard(empty, started):
    empty.run("%dist_init")
    [shown] = empty.displays
    assert "gloo · 2 ranks · generation 1" in shown.data["text/plain"]


def test_dist_init_without_the_dashboard_prints_one_line(empty, started):
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
        ("gloo -n 0", "A group needs at least 1 rank, not 0."),
        ("gloo -n -3", "A group needs at least 1 rank, not -3."),
        ("gloo --timeout 0", "The timeout must be positive, for example 1, and not 0."),
        ("ncll -n 2", f"There is no backend 'ncll': {BACKENDS}."),
    ],
)
def test_dist_init_refuses_senseless_arguments_before_it_starts_engines(
    empty, monkeypatch, line, said
):
    from rankbook.cluster.pool import Pool

    monkeypatch.setattr(Pool, "start", lambda *_, **__: pytest.fail("it was started"))
    assert empty.usage(f"%dist_init {line}") == said


def test_dist_init_refuses_nccl_without_gpus_before_it_starts_engines(empty, monkeypatch):
    from rankbook.cluster.pool import Pool

    monkeypatch.setattr(Pool, "start", lambda *_, **__: pytest.fail("it was started"))
    monkeypatch.setattr(api, "visible_gpus", lambda asked="": 0)
    assert "run %dist_init gloo." in empty.usage("%dist_init nccl")


def test_a_second_session_is_refused(notebook):
    for begin in (rankbook.start, rankbook.connect):
        with pytest.raises(SessionError, match=r"There is a session already \(gloo, 4 ranks\)"):
            begin("gloo")


def test_the_magics_use_the_session_of_the_package(notebook, session):
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
