"""The notebook's side of the cluster: start or join it, place the ranks, talk to the engines.

A ``pool`` is the engines of one cluster. Its launcher, one of ``launchers``, starts and ends them,
or finds them. Its ``channel`` sends them requests and waits for the answers, over a ``wire``:
ipyparallel's sockets. ``messages`` is all that channel and wire share. ``placement`` decides which
engine becomes which rank.
"""
