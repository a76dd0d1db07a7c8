"""MASTER_PORT after the ranks, or their processes, have changed."""

from __future__ import annotations

import rankbook

AGAIN = """
import os
dist.destroy_process_group()
dist.init_process_group("gloo")
y = torch.ones(1)
dist.all_reduce(y)
int(y), int(os.environ["MASTER_PORT"]) > 0
"""


def test_a_group_is_made_by_hand_after_ranks_were_added_and_replaced():
    session = rankbook.start("gloo", 2)
    try:
        for change in (
            lambda: session.initialize(nproc=3),
            lambda: session.restart_ranks([0]),
            lambda: session.reset(hard=True),
            lambda: session.initialize(nproc=2),
            lambda: session.initialize(nproc=1),
        ):
            change()
            result = session.run(AGAIN, timeout=60)
            assert {its.result_repr for its in result.values()} == {f"({session.world_size}, True)"}
    finally:
        session.shutdown()
