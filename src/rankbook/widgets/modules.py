"""Joining the modules of a script into one, as anywidget hands it to a page."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["joined"]

_IMPORT = re.compile(r'^import \{ [\w, ]+ \} from "\./(\w+\.js)";\n', re.MULTILINE)

_EXPORT = re.compile(r"^export (?=(?:const|function|class) )", re.MULTILINE)

_NAME = re.compile(r"^(?:const|function|class) (\w+)", re.MULTILINE)

_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def joined(entry: Path) -> str:
    """One ES module out of an entry and all that it imports, also indirectly, from its folder.

    In a page, a widget's script has no folder to import from. So the modules that it imports are
    put before it, each once. Only ``import { a, b } from "./module.js";`` in one
    line is understood, and exports of ``const``, ``function`` and ``class``.

    Args:
        entry: The module whose exports the result has.

    Raises:
        ValueError: A module imports or exports in another way, two declare the same name, or they
            import one another.
    """
    texts: dict[str, str] = {}
    _collect(entry, texts, ())
    owners: dict[str, str] = {}
    for module, text in texts.items():
        for name in _NAME.findall(text):
            if name in owners:
                raise ValueError(f"{module} declares {name}, and so does {owners[name]}.")
            owners[name] = module
    return "\n".join(texts.values())


def _collect(path: Path, texts: dict[str, str], importers: tuple[str, ...]) -> None:
    """Add a module after those that it imports, unless it is there."""
    if path.name in importers:
        raise ValueError(f"{' imports '.join((*importers, path.name))}: a circle.")
    if path.name in texts:
        return
    text = path.read_text(encoding="utf-8")
    for imported in _IMPORT.findall(text):
        _collect(path.with_name(imported), texts, (*importers, path.name))
    text = _IMPORT.sub("", text)
    own = _EXPORT.sub("", text)
    if left := _LEFT.search(own if importers else own.replace("export default", "")):
        raise ValueError(f"{path.name}: {left[0]!r} cannot be joined.")
    texts[path.name] = own if importers else text
