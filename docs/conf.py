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
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"fastbrain {version}"
html_static_path = ["_static"]
html_css_files = ["gallery.css"]

autodoc_member_order = "bysource"
# signatures carry the types as written; docstrings carry shapes
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
# methods are listed by autodoc, not a second time by numpydoc
numpydoc_show_class_members = False

# Scripts of the gallery begin with a number; all other files in the folder are larger programs.
# `make docs` runs them, once after each change, so that pages show what is printed.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/\d\d_",
    "ignore_pattern": r"^(?!\d\d_)",  # searched in the name alone
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "image_scrapers": (),
    "reset_modules": (),
    "capture_repr": (),
    "download_all_examples": False,
    "notebook_extensions": set(),
    "write_computation_times": False,
    "show_signature": False,
}
