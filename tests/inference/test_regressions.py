"""Standard errors of regressions, against published values, peers and second differences."""

import numpy as np
import pytest

from emlearn import (
    MarkovSwitchingRegression,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn.datasets import load_npreg
from emlearn.em.information import _by_second_differences, _Coordinates, observed_information
from emlearn.model_selection import InformationCriterionSearch, bootstrap, bootstrap_lrt
from tests.helpers.pace import some_slow

NPREG = load_npreg()
X = NPREG.data[:, :1]
PARABOLA = np.column_stack([X, X**2])


def regressions(K=2, **settings):
    return MixtureOfLinearRegressions(K, **{"random_state": 0, "tol": 1e-9, "max_iter": 5000} | settings)


def test_published_values():
    found = regressions().fit(PARABOLA, NPREG.yn).standard_errors(PARABOLA, NPREG.yn)
    expected = [[1.3238, 0.5916, 0.0553], [1.0092, 0.5096, 0.0498]]
    np.testing.assert_allclose(np.column_stack([found["intercept_"], found["coef_"]]), expected, atol=6e-5)
    found = regressions(family="poisson").fit(X, NPREG.yp).standard_errors(X, NPREG.yp)
    expected = [[0.17436, 0.03940], [0.17936, 0.02742]]
    np.testing.assert_allclose(np.column_stack([found["intercept_"], found["coef_"]]), expected, atol=6e-6)


@pytest.mark.parametrize("family", ["gaussian", "poisson", "binomial"])  # whose links are canonical
def test_one_component_is_a_generalised_linear_model(family):
    sm = pytest.importorskip("statsmodels.api")
    rng = np.random.RandomState(0)
    x = rng.normal(size=(150, 2))
    eta = 0.5 + x @ [0.4, -0.3]
    y, of_peer = {
        "gaussian": (eta + rng.normal(size=150), sm.families.Gaussian()),
        "poisson": (rng.poisson(np.exp(eta)), sm.families.Poisson()),
        "binomial": (rng.uniform(size=150) < 1 / (1 + np.exp(-eta)), sm.families.Binomial()),
    }[family]
    y = np.asarray(y, dtype=float)
    found = regressions(1, family=family).fit(x, y).infer(x, y)
    peer = sm.GLM(y, sm.add_constant(x), family=of_peer).fit()
    expected = peer.bse
    if family == "gaussian":  # theirs has n - p for n
        expected = expected * np.sqrt(147 / 150)
    ours = [found.standard_errors["intercept_"][0], *found.standard_errors["coef_"][0]]
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def responses(family, rng, n=300):
    x, second = rng.normal(size=(n, 1)), rng.uniform(size=n) < 0.4
    eta = np.where(second, 2.0 - 0.5 * x[:, 0], 0.5 + 0.5 * x[:, 0])
    y = {
        "gaussian": lambda: 3 * eta + rng.normal(size=n),
        "student_t": lambda: 3 * eta + 0.4 * rng.standard_t(4, size=n),
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "negative_binomial": lambda: rng.poisson(np.exp(eta) * rng.gamma(4, 1 / 4, size=n)),
        "gamma": lambda: np.exp(eta) * rng.gamma(5, 1 / 5, size=n),
    }[family]()
    return x, np.asarray(y, dtype=float)


FAMILIES = ["gaussian", "student_t", "poisson", "negative_binomial", "gamma"]
KINDS = [MixtureOfLinearRegressions, MixtureOfExperts, MarkovSwitchingRegression]


@pytest.mark.parametrize(
    ("kind", "family"),
    some_slow(
        [(kind, family) for kind in KINDS for family in FAMILIES],
        [(KINDS[0], "gamma"), (KINDS[1], "negative_binomial"), (KINDS[2], "student_t")],
    ),
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_information_is_minus_the_second_difference(kind, family):
    x, y = responses(family, np.random.RandomState(1))
    model = kind(2, family=family, random_state=0, n_init=3).fit(x, y)
    again = model._seen_again(x, y)
    engine = again.model or model._model
    found = observed_information(engine, model._params, again.data)
    expected, _ = _by_second_differences(_Coordinates(engine, found.params, found.free), again.data)
    np.testing.assert_allclose(found.observed, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert model.infer(x, y).log_likelihood == pytest.approx(model.log_likelihood_, abs=1e-5)


def test_groups_are_units():
    groups = NPREG.id2
    model = regressions(family="poisson").fit(X, NPREG.yp, groups=groups)
    errors = {
        kind: model.standard_errors(X, NPREG.yp, groups=groups, kind=kind) for kind in ("observed", "robust")
    }
    np.testing.assert_allclose(errors["robust"]["coef_"], errors["observed"]["coef_"], rtol=0.5)
    with pytest.raises(ValueError, match="The fit had groups, and this call has none"):
        model.standard_errors(X, NPREG.yp)
    # Without groups in the model they say which rows depend on one another.
    alone = regressions(1, family="poisson").fit(X, NPREG.yp)
    naive, clustered = (
        alone.standard_errors(X, NPREG.yp, kind="robust", **how)["intercept_"][0]
        for how in ({}, {"groups": groups})
    )
    assert clustered > 1.2 * naive


def test_gates():
    """One expert for all leaves the gate out; of the same experts' rows it is a logistic regression."""
    x, y = responses("gaussian", np.random.RandomState(3))
    y = y + 30 * (np.random.RandomState(4).uniform(size=len(y)) < 1 / (1 + np.exp(-x[:, 0])))  # far apart
    model = MixtureOfExperts(2, random_state=0, gate_alpha=0.0).fit(x, y)
    found = model.infer(x, y)
    assert not found.not_estimable
    second = model.predict_components(x)[:, 1] > model.predict_components(x)[:, 0]
    labels = y > 15 if second.all() else y <= 15
    sm = pytest.importorskip("statsmodels.api")
    peer = sm.Logit(labels.astype(float), sm.add_constant(x)).fit(disp=False)
    # Of two components each has half of the log-odds.
    ours = [found.standard_errors[name].ravel()[0] for name in ("gate_intercept_", "gate_coef_")]
    np.testing.assert_allclose(2 * np.array(ours), peer.bse, rtol=1e-3)


def test_classes():
    rng = np.random.RandomState(0)
    x, y = rng.normal(size=(200, 2)), rng.randint(3, size=200)
    model = MixtureOfExpertsClassifier(1, random_state=0).fit(x, y)
    found = model.infer(x, y)
    assert found.standard_errors["coef_"].shape == (1, 3, 2)
    assert np.isfinite(found.standard_errors["coef_"]).all()
    # Those of classes sum to 0: the errors of two determine that of the third.
    of_two = found.function_se(lambda m: m.coef_[0, 0] + m.coef_[0, 1])
    np.testing.assert_allclose(of_two.standard_error, found.standard_errors["coef_"][0, 2], rtol=1e-6)


@pytest.mark.slow
def test_search_bootstrap_and_test():
    search = InformationCriterionSearch(regressions(tol=1e-4), {"n_components": [1, 2, 3]}).fit(
        PARABOLA, NPREG.yn
    )
    assert search.best_params_ == {"n_components": 2}
    np.testing.assert_allclose(search.cv_results_["log_likelihood"][1], -642.532014, atol=1e-3)
    best = search.best_estimator_
    expected = best.standard_errors(PARABOLA, NPREG.yn)["intercept_"]
    for kind in ("weights", "parametric"):
        found = bootstrap(best, PARABOLA, NPREG.yn, n=60, kind=kind, random_state=0)
        np.testing.assert_allclose(found.standard_errors["intercept_"], expected, rtol=0.5)
    test = bootstrap_lrt(regressions(1), regressions(2), PARABOLA, NPREG.yn, n=9, random_state=0)
    assert test.pvalue == 0.1
    grouped = regressions(family="poisson").fit(X, NPREG.yp, groups=NPREG.id2)
    found = bootstrap(grouped, X, NPREG.yp, groups=NPREG.id2, n=10, random_state=0)
    assert found.n_failed == 0
    with pytest.raises(ValueError, match="Responses of groups cannot be drawn from the model"):
        bootstrap(grouped, X, NPREG.yp, groups=NPREG.id2, n=10, kind="parametric")


def test_regimes_with_gaps():
    y = NPREG.yn.copy()
    y[::9] = np.nan
    model = MarkovSwitchingRegression(2, random_state=0).fit(X, y)
    found = model.infer(X, y)
    assert found.log_likelihood == pytest.approx(model.log_likelihood_)
    assert found.size == np.count_nonzero(~np.isnan(y))
    assert np.isfinite(found.standard_errors["coef_"]).all()
    again = bootstrap(model, X, y, n=5, kind="parametric", random_state=0)
    assert np.isfinite(again.replicates).all()


# -- predictions -------------------------------------------------------------------------------------------


def test_predictions_tell_noise_from_estimation():
    x, y = NPREG.data, NPREG.yn
    line = MixtureOfLinearRegressions(1).fit(x, y)
    found = line.infer(x, y)
    mean, std, error = line.predict(x, return_std=found)
    np.testing.assert_array_equal((mean, std), line.predict(x, return_std=True))
    Z = np.column_stack([np.ones(len(x)), x])
    leverage = np.einsum("ij,ji->i", Z, np.linalg.solve(Z.T @ Z, Z.T))
    np.testing.assert_allclose(error, line.sigma_[0] * np.sqrt(leverage), rtol=1e-6)
    two = MixtureOfLinearRegressions(2, random_state=0).fit(x, y)
    of_two = two.infer(x, y)
    expected = of_two.function_se(lambda e: e.predict(x[:5])).standard_error
    np.testing.assert_allclose(two.predict(x[:5], return_std=of_two)[2], expected, rtol=1e-6)
    with pytest.raises(ValueError, match="return_std is the inference of another fit"):
        two.predict(x, return_std=found)


def test_predictions_of_regimes_tell_noise_from_estimation():
    X, y = (
        np.arange(60)[:, None] / 60,
        np.repeat([0.0, 3.0, 1.0], 20) + np.random.RandomState(0).normal(size=60),
    )
    model = MarkovSwitchingRegression(2, random_state=0).fit([X[:30], X[30:]], [y[:30], y[30:]])
    found = model.infer([X[:30], X[30:]], [y[:30], y[30:]])
    mean, std, error = model.predict([X[:30], X[30:]], [y[:30], y[30:]], return_std=found)
    assert [len(part) for part in (*mean, *std, *error)] == [30] * 6
    order = np.r_[30:60, 0:30]  # rows of groups come as they are given
    rows = model.predict(X[order], y[order], groups=order // 30, return_std=found)
    np.testing.assert_allclose(rows[2], np.r_[error[1], error[0]], rtol=1e-8)
    expected = found.function_se(lambda e: e.predict(X[30:], y[30:])).standard_error
    np.testing.assert_allclose(error[1], expected, rtol=1e-6)
