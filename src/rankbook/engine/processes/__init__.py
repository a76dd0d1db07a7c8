"""The processes that a rank starts: they behave as those of a plain kernel, and end with it."""
