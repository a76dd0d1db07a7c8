"""What takes four ranks to see: selections of ranks, and values by rank."""

from __future__ import annotations


def stdout(result):
    return [result[rank].stdout for rank in result]


def test_a_collective_gives_every_rank_the_sum(four):
    result = four.run("x = torch.ones(2) * (rank + 1)\ndist.all_reduce(x)\nx")
    assert result.ok
    assert [result[rank].result_repr for rank in range(4)] == ["tensor([10., 10.])"] * 4


def test_every_rank_has_the_promised_names(four):
    names = "rank, world_size, local_rank, device, dist_info.backend, dist.get_rank()"
    result = four.run(f"print({names}, torch.ones(1).item())")
    assert stdout(result) == [f"{r} 4 {r} cpu gloo {r} 1.0\n" for r in range(4)]


def test_only_the_chosen_ranks_run(four):
    assert four.run("chosen = rank", "0,2").ok
    result = four.run("'chosen' in globals()")
    assert [result[r].result_repr for r in range(4)] == ["True", "False", "True", "False"]
    assert list(four.run("1", -1)) == [3]


def test_values_travel_both_ways(four):
    four.push(config={"lr": 1e-3}, scale=lambda x: 2 * x)
    assert four.run("scale(config['lr'])")[3].result_repr == "0.002"
    four.run("t = torch.arange(3) + rank")
    pulled = four.pull("t", "1,2")
    assert {rank: t.tolist() for rank, t in pulled.items()} == {1: [1, 2, 3], 2: [2, 3, 4]}
