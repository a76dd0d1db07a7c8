"""A cell from its request to its result, and what is left behind it."""
