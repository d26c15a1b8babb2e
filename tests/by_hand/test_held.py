"""Hidden Markov models whose emissions begin where the user says, and of which parts are held fixed."""

import numpy as np
import pytest
from sklearn.base import clone

from emlearn import HMMEM
from emlearn.families import Bernoulli

RNG = np.random.RandomState(0)
STATES = np.repeat([0, 1, 0, 2, 1, 2, 0, 1, 2], 20)
REALS = np.column_stack([RNG.normal(4.0 * STATES, 1.0), RNG.normal(-STATES, 0.5)])
COUNTS = RNG.poisson(1.0 + 4.0 * STATES)[:, None].astype(float)
CODES = ((STATES + (RNG.uniform(size=180) < 0.3)) % 3)[:, None].astype(float)
BITS = (RNG.uniform(size=180) < 0.1 + 0.4 * STATES)[:, None].astype(float)
TRANSMAT = np.array([[0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.1, 0.2, 0.7]])
MEANS = np.array([[8.0, -2.0], [0.0, 0.0], [4.0, -1.0]])
UNITS = np.tile(np.eye(2), (3, 1, 1))
PAIR = np.array([[[8.0, -2.0], [9.0, -2.0]], [[0.0, 0.0], [1.0, 0.0]], [[4.0, -1.0], [5.0, -1.0]]])
PROBABILITIES = np.array([[0.1, 0.2, 0.7], [0.7, 0.2, 0.1], [0.2, 0.6, 0.2]])

# Data, settings, and how many parameters are free.
HELD = {
    "transmat": (REALS, {"fixed": "transmat", "transmat_init": TRANSMAT}, 2 + 15),
    "transition": (REALS, {"fixed": ["transmat"], "transition": TRANSMAT}, 2 + 15),
    "startprob": (REALS, {"fixed": ("startprob",), "startprob_init": [0.2, 0.3, 0.5]}, 6 + 15),
    "chain": (
        COUNTS,
        {
            "fixed": ("startprob", "transmat"),
            "startprob": [1.0, 0.0, 0.0],
            "transmat_init": TRANSMAT,
            "emission": "poisson",
        },
        3,
    ),
    "stationary": (
        COUNTS,
        {"fixed": "transmat", "transmat_init": TRANSMAT, "startprob": "stationary", "emission": "poisson"},
        3,
    ),
    "prior": (
        REALS,
        {"fixed": "transmat", "transmat_init": TRANSMAT, "stickiness": 5.0, "startprob_prior": 2.0},
        2 + 15,
    ),
    "means_init": (REALS, {"fixed": "means", "means_init": MEANS}, 8 + 9),
    "means": (REALS, {"fixed": "means", "emission_init": {"means": MEANS}}, 8 + 9),
    "tied": (REALS, {"fixed": "means", "means_init": MEANS, "covariance_type": "tied"}, 8 + 3),
    "covariances": (REALS, {"fixed": "covariances", "emission_init": {"covariances": UNITS}}, 8 + 6),
    "emissions": (
        REALS,
        {"fixed": ("means", "covariances"), "emission_init": {"means": MEANS, "covariances": UNITS}},
        8,
    ),
    "all": (
        REALS,
        {
            "fixed": ("means", "covariances", "transmat", "startprob"),
            "emission_init": {"means": MEANS, "covariances": UNITS},
            "transmat_init": TRANSMAT,
            "startprob": "uniform",
        },
        0,
    ),
    "rates": (
        COUNTS,
        {"fixed": "rates", "emission_init": {"rates": [[9.0], [1.0], [4.0]]}, "emission": "poisson"},
        8,
    ),
    "rates as means": (
        COUNTS,
        {"fixed": "rates", "means_init": [[9.0], [1.0], [4.0]], "emission": "poisson"},
        8,
    ),
    "bits": (
        BITS,
        {
            "fixed": "probabilities",
            "emission_init": {"probabilities": [[0.9], [0.1], [0.5]]},
            "emission": Bernoulli(),
        },
        8,
    ),
    "codes": (
        CODES,
        {
            "fixed": "probabilities",
            "emission_init": {"probabilities": PROBABILITIES},
            "emission": "categorical",
        },
        8,
    ),
    "weights": (
        REALS,
        {"fixed": "weights", "emission_init": {"weights": [[0.3, 0.7]] * 3}, "emission": "gmm"},
        8 + 30,
    ),
    "members": (REALS, {"fixed": "means", "emission_init": {"means": PAIR}, "emission": "gmm"}, 8 + 3 + 18),
    "factors": (
        REALS,
        {
            "fixed": ("means", "loadings", "noise"),
            "emission_init": {"means": MEANS, "loadings": np.full((3, 2, 1), 0.5), "noise": np.ones((3, 2))},
            "covariance_type": "factor",
            "n_factors": 1,
        },
        8,
    ),
    "parts": (
        np.column_stack([REALS[:, 0], COUNTS, REALS[:, 1]]),
        {
            "emission": {0: "gaussian", 1: "poisson", 2: "gaussian"},
            "fixed": ("means", "rates"),
            "emission_init": {(0, 2): {"means": MEANS}, 1: {"rates": [[9.0], [1.0], [4.0]]}},
        },
        8 + 9,
    ),
}


