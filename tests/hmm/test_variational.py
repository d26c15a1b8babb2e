"""Variational hidden Markov models: known answers, laws, predictive densities, priors, and manners."""

import pickle
from itertools import pairwise, product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import betaln, digamma, gammaln, logsumexp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from emlearn import HMMEM, BayesianGaussianMixtureEM, match_components
from emlearn.datasets import load_earthquakes, load_old_faithful
from emlearn.em import ACCELERATIONS, Batches
from emlearn.families import (
    COVARIANCE_SHAPES,
    Bernoulli,
    Categorical,
    Gaussian,
    MixtureOf,
    NormalWishart,
    Poisson,
    Product,
)
from emlearn.hmm import HMMPosterior
from emlearn.testing import check_model
from tests.helpers.estimators import FRAMES, fit_and_messages
from tests.helpers.pace import some_slow

SHAPES = ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical")
EMISSIONS = ("gaussian", "poisson", "categorical", "bernoulli")
MANY = pytest.mark.filterwarnings("ignore:.*starts ended at.*:sklearn.exceptions.ConvergenceWarning")
ONES = {"startprob_prior": 1.0, "transmat_prior": 1.0}
LENGTHS = (50, 1, 40, 29)


def vhmm(n_components=2, **kwargs):
    return HMMEM(n_components, **{"inference": "variational", "random_state": 0, "n_init": 4, **kwargs})


def data_for(emission, d=2, seed=0):
    """Sequences in two states that last."""
    rng = np.random.RandomState(seed)
    n = sum(LENGTHS)
    state = (np.arange(n) // 15 % 2)[:, None]
    rows = {
        "gaussian": lambda: rng.normal(size=(n, d)) + 3.0 * state,
        "poisson": lambda: rng.poisson(2.0 + 6.0 * state, size=(n, d)).astype(float),
        "categorical": lambda: np.minimum(rng.randint(0, 3, size=(n, d)) + state, 3).astype(float),
        "bernoulli": lambda: (rng.uniform(size=(n, d)) < 0.2 + 0.6 * state).astype(float),
    }[emission]()
    return np.split(rows, np.cumsum(LENGTHS)[:-1])


def with_gaps(sequences, emission, seed=0):
    """The same with steps that are missing, and where that may be, entries."""
    rng = np.random.RandomState(seed)
    out = [rows.copy() for rows in sequences]
    for rows in out:
        rows[rng.uniform(size=len(rows)) < 0.1] = np.nan
        if emission == "gaussian":
            rows[rng.uniform(size=rows.shape) < 0.1] = np.nan
    return out


@pytest.fixture(scope="module")
def earthquakes():
    return load_earthquakes().data


@pytest.fixture(scope="module")
def faithful():
    return load_old_faithful().data


# -- known answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_states", "bound"),
    some_slow(
        enumerate(
            [-395.8188410493, -354.3078343296, -352.2770082544, -360.0014465047, -366.8755605304], start=1
        ),
        2,
    ),
)
def test_known_bounds_of_earthquakes(n_states, bound, earthquakes):
    prior = {"shape": 1.0, "rate": 0.05}
    fit = vhmm(n_states, emission="poisson", n_init=40, tol=1e-9, emission_prior=prior, **ONES).fit(earthquakes)
    assert fit.lower_bound_ == pytest.approx(bound, abs=1e-8)
    assert fit.n_effective_components_ == min(n_states, 3)


def log_dirichlet(counts, prior):
    """Log evidence of counts of draws in some order, by a Dirichlet prior."""
    prior = np.broadcast_to(prior, np.shape(counts))
    return gammaln(prior.sum()) - gammaln(prior.sum() + np.sum(counts)) + (
        gammaln(prior + counts) - gammaln(prior)
    ).sum()  # fmt: skip


def log_of_rows(emission, rows):
    """Log evidence of rows of one state, by the priors of `PRIORS`."""
    n = len(rows)
    if emission == "poisson":
        a, b = 2.0, 0.5
        own = a * np.log(b) - gammaln(a) + gammaln(a + rows.sum(0)) - (a + rows.sum(0)) * np.log(b + n)
        return (own - gammaln(rows + 1).sum(0)).sum()
    if emission == "bernoulli":
        return (betaln(0.7 + rows.sum(0), 1.5 + (1 - rows).sum(0)) - betaln(0.7, 1.5)).sum()
    if emission == "categorical":
        return sum(log_dirichlet([(column == c).sum() for c in range(4)], 0.5) for column in rows.T)
    # Gaussian, one column: mean 1 worth 0.5 rows, 3 degrees of freedom, scatter 2.
    x = rows[:, 0]
    beta, dof = 0.5 + n, 3.0 + n
    mean = (0.5 * 1.0 + x.sum()) / beta
    scatter = 2.0 + (x**2).sum() + 0.5 * 1.0 - beta * mean**2
    of_scatter = 0.5 * 3.0 * np.log(2.0) - 0.5 * dof * np.log(scatter)
    return -0.5 * n * np.log(np.pi) + 0.5 * np.log(0.5 / beta) + gammaln(dof / 2) - gammaln(1.5) + of_scatter


PRIORS = {
    "gaussian": {"means": [1.0], "beta": 0.5, "dof": 3.0, "scale": [[2.0]]},
    "poisson": {"shape": 2.0, "rate": 0.5},
    "bernoulli": {"ones": 0.7, "zeros": 1.5},
    "categorical": {"concentration": 0.5},
}


@pytest.mark.parametrize("emission", EMISSIONS)
def test_bound_of_one_state_is_the_evidence(emission):
    X = data_for(emission, d=1)
    fit = vhmm(1, emission=emission, emission_prior=PRIORS[emission]).fit(X)
    assert fit.lower_bound_ == pytest.approx(log_of_rows(emission, np.vstack(X)), abs=1e-8)


