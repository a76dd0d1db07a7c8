"""The notebook about hangs: each mistake gets its verdict, and each fixed cell works."""

from __future__ import annotations

import re

import psutil
import pytest
from executed import cell_with, error_of, execute, shown
from lines import by_rank
from processes import commands, family

FREED = "The ranks are free, their variables in place, and the process group was re-created"


@pytest.fixture(scope="module")
def executed():
    return execute("01_debugging_hangs.ipynb")


def verdict(cell):
    """The sentence of a cell that hung, what the ranks did, the cause first, and what was done."""
    name, message, shown_lines = error_of(cell)
    assert name == "HangError"
    lines = shown_lines[shown_lines.index("HangError: ") :].splitlines()
    assert message.startswith(lines[0].removeprefix("HangError: "))
    rows = [match for line in lines if (match := re.match(r"[◆ ] (ranks? [\d,-]+) +(.*)", line))]
    return lines[0].removeprefix("HangError: "), [row.groups() for row in rows], lines[-1]


HANGS = [
    (
        "for batch in shard.split(8):",
        (
            r"Rank 3 never called all_reduce #\d+, in which ranks 0-2 waited "
            r"\(In \[\d+\] line \d+ in train_step, called from In \[\d+\] line \d+: "
            r"dist\.all_reduce\(parameter\.grad\)\): "
            r"its cell had ended\."
        ),
        [("rank 3", "was idle: its cell had ended"), ("ranks 0-2", "waited in all_reduce")],
    ),
    (
        "    if rank == 0:\n        dist.reduce(loss, dst=0)",
        (
            r"Rank 0 called reduce #(\d+) to 0 "
            r"\(In \[\d+\] line 5: dist\.reduce\(loss, dst=0\)\), "
            r"where ranks 1-3 called all_reduce #\1 "
            r"\(In \[\d+\] line \d+ in \w+, called from In \[\d+\] line \d+: "
            r"dist\.all_reduce\(parameter\.grad\)\)\."
            r"|Rank 0 called reduce #(\d+) to 0 "
            r"\(In \[\d+\] line 5: dist\.reduce\(loss, dst=0\)\), "
            r"where ranks 1-3 called all_reduce #\2 "
            r"\(In \[\d+\] line \d+: dist\.all_reduce\(parameter\.grad\)\)\."
        ),
        [("rank 0", "waited in reduce"), ("ranks 1-3", "waited in all_reduce")],
    ),
    (
        'with open(folder / f"labels-{rank}.txt")',
        (
            r"Rank 3 raised FileNotFoundError: .*labels-3\.txt'?.*, and ranks 0-2 waited for it "
            r"in all_reduce #\d+ \(In \[\d+\] line 5: dist\.all_reduce\(count\)\)\."
        ),
        [("rank 3", "raised FileNotFoundError"), ("ranks 0-2", "waited in all_reduce")],
    ),
    (
        "dist.recv(received, src=left)",
        (
            r"Ranks 0-3 waited for each other: rank 0 in recv from 3, rank 1 in recv from 0, "
            r"rank 2 in recv from 1, rank 3 in recv from 2 "
            r"\(In \[\d+\] line 4: dist\.recv\(received, src=left\)\)\."
        ),
        [
            (f"rank {rank}", f"waited in recv from {peer} of 8 float32")
            for rank, peer in enumerate((3, 0, 1, 2))
        ],
    ),
    (
        "training.train(steps=4)",
        (
            r"Rank 0 called barrier #(\d+) "
            r"\(training\.py:18 in save, called from In \[\d+\] line 7: "
            r"dist\.barrier\(\)  # until the file is written\), "
            r"where ranks 1-3 called all_reduce #\1 "
            r"\(training\.py:9 in train, called from In \[\d+\] line 7: "
            r"dist\.all_reduce\(gradient\)\)\."
        ),
        [("rank 0", "waited in barrier"), ("ranks 1-3", "waited in all_reduce")],
    ),
]


@pytest.mark.parametrize(("source", "sentence", "ranks"), HANGS)
def test_a_hang_ends_with_its_verdict(executed, source, sentence, ranks):
    said, rows, done = verdict(cell_with(executed, source))
    assert re.fullmatch(sentence, said), said
    for row, (who, does) in zip(rows, ranks, strict=True):
        assert row[0] == who
        assert row[1].startswith(does)
    assert FREED in done


def test_a_rank_that_has_nothing_left_to_do_is_not_stopped(executed):
    cell = cell_with(executed, "for batch in shard.split(8):")
    said, *picture = shown(cell).splitlines()
    assert re.fullmatch(r"\[3\] trained on 24 samples, loss \d\.\d+", said)
    assert [line.partition(",")[0] for line in picture] == [
        *(f"rank {rank}: 7 collectives" for rank in range(3)),
        "rank 3: 6 collectives",
    ]