def held_values(settings):
    """What is to stay, by name."""
    names = [settings["fixed"]] if isinstance(settings["fixed"], str) else settings["fixed"]
    init = settings.get("emission_init", {})
    of_parts = {name: value for part in init.values() if isinstance(part, dict) for name, value in part.items()}
    known = {**init, **of_parts}
    known["startprob"] = settings.get("startprob_init", settings.get("startprob"))
    known["transmat"] = settings.get("transmat_init", settings.get("transition"))
    for name in ("means", "rates"):
        known.setdefault(name, settings.get("means_init"))
    return {name: known[name] for name in names}


def value_of(model, name):
    if not isinstance(model.emission_params_, dict) or name in ("startprob", "transmat"):
        return getattr(model, f"{name}_")
    return next(getattr(part, name) for part in model.emission_params_.values() if hasattr(part, name))


@pytest.mark.parametrize("name", HELD)
def test_what_is_held_stays_and_the_objective_rises(name):
    X, settings, n_free = HELD[name]
    model = HMMEM(3, n_init=3, random_state=0, **settings).fit(X)
    for part, value in held_values(settings).items():
        if value is not None and not isinstance(value, str):
            found = value_of(model, part)
            found = found[0] if isinstance(found, tuple) else found
            np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-12)
    assert model.n_parameters_ == n_free
    assert np.all(np.diff(model.lower_bounds_) >= -1e-10)
    assert model.converged_
    assert np.isfinite(model.log_likelihood_)
    assert model.score(X) == pytest.approx(model.lower_bound_)
    model.predict(X)
    clone(model)


def test_the_maximum_with_means_held_is_that_of_a_plain_climb():
    """Covariances about the means that are held, by the posterior of the fit."""
    model = HMMEM(3, fixed="means", means_init=MEANS, tol=1e-10).fit(REALS)
    resp = model.predict_proba(REALS)
    for k in range(3):
        centred = REALS - MEANS[k]
        expected = (centred.T * resp[:, k]) @ centred / resp[:, k].sum()
        np.testing.assert_allclose(model.covariances_[k], expected, rtol=1e-4, atol=1e-6)


def test_a_warm_start_holds_what_it_has():
    model = HMMEM(3, n_init=3, random_state=0, warm_start=True).fit(REALS)
    before = model.transmat_, model.means_
    model.set_params(fixed=("transmat", "means", "startprob")).fit(REALS[:120])
    np.testing.assert_allclose(model.transmat_, before[0], rtol=1e-12)
    np.testing.assert_allclose(model.means_, before[1], rtol=1e-9, atol=1e-9)
    assert model.n_parameters_ == 9


# -- where emissions begin ----------------------------------------------------------------------------------

STARTS = {
    "gaussian": (REALS, {"means": MEANS, "covariances": UNITS}),
    "poisson": (COUNTS, {"rates": [[9.0], [1.0], [4.0]]}),
    "bernoulli": (BITS, {"probabilities": [[0.9], [0.1], [0.5]]}),
    "categorical": (CODES, {"probabilities": (PROBABILITIES,)}),
    "gmm": (
        REALS,
        {"weights": [[0.4, 0.6]] * 3, "means": PAIR, "covariances": np.tile(np.eye(2), (3, 2, 1, 1))},
    ),
}


@pytest.mark.filterwarnings("ignore:EM stopped short:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("emission", STARTS)
def test_every_emission_begins_where_it_is_told(emission):
    X, init = STARTS[emission]
    model = HMMEM(3, emission=emission, emission_init=init, max_iter=0).fit(X)
    assert [start.kind for start in model.restarts_.starts] == ["given"]
    for name, value in init.items():
        found = getattr(model, f"{name}_")
        found, value = (found[0], value[0]) if isinstance(found, tuple) else (found, value)
        np.testing.assert_allclose(found, value, rtol=1e-10, atol=1e-10)
    made = HMMEM.from_parameters(model.startprob_, model.transmat_, emission=emission, **init)
    assert made.score(X) == pytest.approx(model.lower_bound_)
    # And states keep that order, which no mean would give them.
    further = model.set_params(max_iter=1000).fit(X)
    where = {"gaussian": "means_", "gmm": "means_", "poisson": "rates_"}.get(emission)
    if where:
        first = getattr(further, where).reshape(3, -1)[:, 0]
        assert first.argsort().tolist() == [1, 2, 0]


def test_a_part_of_the_emission_leaves_the_rest_to_the_race():
    model = HMMEM(3, emission_init={"covariances": UNITS}, n_init=4, random_state=0).fit(REALS)
    assert len(model.restarts_.starts) >= 4
    plain = HMMEM(3, n_init=4, random_state=0).fit(REALS)
    assert model.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-2)


