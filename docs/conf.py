"""Sphinx configuration. Builds offline: nothing is looked up on other sites."""

from fastbrain import __version__

project = "fastbrain"
author = "The fastbrain developers"
copyright = author
release = version = __version__

extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "alabaster"
html_theme_options = {"description": "Turns fMRI into language", "page_width": "1000px"}

autodoc_member_order = "bysource"
# signatures carry the types as written; docstrings carry shapes
autodoc_typehints = "none"
# methods are listed by autodoc, not a second time by numpydoc
numpydoc_show_class_members = False
