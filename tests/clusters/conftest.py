"""Three hosts with real Slurm, sshd and Open MPI, and notebooks on them."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from jupyter_client.manager import KernelManager
from kernels import Notebook, notebook_of
from processes import wait_until

from clusters.hosts import Hosts, NoHostsError, why_not

PYTHON = sys.executable


def pytest_collection_modifyitems(items):
    if reason := why_not():
        for item in items:
            if "clusters" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="package")
def hosts():
    """The hosts, their daemons running."""
    # Not below pytest's folders: munged wants one that everybody may enter.
    with TemporaryDirectory(prefix="rankbook-test-hosts-") as folder:
        made = Hosts(Path(folder))
        try:
            made.up()
            yield made
        except NoHostsError as error:
            pytest.skip(str(error))
        finally:
            made.down()


@pytest.fixture
def clean(hosts):
    """The hosts, on which a test must leave nothing: no process, no job."""
    before = hosts.pids()
    yield hosts
    wait_until(lambda: not hosts.pids() - before, 10)
    wait_until(lambda: hosts.ask("squeue", "--noheader") == "", 15)


@pytest.fixture
def notebook(clean, tmp_path):
    """A notebook on the host ``login``."""
    with notebook_on(clean, "login", tmp_path) as made:
        yield made


@pytest.fixture
def inside(clean, tmp_path):
    """A notebook on the first node of an allocation of two, with Slurm's variables."""
    kept, script = variables_of_job(tmp_path)
    options = ("--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--output=/dev/null")
    job = clean.ask("sbatch", "--parsable", *options, str(script)).strip()
    wait_until(kept.exists, 20)
    with notebook_on(clean, "alpha", tmp_path, **read_variables(kept)) as notebook:
        yield notebook
    clean.ask("scancel", job)
    wait_until(lambda: clean.ask("squeue", "--noheader") == "", 20)


def variables_of_job(folder):
    """Where a job's environment will be written, and the script of the job that does it."""
    kept, script = folder / "environment", folder / "job"
    script.write_text(f"#!/bin/sh\nenv -0 > {kept}.part; mv {kept}.part {kept}; exec sleep 1000")
    script.chmod(0o755)
    return kept, script


def read_variables(kept):
    """Slurm's variables in that environment."""
    pairs = (line.partition("=") for line in kept.read_text().split("\0"))
    return {name: value for name, _, value in pairs if name.startswith("SLURM")}


@contextmanager
def notebook_on(hosts, host, folder, **env):
    """A notebook whose kernel runs on a host, with a home and a folder of its own."""
    manager = KernelManager(kernel_name="python3", transport="ipc")
    manager.ip = str(folder / "k")  # sockets in the file system reach into a network namespace
    manager.kernel_spec.argv = [
        *hosts.on(host, PYTHON, "-m", "ipykernel_launcher", "-f"),
        "{connection_file}",
    ]
    work = folder / "work"
    work.mkdir(exist_ok=True)
    own = {"IPYTHONDIR": str(folder / "ipython"), **env}
    options = {"cwd": str(work), "env": {**os.environ, **own}}
    with notebook_of(manager, partial(ClusterNotebook, folder=folder), **options) as made:
        yield made


class ClusterNotebook(Notebook):
    """A notebook, and what it leaves behind."""

    def __init__(self, manager, client, folder):
        super().__init__(manager, client)
        self.folder = folder

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def ok(self, code, timeout=60):
        """Run a cell that must work; return what it printed and showed."""
        reply = self.run(code, timeout)
        assert reply["status"] == "ok", "\n".join([*reply.get("traceback", []), self.stderr])
        return "".join([self.stdout, *self.shown])

    def refused(self, code, timeout=60):
        """Run a cell that must end in one line; return that, and the seconds it took."""
        begun = time.monotonic()
        reply = self.run(code, timeout)
        took = time.monotonic() - begun
        said = self.stderr.strip().splitlines()
        assert reply["status"] == "error", (self.stdout, self.stderr)
        assert len(said) == 1, self.stderr
        assert self.stdout.strip().count("\n") == 0, self.stdout
        return said[0], took

    def press_stop(self):
        self.manager.signal_kernel(signal.SIGINT)

    def kill(self):
        """Kill the kernel by SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def files(self):
        """What there is in the notebook's folder, and of clusters in the IPython folder."""
        work = [path.name for path in (self.folder / "work").iterdir()]
        ipython = self.folder / "ipython"
        kinds = ("security/*", "pid/*", "log/*")
        return work + [p.name for kind in kinds for p in ipython.glob(f"profile_*/{kind}")]
