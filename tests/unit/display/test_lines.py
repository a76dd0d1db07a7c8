from __future__ import annotations

import random
from collections import Counter
from typing import ClassVar

import pytest

from rankbook.display.cells import lines
from rankbook.display.cells.lines import Item, Merger

INFINITY = float("inf")
PATIENCE = 0.05


def line(text, kind="stdout"):
    return Item((kind, text))


class Ranks:
    """Ranks that speak, and a clock."""

    def __init__(self, n=2):
        self.running = set(range(n))
        self.merger = Merger(self.running)
        self.now = 100.0
        self.wait = INFINITY

    def say(self, rank, *texts):
        for text in texts:
            self.merger.push(rank, line(text), self.now)

    def due(self):
        merged, self.wait = self.merger.due(self.running, self.now)
        return [(ranks, item.shown) for ranks, item in merged]

    def pass_time(self, seconds=None):
        self.now += self.wait + 1e-9 if seconds is None else seconds

    def finish(self):
        self.running = set()
        return self.due()


def test_without_output_nothing_is_due():
    assert Merger([0, 1]).due({0, 1}, 0.0) == ([], INFINITY)


def test_the_same_line_of_all_ranks_is_merged():
    ranks = Ranks(4)
    for rank in (2, 0, 3, 1):
        ranks.say(rank, "a")
    assert ranks.due() == [((0, 1, 2, 3), "a")]
    assert ranks.wait == INFINITY


def test_replies_of_ranks_to_one_command_wait_for_the_slowest():
    ranks = Ranks(4)
    ranks.merger.expect({0, 1, 2}, ranks.now)
    for rank in (0, 1):
        ranks.say(rank, "3")
        ranks.running.discard(rank)  # it asks for the next command
    ranks.pass_time(0.2)
    assert ranks.due() == []
    ranks.say(2, "3")
    ranks.running.discard(2)
    assert ranks.due() == [((0, 1, 2), "3")], "rank 3 was given no command, and is not waited for"


def test_a_reply_waits_for_a_moment_only():
    ranks = Ranks(2)
    ranks.merger.expect({0, 1}, ranks.now)
    ranks.say(0, "3")
    assert ranks.due() == []
    ranks.pass_time()
    assert ranks.due() == [((0,), "3")]
    assert ranks.now < 100.5


def test_after_a_prompt_at_which_one_was_told_something_ranks_stand_in_order_again():
    ranks = Ranks(3)
    ranks.running = set()
    ranks.say(0, "told alone")
    assert ranks.due() == [((0,), "told alone")]
    for rank in (2, 0):
        ranks.say(rank, f"from {rank}")
    assert ranks.due() == [((0,), "from 0"), ((2,), "from 2")]


def test_different_lines_stand_in_the_order_of_the_ranks():
    ranks = Ranks(3)
    for rank in (2, 1, 0):
        ranks.say(rank, f"from {rank}")
    assert ranks.finish() == [((rank,), f"from {rank}") for rank in range(3)]


def test_a_line_is_held_while_a_running_rank_may_still_print_it():
    ranks = Ranks()
    ranks.say(0, "a")
    assert ranks.due() == []
    assert 0 < ranks.wait <= PATIENCE
    ranks.pass_time(ranks.wait / 2)
    ranks.say(1, "a")
    assert ranks.due() == [((0, 1), "a")]


def test_a_line_is_released_when_the_other_rank_prints_something_else():
    ranks = Ranks()
    ranks.say(0, "a")
    assert ranks.due() == []
    ranks.say(1, "b")
    assert ranks.due() == [((0,), "a")]  # and rank 0 may say b now


def test_a_line_is_released_when_the_other_rank_finishes():
    ranks = Ranks()
    ranks.say(0, "a")
    assert ranks.due() == []
    ranks.running = {0}
    assert ranks.due() == [((0,), "a")]


