"""A cluster started with ``--keep``: it stays when its kernel goes, and ends on request."""

from __future__ import annotations

import os
import re
import signal
import stat
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from kernels import notebook_with_magics
from processes import wait_until, waits_for

import rankbook

KEEP = "%dist_init gloo -n 2 --no-dashboard --keep"


@pytest.fixture
def ours(ipython_dir):
    """The processes of kept clusters of these tests."""

    def find():
        return [p for p in psutil.process_iter() if is_ours(p, str(ipython_dir))]

    yield find
    for process in find():
        process.kill()


def is_ours(process, ipython_dir):
    with suppress(psutil.Error):
        is_rankbook = "rankbook." in " ".join(process.cmdline())
        return is_rankbook and process.environ().get("IPYTHONDIR") == ipython_dir
    return False


def text(notebook, code):
    reply = notebook.run(code)
    assert reply["status"] == "ok", (reply, notebook.stderr)
    return notebook.stdout


@pytest.mark.parametrize("how", ["killed", "shut down"])
def test_ranks_group_and_variables_survive_a_kernel_and_end_in_the_next(how, ours, ipython_dir):
    with notebook_with_magics() as first:
        text(first, KEEP)
        text(first, "%%dist\nx = torch.ones(1) * (rank + 1)")
        assert "in" in text(first, "%dist_clusters")
        if how == "killed":
            first.manager.signal_kernel(signal.SIGKILL)
            wait_until(lambda: not first.manager.is_alive())
        else:
            first.manager.shutdown_kernel()

    [note] = Path(ipython_dir).glob("profile_*/security/kept-*.json")
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    name = note.stem.removeprefix("kept-")
    with notebook_with_magics() as second:
        listed = text(second, "%dist_clusters")
        assert f"{name} on " in listed
        assert "2 ranks of the local cluster" in listed
        assert "used by nobody" in listed

        offered = text(second, "%dist_init gloo -n 1 --no-dashboard")
        assert f"%dist_init --cluster-id {name} joins it." in offered
        assert "1 rank" in offered
        text(second, "%dist_shutdown")

        assert "2 ranks, gloo, generation 1" in text(
            second, f"%dist_init --cluster-id {name} --no-dashboard"
        )
        assert "used by pid" in text(second, "%dist_clusters")
        seen = text(second, "%%dist\ndist.all_reduce(x)\nprint(x.item())")
        assert seen == "[0-1] 3.0\n"
        text(second, "%dist_shutdown")
        assert "No cluster is kept" in text(second, "%dist_clusters")
    wait_until(lambda: not ours(), 15)
    assert not list(Path(ipython_dir).glob(f"profile_*/*/*{name}*"))


ENDS = """
import time
until = time.monotonic() + 2
while not (ends := rankbook.session().members.ends) and time.monotonic() < until:
    time.sleep(0.02)
print(ends)
"""

SUM = """
result = rankbook.session().run("dist.all_reduce(y := torch.ones(1)); y.item()")
print([its.result_repr for its in result.values()])
"""


def pid_of(notebook, rank):
    return int(
        re.findall(r"\d+$", text(notebook, f"%%rank {rank}\nprint(__import__('os').getpid())"))[-1]
    )


def joined(notebook):
    [kept] = rankbook.clusters()
    text(notebook, f"import rankbook\n%dist_init --cluster-id {kept.name} --no-dashboard")


