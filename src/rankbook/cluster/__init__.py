"""The notebook's side of the cluster: start or join it, place the ranks, talk to the engines.

``launchers`` are ipyparallel launchers for local clusters, ``pool`` starts or joins a cluster and
gives its engines, ``channel`` carries requests to them, ``placement`` decides who is which rank.
"""