def test_a_line_is_released_when_patience_runs_out():
    ranks = Ranks()
    ranks.say(0, "a")
    assert ranks.due() == []
    ranks.pass_time()
    assert ranks.due() == [((0,), "a")]
    assert ranks.wait == INFINITY


def test_a_line_is_held_for_the_silent_one_of_three():
    ranks = Ranks(3)
    ranks.say(0, "a")
    ranks.say(1, "b")
    assert ranks.due() == []
    ranks.say(2, "a")
    assert ranks.due() == [((0, 2), "a")]
    assert ranks.finish() == [((1,), "b")]


def test_the_only_rank_never_waits():
    ranks = Ranks(1)
    ranks.say(0, "a", "b")
    assert ranks.due() == [((0,), "a"), ((0,), "b")]


def test_a_rank_that_finished_before_does_not_hold_the_others_up():
    ranks = Ranks(3)
    ranks.running = {0, 1}
    ranks.say(0, "a")
    ranks.say(1, "a")
    assert ranks.due() == [((0, 1), "a")]


def test_lines_of_different_kinds_are_different():
    merger = Merger([0, 1])
    merger.push(0, line("a", "stdout"), 0.0)
    merger.push(1, line("a", "stderr"), 0.0)
    merged, _ = merger.due((), 0.0)
    assert [(m.ranks, m.item.kind) for m in merged] == [((0,), "stdout"), ((1,), "stderr")]


def test_ranks_in_step_are_merged_line_by_line():
    ranks = Ranks(3)
    for rank in range(3):
        ranks.say(rank, "begin", f"mine {rank}", "end")
    assert ranks.due() == [
        ((0, 1, 2), "begin"),
        ((0,), "mine 0"),
        ((1,), "mine 1"),
        ((2,), "mine 2"),
        ((0, 1, 2), "end"),
    ]


def test_a_rank_that_prints_one_more_line_is_merged_again_after_it():
    ranks = Ranks(2)
    ranks.say(0, "only here", "both")
    ranks.say(1, "both")
    assert ranks.due() == [((0,), "only here"), ((0, 1), "both")]


def test_the_same_line_twice_is_shown_twice():
    ranks = Ranks(2)
    ranks.say(0, "a", "a")
    ranks.say(1, "a", "a")
    assert ranks.due() == [((0, 1), "a"), ((0, 1), "a")]


def test_opposite_orders_do_not_deadlock():
    ranks = Ranks(2)
    ranks.say(0, "a", "b")
    ranks.say(1, "b", "a")
    shown = ranks.due()
    assert shown  # no rank waits for the other
    ranks.pass_time()
    shown += ranks.due()
    assert kept_order(shown, {0: ["a", "b"], 1: ["b", "a"]})


def test_a_ring_of_orders_does_not_deadlock():
    said = {0: ["a", "b"], 1: ["b", "c"], 2: ["c", "a"]}
    ranks = Ranks(3)
    for rank, texts in said.items():
        ranks.say(rank, *texts)
    shown = ranks.due()
    assert shown
    shown += ranks.finish()
    assert kept_order(shown, said)


def test_patience_shrinks_when_waiting_is_in_vain():
    ranks = Ranks()
    waits = []
    for number in range(8):
        ranks.say(0, str(number))
        assert ranks.due() == []
        waits.append(ranks.wait)
        ranks.pass_time()
        assert ranks.due() == [((0,), str(number))]
        ranks.pass_time(1.0)
    assert waits == sorted(waits, reverse=True)
    assert waits[0] == pytest.approx(PATIENCE)
    assert waits[1] == pytest.approx(PATIENCE / 2)
    assert waits[-1] == pytest.approx(0.001)


