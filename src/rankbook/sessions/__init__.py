"""A session and what belongs to it.

``session`` is the state machine. It delegates: ``formation`` makes a generation of the process
group, ``cells`` runs a cell and collects its ``results``, ``looking`` asks what the ranks do,
``transfer`` moves values. ``monitor`` looks at a session again and again.
"""
