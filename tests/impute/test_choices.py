"""What EMImputer chooses by the data: ridge and number of factors."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning

from emlearn import EMImputer
from emlearn.impute._choices import log_evidence, most_evident
from tests.helpers.estimators import fit_and_messages


def hidden(whole, share, seed):
    gone = np.random.default_rng(seed).uniform(size=whole.shape) < share
    return np.where(gone, np.nan, whole), gone


def factors(n, d, q, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, q)) @ rng.normal(size=(q, d)) + rng.normal(size=(n, d))


def rmse_and_coverage(imputer, whole, X, gone):
    lower, upper = imputer.predict_interval(X)
    inside = (lower <= whole) & (whole <= upper)
    return np.sqrt(np.mean((imputer.transform(X) - whole)[gone] ** 2)), inside[gone].mean()


def test_the_evidence_is_the_integral_of_the_likelihood():
    """The precision of one feature has a Gamma distribution: Bayes' rule at any precision."""
    x = np.random.default_rng(0).normal(size=7)
    n, scatter = len(x), np.sum((x - x.mean()) ** 2)
    precision = 1.3
    likelihood = 0.5 * (n - 1) * np.log(precision) - 0.5 * precision * scatter  # up to a constant without ridge
    found = []
    for ridge in (0.5, 2.0, 20.0):
        prior = stats.gamma(0.5 * (ridge + 2), scale=2 / ridge)
        posterior = stats.gamma(0.5 * (ridge + 2 + n - 1), scale=2 / (ridge + scatter))
        by_rule = likelihood + prior.logpdf(precision) - posterior.logpdf(precision)
        found.append(log_evidence(ridge, np.array([scatter]), n) - by_rule)
    np.testing.assert_allclose(found, found[0], rtol=1e-10)


def test_the_prior_that_made_the_data_is_found():
    """Covariances drawn from the prior itself, ten features, 200 rows: within a factor of two in the median."""
    d, n = 10, 200
    for ridge in (3.0, 30.0):
        found = []
        for seed in range(15):
            rng = np.random.RandomState(seed)
            precision = stats.wishart(ridge + d + 1, np.eye(d) / ridge).rvs(random_state=rng)
            X = rng.multivariate_normal(np.zeros(d), np.linalg.inv(precision), size=n)
            found.append(most_evident(np.linalg.eigvalsh((n - 1) * np.cov(X.T)), n))
        assert ridge / 2 < np.median(found) < 2 * ridge


@pytest.mark.parametrize(
    ("n", "rmse"),
    [(80, 1.15), *(pytest.param(n, e, marks=pytest.mark.slow) for n, e in [(40, 1.18), (240, 1.1)])],
)
def test_wide_data(n, rmse):
    """Intervals hold, and errors are small; three factors are found, and do better still."""
    whole = factors(n, 60, 3, 0)
    X, gone = hidden(whole, 0.15, 3)
    full = EMImputer().fit(X)
    error, coverage = rmse_and_coverage(full, whole, X, gone)
    assert error < rmse
    assert 0.93 < coverage < 0.985
    assert 10 < full.ridge_ < 60
    assert full.n_factors_ is None
    few = EMImputer(covariance_type="factor", ridge=1.0).fit(X)
    assert few.n_factors_ == 3
    assert rmse_and_coverage(few, whole, X, gone)[0] < error


def test_with_many_rows_the_ridge_does_not_matter():
    """What is chosen changes a fit to complete-enough data by less than 1 %, and imputation no more."""
    whole = load_breast_cancer().data
    X, gone = hidden(whole, 0.1, 0)
    chosen, one = EMImputer().fit(X), EMImputer(ridge=1.0).fit(X)
    scale = np.sqrt(np.diag(one.covariance_))
    np.testing.assert_allclose((chosen.covariance_ - one.covariance_) / np.outer(scale, scale), 0.0, atol=0.01)
    errors = [np.sqrt(np.mean(((f.transform(X) - whole) / scale)[gone] ** 2)) for f in (chosen, one)]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)


def test_units_and_order_do_not_change_the_choice():
    X, _ = hidden(factors(60, 8, 2, 1), 0.2, 1)
    ridge = EMImputer().fit(X).ridge_
    assert EMImputer().fit(X[::-1, ::-1] * np.arange(1, 9) * 1e3 - 7).ridge_ == pytest.approx(ridge, rel=0.01)
    assert EMImputer().fit(np.repeat(X, 2, axis=0)).ridge_ == pytest.approx(
        EMImputer().fit(X, sample_weight=np.full(60, 2.0)).ridge_, rel=0.01
    )


def test_where_there_is_nothing_to_choose():
    X, _ = hidden(factors(60, 4, 2, 1), 0.2, 1)
    assert EMImputer(covariance_type="diag").fit(X).ridge_ == 1.0
    assert EMImputer(n_components=2, n_init=2, random_state=0).fit(X).ridge_ == 1.0
    assert EMImputer.from_parameters([0.0, 1.0], np.eye(2)).ridge_ == 1.0
    assert EMImputer(covariance_type="factor").fit(X[:, :1]).n_factors_ == 1


def test_few_entries_for_the_parameters_are_told():
    X, _ = hidden(factors(80, 60, 3, 0), 0.15, 0)
    _, messages = fit_and_messages(EMImputer(ridge=1.0, max_iter=200), X, categories=(ConvergenceWarning,))
    assert any("2.1 observed entries for each parameter" in message for message in messages)
    assert any("Leave ridge at 'auto'" in message for message in messages)
    _, messages = fit_and_messages(EMImputer(), X, categories=(ConvergenceWarning,))
    assert not messages


@pytest.mark.parametrize(
    "bad", [{"ridge": "automatic"}, {"ridge": -1.0}, {"n_factors": "all"}, {"n_factors": 0}]
)
def test_choices_are_checked(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"The '{name}' parameter of EMImputer"):
        EMImputer(**bad).fit(np.eye(3))


def test_weights_worth_few_rows_beside_the_prior_are_told():
    X, _ = hidden(factors(60, 3, 1, 0), 0.1, 0)
    weight = np.full(60, 1 / 60)
    _, messages = fit_and_messages(EMImputer(), X, categories=(ConvergenceWarning,), sample_weight=weight)
    assert any("sample_weight sums to 1 for 60 rows, beside a prior worth ridge=" in m for m in messages)
    _, messages = fit_and_messages(
        EMImputer(ridge=0), X, categories=(ConvergenceWarning,), sample_weight=weight
    )
    assert not messages
