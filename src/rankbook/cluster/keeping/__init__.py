"""Clusters that stay when the notebook goes, and those that run."""
