"""Groups that code has destroyed."""

import threading
import weakref

from processes import wait_until

from rankbook.distributed.destroying import keep_for_a_moment


class Group:
    """Something that can be seen to end."""


def test_one_thread_keeps_all_destroyed_groups_for_a_moment():
    groups = [Group() for _ in range(5)]
    seen = [weakref.ref(group) for group in groups]
    while groups:
        keep_for_a_moment([groups.pop()])
    assert [one.name for one in threading.enumerate()].count("rankbook-destroyed") == 1
    assert all(one() for one in seen)
    wait_until(lambda: not any(one() for one in seen))