@pytest.mark.parametrize("emission", some_slow(EMISSIONS, ["gaussian", "poisson"]))
def test_bound_is_below_the_evidence_of_all_paths(emission):
    """Two sequences, all 2 ** 9 paths of them; each fit is of one of two orders of the states."""
    X = [rows[:n, :1] for rows, n in zip(data_for(emission)[::2], (5, 4), strict=True)]
    X[1] = X[1] + (4 if emission in ("gaussian", "poisson") else 0)
    X[0][0, 0], X[1][0, 0] = (3.0, 0.0) if emission == "categorical" else (X[0][0, 0], X[1][0, 0])
    logs = []
    for path in product((0, 1), repeat=9):
        states = np.array(path[:5]), np.array(path[5:])
        first, pairs = np.zeros(2), np.zeros((2, 2))
        for of_sequence in states:
            first[of_sequence[0]] += 1
            np.add.at(pairs, (of_sequence[:-1], of_sequence[1:]), 1)
        log = log_dirichlet(first, 0.8) + sum(log_dirichlet(row, 1.5) for row in pairs)
        flat, rows = np.concatenate(states), np.vstack(X)
        logs.append(log + sum(log_of_rows(emission, rows[flat == k]) for k in (0, 1)))
    fit = vhmm(2, emission=emission, emission_prior=PRIORS[emission], startprob_prior=0.8, transmat_prior=1.5)
    bound = fit.set_params(n_init=20, tol=1e-9).fit(X).lower_bound_
    evidence = logsumexp(logs)
    assert bound <= evidence
    assert bound > evidence - 4.0


@pytest.mark.parametrize("startprob", ["uniform", [0.3, 0.7], [1.0, 0.0]])
def test_bound_with_a_known_start_is_that_of_all_paths(startprob):
    """At the posterior of a fit: log of the sum over all paths, and divergences of what has a prior."""
    X = [np.array([[2.0], [7.0], [1.0], [9.0]]), np.array([[8.0], [6.0], [0.0]])]
    prior = {"shape": 2.0, "rate": 0.5}
    fit = vhmm(emission="poisson", startprob=startprob, emission_prior=prior, transmat_prior=1.5, n_init=10)
    fit.fit(X)
    start, rows, rates = fit.posterior_
    known = np.full(2, 0.5) if startprob == "uniform" else np.array(startprob)
    np.testing.assert_array_equal(np.sort(start), np.sort(known))
    np.testing.assert_array_equal(fit.startprob_, start)
    with np.errstate(divide="ignore"):
        log_start = np.log(start)
    log_rows = digamma(rows) - digamma(rows.sum(axis=1, keepdims=True))
    a, b = rates.shape[:, 0], rates.rate[:, 0]
    bound = 0.0
    for x in X:
        log_prob = x * (digamma(a) - np.log(b)) - a / b - gammaln(x + 1)
        logs = [
            log_start[path[0]]
            + sum(log_rows[i, j] for i, j in pairwise(path))
            + sum(log_prob[range(len(x)), path])
            for path in map(list, product((0, 1), repeat=len(x)))
        ]
        bound += logsumexp(logs)
    for row in rows:
        bound -= gammaln(row.sum()) - gammaln(3.0) - np.sum(gammaln(row) - gammaln(1.5))
        bound -= np.sum((row - 1.5) * (digamma(row) - digamma(row.sum())))
    bound -= np.sum((a - 2) * digamma(a) - gammaln(a) + gammaln(2) + 2 * np.log(b / 0.5) + a * (0.5 - b) / b)
    assert fit.lower_bound_ == pytest.approx(bound, abs=1e-10)


def test_laws_with_a_known_start():
    X = data_for("poisson")
    fit, _ = fit_and_messages(vhmm(emission="poisson", startprob=[0.2, 0.8], max_iter=2, n_init=1), X)
    check_model(fit._model, fit._params, Batches(np.vstack(X), lengths=list(LENGTHS), units=fit._units))
    again, _ = fit_and_messages(vhmm(emission="poisson", startprob=[0.2, 0.8], prior=fit.posterior_), X)
    np.testing.assert_array_equal(again.startprob_, [0.2, 0.8])
    assert again.n_effective_components_ == 2
    assert again.n_parameters_ == vhmm(emission="poisson").fit(X).n_parameters_ - 1


@pytest.mark.parametrize("shape", SHAPES)
def test_sequences_of_one_step_are_a_bayesian_mixture(shape, faithful):
    scale = {"full": [[1.0, 2.0], [2.0, 90.0]], "tied": [[1.0, 2.0], [2.0, 90.0]]}
    scale = scale.get(shape, 30.0 if "spherical" in shape else [1.0, 90.0])
    prior = {"means": [3.0, 70.0], "beta": 0.5, "dof": 4.0, "scale": scale}
    labels = (faithful[:, 0] > 3).astype(int)
    mixture = BayesianGaussianMixtureEM(
        2,
        covariance_type=shape,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=0.3,
        mean_prior=prior["means"],
        mean_precision_prior=0.5,
        degrees_of_freedom_prior=4.0,
        covariance_prior=scale,
        init_params=labels,
        tol=1e-10,
    ).fit(faithful)
    means = [faithful[labels == k].mean(axis=0) for k in (0, 1)]
    fit = vhmm(covariance_type=shape, startprob_prior=0.3, emission_prior=prior, means_init=means, tol=1e-10)
    fit.fit(list(faithful[:, None]))
    assert fit.lower_bound_ == pytest.approx(mixture.lower_bound_, abs=1e-7)
    order = match_components(fit, fit)
    np.testing.assert_array_equal(order, [0, 1])
    for name in ("means_", "covariances_"):
        np.testing.assert_allclose(getattr(fit, name), getattr(mixture, name), rtol=1e-5)
    np.testing.assert_allclose(fit.startprob_, mixture.weights_, rtol=1e-5)
    np.testing.assert_allclose(fit.score(list(faithful[:, None])), mixture.score(faithful), rtol=1e-8)
    np.testing.assert_allclose(fit.transmat_, 0.5)  # nothing was seen of transitions


@pytest.mark.parametrize("emission", some_slow(EMISSIONS, ["gaussian"]))
def test_maximum_likelihood_where_data_outweigh_the_prior(emission):
    X = data_for(emission)
    off = []
    plain = HMMEM(2, emission=emission, random_state=0, tol=1e-8).fit(X)
    for size in (1e2, 1e5):
        heavy = vhmm(emission=emission, tol=1e-6).fit(X, sample_weight=np.full(len(X), size))
        heavy.reorder(match_components(plain, heavy))
        off.append(abs(heavy.score(X) - plain.score(X)))
        np.testing.assert_allclose(heavy.transmat_, plain.transmat_, atol=5 / size)
    assert off[0] < 0.02
    assert off[1] < 1e-5
    assert off[1] < off[0] / 50


