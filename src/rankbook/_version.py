"""The version of this package, and of the newest tested torch, in this place only."""

__version__ = "0.1.0.dev0"

NEWEST_TORCH = (2, 15)
"""The newest torch, as (major, minor), that the tests have run on."""
