"""What estimators have in common is said in the same words."""

import inspect
import re

import pytest

import emlearn
from emlearn.sequences import SequenceWise

ESTIMATORS = [
    emlearn.BayesianGaussianMixtureEM,
    emlearn.HMMEM,
    emlearn.EMImputer,
    emlearn.GaussianMixtureEM,
    emlearn.MarkovSwitchingRegression,
    emlearn.MixtureOfExperts,
    emlearn.MixtureOfExpertsClassifier,
    emlearn.MixtureOfLinearRegressions,
    emlearn.MultipleImputation,
    SequenceWise,
]
REGRESSIONS = ("MixtureOfExperts", "MixtureOfExpertsClassifier", "MixtureOfLinearRegressions")
ONE_WAY = "has no assignment to choose"
# What a fit is counted in is each estimator's own.
UNIT = re.compile(r"per (observed step|observed entry|unit of weight)\b")
# Name: classes that say something else of it, and why.
OWN_WORDS = {
    "n_jobs": {"MultipleImputation": "has imputations to share out, and no starts"},
    "random_state": {"MultipleImputation": "hands it on to imputer and estimator"},
    "assignment": {
        "HMMEM": "has paths",
        "MarkovSwitchingRegression": "has paths",
        "GaussianMixtureEM": "has no groups",
    },
    "annealing": {
        "GaussianMixtureEM": "has starting values that would melt",
        "HMMEM": "has states that melt sooner",
        "MarkovSwitchingRegression": "has regimes that melt sooner",
    },
    "converged_": {"EMImputer": ONE_WAY, "BayesianGaussianMixtureEM": ONE_WAY},
    "log_likelihood_": {
        **dict.fromkeys((*REGRESSIONS, "MarkovSwitchingRegression"), "it is that of the responses given X"),
        "EMImputer": ONE_WAY,
    },
    "lower_bound_": {
        **dict.fromkeys(REGRESSIONS, "score is R² or accuracy"),
        "HMMEM": "score knows no states",
        "MarkovSwitchingRegression": "score takes y",
        "EMImputer": ONE_WAY,
        "BayesianGaussianMixtureEM": "it bounds the evidence of all data",
    },
    "lower_bounds_": {
        "EMImputer": ONE_WAY,
        "BayesianGaussianMixtureEM": "they bound the evidence of all data",
    },
    "n_parameters_": {
        **dict.fromkeys(REGRESSIONS, "columns of a design may make up one another"),
        "HMMEM": "has a structure that may fix some",
    },
    "feature_names_in_": {"MultipleImputation": "models see data frames where names are known"},
}
SHARED = {
    "tol", "max_iter", "n_init", "acceleration", "assignment", "annealing", "mean_parameters_",
    "warm_start", "n_jobs", "random_state", "verbose",
    "converged_", "n_iter_", "log_likelihood_", "lower_bound_", "lower_bounds_", "extrapolated_", "gap_",
    "restarts_", "n_parameters_", "n_features_in_", "feature_names_in_",
}  # fmt: skip


def entries(cls):
    """Type and text of each parameter and attribute, by the rules of numpydoc."""
    lines = inspect.getdoc(cls).splitlines()
    found, section, names = {}, None, ()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", following):
            section, names = line, ()
        elif section in ("Parameters", "Attributes"):
            if entry := re.fullmatch(r"(\w+(?:, \w+)*) :(.*)", line):
                names = entry[1].split(", ")
                found.update({name: entry[2].strip() + "\n" for name in names})
            elif line.startswith(" "):
                for name in names:
                    found[name] += " " + line.strip()
    return found


WORDS = {cls.__name__: entries(cls) for cls in ESTIMATORS}


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_every_parameter_has_an_entry(cls):
    """And so the reading of docstrings above misses nothing."""
    parameters = list(inspect.signature(cls).parameters)
    assert [name for name in WORDS[cls.__name__] if name in parameters] == parameters
    assert all(len(text) > 10 for text in WORDS[cls.__name__].values())


@pytest.mark.parametrize("name", sorted(SHARED))
def test_shared_words(name):
    own = OWN_WORDS.get(name, {})
    texts = {cls: UNIT.sub("per unit", found[name]) for cls, found in WORDS.items() if name in found}
    assert len(texts) > 1
    shared = {text for cls, text in texts.items() if cls not in own}
    assert len(shared) == 1, "\n".join(shared)
    assert not any(texts[cls] in shared for cls in own), "no words of its own: strike it off the list"
