"""Configuration of the documentation: sphinx-build doc doc/_build."""

import importlib
import os
import re
import warnings
from pathlib import Path

from docutils import nodes
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - the gallery looks for what examples import

import emlearn

project = "emlearn"
author = "The emlearn developers"
copyright = "2026, The emlearn developers"
version = release = emlearn.__version__
# Where the pages will be served, for cards and for links of representations: known only to who serves them.
html_baseurl = os.environ.get("EMLEARN_DOCS_URL", "")

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # formulas are read without a network
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxext.opengraph",
]


def each_example_by_itself(_, name):
    """Before an example: any warning is an error, but that a picture which is shown goes into the gallery."""
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive", UserWarning)


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_\w+\.py$",
    # Programs that show no picture are included where the guide speaks of them.
    "ignore_pattern": r"(^|/)(?!plot_)\w+\.py$",
    "plot_gallery": os.environ.get("EMLEARN_PLOT_GALLERY", "1") == "1",
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib", each_example_by_itself),
    "doc_module": ("emlearn",),
    "backreferences_dir": "generated/examples_of",
    "reference_url": {"emlearn": None},
    "show_memory": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
}
# Pictures of the pages are drawn by the code that stands above them, in one namespace for each page.
plot_include_source = True
plot_formats = [("png", 110)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_pre_code = ""
# Letters that are legible on a phone, where pictures are half as wide.
plot_rcparams = {"font.size": 12}
plot_apply_rcparams = True
suppress_warnings = ["config.cache"]  # of the function among these settings
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
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
    "accuracy_score": "modules/model_evaluation.html#accuracy-score",
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


CHANGES = Path(__file__).resolve().parents[1] / "CHANGELOG.md"

# Pages of other projects, by the form of their addresses: what an inventory would say, without a network.
PAGES = {
    "joblib": "https://joblib.readthedocs.io/en/latest/generated/{name}.html",
    "matplotlib": "https://matplotlib.org/stable/api/_as_gen/{name}.html",
    "numpy": "https://numpy.org/doc/stable/reference/generated/{name}.html",
    "pandas": "https://pandas.pydata.org/docs/reference/api/{name}.html",
    "scipy": "https://docs.scipy.org/doc/scipy/reference/generated/{name}.html",
    "sklearn": SCIKIT_LEARN + "modules/generated/{name}.html",
}


def link_to_others(app, env, node, contnode):
    """A link for what Python has by that name in another project; None where it has nothing."""
    name = node.get("reftarget", "")
    page = PAGES.get(name.partition(".")[0])
    if node.get("refdomain") != "py" or page is None or "." not in name:
        return None
    module, _, what = name.rpartition(".")
    try:
        getattr(importlib.import_module(module), what)
    except (ImportError, AttributeError):
        return None
    link = nodes.reference("", "", internal=False, refuri=page.format(name=name), reftitle=name)
    link.append(contnode)
    return link


def markdown_to_rest(app, docname, source):
    """The page of changes is CHANGELOG.md, with code, links and headings in the form of other pages."""
    if docname == "changelog":
        app.env.note_dependency(CHANGES)
        text = re.sub(r"`([^`]+)`", r"``\1``", CHANGES.read_text("utf-8"))
        text = re.sub(r"\[([^\]]+)\]\((http[^)]+)\)", r"`\1 <\2>`__", text)
        text = re.sub(r"^( *- )", r"\n\1", text, flags=re.M)  # lists may stand in lists
        source[0] = re.sub(r"^(#+) (.*)$", lambda m: f"{m[2]}\n{' =-~'[len(m[1])] * 80}\n", text, flags=re.M)


def setup(app):
    app.connect("source-read", markdown_to_rest)
    app.connect("autodoc-process-docstring", link_to_scikit_learn)
    app.connect("missing-reference", link_to_others)


# Cards of pages, for where links to them are shared: title, first words, and a picture for all.
ogp_site_url = html_baseurl
ogp_image = "_images/sphx_glr_plot_customer_segments_001.png"
ogp_image_alt = "Customers of an online shop, coloured by the segment that was found."
ogp_social_cards = {"enable": False}

html_theme = "pydata_sphinx_theme"
html_title = "emlearn"
html_static_path = ["_static"]
html_css_files = ["emlearn.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "emlearn"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    # A release adds its line to the file, which each served version then reads.
    "switcher": {
        "json_url": f"{html_baseurl}_static/switcher.json",
        "version_match": ".".join(release.split(".")[:2]),
    },
    "check_switcher": False,
    "navbar_end": ["version-switcher", "theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
