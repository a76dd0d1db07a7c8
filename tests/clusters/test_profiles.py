"""An IPython profile still starts engines elsewhere, and a controller that they miss is refused."""

from __future__ import annotations

import pytest

CONFIGS = {
    "slurm": 'c.Cluster.engine_launcher_class = "slurm"',
    "ssh": 'c.Cluster.engine_launcher_class = "ssh"\n'
    'c.SSHEngineSetLauncher.engines = {"alpha": 1, "beta-2": 1}',
}


@pytest.fixture
def profile(notebook):
    """Writes the configuration of the profile ``site``."""

    def write(text):
        folder = notebook.folder / "ipython" / "profile_site"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ipcluster_config.py").write_text(f"c = get_config()\n{text}\n")

    return write


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_controller_on_loopback_is_refused_with_the_address_to_take(notebook, profile, kind):
    profile(CONFIGS[kind])
    said, took = notebook.refused("%dist_init gloo --profile site -n 2")
    assert "The controller of profile 'site' listens on loopback" in said
    assert "add c.Cluster.controller_ip = '10.98.0.1' to its ipcluster_config.py" in said
    assert took < 4


def test_a_profile_starts_engines_in_a_job_of_slurms(notebook, profile):
    profile(
        CONFIGS["slurm"] + '\nc.Cluster.controller_ip = "10.98.0.1"\n'
        'c.SlurmEngineSetLauncher.batch_template = """#!/bin/sh\n#SBATCH --ntasks={n}\n'
        'srun {program_and_args}\n"""'
    )
    notebook.ok("%dist_init gloo --profile site -n 2 --no-dashboard", timeout=90)
    assert "[0-1] 2.0" in notebook.ok(
        "%%dist\nx = torch.ones(1)\ndist.all_reduce(x)\nprint(x.item())"
    )
    notebook.ok("%dist_shutdown")
