"""The process group of a session: making it, taking one over, repairing it."""
