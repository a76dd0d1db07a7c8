"""Where the engines of a pool come from: one file for each way to start or find them.

``base`` has the contract, ``cluster`` what launchers share that start a cluster of ipyparallel's.
``local`` forks engines on this machine (``forking`` has the processes). On other hosts (``far``)
``hosts`` forks them behind ``ssh`` or, in a job of ``slurm``'s, ``srun``; ``mpi`` runs ``mpiexec``.
``profile`` starts what an IPython profile says, ``joined`` finds engines that somebody else has
started, and ``choose`` says which of them serves what was asked for.
"""
