"""A rank that stops and asks: a debugger, ``input()``, and the way to the notebook and back."""
