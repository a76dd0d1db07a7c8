"""Screens that record what is put on them."""

from __future__ import annotations

__all__ = ["RecordingScreen"]


class RecordingScreen:
    """A screen whose displays are looked at as a user sees them: in place, top to bottom."""

    can_clear = True

    def __init__(self):
        self.clears = 0
        self.places = []  # display ids, or ("stream", name), from top to bottom
        self.shown = {}
        self.redraws = []
        self.final = {}

    def write(self, name, text):
        assert text.endswith("\n")
        key = ("stream", name, len(self.places))
        if self.places and self.places[-1][:2] == key[:2]:
            self.shown[self.places[-1]] += text
        else:
            self.places.append(key)
            self.shown[key] = text

    def show(self, data, metadata, display_id, *, update):
        assert update == (display_id in self.shown), (
            "update of what is not there, or a second first"
        )
        if not update:
            self.places.append(display_id)
        self.shown[display_id] = (data, metadata)

    def redraw(self, text, display_id, *, first, final):
        assert first == (display_id not in self.shown)
        assert not self.final.get(display_id), "redrawn after it was final"
        if first:
            self.places.append(display_id)
        self.shown[display_id] = text
        self.redraws.append(text)
        self.final[display_id] = final

    def clear(self, *, wait):
        self.clears += 1
        self.places, self.shown, self.final = [], {}, {}

    @property
    def lines(self):
        """What stands there, as lines of text; rich displays as their MIME types' first text."""
        seen = []
        for place in self.places:
            what = self.shown[place]
            if isinstance(what, tuple):
                data = what[0]
                what = data.get("text/plain", "")
                if set(data) - {"text/plain"}:
                    what = f"<{what}>"
            name = place[1] if isinstance(place, tuple) else ""
            prefix = "! " if name == "stderr" else ""
            seen += [prefix + line for line in what.rstrip("\n").split("\n")]
        return seen
