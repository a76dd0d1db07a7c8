"""Which hosts: what was asked for, what Slurm says, and by which address this one is reached."""
