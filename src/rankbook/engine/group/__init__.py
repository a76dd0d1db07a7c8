"""This engine's place in the process group, and its connections there."""
