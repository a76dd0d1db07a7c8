"""Launchers of a pool's engines: one file for each way to start or find them.

``base`` has the contract, ``cluster`` the common part of launchers that start an ipyparallel
cluster. ``local`` forks engines on this machine (``forking`` has the processes). On other hosts
(``far``) ``hosts`` forks them behind ``ssh`` or, in a job of ``slurm``'s, ``srun``; ``mpi`` runs
``mpiexec``. ``profile`` starts engines as configured in an IPython profile, ``joined`` finds
running engines, and ``choose`` picks the launcher for a request.
"""