@pytest.mark.parametrize("shape", some_slow(["full", "tied"], 2))
def test_as_hmmlearn_has_it(shape, faithful):
    """The same posterior from the same priors; its bound lacks the constant of normal densities."""
    hmmlearn = pytest.importorskip("hmmlearn.vhmm")
    theirs = hmmlearn.VariationalGaussianHMM(
        2,
        covariance_type=shape,
        n_iter=2000,
        tol=1e-12,
        random_state=0,
        scale_prior=np.array(2 * [np.eye(2)]) if shape == "full" else np.eye(2),
    ).fit(faithful)
    ours = vhmm(covariance_type=shape, emission_prior={"scale": np.eye(2)}, tol=1e-12)
    ours.set_params(means_init=theirs.means_posterior_).fit(faithful)
    constant = 0.5 * faithful.size * np.log(2 * np.pi)
    assert ours.lower_bound_ == pytest.approx(theirs.monitor_.history[-1] - constant, abs=1e-6)
    posterior = ours.posterior_
    np.testing.assert_allclose(posterior.startprob, theirs.startprob_posterior_, rtol=1e-5)
    np.testing.assert_allclose(posterior.transmat, theirs.transmat_posterior_, rtol=1e-5)
    np.testing.assert_allclose(posterior.emission.means, theirs.means_posterior_, rtol=1e-5)
    np.testing.assert_allclose(posterior.emission.precision, theirs.beta_posterior_, rtol=1e-5)
    np.testing.assert_allclose(posterior.emission.dof, theirs.dof_posterior_, rtol=1e-5)
    of_matrices = posterior.emission.scatter if shape == "full" else posterior.emission.scatter[0]
    np.testing.assert_allclose(of_matrices, theirs.scale_posterior_, rtol=1e-5)
    np.testing.assert_allclose(ours.startprob_, theirs.startprob_, rtol=1e-5)
    np.testing.assert_allclose(ours.transmat_, theirs.transmat_, rtol=1e-5)
    np.testing.assert_allclose(ours.covariances_, theirs._covars_, rtol=1e-5)


def test_categories_as_hmmlearn_has_them():
    """From where it ends, with the priors that both have by default."""
    hmmlearn = pytest.importorskip("hmmlearn.vhmm")
    X = data_for("categorical", d=1)
    rows, lengths = np.vstack(X).astype(int), [len(x) for x in X]
    theirs = hmmlearn.VariationalCategoricalHMM(2, n_iter=5000, tol=1e-12, random_state=0).fit(rows, lengths)
    probabilities = theirs.emissionprob_posterior_ / theirs.emissionprob_posterior_.sum(axis=1, keepdims=True)
    ours = vhmm(
        emission="categorical", emission_init={"probabilities": probabilities}, transmat_init=theirs.transmat_
    )
    ours.set_params(tol=1e-10).fit(X)
    assert ours.lower_bound_ == pytest.approx(theirs.monitor_.history[-1], abs=1e-6)
    np.testing.assert_allclose(ours.posterior_.emission.counts[0], theirs.emissionprob_posterior_, rtol=1e-4)


# -- laws ------------------------------------------------------------------------------------------------------

CASES = [
    *((emission, "full", weighted, gaps) for emission in EMISSIONS for weighted in (0, 1) for gaps in (0, 1)),
    *(("gaussian", shape, weighted, gaps) for shape in SHAPES[1:] for weighted in (0, 1) for gaps in (0, 1)),
]


@MANY
@pytest.mark.parametrize(("emission", "shape", "weighted", "gaps"), some_slow(CASES, 5))
def test_the_bound_never_falls(emission, shape, weighted, gaps):
    X = data_for(emission)
    X = with_gaps(X, emission) if gaps else X
    weight = [0.5, 1.0, 3.0, 2.0] if weighted else None
    for acceleration in ACCELERATIONS:
        fit = vhmm(3, emission=emission, covariance_type=shape, acceleration=acceleration, max_iter=10_000)
        fit.set_params(n_init=2).fit(X, sample_weight=weight)
        bounds = np.array(fit.lower_bounds_)
        assert (np.diff(bounds) >= -1e-9 * np.abs(bounds[1:])).all()
        assert fit.lower_bound_ == bounds[-1]
        assert fit.converged_
        assert not hasattr(fit, "log_likelihood_")
        np.testing.assert_allclose(np.vstack(fit.predict_proba(X)).sum(axis=1), 1.0)
        assert np.isfinite(np.concatenate(fit.score_samples(X))).all()


@MANY
@pytest.mark.parametrize(("emission", "shape", "weighted", "gaps"), some_slow(CASES, 11))
def test_laws_of_the_model(emission, shape, weighted, gaps):
    """Batches add up, the gradient vanishes at the end, nothing falls: the laws of every model."""
    X = data_for(emission)
    X = with_gaps(X, emission) if gaps else X
    fit = vhmm(2, emission=emission, covariance_type=shape, max_iter=2, n_init=1, startprob_prior=[0.5, 2.0])
    fit, _ = fit_and_messages(fit, X)
    weight = np.array([0.5, 1.0, 3.0, 2.0]) if weighted else None
    data = Batches(np.vstack(X), weight, lengths=list(LENGTHS), units=fit._units)
    check_model(fit._model, fit._params, data)


@MANY
@pytest.mark.parametrize("emission", some_slow(EMISSIONS, ["gaussian", "bernoulli"]))
def test_weights_count_sequences(emission):
    X = data_for(emission)
    weighted = vhmm(emission=emission).fit(X, sample_weight=[2, 1, 0, 3])
    repeated = vhmm(emission=emission).fit([X[0], X[0], X[1], X[3], X[3], X[3]])
    assert weighted.lower_bound_ == pytest.approx(repeated.lower_bound_, rel=1e-9)
    np.testing.assert_allclose(weighted.transmat_, repeated.transmat_, rtol=1e-6)


@pytest.mark.parametrize("shape", some_slow(SHAPES, ["full", "spherical"]))
def test_units_do_not_matter(shape, faithful):
    times = np.array([3.0, 3.0]) if "spherical" in shape else np.array([1e-3, 250.0])
    here = vhmm(covariance_type=shape, tol=1e-8).fit(faithful)
    there = vhmm(covariance_type=shape, tol=1e-8).fit(faithful * times - 5)
    volume = len(faithful) * np.log(times).sum()
    assert there.lower_bound_ == pytest.approx(here.lower_bound_ - volume, abs=1e-6)
    np.testing.assert_allclose(there.means_, here.means_ * times - 5, rtol=1e-4)


