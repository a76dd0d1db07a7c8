"""A session and what belongs to it.

``session`` is the state machine, ``formation`` makes a generation of the process group, ``cells``
collects what a cell says while it runs, ``results`` is what it did, ``monitor`` polls the ranks.
"""
