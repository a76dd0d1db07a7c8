"""Reading back what a browser would show."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["Page"]


class Page(HTMLParser):
    """Reads a table: its caption, and rows of cells' visible text."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.caption, self.open, self.tags = [], "", [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "tags do not nest"

    def handle_data(self, text):
        if "caption" in self.open:
            self.caption += text
        elif self.rows and self.rows[-1]:
            self.rows[-1][-1] += text
