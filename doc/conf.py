"""Configuration of the documentation: sphinx-build doc doc/_build."""

import emlearn

project = "emlearn"
author = "The emlearn developers"
copyright = "2026, The emlearn developers"
version = release = emlearn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
]
exclude_patterns = ["_build"]
autosummary_generate = True
templates_path = ["_templates"]
# autodoc already shows the members of a class; numpydoc would list them once more.
numpydoc_show_class_members = False

html_theme = "alabaster"
html_theme_options = {"description": release, "page_width": "60em"}
