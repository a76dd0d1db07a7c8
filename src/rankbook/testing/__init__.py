"""Tests whose bodies run on ranks: what stands behind :mod:`rankbook.pytest_plugin`."""
