from rankbook import __version__

project = "rankbook"
author = "the rankbook contributors"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

# References to our names must resolve. Others' names would need their inventories, and so the
# network: lower-case dotted names (torch.device), and whatever an annotation speaks of.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!rankbook\b)[a-z_]\w*\..*"),
    ("py:(class|exc|obj|data)", r"(?!rankbook\b).*"),
]

html_theme = "furo"
html_title = f"rankbook {release}"
