"""The dashboard as HTML. Pure."""
