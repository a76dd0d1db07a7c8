"""Clusters that outlive their notebook, and running clusters."""
