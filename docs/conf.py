"""Sphinx configuration. Builds offline: nothing is looked up on other sites."""

from fastbrain import __version__

project = "fastbrain"
author = "The fastbrain developers"
copyright = author
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_parser",
    "autodocsumm",
    "sphinx_copybutton",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"fastbrain {version}"

autodoc_member_order = "bysource"
# signatures carry the types as written; docstrings carry shapes
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
# methods are listed by autodoc, not a second time by numpydoc
numpydoc_show_class_members = False
