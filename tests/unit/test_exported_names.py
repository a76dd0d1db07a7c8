from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rankbook

HEAVY = {"IPython", "ipyparallel", "ipywidgets", "numpy", "torch"}
HOOKS = {"load_ipython_extension", "unload_ipython_extension"}  # IPython's names, not for users


def is_ours(value: object) -> bool:
    return getattr(value, "__module__", "").startswith("rankbook")


def test_all_is_the_public_surface():
    eager = {name for name, value in vars(rankbook).items() if is_ours(value)}
    public = {name for name in eager if not name.startswith("_")} - HOOKS
    assert public | set(rankbook._HOMES) | {"__version__"} == set(rankbook.__all__)


def test_all_is_sorted_and_has_no_doubles():
    assert rankbook.__all__ == sorted(set(rankbook.__all__))


def test_dir_lists_the_lazy_names():
    assert set(rankbook.__all__) <= set(dir(rankbook))


@pytest.mark.parametrize("name", rankbook.__all__)
def test_every_public_name_exists(name):
    assert getattr(rankbook, name) is not None


def test_every_error_is_exported():
    from rankbook import errors

    assert set(errors.__all__) <= set(rankbook.__all__)


def test_no_public_name_is_shadowed_by_a_submodule():
    """Importing rankbook.x sets the attribute x, whatever it was before."""
    submodules = {path.stem for path in Path(rankbook.__file__).parent.iterdir()}
    shadowed = submodules & set(rankbook.__all__)
    assert not shadowed, f"put an underscore before the submodule's name: {shadowed}"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'rankbook' has no attribute 'nonsense'"):
        rankbook.nonsense  # noqa: B018


def imported_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has imported after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


def test_importing_rankbook_loads_no_large_library():
    assert not HEAVY & imported_by("import rankbook")


def test_loading_the_extension_imports_nothing_that_only_a_session_needs():
    families = "from rankbook import magics; magics.families()"
    found = {name.split(".")[1] for name in imported_by(families) if name.startswith("rankbook.")}
    assert found & {"magics", "cluster"}
    assert not found & {"models", "diagnosis", "display", "engine", "sessions", "timeline"}


def test_a_session_starts_without_numpy():
    modules = imported_by("import rankbook; rankbook.Session")
    assert "rankbook.sessions.session" in modules
    assert not modules & {"numpy", "torch", "ipywidgets"}


def test_the_controller_starts_without_models_and_torch():
    loaded = imported_by("import rankbook.cluster.processes.controller")
    assert not {name for name in loaded if name.startswith(("rankbook.models", "torch"))}


def test_the_process_that_imports_torch_is_started_before_ipyparallel_is_imported():
    """Otherwise every start lasts as long as both imports, one after the other."""
    loaded = imported_by(
        "import subprocess\n"
        "class Nothing(subprocess.Popen):\n"
        "    def __init__(self, *args, **options): raise InterruptedError\n"
        "subprocess.Popen = Nothing\n"
        "import rankbook\n"
        "try: rankbook.start('gloo', nproc=2)\n"
        "except InterruptedError: pass\n"
    )
    assert "rankbook.cluster.processes.warm" in loaded
    assert not loaded & HEAVY
