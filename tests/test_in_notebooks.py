"""How estimators show themselves: in a notebook, with links to their pages, and to who asks what they have."""

import re
from pathlib import Path

import pytest
import sklearn
from sklearn.base import clone

from emlearn.mixture import GaussianMixtureEM
from emlearn.sequences import SequenceWise
from tests.helpers.fitted import FITS

REFERENCE = (Path(__file__).parents[1] / "doc" / "api.rst").read_text("utf-8")


@pytest.mark.parametrize("name", FITS)
def test_representation(name, monkeypatch):
    monkeypatch.delenv("EMLEARN_DOCS_URL", raising=False)
    model = FITS[name]()
    fresh = clone(model)
    assert set(dir(fresh)) < set(dir(model))  # none of them fails before a fit
    assert name in fresh._repr_html_()
    shown = model._repr_html_()
    assert 'href="https://docs.' not in shown
    monkeypatch.setenv("EMLEARN_DOCS_URL", "https://docs.example.org/0.2")
    linked = model._repr_html_()
    (page,) = set(re.findall(rf'href="https://docs\.example\.org/0\.2/([^"#]*\.{name}\.html)"', linked))
    assert page.startswith("generated/emlearn.")
    module, _, listed = page.removeprefix("generated/").removesuffix(".html").rpartition(".")
    assert listed in REFERENCE.split()
    assert module == "emlearn" or f".. currentmodule:: {module}" in REFERENCE
    if hasattr(sklearn.base.BaseEstimator, "_get_fitted_attr_html"):  # since 1.9
        attributes = set(model._get_fitted_attr_html())
        assert {attribute for attribute in vars(model) if re.fullmatch(r"[a-z]\w*_", attribute)} <= attributes
        assert attributes
        assert "Fitted attributes" in shown


def test_pages_of_emlearn_alone_are_linked(monkeypatch):
    class Own(GaussianMixtureEM):
        pass

    monkeypatch.setenv("EMLEARN_DOCS_URL", "http://localhost:8000/")
    assert Own()._get_doc_link() == ""
    assert SequenceWise(None)._get_doc_link() == (
        "http://localhost:8000/generated/emlearn.sequences.SequenceWise.html"
    )
