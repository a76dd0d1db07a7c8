"""A script has a pyplot of its own, where Matplotlib is loaded."""

from __future__ import annotations

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from rankbook.engine.cells import plots


@pytest.fixture(autouse=True)
def _agg():
    """No figures, and a backend without a screen."""
    plt.switch_backend("agg")
    yield
    plt.close("all")


def test_each_run_draws_into_a_figure_of_its_own():
    for _ in range(2):
        with plots.put_back():
            plt.plot([1, 2])
            assert len(plt.gca().lines) == 1
    assert not plt.get_fignums()


def test_figures_and_settings_of_cells_are_as_before():
    plt.figure(3)
    plt.plot([1])
    with plt.rc_context({"lines.linewidth": 4}):
        with plots.put_back():
            assert not plt.get_fignums()
            mpl.use("svg")
            plt.style.use("ggplot")
            plt.rcParams["lines.linewidth"] = 9
            plt.figure(3)
        assert (plt.get_fignums(), len(plt.gca().lines)) == ([3], 1)
        assert (plt.rcParams["lines.linewidth"], plt.rcParams["axes.grid"]) == (4, False)
        assert plt.figure().canvas.__class__.__module__ == "matplotlib.backends.backend_agg"


def test_each_run_registers_its_colors_under_the_same_name():
    mine = mpl.colors.ListedColormap(["r", "b"], name="mine")
    for _ in range(2):
        with plots.put_back():
            mpl.colormaps.register(mine)
            assert plt.get_cmap("mine") == mine
    assert "mine" not in mpl.colormaps


def test_figures_that_the_notebook_shows_at_the_end_of_the_cell_stay():
    with plots.put_back():
        plt.figure(5)
        dict.__setitem__(plt.rcParams, "backend", "module://matplotlib_inline.backend_inline")
    assert plt.get_fignums() == [5]


def test_where_the_script_loads_matplotlib_its_settings_are_as_then(monkeypatch):
    loaded = {name: one for name, one in sys.modules.items() if name.startswith("matplotlib")}
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    plt.rcParams["lines.linewidth"] = 9
    with plots.put_back():
        for name, one in loaded.items():
            monkeypatch.setitem(sys.modules, name, one)
    assert plt.rcParams["lines.linewidth"] == mpl.rcParamsOrig["lines.linewidth"]
