"""What a widget and the pages that show it send each other, without any page."""

from __future__ import annotations

import comm
import ipywidgets
import pytest

__all__ = ["Wire", "say", "stands_in"]

stands_in = pytest.mark.skipif(
    ipywidgets.__version__.startswith("7."), reason="ipywidgets 7 makes its comms without comm"
)
"""For tests in which :class:`Wire` takes the place of a widget's comm."""


class Wire(comm.DummyComm):
    """Stands where ``comm.create_comm`` is, and keeps what is sent."""

    def __init__(self, *args, **options):
        self.sent = []
        super().__init__(*args, **options)

    def publish_msg(self, msg_type, data=None, *args, **options):
        self.sent.append(data)

    @property
    def states(self):
        """The updates of its state."""
        return [data["state"] for data in self.sent if data.get("method") == "update"]

    @property
    def messages(self):
        return [data["content"] for data in self.sent if data.get("method") == "custom"]


def say(comm, content):
    """Have a widget hear what one of its pages sends over its comm."""
    data = {"method": "custom", "content": content}
    comm.handle_msg({"content": {"data": data}, "buffers": []})
