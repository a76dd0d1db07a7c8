"""How an engine comes to be: forked from a warm process, here or elsewhere, or by mpiexec."""