@MANY
@pytest.mark.parametrize("emission", some_slow(EMISSIONS, ["categorical"]))
def test_threads_and_seeds(emission):
    X = data_for(emission)
    one, two = (vhmm(3, emission=emission, n_jobs=n).fit(X) for n in (1, 2))
    np.testing.assert_array_equal(one.posterior_.transmat, two.posterior_.transmat)
    assert one.lower_bounds_ == two.lower_bounds_


@MANY
def test_states_that_the_data_do_not_need_are_as_the_prior_has_them(earthquakes):
    fit = vhmm(5, emission="poisson", n_init=10).fit(earthquakes)
    assert fit.n_effective_components_ == 3
    assert (np.diff(fit.rates_[:3, 0]) > 0).all()  # and those that are empty come last
    np.testing.assert_allclose(fit.rates_[3:], earthquakes.mean(), rtol=0.01)
    np.testing.assert_allclose(fit.posterior_.transmat[3:], 1 / 5, rtol=0.01)
    three = vhmm(3, emission="poisson", n_init=10, transmat_prior=1 / 5, startprob_prior=1 / 5).fit(earthquakes)
    np.testing.assert_allclose(fit.rates_[:3], three.rates_, rtol=0.01)


# -- after the fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", some_slow(SHAPES, ["full", "tied_diag"]))
def test_predictive_density_of_the_next_step_integrates_to_one(shape, faithful):
    """In a mixture of Student's t, of states that are not known for certain."""
    past = faithful[:12, :1]
    fit = vhmm(covariance_type=shape).fit(past)

    def density(x):
        return float(np.exp(fit.score_samples(np.vstack([past, [[x]]]))[-1]))

    pieces = [(-np.inf, 0), (0, 3), (3, 6), (6, np.inf)]
    total = sum(quad(density, *piece, epsabs=1e-10, limit=200)[0] for piece in pieces)
    assert total == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("emission", EMISSIONS[1:])
def test_predictive_probabilities_of_the_next_step_sum_to_one(emission):
    past = data_for(emission, d=1)[0][:24]
    prior = {"poisson": {"shape": 4.0, "rate": 1.0}}.get(emission)
    fit = vhmm(emission=emission, emission_prior=prior).fit(past)
    values = np.arange({"poisson": 400, "bernoulli": 2, "categorical": int(past.max()) + 1}[emission])
    logs = [fit.score_samples(np.vstack([past, [[value]]]))[-1] for value in values]
    assert np.exp(logs).sum() == pytest.approx(1.0, abs=1e-9)
    if emission == "poisson":  # moments of the forecast are of this distribution
        forecast = fit.predict_next(past)
        assert np.exp(logs) @ values == pytest.approx(forecast.mean[0, 0], rel=1e-6)
        variance = np.exp(logs) @ (values - forecast.mean[0, 0]) ** 2
        assert variance == pytest.approx(forecast.covariance[0, 0, 0], rel=1e-6)


def test_one_state_of_counts_is_negative_binomial(earthquakes):
    from scipy.stats import nbinom

    fit = vhmm(1, emission="poisson", emission_prior={"shape": 1.0, "rate": 0.05}).fit(earthquakes)
    shape, rate = 1.0 + earthquakes.sum(), 0.05 + len(earthquakes)
    expected = nbinom.logpmf(earthquakes[:, 0], shape, rate / (1 + rate))
    np.testing.assert_allclose(fit.score_samples(earthquakes), expected, rtol=1e-9)


def test_forecast_of_gaussians_is_of_students_t(faithful):
    fit = vhmm(1, emission_prior={"dof": 4.0}).fit(faithful)
    posterior = fit.posterior_.emission
    dof = posterior.dof[0] - 2 + 1
    expected = posterior.scatter[0] * (1 + 1 / posterior.precision[0]) / (dof - 2)
    forecast = fit.predict_next(faithful, 2)
    np.testing.assert_allclose(forecast.covariance, [expected, expected], rtol=1e-9)
    np.testing.assert_allclose(forecast.mean[0], fit.means_[0], rtol=1e-9)
    # Of next to no steps there is no variance to tell.
    few = vhmm(1, emission_prior={"scale": np.eye(2)}).fit(faithful[:1])
    assert np.isinf(few.predict_next(faithful[:1]).covariance[0, 0, 0])


def test_draws_follow_the_predictive_density(earthquakes):
    fit = vhmm(2, emission="poisson").fit(earthquakes[:20])
    drawn, states = fit.sample(1, n_sequences=40_000)
    values, counts = np.unique(np.concatenate(list(drawn)), return_counts=True)
    some = counts > 400
    logs = np.array([fit.log_likelihood([[[value]]])[0] for value in values[some]])
    np.testing.assert_allclose(counts[some] / 40_000, np.exp(logs), rtol=0.2)
    assert np.mean(np.concatenate(list(states))) == pytest.approx(fit.startprob_[1], abs=0.02)


def test_paths_and_probabilities_are_of_the_posterior(earthquakes):
    """What is hidden has the distribution that the bound is of: expected logarithms."""
    fit = vhmm(3, emission="poisson", n_init=10, tol=1e-10).fit(earthquakes)
    proba = fit.predict_proba(earthquakes)
    visits = fit.posterior_.startprob + fit.posterior_.transmat.sum(axis=0) - 1 / 3 - 1.0
    np.testing.assert_allclose(proba.sum(axis=0), visits, rtol=1e-6)
    path, log_joint = fit.decode(earthquakes)
    np.testing.assert_array_equal(path, fit.predict(earthquakes))
    draws = [clone(fit).set_params(random_state=seed) for seed in range(2)]  # parameters alone
    assert not hasattr(draws[0], "transmat_")
    drawn = fit.set_params(random_state=np.random.RandomState(0))
    shares = np.mean([drawn.sample_states(earthquakes) == 0 for _ in range(300)], axis=0)
    np.testing.assert_allclose(shares, proba[:, 0], atol=0.15)
    assert np.isfinite(log_joint).all()
    assert log_joint[0] < fit.log_likelihood(earthquakes)[0]


