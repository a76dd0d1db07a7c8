"""Requests to engines, and what comes back."""
