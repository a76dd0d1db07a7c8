import os
import sys
from pathlib import Path

from rankbook import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "rankbook"
author = "the rankbook contributors"
copyright = author
release = version = __version__

extensions = [
    "cells",
    "magic_reference",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "attributes",
]
exclude_patterns = ["_build", "_ext", "lessons/rendered"]
myst_enable_extensions = ["colon_fence", "deflist", "substitution"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # or the attributes of a class would be described twice

# References to our names must resolve. Others' names would need their inventories, and so the
# network: lower-case dotted names (torch.device), and whatever an annotation speaks of.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!rankbook\b)[a-z_]\w*\..*"),
    ("py:(class|exc|obj|data)", r"(?!rankbook\b).*"),
    ("py:(class|meth)", r"rankbook\.(cluster|models|sessions\.cells)\..*"),  # not public
]

# Lessons open on Colab by a badge, where the repository has an address that Colab reaches.
_repository = os.environ.get("RANKBOOK_REPOSITORY", "")
_colab = "https://colab.research.google.com"
_badge = f"{_colab}/assets/colab-badge.svg"
_opens = f"{_colab}/github/{_repository}/blob/main/notebooks"
myst_substitutions = {
    f"colab_{page.name[:2]}": f"[![Open in Colab]({_badge})]({_opens}/{page.stem}.ipynb)"
    if _repository
    else ""
    for page in (Path(__file__).parent / "lessons").glob("[0-9]*.md")
}

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wrap.css", "lessons.css"]
html_title = f"rankbook {release}"
