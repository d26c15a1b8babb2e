"""The worked models of examples/own_models: each checks itself, and finds what is known of it."""

import runpy
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from emlearn.em.trees import leaves
from emlearn.testing import check_model

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "own_models"
# What of each is compared with what it calls its answer, how exactly, and what a book or paper has, if it does.
MODELS = {
    "abo_blood_groups": ("fit.params.genes", 5e-5, [0.2136, 0.0501, 0.7363]),
    "binned_normal": ("fit.params", 1e-4, None),
    "cured_exponentials": ("fit.params", 1e-4, None),
    "probit": ("coef", 5e-3, [-34.94, 19.73]),
    "student_t": ("fit.params", 1e-3, None),
    "two_coins": ("fit.params.biases", 5e-3, [0.80, 0.52]),
    "weibull_cure": ("fit.params", 1e-4, None),
    "zero_inflated_poisson": ("fit.params", 1e-4, None),
}


@cache
def names_of(name):
    """What is there after the file has run, and what it printed."""
    with redirect_stdout(StringIO()) as printed:
        names = runpy.run_path(str(FOLDER / f"{name}.py"))
    return names, printed.getvalue()


def test_all_worked_models_are_tested():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_worked_models_find_what_is_known(name):
    names, printed = names_of(name)
    found, tolerance, known = MODELS[name]
    value = eval(found, names)
    for a, b in zip(leaves(value), leaves(names["answer"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
    if known is not None:
        np.testing.assert_array_equal(names["answer"], known)
    assert names["fit"].converged
    assert printed.count("\n") >= 2
    assert "Source" in names["__doc__"] or "et al." in names["__doc__"]


@pytest.mark.parametrize("name", MODELS)
def test_what_is_wrong_with_them_would_be_seen(name):
    """A likelihood that is counted twice leaves the fit as it is, and steps as they are."""
    names, _ = names_of(name)
    kind = next(
        value
        for value in names.values()
        if isinstance(value, type) and hasattr(value, "expectation") and value.__module__ != "emlearn.em.model"
    )

    class Doubled(kind):
        def expectation(self, params):
            e_step = super().expectation(params)

            def doubled(batch):
                once = e_step(batch)
                return once._replace(log_likelihood=2 * once.log_likelihood)

            return doubled

    given = {"student_t": (4,), "two_coins": (10,)}.get(name, ())
    data = names.get("data")
    if name == "abo_blood_groups":
        data = names["groups"], names["people"]
    if name == "binned_normal":
        data = names["bins"], names["soldiers"]
    if name == "probit":
        data = data, names["weights"]
    with pytest.raises(AssertionError, match=r"Law 'density': .*\d"):
        check_model(Doubled(*given), names["start"], data, laws=["density"])
