"""This engine's place in the process group, and the connections that it has there."""
