"""Reading HTML back as elements, and writing it so that a diff of it can be read."""

from __future__ import annotations

import re
from base64 import b64decode
from html import escape
from html.parser import HTMLParser

__all__ = ["Element", "decoded", "outline", "tree"]

_IMAGE = re.compile(r"data:image/svg\+xml;base64,([\w+/=]+)")

_VOID = {"br", "hr", "img", "input"}

_WIDTH = 110
"""An element that holds only text stands on one line if that is no longer."""


class Element:
    """One element: its tag, attributes, and what is in it."""

    def __init__(self, tag, attrs=()):
        self.tag = tag
        self.attrs = dict(attrs)
        self.children = []

    def __getitem__(self, name):
        return self.attrs[name]

    @property
    def classes(self):
        return (self.attrs.get("class") or "").split()

    @property
    def text(self):
        """What can be read in it."""
        return "".join(its if isinstance(its, str) else its.text for its in self.children)

    def walk(self):
        """All elements in it, in the order of the document."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                yield from child.walk()

    def all(self, tag="", kind="", **attrs):
        """Elements in it with a tag, a class, and attributes."""
        return [
            its
            for its in self.walk()
            if (not tag or its.tag == tag)
            and (not kind or kind in its.classes)
            and all(its.attrs.get(name) == value for name, value in attrs.items())
        ]

    def one(self, *args, **kwargs):
        """The only element that :meth:`all` finds."""
        [found] = self.all(*args, **kwargs)
        return found

    def has(self, *args, **kwargs):
        """Whether :meth:`all` finds any."""
        return bool(self.all(*args, **kwargs))


class _Builder(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = [Element("")]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        element = Element(tag, attrs)
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag, f"</{tag}> does not nest"

    def handle_data(self, text):
        self.open[-1].children.append(text)


def tree(html):
    """Read HTML, every element of which must be closed."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert len(builder.open) == 1, f"<{builder.open[-1].tag}> is not closed"
    return builder.open[0]


def decoded(html):
    """The HTML with the SVG of its images written out."""
    return _IMAGE.sub(lambda found: b64decode(found[1]).decode(), html)


def outline(html):
    """Write HTML with an element per line; what is drawn in icons is left out."""
    return "".join(f"{line}\n" for child in tree(html).children for line in _lines(child))


def _lines(node):
    if isinstance(node, str):
        yield _visible(node)
        return
    attrs = "".join(
        f" {name}" if value is None else f' {name}="{escape(value)}"'
        for name, value in node.attrs.items()
    )
    start, end = f"<{node.tag}{attrs}>", f"</{node.tag}>"
    if node.tag in _VOID:
        yield start
    elif node.tag == "svg":
        yield f"{start}…{end}"
    elif not any(isinstance(child, Element) for child in node.children) and (
        len(line := start + _visible(node.text) + end) <= _WIDTH or not node.children
    ):
        yield line
    else:
        yield start
        for child in node.children:
            yield from (f"  {line}" for line in _lines(child))
        yield end


def _visible(text):
    """Text with the spaces at its ends to be seen, and its lines told apart."""
    inner = text.strip(" ")
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    after = after if inner else 0
    return escape("␣" * before + inner + "␣" * after, quote=False).replace("\n", "⏎")
