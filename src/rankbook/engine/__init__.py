"""The engine's side: what runs in the processes that are the ranks.

``server`` makes local engines by forking a warm process, ``app`` is such an engine. In any engine,
local or joined, ``agent`` answers the session; it hands work to ``runner`` (cells) and ``group``
(the process group) on the main thread, and answers from ``state`` on the control thread.
"""