def test_a_notice_waits_longer_for_ranks_that_are_behind():
    ranks = Ranks()
    notice = Item(("stderr", "x.py:1: UserWarning: slow"), is_notice=True)
    ranks.merger.push(0, notice, ranks.now)
    assert ranks.due() == []
    ranks.pass_time(0.3)
    ranks.merger.push(1, notice, ranks.now)
    assert ranks.due() == [((0, 1), "x.py:1: UserWarning: slow")]
    ranks.say(0, "no notice")
    assert ranks.due() == []
    assert ranks.wait == pytest.approx(PATIENCE)


def test_a_rank_that_alone_gives_notice_is_soon_shown_without_delay():
    ranks = Ranks()
    for number in range(12):
        ranks.merger.push(0, Item(("stderr", str(number)), is_notice=True), ranks.now)
        assert ranks.due() == []
        assert ranks.wait < 0.41
        ranks.pass_time()
        assert ranks.due() == [((0,), str(number))]
    assert ranks.wait == INFINITY
    ranks.merger.push(0, Item(("stderr", "last"), is_notice=True), ranks.now)
    ranks.due()
    assert ranks.wait <= 0.002


def test_patience_is_restored_when_waiting_pays():
    ranks = Ranks()
    for number in range(8):
        ranks.say(0, str(number))
        ranks.due()
        ranks.pass_time()
        ranks.due()
    ranks.say(0, "together")
    assert ranks.due() == []
    assert ranks.wait < PATIENCE / 2
    ranks.pass_time(ranks.wait / 2)
    ranks.say(1, "together")
    assert ranks.due() == [((0, 1), "together")]
    ranks.say(0, "next")
    assert ranks.due() == []
    assert ranks.wait == pytest.approx(PATIENCE)


def test_lines_that_came_at_once_do_not_change_the_patience():
    ranks = Ranks()
    ranks.say(0, "a")
    ranks.due()
    ranks.pass_time()
    ranks.due()
    ranks.say(0, "b")
    ranks.say(1, "b")
    assert ranks.due() == [((0, 1), "b")]
    ranks.say(0, "c")
    ranks.due()
    assert ranks.wait == pytest.approx(PATIENCE / 2)


def test_a_flood_of_lines_is_not_held():
    ranks = Ranks()
    texts = [str(n) for n in range(1000)]
    ranks.say(0, *texts)
    shown = ranks.due()
    assert len(shown) > 700
    assert shown == [((0,), text) for text in texts[: len(shown)]]
    assert 0 < ranks.wait <= PATIENCE


def test_a_flood_of_several_ranks_is_still_merged():
    ranks = Ranks(4)
    texts = [f"step {n}" for n in range(500)]
    for rank in range(4):
        ranks.say(rank, *texts)
    assert ranks.due() == [((0, 1, 2, 3), text) for text in texts]


def test_a_late_rank_is_not_held_up_behind_the_flood_of_another():
    """Turns are taken by lines already shown; a rank far behind must not starve the other."""
    ranks = Ranks(2)
    for number in range(100):
        ranks.say(0, f"early {number}")
        ranks.due()
        ranks.pass_time(1.0)
        ranks.due()
    ranks.say(0, "zero")
    ranks.pass_time(1.0)
    ranks.say(1, *[f"late {number}" for number in range(200)])
    assert ranks.due()[0] == ((0,), "zero")


def kept_order(shown, said):
    """Whether every item of every rank was shown once for that rank, in its order."""
    got = {rank: [] for rank in said}
    for ranks, text in shown:
        for rank in ranks:
            got[rank].append(text)
    return got == said


@pytest.mark.parametrize("seed", range(60))
def test_every_line_comes_out_once_per_rank_and_in_order(seed):
    generator = random.Random(seed)
    n = generator.randint(1, 5)
    alphabet = [chr(ord("a") + i) for i in range(generator.choice([1, 2, 5, 26]))]
    ranks = Ranks(n)
    said = {rank: [] for rank in range(n)}
    shown = []
    for _ in range(generator.randint(1, 400)):
        if ranks.running and generator.random() < 0.9:
            rank = generator.choice(sorted(ranks.running))
            texts = generator.choices(alphabet, k=generator.choice([1, 1, 1, 3, 50]))
            ranks.say(rank, *texts)
            said[rank] += texts
        if generator.random() < 0.3:
            ranks.pass_time(generator.choice([0.0, 0.0004, 0.01, 0.1, 3.0]))
        if generator.random() < 0.02:
            ranks.running.discard(generator.randrange(n))
        if generator.random() < 0.5:
            shown += ranks.due()
            assert ranks.wait > 0
    shown += ranks.finish()
    assert ranks.wait == INFINITY
    assert kept_order(shown, said)


