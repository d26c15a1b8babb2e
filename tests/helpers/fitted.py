"""A small fit of every estimator, and what each answers to the rows that it was fitted to.

The rows stay what they are: files of releases in tests/data/fitted were fitted to them.
"""

import numpy as np
from sklearn.linear_model import LinearRegression

from emlearn import (
    HMMEM,
    BayesianGaussianMixtureEM,
    EMImputer,
    GaussianMixtureEM,
    InformationCriterionSearch,
    LatentClassEM,
    MarkovSwitchingRegression,
    MixtureDiscriminant,
    MixtureEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
    MultipleImputation,
)

_rng = np.random.RandomState(0)
X = np.vstack([_rng.normal(size=(40, 2)), _rng.normal(4, 1, size=(40, 2))])
LINE = X @ [1.0, -2.0] + np.where(_rng.uniform(size=80) < 0.5, 0, 9) + _rng.normal(scale=0.1, size=80)
SIDE = (X[:, 0] > 2).astype(int)
CODES = np.where(_rng.uniform(size=(80, 4)) < 0.8, np.repeat([0, 1], 40)[:, np.newaxis], 1)
HOLES = np.where(_rng.uniform(size=X.shape) < 0.1, np.nan, X)

FITS = {
    "GaussianMixtureEM": lambda: GaussianMixtureEM(2, random_state=0).fit(X),
    "BayesianGaussianMixtureEM": lambda: BayesianGaussianMixtureEM(2, random_state=0).fit(X),
    "MixtureEM": lambda: MixtureEM(2, emission={0: "gaussian", 1: "student_t"}, random_state=0).fit(X),
    "LatentClassEM": lambda: LatentClassEM(2, random_state=0).fit(CODES),
    "MixtureDiscriminant": lambda: MixtureDiscriminant(random_state=0).fit(X, SIDE),
    "HMMEM": lambda: HMMEM(2, random_state=0).fit([X]),
    "EMImputer": lambda: EMImputer(random_state=0).fit(HOLES),
    "MultipleImputation": lambda: MultipleImputation(
        LinearRegression(), 2, imputer=EMImputer(), random_state=0
    ).fit(HOLES, LINE),
    "MixtureOfLinearRegressions": lambda: MixtureOfLinearRegressions(2, random_state=0).fit(X, LINE),
    "MixtureOfExperts": lambda: MixtureOfExperts(2, random_state=0).fit(X, LINE),
    "MixtureOfExpertsClassifier": lambda: MixtureOfExpertsClassifier(1, random_state=0).fit(
        X, (LINE > 0).astype(int)
    ),
    "MarkovSwitchingRegression": lambda: MarkovSwitchingRegression(2, random_state=0).fit([X], [LINE]),
    "InformationCriterionSearch": lambda: InformationCriterionSearch(
        GaussianMixtureEM(random_state=0), {"n_components": [1, 2]}
    ).fit(X),
}


def answers(name, model):
    """What a fitted estimator says of its rows, by method."""
    if name == "EMImputer":
        return {"transform": model.transform(HOLES)}
    if name == "HMMEM":
        return {"predict_proba": model.predict_proba([X])[0], "score": model.score([X])}
    if name == "MarkovSwitchingRegression":
        return {"predict": model.predict([X])[0], "score": model.score([X], [LINE])}
    rows = {"LatentClassEM": CODES, "MultipleImputation": HOLES}.get(name, X)
    return {
        method: getattr(model, method)(rows)
        for method in ("predict", "predict_proba")
        if hasattr(model, method)
    }