@pytest.mark.parametrize("emission", EMISSIONS)
def test_reorder_keeps_densities_and_priors(emission):
    X = data_for(emission)
    first = vhmm(emission=emission).fit(X)
    fit = vhmm(emission=emission, prior=first.posterior_).fit(X[:1])
    before, transmat, posterior = fit.log_likelihood(X), fit.transmat_, fit.posterior_
    fit.reorder([1, 0])
    np.testing.assert_allclose(fit.log_likelihood(X), before, rtol=1e-10)
    np.testing.assert_array_equal(fit.transmat_, transmat[::-1, ::-1])
    np.testing.assert_array_equal(fit.posterior_.startprob, posterior.startprob[::-1])
    np.testing.assert_array_equal(fit._model.latent.start_concentration, first.posterior_.startprob[::-1])
    np.testing.assert_array_equal(match_components(first, fit), [1, 0])


def test_criteria_of_likelihood_are_refused(earthquakes):
    fit = vhmm(emission="poisson").fit(earthquakes)
    for criterion in (fit.aic, fit.bic):
        with pytest.raises(ValueError, match="compare lower_bound_"):
            criterion(earthquakes)
    assert fit.n_parameters_ == 5
    with pytest.raises(AttributeError, match="posterior_ is of inference='variational'"):
        HMMEM(emission="poisson", random_state=0).fit(earthquakes).posterior_  # noqa: B018


# -- one batch of sequences after another ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("emission", "shape"), [*((e, "full") for e in EMISSIONS), *(("gaussian", s) for s in SHAPES[1:])]
)
def test_batches_one_after_another_equal_the_whole(emission, shape):
    X = data_for(emission)
    prior = {"gaussian": None, "poisson": PRIORS["poisson"]}.get(emission, PRIORS.get(emission))
    if emission == "gaussian":
        scale = 2.0 if "spherical" in shape else [1.0, 3.0] if "diag" in shape else [[1.0, 0.5], [0.5, 3.0]]
        prior = {"means": [1.0, 1.0], "beta": 0.3, "dof": 2.5, "scale": scale}
    one = vhmm(1, emission=emission, covariance_type=shape, tol=1e-9)
    whole = clone(one).set_params(emission_prior=prior).fit(X)
    part = clone(one).set_params(emission_prior=prior)
    if emission == "categorical":  # the first batch must know how many there are
        part.set_params(emission=Categorical((4, 4)))
    part.fit(X[:1])
    total = part.lower_bound_
    for some in (X[1:2], X[2:]):
        part = clone(one).set_params(prior=part.posterior_).fit(some)
        total += part.lower_bound_
    assert total == pytest.approx(whole.lower_bound_, rel=1e-10)
    np.testing.assert_allclose(part.score(X), whole.score(X), rtol=1e-10)
    for name in ("means_", "covariances_", "rates_"):
        if hasattr(whole, name):
            np.testing.assert_allclose(getattr(part, name), getattr(whole, name), rtol=1e-10)


@pytest.mark.parametrize("emission", some_slow(EMISSIONS, ["gaussian", "categorical"]))
def test_two_states_learnt_from_batches(emission):
    X = data_for(emission)
    whole = vhmm(emission=emission, **ONES).fit(X)
    part = vhmm(emission=emission, **ONES).fit(X[:3])
    part = vhmm(emission=emission, prior=part.posterior_).fit(X[3:])
    assert isinstance(part.posterior_, HMMPosterior)
    part.reorder(match_components(whole, part))
    np.testing.assert_allclose(part.transmat_, whole.transmat_, atol=0.05)
    assert [start.kind for start in part.restarts_.starts] == ["prior"]
    assert part.posterior_.transmat.sum() == pytest.approx(whole.posterior_.transmat.sum())


# -- emissions, priors, starts ---------------------------------------------------------------------------------


def mixed():
    """Four columns of three kinds."""
    gaussian, poisson, codes = (np.vstack(data_for(e)) for e in EMISSIONS[:3])
    return np.split(np.column_stack([gaussian, poisson[:, 0], codes[:, 0]]), np.cumsum(LENGTHS)[:-1])


def test_columns_with_emissions_of_their_own():
    X = mixed()
    kinds = {0: "gaussian", 1: "gaussian", 2: "poisson", 3: "categorical"}
    X[0][3, 2] = np.nan
    priors = {(0, 1): {"dof": 5.0}, 2: {"shape": 2.0}, 3: {"concentration": [2.0, 1.0, 1.0, 1.0]}}
    fit = vhmm(emission=kinds, emission_prior=priors).fit(X)
    assert list(fit.emission_params_) == [(0, 1), (2,), (3,)]
    gaussian, rates, codes = fit.posterior_.emission
    assert isinstance(gaussian, NormalWishart)
    n = sum(map(len, X))
    assert gaussian.dof.sum() == pytest.approx(2 * 5.0 + n)
    assert rates.rate[:, 0].sum() == pytest.approx(2 / np.nanmean(np.vstack(X)[:, 2]) + n - 1)
    assert codes.counts[0].sum() == pytest.approx(2 * 5.0 + n)
    then = vhmm(emission=kinds, prior=fit.posterior_).fit(X[:1])
    assert then.posterior_.emission[0].dof.sum() == pytest.approx(2 * 5.0 + n + len(X[0]))
    assert np.isnan(fit.predict_next(X[0]).mean[0, 3])
    assert fit.sample(5)[0].shape == (5, 4)
    # The same by objects.
    parts = ((0, 1), Gaussian(COVARIANCE_SHAPES["full"])), ((2,), Poisson()), ((3,), Categorical())
    same = vhmm(emission=Product(parts), emission_prior=priors).fit(X)
    assert same.lower_bound_ == pytest.approx(fit.lower_bound_, rel=1e-9)


def test_forbidden_transitions_stay_forbidden():
    X = data_for("gaussian")
    fit = vhmm(3, transition="left-right").fit(X)
    assert (np.tril(fit.transmat_, -1) == 0).all()
    assert (np.tril(fit.posterior_.transmat, -1) == 0).all()
    assert fit.n_parameters_ == 2 + 3 + 3 * 5
    assert np.isneginf(fit.decode(X, lengths=None)[1]).sum() == 0
    then = vhmm(3, prior=fit.posterior_).fit(X[:2])
    assert (np.tril(then.transmat_, -1) == 0).all()
    ring = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=bool)
    assert (vhmm(3, transition=ring).fit(X).transmat_[~ring] == 0).all()


