"""The command line, ``python -m rankbook``: for terminals, scripts and coding agents."""
