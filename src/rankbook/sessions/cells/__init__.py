"""A cell from its request to its result, and the state in which it leaves the group."""