def test_the_traceback_of_the_rank_that_raised_comes_first_and_alone(executed):
    _, _, lines = error_of(cell_with(executed, 'with open(folder / f"labels-{rank}.txt")'))
    assert lines.count("Traceback (most recent call last)") == 1
    assert lines.startswith("[3] ")
    assert lines.index("FileNotFoundError") < lines.index("HangError")


def test_shapes_that_differ_are_refused_on_every_rank(executed):
    said, rows, _ = verdict(cell_with(executed, "torch.bincount(labels)\n"))
    assert re.fullmatch(
        r"Rank 2 called all_reduce #\d+ with 3 elements of int64, "
        r"where ranks 0-1,3 called it with 4 elements of int64 "
        r"\(In \[\d+\] line 3: dist\.all_reduce\(per_class\)\)\.",
        said,
    )
    assert [ranks for ranks, _ in rows] == ["rank 2", "ranks 0-1,3"]
    assert all("called all_reduce" in does for _, does in rows)


EPOCHS = [rf"epoch {n}: mean loss \d+\.\d+" for n in range(3)]

FIXED = [
    ("dist.ReduceOp.MIN", 0, range(4), ["3 steps on every rank"]),
    ("    dist.reduce(loss, dst=0)\n    if rank == 0:", 0, [0], EPOCHS),
    ('with open(folder / f"labels-{rank}.txt")', 1, range(4), ["24"]),
    ("dist.batch_isend_irecv(exchange)", 0, range(4), ["True"]),
    ("minlength=4", 0, range(4), [r"tensor\(\[7, 6, 6, 5\]\)"]),
    ("loss = evaluate()", 0, [0], ["evaluated"]),
]


@pytest.mark.parametrize(("source", "nth", "ranks", "lines"), FIXED)
def test_the_fixed_cell_works(executed, source, nth, ranks, lines):
    said = by_rank(shown(cell_with(executed, source, nth)), 4)
    assert [rank for rank in said if said[rank]] == list(ranks)
    for rank in ranks:
        assert re.fullmatch("\n".join(lines), "\n".join(said[rank])), said


def test_the_file_that_was_repaired_works_on_the_same_ranks(executed):
    said = by_rank(shown(cell_with(executed, "reload(training)")), 4)
    value = "tensor([-1.6000])"
    assert said == {0: ["saved -0.8", value], 1: [value], 2: [value], 3: [value]}


def test_the_verdict_can_be_asked_for_while_a_cell_hangs(executed):
    assert shown(cell_with(executed, ".diagnose()")) == "('missing_rank', (1, 2, 3))\n"
    sentence, hint, head, *rows = shown(cell_with(executed, "%dist_why")).splitlines()
    assert re.fullmatch(
        r"Ranks 1-3 never called barrier #\d+, in which rank 0 waits "
        r"\(In \[\d+\] line \d+: dist\.barrier\(\)\): their cells have ended\.",
        sentence,
    )
    assert hint.startswith("Often ")
    assert head.split() == ["ranks", "part", "what", "they", "do"]
    assert [row.split()[:2] for row in rows] == [
        ["1-3", "cause"],
        ["0", "stuck"],
    ]


def test_an_interrupt_frees_a_collective_that_waits_in_the_background(executed):
    assert "Interrupted." in shown(cell_with(executed, "%dist_interrupt"))
    assert FREED in shown(cell_with(executed, "--no-wait --on-hang wait"))


def test_a_dead_rank_is_named_and_replaced(executed):
    said, rows, done = verdict(cell_with(executed, "signal.SIGKILL"))
    assert said.startswith("Rank 2 was killed by SIGKILL")
    assert rows[0][0] == "rank 2"
    assert "restart_ranks([2])" in done
    assert by_rank(shown(cell_with(executed, '"model" in globals()')), 4) == {
        rank: [f"the sum is 4.0 and the model is {'gone' if rank == 2 else 'here'}"]
        for rank in range(4)
    }


def test_only_the_cells_that_say_so_fail(executed):
    failed = [cell for cell in executed if any(o.output_type == "error" for o in cell.outputs)]
    tagged = [c for c in executed if "raises-exception" in c.metadata.get("tags", [])]
    assert failed == tagged
    meant = [cell for cell in failed if error_of(cell)[0] == "HangError"]
    assert len(meant) == len(HANGS) + 2  # the shapes, and the rank that dies
    assert {error_of(cell)[0] for cell in failed if cell not in meant} == {
        *("LessonError", "CheckFailed")  # what waits for the reader
    }


def test_the_notebook_on_hangs_stops_what_it_started(executed):
    assert executed[-1].source == "%dist_shutdown"
    assert [left for left in commands(family(psutil.Process())) if "rankbook." in left] == []
