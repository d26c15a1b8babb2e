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


def shorten_inherited(app, what, name, obj, options, lines):
    """Of scikit-learn's docstrings the summary: the rest refers to pages of its own."""
    if (getattr(obj, "__module__", None) or "").startswith("sklearn."):
        lines[1:] = []


def setup(app):
    app.connect("autodoc-process-docstring", shorten_inherited, priority=100)
