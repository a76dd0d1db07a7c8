"""The processes that a rank starts, which behave as in a plain kernel, and end with the rank."""
