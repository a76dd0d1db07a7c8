"""The command line, as far as it needs no ranks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import rankbook
from rankbook.cli import commands, finding
from rankbook.cli.commands import COMMANDS
from rankbook.cli.ends import End, RefusedError, end_of
from rankbook.cli.main import main, parser
from rankbook.cli.printing import for_terminal
from rankbook.cluster.keeping.running import Owner, Running, all_running, runs_kernel
from rankbook.errors import InputError, SessionError
from rankbook.models import Diagnosis
from rankbook.sessions.cells.results import CellResult, RankResult

ONE = Running("1795-ab", "here", "/x/ipcontroller-1795-ab-client.json", 1.0)
OTHER = Running("1796-cd", "here", "/x/ipcontroller-1796-cd-client.json", 2.0)
KERNEL = Owner(1, "python -m ipykernel_launcher", "/work", is_kernel=True)


def note(folder, name, pid, *, reaches=True):
    said = {"cluster": {"cluster_id": name}, "controller": {"state": {"pid": pid}}}
    (folder / f"cluster-{name}.json").write_text(json.dumps(said))
    if reaches:
        (folder / f"ipcontroller-{name}-client.json").write_text("{}")


def test_a_cluster_whose_controller_lives_is_found_with_the_process_that_started_it(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as controller:
        note(tmp_path, "1795-ab", controller.pid)
        [found] = all_running([tmp_path])
        begun = psutil.Process(controller.pid).create_time()
        controller.stdin.write(b"\n")
    assert (found.name, found.is_kept) == ("1795-ab", False)
    assert found.connection_file == str(tmp_path / "ipcontroller-1795-ab-client.json")
    assert [owner.pid for owner in found.owners] == [os.getpid()]
    assert found.since == begun


def test_files_of_ended_clusters_are_not_found_as_running(tmp_path):
    note(tmp_path, "1795-ab", 2**22 + 1)
    note(tmp_path, "1796-cd", os.getpid(), reaches=False)
    (tmp_path / "cluster-1797-ef.json").write_text("no JSON")
    (tmp_path / "cluster-1798-gh.json").write_text('{"cluster": {}}')
    assert all_running([tmp_path]) == []


def test_a_pid_that_another_process_has_by_now_is_no_controller(tmp_path):
    note(tmp_path, "1795-ab", os.getpid())
    before = psutil.Process().create_time() - 100
    os.utime(tmp_path / "cluster-1795-ab.json", (before, before))
    assert all_running([tmp_path]) == []


@pytest.mark.parametrize(
    ("line", "is_kernel"),
    [
        ("python -m ipykernel_launcher -f /run/kernel.json", True),
        ("/usr/bin/python3.11 -Xfrozen_modules=off -m ipykernel_launcher -f x.json", True),
        ("python /lib/ipykernel_launcher.py -f x.json", True),
        ("python /home/jupyter/train.py ipykernel", False),
        ("marimo edit x.py", False),
        ("python", False),
    ],
)
def test_only_a_kernel_is_sent_a_signal(line, is_kernel):
    assert runs_kernel(line.split()) == is_kernel


def test_the_only_cluster_need_not_be_named(tmp_path):
    assert finding.choose(None, [ONE]) is ONE
    assert finding.choose("1796-cd", [ONE, OTHER]) is OTHER
    (file := tmp_path / "z-client.json").write_text("{}")
    assert finding.choose(str(file), []).connection_file == str(file)


@pytest.mark.parametrize(
    ("name", "found", "why"),
    [
        (None, [], "No cluster of yours runs on this host: %dist_init starts one."),
        (None, [ONE, OTHER], "Several clusters run: give --cluster-id, one of 1795-ab, 1796-cd."),
        ("x", [ONE], "There is no cluster 'x' on this host. Running: 1795-ab."),
        ("x", [], "There is no cluster 'x' on this host. None runs."),
        ("/no/z-client.json", [ONE], "There is no connection file /no/z-client.json."),
    ],
)
def test_a_cluster_that_is_not_clear_is_a_line(name, found, why):
    with pytest.raises(RefusedError) as raised:
        finding.choose(name, found)
    assert str(raised.value) == why
    assert raised.value.end == End.NO_CLUSTER


def test_ranks_that_a_living_process_uses_are_left_to_it():
    used = Running("1795-ab", "here", "/x", 1.0, owners=(KERNEL,))
    with pytest.raises(RefusedError) as raised, finding.acting_on(used, "run it"):
        pass
    assert str(raised.value) == (
        "A notebook's kernel (pid 1 in /work) uses 1795-ab: run it in its notebook or script, or "
        "end it first."
    )
    assert raised.value.end == End.NOT_YOURS


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        *(("idle", 0), ("running", 0), ("slow", 0), ("missing_rank", 4), ("mismatch", 4)),
        *(("raised", 4), ("unknown", 4), ("dead", 6)),
    ],
)
def test_the_exit_code_says_what_a_diagnosis_does(kind, end):
    assert end_of(Diagnosis(kind, (), "")) == end


def test_code_that_ran_after_a_hang_was_freed_ends_with_the_code_of_the_hang(monkeypatch, capsys):
    hang = Diagnosis("missing_rank", (1,), "Rank 1 never called barrier #1.")
    result = CellResult({0: RankResult(0, result_repr="3")}, hang)
    session = SimpleNamespace(select=lambda _: (0,), run=lambda *_, **__: result)
    acting = nullcontext((session, False))
    monkeypatch.setattr(commands, "running", lambda: [ONE])
    monkeypatch.setattr(commands, "acting_on", lambda *_: acting)
    assert main(["run", "1 + 2"]) == End.HANGS
    assert "HangError: Rank 1 never called barrier #1." in capsys.readouterr().err


def test_an_error_is_a_line_and_json_where_that_is_asked_for(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    assert main(["why", "--json"]) == End.NO_CLUSTER
    said = capsys.readouterr()
    assert json.loads(said.out) == {"error": said.err.strip(), "exit": 3}


@pytest.mark.parametrize("line", [[], ["frob"], ["run"], ["why", "now"], ["status", "--xml"]])
def test_a_command_line_that_makes_no_sense_ends_with_2(line, capsys):
    assert main(line) == End.USAGE
    said = capsys.readouterr()
    assert re.fullmatch(r"python -m rankbook.*: .* \(see python -m rankbook.* --help\)\n", said.err)
    assert said.out == ""
    assert main([*line, "--json"]) == End.USAGE
    said = capsys.readouterr()
    assert json.loads(said.out) == {"error": said.err.strip(), "exit": 2}


def test_the_page_and_the_skill_list_every_command_and_exit_code(capsys):
    page = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text()
    skill = (Path(rankbook.__file__).parent / "SKILL.md").read_text()
    assert main(["skill"]) == 0
    assert capsys.readouterr().out.strip() == skill.strip()
    [commands] = [a.choices for a in parser()._actions if a.dest == "command"]
    assert set(re.findall(r"^\| `(\w+)", page, re.MULTILINE)) == set(commands)
    assert set(re.findall(r"python -m rankbook (\w+)", skill)) == set(commands) - {"skill"}
    codes = {str(end.value) for end in End} | {"130", "141"}
    assert set(re.findall(r"^\| (\d+) \|", page, re.MULTILINE)) == codes
    assert codes <= set(re.findall(r"\b\d+\b", skill.partition("## Exit codes")[2]))


def test_advice_with_a_magic_is_printed_as_a_command_line():
    told = "%dist_restart 0-2 (or restart_ranks([0, 1, 2])) replaces them; %dist_reset --hard all"
    assert for_terminal(told) == (
        "`python -m rankbook restart 0-2` replaces them; %dist_reset --hard all"
    )
    told = "%dist_restart 2 --from 0 copies it."
    assert for_terminal(told) == "`python -m rankbook restart 2 --from 0` copies it."


@pytest.mark.parametrize(("error", "end"), [(InputError("no"), 2), (SessionError("no"), 7)])
def test_a_selection_that_makes_no_sense_ends_with_2(monkeypatch, error, end):
    def fail(options):
        raise error

    monkeypatch.setitem(COMMANDS, "restart", fail)
    assert main(["restart", "9"]) == end


@pytest.mark.parametrize("command", ["interrupt", "restart", "status"])
def test_the_advice_of_an_error_can_be_typed_in_a_terminal(monkeypatch, capsys, command):
    def fail(options):
        raise SessionError("Rank 2 is stuck: %dist_restart 2 replaces it.")

    monkeypatch.setitem(COMMANDS, command, fail)
    assert main([command]) == End.ERROR
    assert "`python -m rankbook restart 2` replaces it" in capsys.readouterr().err


def test_a_refusal_may_name_what_to_type_in_the_notebook(monkeypatch, capsys):
    def refuse(options):
        raise RefusedError(End.NOT_YOURS, "In the notebook, run %dist_restart 2.")

    monkeypatch.setitem(COMMANDS, "interrupt", refuse)
    assert main(["interrupt"]) == End.NOT_YOURS
    assert "%dist_restart 2" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_a_line():
    line = [sys.executable, "-m", "rankbook", "skill"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (7, "OSError: [Errno 28] No space left on device\n")


def test_a_file_that_is_no_connection_file_is_a_line(tmp_path, capsys):
    for number, content in enumerate(("{}", "[]", "garbage", "\xff")):
        path = tmp_path / f"{number}.json"
        path.write_bytes(content.encode("latin1"))
        assert main(["status", "--cluster-id", str(path)]) == End.ERROR
        said = capsys.readouterr()
        assert said.err == (f"{path} is no connection file: take an ipcontroller-…-client.json.\n")


def test_a_reader_that_has_read_enough_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    line = [sys.executable, "-m", "rankbook", "skill"]
    done = subprocess.run(line, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
