"""How things look: pure functions and small state machines, from results to text and HTML.

``lines`` merges what N ranks print, ``cell`` shows a cell's output while it runs, ``screens``
puts it on a notebook's or a terminal's screen, ``table`` draws the ranks.
"""