def test_a_joined_kept_cluster_works_like_ones_own_beside_its_owner_and_after_it(ours):
    with notebook_with_magics() as second:
        with notebook_with_magics() as owner:
            text(owner, f"import rankbook\n{KEEP}")
            text(owner, "%%dist\nx = torch.ones(1) * (rank + 1)")
            joined(second)

            os.kill(pid_of(second, 1), signal.SIGKILL)
            for notebook in (second, owner):
                assert text(notebook, ENDS) == "{1: 'was killed by SIGKILL'}\n"
            assert "2 ranks" in text(second, "%dist_restart")
            assert "3 ranks" in text(second, "%dist_init -n 3 --no-dashboard")
            owner.manager.signal_kernel(signal.SIGKILL)
            wait_until(lambda: not owner.manager.is_alive())

        second.run("%%dist\nif rank == 2: import os; os._exit(3)\ndist.barrier()")
        assert "Rank 2 ended with exit code 3" in second.stderr
        assert "3 ranks" in text(second, "%dist_restart 2")
        assert text(second, SUM) == "['3.0', '3.0', '3.0']\n"
        assert text(second, "%%rank 0\nprint(x.item())") == "[0] 1.0\n"
        assert "3 ranks" in text(second, "%dist_reset --hard")
        pid = pid_of(second, 2)
        second.manager.signal_kernel(signal.SIGKILL)
        wait_until(lambda: not second.manager.is_alive())

    wait_until(lambda: rankbook.clusters()[0].users == (), 10)
    assert [kept.ranks for kept in rankbook.clusters()] == [3]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: rankbook.clusters()[0].ranks == 2, 2)
    session = rankbook.connect(cluster_id=rankbook.clusters()[0].cluster_id)
    assert (session.world_size, list(session.dead_ranks)) == (3, [2])
    assert session.told_of_dead.startswith("Rank 2 has ended: %dist_restart 2 ")
    session.restart_ranks()
    assert session.run("dist.get_world_size()")[2].result_repr == "3"
    session.shutdown()
    wait_until(lambda: not ours(), 15)


def test_an_unused_kept_cluster_ends_after_its_hours_without_a_running_cell(ours, tmp_path):
    begun, over = tmp_path / "begun", tmp_path / "over"
    with notebook_with_magics() as notebook:
        text(notebook, f"{KEEP}=0.0002")
        text(notebook, f"%%dist --no-wait\nopen({str(begun)!r}, 'w').close()\n{waits_for(over)}")
        wait_until(begun.exists)
        notebook.manager.signal_kernel(signal.SIGKILL)
        wait_until(lambda: not notebook.manager.is_alive())
    psutil.wait_procs(ours(), timeout=2.5)  # three times its hours
    assert ours()
    over.touch()
    wait_until(lambda: not ours(), 30)


def test_a_new_rank_is_kept_like_the_first(ours):
    with notebook_with_magics() as notebook:
        text(notebook, KEEP)
        text(notebook, "%dist_reset --hard")
        notebook.manager.signal_kernel(signal.SIGKILL)
        wait_until(lambda: not notebook.manager.is_alive())
    with notebook_with_magics() as notebook:
        [name] = [line.split()[0] for line in text(notebook, "%dist_clusters").splitlines()]
        assert "2 ranks" in text(notebook, f"%dist_init --cluster-id {name} --no-dashboard")
        text(notebook, "%dist_shutdown")
    wait_until(lambda: not ours(), 15)


def test_a_keeper_that_is_killed_is_replaced_as_long_as_its_owner_lives(ours):
    def keepers():
        return {p.pid for p in ours() if "rankbook.cluster.keeping.keeper" in " ".join(p.cmdline())}

    with notebook_with_magics() as owner:
        text(owner, f"import rankbook\n{KEEP}")
        text(owner, "%%dist\nx = torch.ones(1) * (rank + 1)")
        [killed] = keepers()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: keepers() - {killed})
        wait_until(rankbook.clusters)
        owner.manager.signal_kernel(signal.SIGKILL)
        wait_until(lambda: not owner.manager.is_alive())
    with notebook_with_magics() as second:
        joined(second)
        assert text(second, "%%dist\ndist.all_reduce(x)\nprint(x.item())") == "[0-1] 3.0\n"
        # With nobody to replace it, its end is that of the cluster.
        os.kill(keepers().pop(), signal.SIGKILL)
        wait_until(lambda: not ours(), 15)
        second.run("%%dist\nprint(rank)")
        assert "The cluster's controller is gone" in second.stderr
        text(second, "%dist_shutdown")
        assert "No cluster is kept" in text(second, "%dist_clusters")


def test_the_owner_ends_a_kept_cluster_by_shutdown(ours):
    with notebook_with_magics() as notebook:
        text(notebook, KEEP)
        text(notebook, "%dist_shutdown")
        wait_until(lambda: not ours(), 10)
        assert "No cluster is kept" in text(notebook, "%dist_clusters")
