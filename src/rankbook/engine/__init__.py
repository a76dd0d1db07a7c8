"""The engine's side: what runs in the processes that are the ranks.

``server`` makes local engines by forking a warm process, ``app`` is such an engine. In any engine,
local or joined, ``agent`` answers the session: it takes each request to its operation, one of those
that ``operations`` lists, on the main thread or on the control thread.
"""
