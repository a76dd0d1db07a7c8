"""Running a cell on this rank: IPython runs it, and its output travels in order."""
