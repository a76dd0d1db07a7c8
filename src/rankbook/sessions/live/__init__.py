"""Views of a live session: snapshots, and the timeline of its collectives."""
