"""Starting engines: forked from a warm process, here or on another host, or by mpiexec."""
