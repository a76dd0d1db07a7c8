"""What a launcher advises in a cluster that somebody else has started."""

from types import SimpleNamespace

import pytest

from rankbook.cluster import kept
from rankbook.cluster.launchers import joined


@pytest.mark.parametrize("is_kept", [True, False])
def test_only_in_a_joined_kept_cluster_a_lost_rank_is_answered_by_shutdown(
    is_kept, tmp_path, monkeypatch
):
    path = tmp_path / "ipcontroller-x-client.json"
    path.touch()
    client = SimpleNamespace(ids=[0, 1])
    monkeypatch.setattr(joined.ipyparallel, "Client", lambda *_, **__: client)
    monkeypatch.setattr(kept, "find", lambda _: object() if is_kept else None)
    launcher = joined.JoinedLauncher(connection_file=path)
    launcher.start()
    assert ("%dist_shutdown" in launcher.instead) == is_kept
