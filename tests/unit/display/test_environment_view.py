"""What ranks run with, as text and as HTML; and which variables are told at all."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from markup import tree
from samples import EVIL

from rankbook.display.environment import Environments, to_html, to_text
from rankbook.models import EngineFacts, load, to_dict
from rankbook.models.environment import Environment, relevant


def env(rank=0, host="a", gpus=(), **variables):
    """Of a rank; variables that are None are not set."""
    variables = {"OMP_NUM_THREADS": "1", "RANK": str(rank)} | variables
    return Environment(
        EngineFacts(rank, host, (), 100 + rank, gpus, "/home/u"),
        {"python": "3.12.1", "torch": "2.9.0", "NCCL": "2.27.5"},
        4,
        2,
        {name: value for name, value in variables.items() if value is not None},
    )


FOUR = {rank: env(rank) for rank in range(4)}


def rows(text):
    """What stands in the table, split at wide gaps."""
    return [
        [part.strip() for part in line.split("  ") if part.strip()] for line in text.splitlines()
    ]


def test_equal_entries_of_the_environment_are_shown_once():
    text = to_text(FOUR)
    assert text.splitlines()[0] == "4 ranks on 1 host · nothing differs that should not"
    assert rows(text)[1:] == [
        ["what", "ranks", "value", "note"],
        ["host", "0-3", "a"],
        ["folder", "0-3", "/home/u"],
        ["GPUs", "0-3", "none"],
        ["python", "0-3", "3.12.1"],
        ["torch", "0-3", "2.9.0"],
        ["NCCL", "0-3", "2.27.5"],
        ["threads", "0-3", "4"],
        ["interop threads", "0-3", "2"],
        ["OMP_NUM_THREADS", "0-3", "1"],
        ["RANK", "0-3", "0, 1, 2, 3"],
    ]


def test_differing_entries_of_the_environment_are_marked_and_named_first():
    text = to_text(FOUR | {2: env(2, OMP_NUM_THREADS="8", NCCL_DEBUG="INFO")})
    assert text.splitlines()[0] == "4 ranks on 1 host · NCCL_DEBUG and OMP_NUM_THREADS differ"
    table = rows(text)
    at = table.index(["OMP_NUM_THREADS", "0-1,3", "1", "differs"])
    assert table[at + 1] == ["2", "8", "differs"]
    at = table.index(["NCCL_DEBUG", "0-1,3", "(not set)", "differs"])
    assert table[at + 1] == ["2", "INFO", "differs"]


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"versions": {"python": "3.11", "torch": "2.9.0", "NCCL": "2.27.5"}}, "python"),
        ({"versions": {"python": "3.12.1", "torch": "2.9.0"}}, "NCCL"),
        ({"threads": 1}, "threads"),
        ({"interop_threads": 1}, "interop threads"),
        ({"facts": EngineFacts(1, "a", (), 1, ("H100",), "/home/u")}, "GPUs"),
        ({"facts": EngineFacts(1, "a", (), 1, (), "/tmp")}, "folder"),  # noqa: S108
    ],
)
def test_every_differing_entry_of_the_environment_is_named(changed, name):
    text = to_text(FOUR | {1: replace(env(1), **changed)})
    assert text.splitlines()[0] == f"4 ranks on 1 host · {name} differs"


def test_ranks_of_several_hosts_do_not_differ_by_that():
    text = to_text({rank: env(rank, host="ab"[rank // 2]) for rank in range(4)})
    assert text.splitlines()[0] == "4 ranks on 2 hosts · nothing differs that should not"
    assert ["host", "0-1", "a"] in rows(text)
    assert ["2-3", "b"] in rows(text)


@pytest.mark.parametrize("devices", [["0", "1", "2", "3"], ["0", "1", "0", "1"]])
def test_ranks_with_a_gpu_each_do_not_differ_by_that(devices):
    ranks = {rank: env(rank, CUDA_VISIBLE_DEVICES=device) for rank, device in enumerate(devices)}
    assert "nothing differs" in to_text(ranks)


def test_a_rank_that_was_given_no_gpu_differs():
    ranks = {rank: env(rank, CUDA_VISIBLE_DEVICES=str(rank)) for rank in range(3)}
    text = to_text(ranks | {3: env(3)})
    assert text.splitlines()[0].endswith("CUDA_VISIBLE_DEVICES differs")


def test_many_ranks_are_not_listed_one_by_one():
    text = to_text({rank: env(rank) for rank in range(64)})
    assert ["RANK", "0-63", "0, 1, 2, 3, 4, 5, 6, 7, …"] in rows(text)


def test_equal_gpus_are_counted_in_the_environment_table():
    text = to_text({0: env(gpus=("H100", "H100", "A100"))})
    assert ["GPUs", "0", "2 x H100, 1 x A100"] in rows(text)


def test_the_environment_of_a_single_rank_differs_from_none():
    assert to_text({0: env()}).splitlines()[0] == "1 rank on 1 host"


def test_ranks_that_do_not_answer_are_named():
    assert to_text({0: env()}, [1, 2]).splitlines()[0] == (
        "1 rank on 1 host · no answer from ranks 1-2"
    )
    assert to_text({}, [1]) == "0 ranks on 0 hosts · no answer from rank 1"
    assert tree(to_html({}, [1])).text == "0 ranks on 0 hosts · no answer from rank 1"


def test_the_html_says_the_same_as_the_text():
    ranks = FOUR | {2: env(2, OMP_NUM_THREADS="8")}
    page = tree(to_html(ranks))
    shown = [[cell.text for cell in row.all("td")] for row in page.all("tr")[1:]]
    assert [[cell for cell in row if cell] for row in shown] == [
        [f"◆ {cell}" if cell == "differs" else cell for cell in row]
        for row in rows(to_text(ranks))[2:]
    ]
    assert page.one("caption").text == to_text(ranks).splitlines()[0]


def test_environment_values_are_shown_as_text():
    page = tree(to_html({0: env(host=EVIL, NCCL_DEBUG=EVIL)}))
    assert not page.all("b")
    assert EVIL in page.text


def test_a_table_of_environments_shows_itself_as_text_and_html():
    view = Environments(FOUR, [4])
    assert repr(view) == to_text(FOUR, [4])
    assert view._repr_html_() == to_html(FOUR, [4])


# -- the model -------------------------------------------------------------------------------


def test_an_environment_survives_json():
    assert load(Environment, json.loads(json.dumps(to_dict(env(3, gpus=("a",)))))) == env(
        3, gpus=("a",)
    )


WANTED = """
    CUDA_VISIBLE_DEVICES GLOO_SOCKET_IFNAME LOCAL_RANK MASTER_ADDR NCCL_DEBUG OMP_NUM_THREADS
    PYTORCH_CUDA_ALLOC_CONF RANK SLURM_JOB_ID TORCH_DISTRIBUTED_DEBUG WORLD_SIZE
"""


def test_only_variables_that_matter_to_torch_are_relevant():
    wanted = dict.fromkeys(WANTED.split(), "x")
    others = dict.fromkeys(["HOME", "PATH", "HF_TOKEN", "MY_RANK", "RANKING", "USER"], "x")
    assert relevant(wanted | others) == wanted