@pytest.mark.parametrize("seed", range(20))
def test_no_line_waits_for_long(seed):
    """Its own patience, and that of a line whose turn came before."""
    generator = random.Random(seed)
    ranks = Ranks(3)
    born = {}
    for number in range(200):
        rank = generator.randrange(3)
        text = f"{rank}:{number}"
        ranks.say(rank, text)
        born[text] = ranks.now
        for _, shown in ranks.due():
            del born[shown]
        for _ in range(generator.randrange(30)):
            ranks.pass_time(0.001)
            for _, shown in ranks.due():
                del born[shown]
        assert all(ranks.now - then <= 2 * PATIENCE + 0.002 for then in born.values())


def test_equal_output_is_merged_however_the_ranks_are_delayed():
    generator = random.Random(1)
    ranks = Ranks(4)
    texts = [f"step {n}" for n in range(50)]
    shown = []
    for text in texts:
        for rank in generator.sample(range(4), 4):
            ranks.say(rank, text)
            ranks.pass_time(generator.uniform(0, 0.01))
            shown += ranks.due()
    assert shown == [((0, 1, 2, 3), text) for text in texts]


class CountingKey(tuple):
    """The key of an item that counts how often it is compared or hashed."""

    __slots__ = ()

    work: ClassVar = Counter()

    def __eq__(self, other):
        self.work["eq"] += 1
        return tuple.__eq__(self, other)

    def __ne__(self, other):
        self.work["eq"] += 1
        return tuple.__ne__(self, other)

    def __hash__(self):
        self.work["hash"] += 1
        return tuple.__hash__(self)


def operations(monkeypatch, texts_of, count):
    """Comparisons, hashes and turns that ``count`` lines of 4 ranks take."""
    CountingKey.work.clear()
    turn = Merger._next

    def counted(self):
        CountingKey.work["turn"] += 1
        return turn(self)

    monkeypatch.setattr(Merger, "_next", counted)
    merger = Merger(range(4))
    for rank in range(4):
        for text in texts_of(rank, count):
            merger.push(rank, Item(CountingKey(("stdout", text))), 0.0)
    shown, _ = merger.due((), 1.0)
    assert sum(len(m.ranks) for m in shown) == 4 * count
    monkeypatch.undo()
    return sum(CountingKey.work.values())


@pytest.mark.parametrize(
    ("texts_of", "count"),
    [
        (lambda rank, n: [f"step {i}" for i in range(n)], 10_000),
        (lambda rank, n: [f"{rank}: step {i}" for i in range(n)], 2_000),
        (lambda rank, n: [f"step {i + rank}" for i in range(n)], 2_000),
        (lambda rank, n: ["same"] * n, 2_000),
        (lambda rank, n: [f"step {i if rank % 2 else n - i}" for i in range(n)], 2_000),
    ],
    ids=["equal", "different", "shifted", "one line", "opposite"],
)
def test_merging_takes_time_linear_in_the_number_of_lines(monkeypatch, texts_of, count):
    half = operations(monkeypatch, texts_of, count // 2)
    whole = operations(monkeypatch, texts_of, count)
    assert whole < 2.2 * half
    assert whole < 100 * 4 * count


def test_the_limits_of_merging_are_those_that_these_tests_assume():
    assert lines.LONGEST == PATIENCE
    assert lines.SHORTEST < PATIENCE
