"""A cell's output on N ranks, while it runs and when it is done."""
