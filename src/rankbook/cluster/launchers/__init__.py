"""Where the engines of a pool come from: one file for each way to start or find them.

``base`` has the contract and what launchers share that start a cluster of ipyparallel's; ``local``
forks engines on this machine (``forking`` has the processes), ``profile`` starts what an IPython
profile says, ``joined`` finds engines that somebody else has started.
"""
