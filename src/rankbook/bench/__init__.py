"""Measuring collectives: what is measured, on the ranks, and what follows from it."""
