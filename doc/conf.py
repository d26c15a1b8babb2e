"""Configuration of the documentation: sphinx-build doc doc/_build."""

import re

import emlearn

project = "emlearn"
author = "The emlearn developers"
copyright = "2026, The emlearn developers"
version = release = emlearn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
]
# A picture needs no links to its source, which the text names.
plot_html_show_source_link = plot_html_show_formats = False
plot_formats = ["png"]
exclude_patterns = ["_build"]
autosummary_generate = True
templates_path = ["_templates"]
# autodoc already shows the members of a class; numpydoc would list them once more.
numpydoc_show_class_members = False
# Docstrings say what arguments are, in words that say more.
autodoc_typehints = "none"


# What estimators inherit from scikit-learn refers to labels and terms of its documentation.
SCIKIT_LEARN = "https://scikit-learn.org/stable/"
LABELS = {
    "metadata_routing": "metadata_routing.html",
    "df_output_transform": "modules/df_output_transform.html",
    "sphx_glr_auto_examples_miscellaneous_plot_set_output.py": (
        "auto_examples/miscellaneous/plot_set_output.html"
    ),
}
ROLE = re.compile(r":(?P<role>ref|term):`(?:(?P<text>[^`<]+?) *<(?P<titled>[^`>]+)>|(?P<plain>[^`<]+))`")


def link_to_scikit_learn(app, what, name, obj, options, lines):
    """Turn references to scikit-learn's documentation into links to its pages."""

    def link(match):
        target = match["titled"] or match["plain"]
        page = f"glossary.html#term-{target}" if match["role"] == "term" else LABELS.get(target)
        # A label that is not listed is left to Sphinx, which knows it or warns.
        return f"`{match['text'] or target} <{SCIKIT_LEARN}{page}>`__" if page else match[0]

    if (getattr(obj, "__module__", None) or "").startswith("sklearn."):
        lines[:] = [ROLE.sub(link, line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", link_to_scikit_learn)


html_theme = "alabaster"
html_theme_options = {"description": release, "page_width": "60em"}