def test_priors_of_the_chain_are_counts(earthquakes):
    fit = vhmm(emission="poisson", startprob_prior=[1.0, 3.0], transmat_prior=[[5.0, 1.0], [1.0, 7.0]])
    fit.set_params(stickiness=2.0).fit(earthquakes)
    assert fit.posterior_.startprob.sum() == pytest.approx(5.0)
    assert fit.posterior_.transmat.sum() == pytest.approx(14.0 + 4.0 + len(earthquakes) - 1)
    assert (fit.posterior_.transmat >= np.array([[7.0, 1.0], [1.0, 9.0]])).all()
    sticky = vhmm(emission="poisson", stickiness=50.0).fit(earthquakes)
    assert np.trace(sticky.transmat_) > np.trace(vhmm(emission="poisson").fit(earthquakes).transmat_)


def test_known_states_bind_the_fit(earthquakes):
    labels = np.full(len(earthquakes), -1)
    labels[:20], labels[40:60] = 1, 0
    fit = vhmm(emission="poisson").fit(earthquakes, state_labels=labels)
    counts = fit.posterior_
    assert counts.startprob[1] == pytest.approx(1.5)
    everything = vhmm(emission="poisson", **ONES).fit(earthquakes, state_labels=np.arange(107) // 54)
    # All states known: the bound is the evidence, whatever there is to infer of parameters.
    halves = earthquakes[:54], earthquakes[54:]
    pairs = [[53, 1], [0, 52]]
    a, b = 1.0, 1 / earthquakes.mean()
    evidence = log_dirichlet([1, 0], 1.0) + sum(log_dirichlet(row, 1.0) for row in pairs)
    for half in halves:
        n, total = len(half), half.sum()
        evidence += a * np.log(b) + gammaln(a + total) - (a + total) * np.log(b + n) - gammaln(half + 1).sum()
    assert everything.lower_bound_ == pytest.approx(evidence, abs=1e-8)


@pytest.mark.parametrize("annealing", some_slow([True, [0.3, 1.0]], 2))
def test_annealing(annealing, earthquakes):
    fit = vhmm(3, emission="poisson", annealing=annealing, n_init=10, tol=1e-8).fit(earthquakes)
    plain = vhmm(3, emission="poisson", n_init=20, tol=1e-8).fit(earthquakes)
    assert fit.lower_bound_ <= plain.lower_bound_ + 1e-6
    assert fit.lower_bound_ > plain.lower_bound_ - 3


def test_starting_values(earthquakes):
    rates = [[10.0], [30.0]]
    fit = vhmm(emission="poisson", means_init=rates, transmat_init=[[0.9, 0.1], [0.1, 0.9]], max_iter=0)
    fit, _ = fit_and_messages(fit, earthquakes)
    assert len(fit.restarts_.starts) == 1
    calm = earthquakes[earthquakes < 15].size
    assert fit.posterior_.emission.rate[0, 0] > calm
    same = vhmm(emission="poisson", emission_init={"rates": rates}, tol=1e-9).fit(earthquakes)
    assert same.lower_bound_ == pytest.approx(vhmm(emission="poisson").fit(earthquakes).lower_bound_, abs=1e-3)


@MANY
def test_warm_start_goes_on(earthquakes):
    fit = vhmm(3, emission="poisson", max_iter=4, acceleration="none", warm_start=True)
    fit, messages = fit_and_messages(fit.set_params(means_init=[[9.0], [15.0], [20.0]]), earthquakes)
    assert "short of tol" in messages[0]
    bound = fit.lower_bound_
    fit.set_params(max_iter=1000).fit(earthquakes)
    assert fit.lower_bounds_[0] == pytest.approx(bound, abs=1e-8)
    assert fit.converged_
    with pytest.raises(ValueError, match=r"another emission, covariance_type or inference"):
        fit.set_params(inference="em").fit(earthquakes)
    plain = fit.set_params(warm_start=False, inference="em").fit(earthquakes)
    assert plain.log_likelihood_ == pytest.approx(plain.score(earthquakes) * 107)
    assert not hasattr(plain, "n_effective_components_")


# -- manners ---------------------------------------------------------------------------------------------------

EXPECTED_FAILURES = {
    # These give the rows of one sequence different weights, but a weight counts whole sequences.
    "check_sample_weight_equivalence_on_dense_data": "rows of a sequence cannot differ in weight",
    "check_sample_weights_not_overwritten": "rows of a sequence cannot differ in weight",
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny and constant data
@parametrize_with_checks(
    [HMMEM(inference="variational", n_init=2)], expected_failed_checks=lambda estimator: EXPECTED_FAILURES
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@MANY
def test_grid_search_pickle_and_clone():
    X = [rows[:20] for rows in 2 * (data_for("gaussian")[0], data_for("gaussian")[2])]
    grid = {"n_components": [1, 2], "covariance_type": ["full", "diag"]}
    search = GridSearchCV(vhmm(n_init=2), grid, cv=2).fit(X)
    assert search.best_params_["n_components"] == 2
    fit = search.best_estimator_
    again = pickle.loads(pickle.dumps(fit))
    np.testing.assert_array_equal(again.log_likelihood(X), fit.log_likelihood(X))
    np.testing.assert_array_equal(again.posterior_.emission.scatter, fit.posterior_.emission.scatter)
    assert clone(fit).get_params() == fit.get_params()
    assert repr(vhmm(3)) == "HMMEM(inference='variational', n_components=3, n_init=4, random_state=0)"


@pytest.mark.parametrize("frame", FRAMES)
def test_data_frames(frame, faithful):
    table = frame({"eruptions": faithful[:, 0], "waiting": faithful[:, 1]})
    prior = {"dof": 5.0}
    fit = vhmm(emission_prior=prior).fit(table)
    np.testing.assert_array_equal(fit.feature_names_in_, ["eruptions", "waiting"])
    assert fit.lower_bound_ == pytest.approx(vhmm(emission_prior=prior).fit(faithful).lower_bound_, rel=1e-9)
    by_name = {"eruptions": "gaussian", "waiting": "poisson"}
    named = vhmm(emission=by_name, emission_prior={"eruptions": prior, "waiting": {"rate": 0.5}}).fit(table)
    assert named.posterior_.emission[1].rate.sum() == pytest.approx(1.0 + 272)


def test_parameters_cannot_be_set(earthquakes):
    fit = vhmm(emission="poisson").fit(earthquakes)
    with pytest.raises(AttributeError, match="rates_ cannot be set"):
        fit.rates_ = fit.rates_ + 1
    with pytest.raises(AttributeError):
        fit.posterior_ = None


def test_attributes_are_copies(earthquakes):
    fit = vhmm(emission="poisson").fit(earthquakes)
    before = fit.score(earthquakes)
    for array in (fit.rates_, fit.transmat_, fit.startprob_, *fit.posterior_[:2], *fit.posterior_.emission):
        array[...] = 1e3
    assert fit.score(earthquakes) == before


def test_picture(earthquakes):
    pytest.importorskip("matplotlib")
    from emlearn.display import HMMDisplay

    fit = vhmm(emission="poisson").fit(earthquakes)
    display = HMMDisplay.from_estimator(fit, earthquakes)
    np.testing.assert_allclose(display.means, fit.rates_[:, 0])
    np.testing.assert_array_equal(display.transition, fit.transmat_)


@pytest.mark.slow
def test_long_data_are_raced_on_a_part():
    rng = np.random.RandomState(0)
    state = np.arange(60_000) // 40 % 3
    X = rng.normal(size=(60_000, 2)) + 5 * state[:, None]
    fit = vhmm(5, n_init=6, transmat_prior=0.01, startprob_prior=0.01).fit(X, lengths=[20_000, 40_000])
    assert fit.n_effective_components_ == 3
    assert any(start.on_part for start in fit.restarts_.starts)
    np.testing.assert_allclose(fit.means_[:3, 0], [0, 5, 10], atol=0.05)


def drawn_from_the_prior(emission, n, rng):
    """Rows of one state whose parameters come from the prior in `PRIORS`."""
    if emission == "poisson":
        return rng.poisson(rng.gamma(2.0) / 0.5, size=(n, 1)).astype(float)
    if emission == "bernoulli":
        return (rng.uniform(size=(n, 1)) < rng.beta(0.7, 1.5)).astype(float)
    if emission == "categorical":
        return rng.choice(4, size=(n, 1), p=rng.dirichlet(np.full(4, 0.5))).astype(float)
    precision = rng.gamma(1.5)
    return rng.normal(rng.normal(1.0, 1 / np.sqrt(0.5 * precision)), 1 / np.sqrt(precision), size=(n, 1))


@pytest.mark.slow
@pytest.mark.parametrize("emission", EMISSIONS)
def test_predictive_densities_are_the_best_there_are(emission):
    """No other density of new steps does better, on the average over the prior: not that at expectations."""
    rng, gains = np.random.RandomState(0), []
    kind = Categorical((4,)) if emission == "categorical" else emission
    for _ in range(300 if emission in ("gaussian", "poisson") else 20):
        rows = drawn_from_the_prior(emission, 12, rng)
        fit = vhmm(1, emission=kind, emission_prior=PRIORS[emission]).fit(rows[:3])
        names = ("means", "covariances", "rates", "probabilities")
        named = {name: getattr(fit, f"{name}_") for name in names if hasattr(fit, f"{name}_")}
        point = HMMEM.from_parameters([1.0], [[1.0]], emission=kind, **named)
        gains.append(fit.score(rows[3:]) - point.score(rows[3:]))
    if emission in ("gaussian", "poisson"):
        assert np.mean(gains) > 2 * np.std(gains) / np.sqrt(len(gains))
    else:  # one step at a time these are the same
        np.testing.assert_allclose(gains, 0.0, atol=1e-12)


# -- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"startprob": "stationary"}, "startprob='stationary' has no conjugate prior: .* leave it 'free'"),
        ({"startprob": "uniform", "startprob_prior": 1.0}, "startprob_prior is for startprob='free', but"),
        ({"startprob": [0.5, 0.6]}, "startprob must sum to 1, but it sums to 1.1"),
        ({"fixed": "transmat", "transmat_init": np.eye(2)}, "fixed='transmat' holds parameters, but"),
        ({"assignment": "hard"}, "assignment='hard' is for inference='em'"),
        ({"emission": "gmm"}, "emission='gmm' has no conjugate prior: .*'poisson', 'categorical'"),
        ({"emission": MixtureOf(Poisson(), 2)}, "emission: MixtureOf.* has no conjugate prior"),
        ({"emission": {0: "gmm", 1: "poisson"}}, r"emission of columns \[0\]: MixtureOf.* no conjugate prior"),
        ({"covariance_type": "factor"}, "covariance_type='factor' has no conjugate prior"),
        ({"covariance_type": "VEI"}, "covariance_type='VEI' has no conjugate prior: .*full, tied, diag"),
        ({"emission": Gaussian(COVARIANCE_SHAPES["EVI"])}, "has no conjugate prior: .*full, tied, diag"),
        ({"startprob_prior": -1.0}, "'startprob_prior' parameter"),
        ({"startprob_prior": [1.0, 0.0]}, "startprob_prior must be positive; the least is 0"),
        ({"transmat_prior": [[1.0, -2.0], [1.0, 1.0]]}, "transmat_prior must be positive; the least is -2"),
        ({"transmat_prior": [1.0, np.nan]}, "transmat_prior contains NaN"),
        ({"transmat_prior": [1.0, 1.0, 1.0]}, r"transmat_prior has shape \(3,\)"),
        ({"emission_prior": {"dof": 1.0}}, r"emission_prior\['dof'\] is 1, but must be more than 1"),
        ({"emission_prior": {"dof": -1.0}}, r"emission_prior\['dof'\] must be positive; the least is -1"),
        ({"emission_prior": {"beta": 0.0}}, r"emission_prior\['beta'\] must be positive"),
        ({"emission_prior": {"scale": [[1.0, 2.0], [2.0, 1.0]]}}, r"\['scale'\] must be positive definite"),
        ({"emission_prior": {"scale": [[1.0, 2.0], [0.0, 9.0]]}}, r"\['scale'\] must be symmetric"),
        ({"emission_prior": {"scale": 1.0}}, r"\['scale'\] has shape \(\); expected \(2, 2\)"),
        ({"emission_prior": {"scale": -1.0}, "covariance_type": "spherical"}, "must be positive definite"),
        ({"emission_prior": {"means": [1.0]}}, r"emission_prior\['means'\] has shape \(1,\); expected \(2,\)"),
        ({"emission_prior": {"means": [1.0, np.inf]}}, r"emission_prior\['means'\] contains infinity"),
        ({"emission_prior": {"rate": 1.0}}, "emission_prior holds 'rate', which is none of means, beta, dof"),
        ({"emission_prior": "weak"}, "'emission_prior' parameter"),
        ({"emission_prior": 3}, "emission_prior=3 is a prior of probabilities, of which there are none"),
        ({"emission_prior": {0: 3}, "emission": {0: "gaussian", 1: "gaussian"}}, "none of means, beta"),
        ({"prior": 3}, "'prior' parameter"),
        ({"inference": "bayes"}, "'inference' parameter"),
        ({"n_components": 300}, "n_components=300 needs at least as many observed steps"),
    ],
)
def test_bad_parameters_are_named(kwargs, message, faithful):
    with pytest.raises(ValueError, match=message):
        vhmm(**kwargs).fit(faithful)


@pytest.mark.parametrize(
    ("emission", "prior", "message"),
    [
        ("poisson", {"shape": 0.0}, r"emission_prior\['shape'\] must be positive; the least is 0"),
        ("poisson", {"rate": [1.0, 2.0, 3.0]}, r"emission_prior\['rate'\] has shape \(3,\); .* \(2,\)"),
        ("bernoulli", {"ones": -0.5}, r"emission_prior\['ones'\] must be positive"),
        ("bernoulli", {"concentration": 1.0}, "holds 'concentration', which is none of ones, zeros"),
        ("categorical", {"concentration": 0.0}, r"emission_prior\['concentration'\] must be positive"),
        ("categorical", {"concentration": [[1.0] * 4]}, "has arrays for 1 columns, but there are 2"),
        ("categorical", {"concentration": [[1.0] * 4, [1.0] * 3]}, r"\[1\] has shape \(3,\); expected \(4,\)"),
    ],
)
def test_bad_priors_of_emissions_are_named(emission, prior, message):
    with pytest.raises(ValueError, match=message):
        vhmm(emission=emission, emission_prior=prior).fit(data_for(emission))


def test_priors_of_columns_are_named():
    kinds = {0: "gaussian", 1: "gaussian", 2: "poisson", 3: "categorical"}
    for prior, message in (
        ({2: {"shape": -1.0}}, r"emission_prior\[\(2,\)\]\['shape'\] must be positive"),
        ({0: {"dof": 3.0}}, "emission_prior has the key 0, but the columns of the emissions are"),
        ({2: 3.0}, r"emission_prior\[\(2,\)\] must be a dict of priors by name, but is 3.0"),
    ):
        with pytest.raises(ValueError, match=message):
            vhmm(emission=kinds, emission_prior=prior).fit(mixed())


def test_priors_of_another_kind_are_refused(faithful, earthquakes):
    posterior = vhmm().fit(faithful).posterior_
    for kwargs, message in (
        ({"n_components": 3}, r"prior.startprob has shape \(2,\); expected \(3,\). There are n_components=3"),
        ({"covariance_type": "diag"}, "prior is of another kind: NormalWishart of shapes"),
        ({"emission_prior": {"dof": 4.0}}, "prior says all that emission_prior would"),
        ({"transmat_prior": 1.0, "stickiness": 2.0}, "prior says all that transmat_prior and stickiness would"),
        ({"means_init": faithful[:2]}, "A fit with prior starts from there: drop means_init"),
    ):
        with pytest.raises(ValueError, match=message):
            vhmm(**{"n_components": 2, **kwargs}, prior=posterior).fit(faithful)
    with pytest.raises(ValueError, match="prior is of another kind"):
        vhmm(prior=posterior).fit(faithful[:, :1])
    with pytest.raises(ValueError, match=r"prior is of another kind: NormalWishart .* need GammaRates"):
        vhmm(emission="poisson", prior=posterior).fit(earthquakes)
    two = vhmm(emission={0: "gaussian", 1: "poisson"}).fit(faithful)
    with pytest.raises(ValueError, match="prior is of 2 emissions, but there are 1 here"):
        vhmm(prior=two.posterior_).fit(faithful)
    for change, message in (
        ({"startprob": [-1.0, 2.0]}, "prior.startprob must not be negative, .* the least is -1"),
        ({"startprob": [np.nan, 2.0]}, "prior.startprob contains NaN at 0"),
        ({"transmat": np.zeros((2, 2))}, "prior.transmat must not be negative, nor a row of it 0"),
        ({"emission": None}, "prior.emission must"),
        ({"emission": "full"}, "prior.emission must be as posterior_ of a fit has it, but is 'full'"),
        ({"emission": posterior.emission._replace(means=np.full((2, 2), np.nan))}, "must hold finite numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            vhmm(prior=posterior._replace(**change)).fit(faithful)
    broken = posterior._replace(emission=posterior.emission._replace(dof=np.array([0.5, 9.0])))
    with pytest.raises(ValueError, match="degrees of freedom must be more than 1"):
        vhmm(prior=broken).fit(faithful)


@pytest.mark.parametrize("name", ["emission_prior", "prior"])
def test_priors_of_distributions_are_not_for_maximum_likelihood(name, faithful):
    value = {"dof": 4.0} if name == "emission_prior" else vhmm().fit(faithful).posterior_
    with pytest.raises(ValueError, match=f"{name} is for inference='variational', but inference='em'"):
        HMMEM(**{name: value}).fit(faithful)


def test_known_parameters_have_no_distribution():
    with pytest.raises(ValueError, match=r"inference='variational' makes distributions .* leave it 'em'"):
        HMMEM.from_parameters(
            [1.0], [[1.0]], emission="poisson", rates=[[2.0]], inference="variational"
        )  # fmt: skip


def test_codes_beyond_the_prior(earthquakes):
    fit = vhmm(emission="categorical").fit(data_for("categorical"))
    with pytest.raises(ValueError, match=r"X is 4 in column 1, .*: not one of the codes 0 to 3"):
        vhmm(emission="categorical", prior=fit.posterior_).fit(data_for("categorical")[0] + 1)
    assert isinstance(vhmm(emission=Bernoulli()).fit(data_for("bernoulli")).posterior_, HMMPosterior)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of max_iter=0
@pytest.mark.parametrize("seed", range(12))
def test_one_start_alone_has_all_states(seed):
    """One of fewer states could not find the others."""
    rng = np.random.RandomState(seed)
    X = np.repeat([[0.0], [20.0], [40.0]], 40, axis=0) + rng.normal(size=(120, 1))
    model = HMMEM(3, inference="variational", n_init=1, max_iter=0, random_state=seed).fit(X)
    assert model.restarts_.starts[0].kind != "all"
    assert len(np.unique(model.predict(X))) > 1
