"""What is seen of a session while it lives: snapshots, and the timeline of its collectives."""
