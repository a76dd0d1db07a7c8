"""Machines that lack what others have: a writable home, shared memory, a torch that is whole."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

import pytest

SESSION = """
import rankbook
session = rankbook.start("gloo", nproc=2)
result = session.run("x = torch.ones(1); dist.all_reduce(x); x")
session.shutdown()
result.raise_for_error()
print(result[0].result_repr)
"""


UNSHARE = shutil.which("unshare") or ""


def can_mount():
    if not UNSHARE:
        return False
    tried = subprocess.run([UNSHARE, "--mount", "true"], capture_output=True, check=False)
    return tried.returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="may not mount anything here")


def run(before, *, environ=None):
    """Run a session in a mount namespace of its own; what it prints."""
    script = f"{before}\nexec {shlex.join([sys.executable, '-c', SESSION])}"
    command = [UNSHARE, "--mount", "sh", "-e", "-c", script]
    return subprocess.run(
        command,
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@needs_mount
@pytest.mark.parametrize("options", ["ro", "size=4k"])
def test_ranks_need_no_shared_memory(options):
    done = run(f"mount -t tmpfs -o {options} none /dev/shm")
    assert done.stdout == "tensor([2.])\n", done.stderr


@needs_mount
def test_ranks_need_no_home_that_can_be_written(tmp_path):
    environ = {"HOME": str(tmp_path)}
    for name in ("IPYTHONDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        environ[name] = ""
    done = run(
        f"unset {' '.join(list(environ)[1:])}\nmount -t tmpfs -o ro none {tmp_path}\n"
        f"if touch {tmp_path}/x 2>/dev/null; then exit 3; fi",
        environ=environ,
    )
    assert done.stdout == "tensor([2.])\n", done.stderr


def test_a_start_with_too_few_open_files_says_what_to_do():
    script = f"ulimit -n 64\nexec {shlex.join([sys.executable, '-c', SESSION])}"
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "ClusterError: The cluster did not start. This process may open only 64 files "
        "(ulimit -n), too few for 2 ranks: run `ulimit -n 4096` in a shell, and start this "
        "program from it again."
    )


WITHOUT_DISTRIBUTED = """
import sys


class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == "torch.distributed":
            import torch._C

            for built_in in ("_c10d_init", "_rpc_init", "_dist_autograd_init"):
                vars(torch._C).pop(built_in, None)


if "rankbook.engine.starting.server" in " ".join(sys.orig_argv):
    sys.meta_path.insert(0, Hook())
"""


def test_a_torch_without_distributed_is_refused_in_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_DISTRIBUTED)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rankbook.errors.ClusterError: ")
    assert "was built without torch.distributed: install a build that has it" in last
