"""Several responses at once: laws of the family, brute force, and least squares of one component."""

import warnings
from itertools import product

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge

from emlearn import (
    MarkovSwitchingRegression,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn.display import RegressionMixtureDisplay
from emlearn.em import Affine, Batches, LatentModel
from emlearn.families import (
    RESPONSES,
    MultivariateNormal,
    MultivariateParams,
    MultivariateRegression,
    Regression,
)
from emlearn.latent import Grouped, MixtureWeights, SoftmaxGate
from emlearn.testing import check_model
from tests.helpers.pace import some_slow

P, Q = 3, 3
COEF = np.array([[[1, 2, 0], [0, 0, -1], [1, 3, 0.5]], [[0, -1, 0], [1, 2, 1], [-1, 0, 1]]])  # (K, q, p)
ROOT = np.array([[1, 0, 0], [0.8, 0.5, 0], [0.1, 0.2, 0.3]])
LATENTS = {
    "weights": MixtureWeights(),
    "gate": SoftmaxGate((1,), ridge=0.01),
    "groups": Grouped(MixtureWeights()),
}
OPTIONS = {
    "plain": {},
    "penalty": {"penalty": (0.0, 0.7, 2.0)},
    "shared": {"shared_dispersion": True},
    "ratio": {"least_ratio": 0.9},
}


def rows(n=80, seed=0):
    """Features (n, 2), responses (n, Q), labels."""
    rng = np.random.default_rng(seed)
    X, labels = rng.normal(size=(n, 2)), (rng.uniform(size=n) < 0.4).astype(int)
    mean = np.einsum("nqp,np->nq", COEF[labels], np.c_[np.ones(n), X])
    scale = np.where(labels, 0.5, 0.8)[:, None]
    return X, mean + scale * rng.normal(size=(n, Q)) @ ROOT.T, labels


def family(covariance_type, **options):
    normal = MultivariateNormal(covariance_type, Q)
    return MultivariateRegression.of(Regression(RESPONSES["gaussian"], P, **options), normal)


def some_params(covariance_type, K=2, seed=0):
    rng = np.random.default_rng(seed)
    n_before = MultivariateNormal(covariance_type, Q).n_before
    coef, before = rng.normal(size=(K, Q * P)), 0.4 * rng.normal(size=(K, n_before))
    return MultivariateParams(coef, rng.uniform(0.3, 1.5, size=(K, Q)), before)


@pytest.mark.parametrize(
    ("latent", "covariance_type", "options"),
    some_slow(list(product(LATENTS, ("full", "diag"), OPTIONS)), 5),
)
def test_laws(latent, covariance_type, options):
    X, y, labels = rows()
    lengths = np.tile([1, 4, 2, 3], 8) if latent == "groups" else None
    weight = np.random.default_rng(1).uniform(0.5, 2.0, size=len(X))
    table = np.column_stack([np.ones(len(X)), X, y])
    data = Batches(table, weight, lengths=lengths, rows=len(X) + 1)
    model = LatentModel(LATENTS[latent], family(covariance_type, **OPTIONS[options]))
    (batch,) = data
    resp = 0.7 * (labels[batch.rows] == np.arange(2)[:, None]) + 0.15
    check_model(model, model.start(batch, resp * weight[batch.rows]), data)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_densities_units_and_totals_are_those_of_multivariate_normals(covariance_type):
    X, y, _ = rows(12)
    design = np.column_stack([np.ones(len(X)), X])
    regressions, params = family(covariance_type), some_params(covariance_type)
    covariance = regressions.covariance(params)
    (batch,) = Batches(np.column_stack([design, y]))
    seen = regressions.density(params)(batch)
    for k in range(2):
        mean = design @ params.coef[k].reshape(Q, P).T
        expected = [
            stats.multivariate_normal(m, covariance[k]).logpdf(row) for m, row in zip(mean, y, strict=True)
        ]
        np.testing.assert_allclose(seen.log_prob[k], expected, rtol=1e-10)
    assert (np.abs(covariance - np.einsum("kjj->kj", covariance)[:, :, None] * np.eye(Q)).max() == 0) == (
        covariance_type == "diag"
    )
    back = regressions.normal.of_covariance(covariance)
    np.testing.assert_allclose(back[0], params.dispersion, rtol=1e-12)
    np.testing.assert_allclose(back[1], params.before, rtol=1e-10, atol=1e-14)
    units = Affine(np.r_[0, 0.3, -2.0, 5.0, -1.0, 0.5], np.r_[1, 2.0, 0.5, 3.0, 0.1, 7.0])
    there = regressions.in_units(params, units)
    (raw,) = Batches(np.column_stack([design, y]) * units.scale + units.shift)
    log_prob = regressions.density(there)(raw).log_prob + np.log(units.scale[P:]).sum()
    np.testing.assert_allclose(log_prob, seen.log_prob, rtol=1e-9)
    distance = regressions.divergence(params, regressions, params)
    np.testing.assert_allclose(np.diag(distance), 0.0, atol=1e-12)
    np.testing.assert_allclose(distance, distance.T)
    mean, middle = params.coef.reshape(2, Q, P), covariance.mean(axis=0)
    step = mean[0] - mean[1]
    apart = 0.125 * np.trace(step.T @ np.linalg.solve(middle, step))
    volume = np.linalg.det(middle) / np.sqrt(np.prod([np.linalg.det(c) for c in covariance]))
    assert distance[0, 1] == pytest.approx(apart + 0.5 * np.log(volume))


@pytest.mark.parametrize("options", ["plain", "penalty", "ratio"])
def test_an_m_step_is_a_maximum(options):
    """Nothing near the parameters of an M-step, within the bounds, is better."""
    X, y, labels = rows(60)
    regressions = family("full", **OPTIONS[options])
    (batch,) = Batches(np.column_stack([np.ones(len(X)), X, y]))
    resp = 0.8 * (labels == np.arange(2)[:, None]) + 0.1
    old = regressions.start(batch, resp)
    totals = regressions.density(some_params("full"))(batch).totals(resp)
    best = regressions.maximize(totals, some_params("full"))

    def objective(params):
        return float((resp * regressions.density(params)(batch).log_prob).sum()) + regressions.log_prior(params)

    rng = np.random.default_rng(0)
    assert objective(best) >= objective(old) - 1e-9
    if options == "ratio":
        assert regressions.at_bound(best).any()
    for _ in range(300):
        size = 10.0 ** rng.uniform(-4, -1)
        near = MultivariateParams(
            best.coef + size * rng.normal(size=best.coef.shape),
            best.dispersion * np.exp(size * rng.normal(size=best.dispersion.shape)),
            best.before + size * rng.normal(size=best.before.shape),
        )
        assert objective(regressions.nearest_legal(near)) <= objective(best) + 1e-9


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_one_component_is_least_squares(covariance_type):
    X, y, _ = rows()
    y = y * [1.0, 1e5, 1e-3] + [0.0, 1e7, 0.0]
    one = MixtureOfLinearRegressions(1, family=MultivariateNormal(covariance_type)).fit(X, y)
    lines = LinearRegression().fit(X, y)
    left = y - lines.predict(X)
    covariance = left.T @ left / len(X)
    np.testing.assert_allclose(one.coef_[0], lines.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(one.intercept_[0], lines.intercept_, rtol=1e-9)
    expected = covariance if covariance_type == "full" else np.diag(covariance)
    np.testing.assert_allclose(one.covariances_[0], expected, rtol=1e-8)
    np.testing.assert_allclose(one.predict(X), lines.predict(X), rtol=1e-9)
    assert one.n_parameters_ == Q * P + (6 if covariance_type == "full" else 3)
    assert one.score(X, y) == pytest.approx(lines.score(X, y))
    ridge = MixtureOfLinearRegressions(1, alpha=5.0, family=MultivariateNormal(covariance_type)).fit(X, y)
    np.testing.assert_allclose(ridge.coef_[0], Ridge(5.0).fit(X, y).coef_, rtol=1e-7, atol=1e-9)


def test_a_fit_is_the_optimum_of_another_optimiser():
    X, y, _ = rows(150)
    y = y[:, :2]
    fit = MixtureOfLinearRegressions(2, min_variance_ratio=0, tol=1e-8, random_state=0).fit(X, y)
    design = np.column_stack([np.ones(len(X)), X])

    def minus_log_likelihood(theta):
        coef, root, logit = theta[:12].reshape(2, 2, 3), theta[12:18].reshape(2, 3), theta[18]
        log_prob = []
        for k in range(2):
            a, b, c = np.exp(root[k, 0]), root[k, 1], np.exp(root[k, 2])
            error = y - design @ coef[k].T
            z = np.stack([error[:, 0] / a, (error[:, 1] - b / a * error[:, 0]) / c])
            log_prob.append(-0.5 * (z**2).sum(axis=0) - np.log(2 * np.pi * a * c))
        log_prob += np.array([[-np.logaddexp(0, -logit)], [-np.logaddexp(0, logit)]])
        return -logsumexp(log_prob, axis=0).sum()

    roots = np.linalg.cholesky(fit.covariances_)
    start = np.concatenate(
        [
            np.concatenate([fit.intercept_[:, :, None], fit.coef_], axis=2).ravel(),
            np.stack([np.log(roots[:, 0, 0]), roots[:, 1, 0], np.log(roots[:, 1, 1])], axis=1).ravel(),
            [np.log(fit.weights_[0] / fit.weights_[1])],
        ]
    )
    assert fit.log_likelihood_ == pytest.approx(-minus_log_likelihood(start), abs=1e-8)
    away = start + 0.05 * np.random.default_rng(0).normal(size=len(start))
    found = optimize.minimize(minus_log_likelihood, away, method="BFGS", options={"gtol": 1e-5})
    assert -found.fun == pytest.approx(fit.log_likelihood_, abs=1e-5)
    np.testing.assert_allclose(found.x, start, atol=2e-4)
    inference = fit.infer(X, y)
    assert len(inference.labels) == 12 + 8 + 2


def test_predictions_are_those_of_mixtures_of_normals():
    X, y, _ = rows(120)
    fit = MixtureOfExperts(2, random_state=0).fit(X, y)
    prior, means = fit.predict_proba(X), fit.predict_components(X)
    assert means.shape == (120, 2, Q)
    np.testing.assert_allclose(means, np.einsum("kqd,nd->nkq", fit.coef_, X) + fit.intercept_)
    mean, std = fit.predict(X, return_std=True)
    np.testing.assert_allclose(mean, np.einsum("nk,nkq->nq", prior, means))
    variance = np.einsum("kqq->kq", fit.covariances_)
    square = np.einsum("nk,nkq->nq", prior, variance + means**2)
    np.testing.assert_allclose(std, np.sqrt(square - mean**2), rtol=1e-7)
    log_prob = np.stack(
        [
            [stats.multivariate_normal(m, c).logpdf(row) for m, row in zip(means[:, k], y, strict=True)]
            for k, c in enumerate(fit.covariances_)
        ],
        axis=1,
    )
    evidence = logsumexp(np.log(prior) + log_prob, axis=1)
    np.testing.assert_allclose(fit.score_samples(X, y), evidence, rtol=1e-8)
    np.testing.assert_allclose(
        fit.predict_proba(X, y), np.exp(np.log(prior) + log_prob - evidence[:, None]), atol=1e-10
    )
    ends = fit.predict_interval(X[:5], 0.9)
    assert ends.shape == (5, Q, 2)
    below = stats.norm.cdf(ends[:, None], means[:5, :, :, None], np.sqrt(variance)[None, :, :, None])
    np.testing.assert_allclose(
        np.einsum("nk,nkqe->nqe", prior[:5], below), np.full((5, Q, 2), [0.05, 0.95]), atol=1e-9
    )
    drawn, which = fit.sample(np.tile(X[:1], (40_000, 1)), random_state=0)
    assert np.mean(which == 0) == pytest.approx(prior[0, 0], abs=0.015)
    np.testing.assert_allclose(np.cov(drawn[which == 0].T), fit.covariances_[0], rtol=0.05, atol=0.01)
    np.testing.assert_allclose(drawn.mean(axis=0), mean[0], atol=0.05)


def test_regimes_of_several_responses():
    rng = np.random.default_rng(3)
    regime = np.repeat([0, 1, 0, 1], 40)
    X = rng.normal(size=(160, 1))
    noise = rng.normal(size=(160, 2)) @ np.array([[0.3, 0.2], [0.0, 0.2]])
    y = np.where(regime[:, None], [2.0, -1.0] - X, [1.0, 0.0] + X * [1.0, 3.0]) + noise
    gappy = y.copy()
    gappy[50:53] = np.nan
    model = MarkovSwitchingRegression(2, random_state=0).fit(X, gappy)
    assert model.coef_.shape == (2, 2, 1)
    assert np.mean(model.decode(X, gappy)[0] == regime) > 0.95
    assert model.predict(X, gappy).shape == (160, 2)
    _, log_joint = model.decode(X[:6], y[:6])
    # By summing over all paths.
    log_prob = np.stack(
        [
            stats.multivariate_normal(cov=c).logpdf(y[:6] - X[:6] * b.T - a)
            for a, b, c in zip(model.intercept_, model.coef_, model.covariances_, strict=True)
        ]
    )
    total = []
    for states in product(range(2), repeat=6):
        with np.errstate(divide="ignore"):
            steps = np.log(model.startprob_[states[0]]) + np.log(model.transmat_)[states[:-1], states[1:]].sum()
        total.append(steps + log_prob[states, np.arange(6)].sum())
    assert model.score_samples(X[:6], y[:6]).sum() == pytest.approx(logsumexp(total), rel=1e-8)
    assert log_joint[0] == pytest.approx(max(total), rel=1e-8)
    forecast = model.predict_next(X, y, X[:3])
    np.testing.assert_allclose(
        forecast.mean, np.einsum("nk,nkq->nq", forecast.regime_proba, model.predict_components(X[:3]))
    )
    drawn, _ = model.sample(X, random_state=0)
    assert drawn.shape == (160, 2)
    gappy[7, 0] = np.nan
    with pytest.raises(ValueError, match="some of its responses in row 7"):
        model.fit(X, gappy)


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_parameters_by_hand_warm_starts_streams_and_order(covariance_type):
    X, y, _ = rows(200)
    response = MultivariateNormal(covariance_type)
    fit = MixtureOfLinearRegressions(2, family=response, random_state=0).fit(X, y)
    again = MixtureOfLinearRegressions.from_parameters(
        fit.coef_,
        fit.intercept_,
        weights=fit.weights_,
        covariances=fit.covariances_,
        family=response,
        warm_start=True,
    )
    np.testing.assert_allclose(again.score_samples(X, y), fit.score_samples(X, y), rtol=1e-8)
    assert again.n_parameters_ == fit.n_parameters_
    again.fit(X, y)
    assert again.log_likelihood_ == pytest.approx(fit.log_likelihood_, abs=1e-4)
    np.testing.assert_array_equal(clone(fit).fit(X, y).coef_, fit.coef_)
    before = fit.predict_components(X)
    np.testing.assert_allclose(fit.reorder([1, 0]).predict_components(X), before[:, ::-1])
    pieces = MixtureOfLinearRegressions(2, family=response, random_state=0).fit([X[:90], X[90:]], y)
    assert pieces.log_likelihood_ == pytest.approx(fit.log_likelihood_, abs=1e-4)
    stream = MixtureOfLinearRegressions(2, family=response, random_state=0).partial_fit(X[:150], y[:150])
    stream.partial_fit(X[150:], y[150:])
    assert stream.score_samples(X, y).sum() > fit.log_likelihood_ - 20


def test_what_several_responses_cannot_be():
    X, y, _ = rows(60)
    with pytest.raises(ValueError, match="1d array"):
        MixtureOfLinearRegressions(2, family="gamma").fit(X, np.exp(y))
    for kwargs, given, match in (
        ({"shared_coef": [0]}, {}, "shared_coef is for one response"),
        ({"noise": True}, {}, "noise=True is for one response"),
        ({}, {"offset": np.zeros(60)}, "offset is for one response"),
    ):
        with pytest.raises(ValueError, match=match):
            MixtureOfLinearRegressions(2, **kwargs).fit(X, y, **given)
    fit = MixtureOfLinearRegressions(1).fit(X, y)
    with pytest.raises(ValueError, match=r"y has 2 columns, but .* was fitted with 3"):
        fit.score_samples(X, y[:, :2])
    with pytest.raises(ValueError, match="The fit has 3 responses"):
        RegressionMixtureDisplay.from_estimator(fit, X, y, feature=0)
    with pytest.raises(ValueError, match="neither 'full' nor 'diag'"):
        MultivariateNormal("tied")
    with pytest.raises(ValueError, match="must be positive definite"):
        MixtureOfLinearRegressions.from_parameters(fit.coef_, weights=[1.0], covariances=-fit.covariances_)
    with pytest.raises(ValueError, match="covariances must be given"):
        MixtureOfLinearRegressions.from_parameters(fit.coef_, weights=[1.0])


def test_responses_that_are_sums_of_others_are_said():
    X, y, _ = rows(60)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = MixtureOfLinearRegressions(1).fit(X, np.c_[y[:, :2], y[:, 0] + y[:, 1]])
    assert any("leaves no noise" in str(one.message) for one in caught)
    assert np.isfinite(fit.score_samples(X, np.c_[y[:, :2], y[:, 0] + y[:, 1]])).all()


def test_pieces_of_which_the_first_lacks_a_class():
    """What is learnt of y by the first piece is how many columns it has, and no more."""
    X, _, labels = rows(200)
    order = np.argsort(labels, kind="stable")
    X, labels = X[order], labels[order]
    pieces = [X[:50], X[50:]]
    whole = MixtureOfExpertsClassifier(1).fit(X, labels)
    np.testing.assert_allclose(MixtureOfExpertsClassifier(1).fit(pieces, labels).coef_, whole.coef_, rtol=1e-5)
