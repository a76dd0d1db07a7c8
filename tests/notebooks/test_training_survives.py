"""The notebook about healing: what was hung and killed trains on to the same losses."""

from __future__ import annotations

import psutil
import pytest
from executed import cell_with, error_of, execute, shown
from processes import commands, family


@pytest.fixture(scope="module")
def executed():
    return execute("02_training_survives.ipynb", timeout=120)


@pytest.mark.parametrize(("nth", "kind"), [(0, "DDP"), (1, "FSDP")])
def test_a_hang_ends_and_the_module_goes_on(executed, nth, kind):
    name, message, _ = error_of(cell_with(executed, "if rank != 3:", nth))
    assert name == "HangError"
    assert message.startswith("Rank 3 never called ")
    assert f"{kind} modules made before go on." in message


@pytest.mark.parametrize("nth", [0, 1])
def test_the_verdict_on_the_death_says_what_the_others_hold(executed, nth):
    name, message, _ = error_of(cell_with(executed, "signal.SIGKILL", nth))
    assert name == "HangError"
    assert message.startswith("Rank 2 was killed by SIGKILL")
    assert "They hold model, optimizer, " in message
    assert "--from 0 copies them to rank 2, too." in message


def test_the_new_rank_has_what_rank_0_has(executed):
    said = shown(cell_with(executed, "%dist_restart 2 --from 0")).splitlines()
    assert said[0] == "4 ranks, gloo, generation 3; DDP modules made before go on."
    assert said[1] == "Rank 2 has from rank 0 its model, optimizer, undisturbed, curve."
    assert said[2].startswith("RNG states are not copied")


def test_all_ranks_load_the_checkpoint_and_it_says_so_first(executed):
    said = shown(cell_with(executed, "--checkpoint")).splitlines()
    assert said[0].startswith("All ranks load modules and optimizers from /")
    assert said[1] == "4 ranks, gloo, generation 5; FSDP modules made before go on."
    assert any(line.startswith("All ranks have loaded model, optimizer from /") for line in said)


@pytest.mark.parametrize("which", ["curve == undisturbed", "curve_sharded == undisturbed_sharded"])
def test_the_losses_are_those_of_an_undisturbed_run_to_the_bit(executed, which):
    assert shown(cell_with(executed, which)) == "[0-3] True\n"


def test_all_four_curves_are_in_one_picture(executed):
    cell = cell_with(executed, "plt.subplots")
    pictures = [output.data for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 1


def test_the_notebook_leaves_no_process_running(executed):
    assert [left for left in commands(family(psutil.Process())) if "rankbook." in left] == []