def test_what_is_published_can_be_started_from():
    X = np.column_stack([REALS[:, 0], COUNTS])
    emission = {0: "gaussian", 1: "poisson"}
    model = HMMEM(3, emission=emission, n_init=3, random_state=0).fit(X)
    again = HMMEM(
        3,
        emission=emission,
        emission_init=model.emission_params_,
        startprob_init=model.startprob_,
        transmat_init=model.transmat_,
    ).fit(X)
    assert again.log_likelihood_ == pytest.approx(model.log_likelihood_, abs=1e-3)
    assert again.n_iter_ < 10


TWO = {"emission": {0: "gaussian", 1: "gaussian"}}
PARTS = {"emission": {0: "gaussian", 1: "poisson"}}
BAD = {
    "unknown": (
        REALS,
        {"fixed": ("transmatt",)},
        r"fixed holds 'transmatt', which is none of startprob, transmat, means",
    ),
    "of another": (REALS, {"fixed": "rates"}, "fixed holds 'rates', which is none of"),
    "no value": (
        REALS,
        {"fixed": "means"},
        "fixed holds means, but there is no value .* means_init or emission_init",
    ),
    "no covariances": (REALS, {"fixed": "covariances", "means_init": MEANS}, "give it in emission_init"),
    "no transmat": (
        REALS,
        {"fixed": "transmat"},
        "fixed holds transmat, but there is no value .* give transmat_init",
    ),
    "no startprob": (REALS, {"fixed": ("startprob",)}, "give startprob_init"),
    "stationary": (
        REALS,
        {"fixed": "startprob", "startprob": "stationary"},
        "startprob='stationary' lets it follow",
    ),
    "numbers": (REALS, {"fixed": (1,)}, "must hold names of parameters"),
    "boolean": (REALS, {"fixed": True}, "fixed"),
    "factors": (
        REALS,
        {
            "fixed": "noise",
            "covariance_type": "factor",
            "n_factors": 1,
            "emission_init": {"noise": np.ones((3, 2))},
        },
        "FactorGaussian has no M-step for means and loadings alone",
    ),
    "name": (
        REALS,
        {"emission_init": {"mean": MEANS}},
        "emission_init gives 'mean', which is none of means, covariances",
    ),
    "shape": (
        REALS,
        {"emission_init": {"means": MEANS[:2]}},
        r"emission_init\['means'\] has shape \(2, 2\); expected \(3, 2\)",
    ),
    "ragged": (
        CODES,
        {"emission": "categorical", "emission_init": {"probabilities": [PROBABILITIES] * 2}},
        "emission_init",
    ),
    "negative": (
        COUNTS,
        {"emission": "poisson", "emission_init": {"rates": [[-1.0], [1.0], [2.0]]}},
        "rates must not be negative",
    ),
    "sum": (
        CODES,
        {"emission": "categorical", "emission_init": {"probabilities": PROBABILITIES * 0.9}},
        "must sum to 1",
    ),
    "indefinite": (
        REALS,
        {"emission_init": {"covariances": -UNITS}},
        r"covariances\[0\] must be positive definite",
    ),
    "NaN": (REALS, {"emission_init": {"means": MEANS * np.nan}}, "means holds NaN"),
    "twice": (
        REALS,
        {"emission_init": {"means": MEANS}, "means_init": MEANS},
        "say the same: drop one of them",
    ),
    "no dict": (REALS, {"emission_init": 3.0}, "emission_init"),
    "columns": (
        COUNTS[:, [0, 0]],
        {**PARTS, "emission_init": {"means": MEANS}},
        "names 'means', which is no feature",
    ),
    "part": (
        COUNTS[:, [0, 0]],
        {**PARTS, "emission_init": {(0, 1): {}}},
        r"the columns of the emissions are \(0,\), \(1,\)",
    ),
    "half": (COUNTS[:, [0, 0]], {**PARTS, "emission_init": {1: 3.0}}, "must be a dict of parameters by name"),
    "together": (
        REALS,
        {**TWO, "emission_init": {0: {"means": MEANS}}},
        "emission_init gives 0, which is none of means",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_held_or_begun_with_is_named(name):
    X, settings, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        HMMEM(3, **settings).fit(X)
