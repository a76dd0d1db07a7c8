"""The hosts: the user's request, Slurm's answers, and the address of this host."""
