"""Running a cell on this rank: IPython runs it, what it prints and shows travels in order."""
