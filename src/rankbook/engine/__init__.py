"""The engine's side: the code that runs in the processes of the ranks.

``server`` makes local engines by forking a warm process, ``app`` is such an engine. In any engine,
local or joined, ``agent`` answers the session: it passes each request to its operation, one of
those in ``operations``, on the main thread or on the control thread.
"""
