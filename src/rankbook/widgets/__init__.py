"""Live views, made of ipywidgets."""

from rankbook.widgets.dashboard import Dashboard

__all__ = ["Dashboard"]
