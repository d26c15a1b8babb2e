"""Hard and sampled assignments: one hook on the posterior, and what must hold of each."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.cluster import KMeans

from emlearn import (
    HMMEM,
    GaussianMixtureEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn.em import Batches, LatentModel, LatentPair, MonotonicityWarning, Start, cool, fit_em, race
from emlearn.em.model import uniform_of
from emlearn.families import COVARIANCE_SHAPES, Gaussian, GaussianParams, Poisson, PoissonParams
from emlearn.latent import Grouped, MarkovChain, MixtureWeights, SoftmaxGate
from emlearn.testing import check_model
from tests.helpers.pace import some_slow

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FORMS = sorted(COVARIANCE_SHAPES)
APART = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])


def rows_of(n=240, spread=1.0, seed=0):
    rng = np.random.RandomState(seed)
    labels = np.arange(n) % 3
    return APART[labels] + spread * rng.normal(size=(n, 2)), labels


def start_of(model, X, resp, **lanes):
    (batch,) = Batches(X, rows=len(X) + 1, **lanes)
    return model.start(batch, resp)


def random_start(model, X, seed=1, K=3, **lanes):
    """From the rows nearest to each of some; softly, so that nothing is settled."""
    centres = X[np.random.RandomState(seed).choice(len(X), K, replace=False)]
    labels = ((X[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    return start_of(model, X, 0.8 * (labels == np.arange(K)[:, None]) + 0.2 / K, **lanes)


def chain_rows(n_sequences=6, T=40, seed=0, spread=1.0):
    rng = np.random.RandomState(seed)
    states = np.array([np.repeat(rng.randint(3, size=T // 5), 5) for _ in range(n_sequences)]).ravel()
    return APART[states] + spread * rng.normal(size=(len(states), 2)), states, [T] * n_sequences


def rises(result):
    gains = np.diff(result.history)
    return (gains >= -1e-10 * abs(result.objective)).all()


# -- hard ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("acceleration", ["auto", "none"])
@pytest.mark.parametrize("form", FORMS)
def test_hard_climbs_the_likelihood_of_rows_and_components(form, acceleration):
    X, _ = rows_of(spread=2.0)
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES[form]), assignment="hard")
    with warnings.catch_warnings():
        warnings.simplefilter("error", MonotonicityWarning)
        result = fit_em(model, random_start(model, X), X, tol=1e-9, acceleration=acceleration)
    assert rises(result)
    assert result.converged
    family = Gaussian(COVARIANCE_SHAPES[form])
    params = result.params
    (batch,) = Batches(X, rows=len(X))
    seen = family.density(params.family)(batch)
    joint = seen.log_prob + np.log(params.latent)[:, None]
    np.testing.assert_allclose(result.log_likelihood, joint.max(axis=0).sum() + seen.shared, rtol=1e-10)
    # A fixed point: the M-step of its own labels leads back to it.
    again = start_of(model, X, (joint.argmax(axis=0) == np.arange(3)[:, None]) * 1.0)
    np.testing.assert_allclose(again.latent, params.latent, atol=1e-9)
    np.testing.assert_allclose(again.family.means, params.family.means, atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_hard_with_equal_spheres_and_weights_is_k_means(seed):
    X, _ = rows_of(spread=2.5, seed=seed)

    class Equal(MixtureWeights):
        def maximize(self, stats, params=None):
            return np.full(len(stats), 1.0 / len(stats))

    model = LatentModel(Equal(), Gaussian(COVARIANCE_SHAPES["tied_spherical"]), assignment="hard")
    result = fit_em(model, random_start(model, X, seed), X, tol=1e-12)
    means = result.params.family.means
    distances = ((X[:, None] - means) ** 2).sum(axis=2)
    labels = distances.argmin(axis=1)
    for k in range(3):
        np.testing.assert_allclose(means[k], X[labels == k].mean(axis=0), atol=1e-9)
    kmeans = KMeans(3, init=means, n_init=1, max_iter=300, tol=0.0).fit(X)
    np.testing.assert_array_equal(kmeans.labels_, labels)
    inertia = distances.min(axis=1).sum()
    np.testing.assert_allclose(kmeans.inertia_, inertia, rtol=1e-10)
    # The objective is that of k-means, with the variance at its maximum.
    variance = inertia / (2 * len(X))
    expected = -len(X) * (np.log(2 * np.pi * variance) + 1 + np.log(3))
    np.testing.assert_allclose(result.log_likelihood, expected, rtol=1e-10)


def test_estimator_finds_what_kmeans_finds():
    X, _ = rows_of(spread=1.0)  # equal clusters: weights have no say in the labels
    mixture = GaussianMixtureEM(3, covariance_type="tied_spherical", assignment="hard", random_state=0).fit(
        (X - X.mean(axis=0)) / X.std(axis=0)
    )
    kmeans = KMeans(3, n_init=10, random_state=0).fit((X - X.mean(axis=0)) / X.std(axis=0))
    order = np.lexsort(kmeans.cluster_centers_.T)
    np.testing.assert_allclose(
        mixture.means_[np.lexsort(mixture.means_.T)], kmeans.cluster_centers_[order], atol=1e-6
    )


@pytest.mark.parametrize("form", ["full", "tied_diag", "spherical"])
def test_hard_climbs_along_viterbi_paths(form):
    X, _, lengths = chain_rows(spread=2.5)
    data = Batches(X, lengths=lengths, rows=70)
    model = LatentModel(MarkovChain(), Gaussian(COVARIANCE_SHAPES[form]), assignment="hard")
    begin = random_start(model, X, lengths=lengths)
    result = fit_em(model, begin, data, tol=1e-9)
    assert result.converged
    assert rises(result)
    of_paths = 0.0
    for batch in data:
        seen = model.family.density(result.params.family)(batch)
        of_paths += model.latent.viterbi(result.params.latent, seen.log_prob, batch)[1].sum() + seen.shared
    np.testing.assert_allclose(result.log_likelihood, of_paths, rtol=1e-10)


def test_statistics_of_a_hard_chain_are_those_of_the_viterbi_path():
    X, _, lengths = chain_rows(spread=3.0, seed=3)
    model = LatentModel(MarkovChain(), Gaussian(COVARIANCE_SHAPES["full"]), assignment="hard")
    params = random_start(model, X, lengths=lengths)
    data = Batches(X, lengths=lengths)
    (batch,) = data
    path, _ = model.latent.viterbi(params.latent, model.family.density(params.family)(batch).log_prob, batch)
    states = np.empty(len(X), dtype=int)
    states[batch.rows] = path
    pairs, first = np.zeros((3, 3)), np.zeros(3)
    for sequence in np.split(states, np.cumsum(lengths)[:-1]):
        first[sequence[0]] += 1
        np.add.at(pairs, (sequence[:-1], sequence[1:]), 1.0)
    stats = data.sum(model.expectation(params)).stats.latent
    np.testing.assert_allclose(stats.pairs, pairs, atol=1e-9)
    np.testing.assert_allclose(stats.first, first, atol=1e-9)


def test_known_states_stay():
    X, states, lengths = chain_rows(spread=4.0)
    labels = np.where(np.arange(len(X)) % 3 == 0, (states + 1) % 3, -1)  # against all evidence
    data = Batches(X, lengths=lengths, labels=labels)
    (batch,) = data
    for assignment in ("hard", "sampled"):
        model = LatentModel(MarkovChain(), Gaussian(COVARIANCE_SHAPES["full"]), assignment=assignment)
        params = random_start(model, X, lengths=lengths)
        log_prob = model.family.density(params.family)(batch).log_prob
        model._assign(params.latent, log_prob, batch)
        assert (np.isfinite(log_prob).sum(axis=0) == 1).all()
        known = batch.labels >= 0
        np.testing.assert_array_equal(log_prob.argmax(axis=0)[known], batch.labels[known])


@pytest.mark.parametrize("assignment", ["hard", "sampled"])
@pytest.mark.parametrize("weighted", [False, True])
def test_groups_stay_together(assignment, weighted):
    X, _ = rows_of(spread=4.0)
    weight = np.random.RandomState(2).randint(3, size=len(X)).astype(float) if weighted else None
    data = Batches(X, weight, lengths=[4] * 60)
    (batch,) = data
    family = Gaussian(COVARIANCE_SHAPES["full"])
    model = LatentModel(Grouped(MixtureWeights()), family, assignment=assignment)
    params = random_start(model, X, lengths=[4] * 60)
    log_prob = family.density(params.family)(batch).log_prob
    model._assign(params.latent, log_prob, batch)
    labels = np.empty(len(X), dtype=int)
    labels[batch.rows] = log_prob.argmax(axis=0)
    assert (labels.reshape(60, 4) == labels.reshape(60, 4)[:, :1]).all()
    assert len(np.unique(labels)) > 1
    e_step = data.sum(model.expectation(params))
    assert np.isfinite(e_step.log_likelihood)
    if assignment == "hard":
        assert rises(fit_em(model, params, data))


def test_laws_of_hard_models():
    X, _ = rows_of(60, spread=1.5)
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["full"]), assignment="hard")
    check_model(model, start_of(model, X, (np.arange(60) % 3 == np.arange(3)[:, None]) * 0.9 + 0.1 / 3), X)
    counts = np.r_[np.zeros(30), 1, 2, 2, 8, 9, 9, 10, 11, 12][:, None]
    poisson = LatentModel(MixtureWeights(), Poisson(), assignment="hard")
    check_model(poisson, LatentPair(np.array([0.5, 0.5]), PoissonParams(np.array([[1.0], [7.0]]))), counts)


def test_hard_gate_climbs():
    X, _ = rows_of(200, spread=2.5)
    model = LatentModel(SoftmaxGate((0, 1), ridge=1e-2), Gaussian(COVARIANCE_SHAPES["diag"]), assignment="hard")
    result = fit_em(model, random_start(model, X), X, tol=1e-8)
    assert rises(result)
    assert result.converged


def test_unknown_assignment_is_refused():
    with pytest.raises(ValueError, match="assignment='firm' is none of soft, hard, sampled"):
        LatentModel(MixtureWeights(), Poisson(), assignment="firm")


# -- sampled -------------------------------------------------------------------------------------------------


def test_uniform_numbers_depend_on_the_place_alone():
    X = np.arange(1000.0)[:, None]
    whole = np.concatenate([uniform_of(batch, 7, 3) for batch in Batches(X, rows=1000)])
    for data in (Batches(X, rows=137), Batches([X[:300], X[300:]], rows=90)):
        np.testing.assert_array_equal(np.concatenate([uniform_of(batch, 7, 3) for batch in data]), whole)
    of_lanes = np.empty(1000)
    for batch in Batches(X, lengths=[100, 400, 200, 300], rows=250):
        of_lanes[batch.rows] = uniform_of(batch, 7, 3)
    np.testing.assert_array_equal(of_lanes, whole)
    many = np.concatenate([uniform_of(Batches(X).__iter__().__next__(), 7, i) for i in range(200)])
    assert ((many >= 0) & (many < 1)).all()
    # Evenly spread, and unrelated from row to row and from iteration to iteration: 200,000 numbers.
    counts = np.bincount((20 * many).astype(int), minlength=20)
    assert abs(counts - 1e4).max() < 5 * np.sqrt(1e4)
    table = many.reshape(200, 1000)
    for one, other in ((table[1:], table[:-1]), (table[:, 1:], table[:, :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(many.size)


@pytest.mark.parametrize("is_chain", [False, True])
def test_draws_have_the_probabilities_of_the_posterior(is_chain):
    X, _, lengths = chain_rows(4, spread=4.0, T=10)
    latent = MarkovChain() if is_chain else MixtureWeights()
    data = Batches(X, lengths=lengths)
    model = LatentModel(latent, Gaussian(COVARIANCE_SHAPES["full"]), assignment="sampled")
    params = random_start(model, X, lengths=lengths)
    (batch,) = data
    log_prob = model.family.density(params.family)(batch).log_prob
    resp, _, evidence = latent.posterior(params.latent, log_prob.copy(), batch)
    n, counts = 1000, np.zeros_like(resp)
    for i in range(n):
        labels, same = latent.draw(params.latent, log_prob.copy(), batch, uniform_of(batch, 0, i))
        counts += labels == np.arange(3)[:, None]
        assert same == pytest.approx(evidence, rel=1e-12)
    error = (counts / n - resp) / np.sqrt(resp * (1 - resp) / n + 1e-6)
    assert abs(error).max() < 5
    assert np.mean(error**2) < 1.5


@pytest.mark.parametrize("is_chain", [False, True])
def test_a_chain_of_draws_does_not_depend_on_the_cut(is_chain):
    X, _, lengths = chain_rows(spread=2.5)
    cut = {"lengths": lengths} if is_chain else {}
    model = LatentModel(
        MarkovChain() if is_chain else MixtureWeights(),
        Gaussian(COVARIANCE_SHAPES["full"]),
        assignment="sampled",
    )
    params = random_start(model, X, **cut)
    results = [
        fit_em(model, params, Batches(X, rows=rows, n_threads=n_threads, **cut), max_iter=20)
        for rows, n_threads in ((500, 1), (41, 1), (41, 2))
    ]
    for other in results[1:]:
        np.testing.assert_allclose(other.history, results[0].history, rtol=1e-9)
    assert results[1].history == results[2].history
    different = fit_em(replace(model, seed=1), params, Batches(X, **cut), max_iter=20)
    assert different.history != results[0].history


def test_what_a_chain_of_draws_returns():
    X, _ = rows_of(90, spread=3.0)
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["diag"]), assignment="sampled")
    seen = []
    result = fit_em(model, random_start(model, X), X, max_iter=40, callback=lambda it: seen.append(it.params))
    assert (result.n_iter, result.converged, result.reason) == (40, False, "max_iter")
    assert len(result.history) == 41
    assert not any(result.extrapolated)
    assert result.objective == max(result.history) > result.history[-1]
    assert min(np.diff(result.history)) < 0
    soft = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["diag"]))
    np.testing.assert_allclose(
        fit_em(soft, result.params, X, max_iter=0).objective, result.objective, rtol=1e-12
    )
    np.testing.assert_allclose(result.mean.family.means, np.mean([p.family.means for p in seen[21:]], axis=0))
    np.testing.assert_allclose(result.mean.latent, np.mean([p.latent for p in seen[21:]], axis=0))
    assert fit_em(model, random_start(model, X), X, max_iter=0).mean is None


@pytest.mark.slow
def test_long_run_of_a_mixture_is_about_the_maximum():
    """Exactly so for one parameter: weights of known components, where the chain's mean is known too."""
    rng = np.random.RandomState(0)
    n = 400
    X = np.where(rng.uniform(size=n) < 0.3, 0.0, 2.0)[:, None] + rng.normal(size=(n, 1))
    known = GaussianParams(np.array([[0.0], [2.0]]), np.ones((2, 1, 1)))

    class Held(Gaussian):
        def maximize(self, totals, params):
            return params

    model = LatentModel(MixtureWeights(), Held(COVARIANCE_SHAPES["full"]))
    best = fit_em(model, LatentPair(np.array([0.5, 0.5]), known), X, tol=1e-10).params.latent[0]
    chain = replace(model, assignment="sampled")
    shares = []
    fit_em(
        chain,
        LatentPair(np.array([0.5, 0.5]), known),
        X,
        max_iter=4000,
        callback=lambda it: shares.append(it.params.latent[0]),
    )
    shares = np.array(shares[500:])
    # Linear near the maximum: an autoregression of EM's rate, whose noise is that of the draws.
    log_prob = norm.logpdf(X, [0.0, 2.0]).T + np.log([[best], [1 - best]])
    resp = np.exp(log_prob - logsumexp(log_prob, axis=0))
    spread = np.sqrt((resp[0] * resp[1]).sum()) / n
    rate = (resp[0] * resp[1]).sum() / (n * best * (1 - best))
    sd = spread / np.sqrt(1 - rate**2)
    error = sd * np.sqrt((1 + rate) / (1 - rate) / len(shares))
    assert shares.std() == pytest.approx(sd, rel=0.15)
    assert abs(shares.mean() - best) < 4 * error + 2 / n  # the last is a bias of order 1/n
    assert np.corrcoef(shares[1:], shares[:-1])[0, 1] == pytest.approx(rate, abs=0.08)


def test_race_of_chains_of_draws():
    X, _ = rows_of(90, spread=1.5)
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["tied"]), assignment="sampled")
    starts = [Start("random", lambda seed=seed: random_start(model, X, seed)) for seed in range(5)]
    result, other = (race(model, starts, X, max_iter=60, n_jobs=n_jobs) for n_jobs in (1, 2))
    (best,) = [start for start in result.restarts.starts if start.status == "best"]
    assert result.best.n_iter == 60
    assert best.log_likelihood == result.best.objective
    assert result.best.objective >= max(start.log_likelihood for start in result.restarts.starts) - 0.01
    assert other.best.history == result.best.history


# -- estimators ----------------------------------------------------------------------------------------------


def problem(kind, n=150):
    rng = np.random.RandomState(0)
    if kind is GaussianMixtureEM:
        return (rows_of(n, spread=1.0)[0],)
    if kind is HMMEM:
        return (chain_rows(3, 50, spread=1.0)[0],)
    X = rng.normal(size=(n, 2))
    y = np.where(X[:, 0] > 0, 1.0, -1.0) * X[:, 1] * 3 + 0.3 * rng.normal(size=n)
    return (X, (y > 0).astype(int)) if kind is MixtureOfExpertsClassifier else (X, y)


KINDS = [GaussianMixtureEM, HMMEM, MixtureOfLinearRegressions, MixtureOfExperts, MixtureOfExpertsClassifier]
K_OF = {GaussianMixtureEM: 3, HMMEM: 3}


def make(kind, **params):
    return kind(K_OF.get(kind, 2), random_state=0, **{"n_init": 2} | params)


@pytest.mark.parametrize("kind", KINDS)
def test_hard_estimators_report_what_they_climb(kind):
    data = problem(kind)
    fitted = make(kind, assignment="hard").fit(*data)
    n = len(data[0])
    bounds = np.array(fitted.lower_bounds_)
    assert (np.diff(bounds) >= -1e-10 * abs(bounds[-1])).all()
    assert fitted.converged_
    assert fitted.lower_bound_ * n < fitted.log_likelihood_
    score = fitted.score_samples(*data).sum() if kind is not HMMEM else fitted.score(*data) * n
    np.testing.assert_allclose(fitted.log_likelihood_, score, rtol=1e-9)
    assert not hasattr(fitted, "mean_parameters_")
    # Less likely than the fit by EM, which has the maximum, if there is no prior.
    if kind is not MixtureOfExpertsClassifier:
        assert fitted.log_likelihood_ <= make(kind).fit(*data).log_likelihood_ + 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_estimators_are_reproducible(kind):
    data = problem(kind)
    fits = [make(kind, assignment="sampled", max_iter=40, n_jobs=n).fit(*data) for n in (1, 2)]
    assert fits[0].lower_bounds_ == fits[1].lower_bounds_
    assert fits[0].n_iter_ == 40
    assert not fits[0].converged_
    assert "mean_parameters_" not in vars(make(kind, max_iter=5).fit(*data))
    one, other = (fit.mean_parameters_ for fit in fits)
    assert str(one) == str(other)
    n = len(data[0])
    score = fits[0].score_samples(*data).sum() if kind is not HMMEM else fits[0].score(*data) * n
    np.testing.assert_allclose(fits[0].log_likelihood_, score, rtol=1e-9)
    assert fits[0].lower_bound_ == pytest.approx(fits[0].log_likelihood_ / n)
    another = make(kind, assignment="sampled", max_iter=40).set_params(random_state=1).fit(*data)
    assert another.lower_bounds_ != fits[0].lower_bounds_


@pytest.mark.parametrize("kind", KINDS)
def test_mean_parameters_make_a_model(kind):
    data = problem(kind)
    fitted = make(kind, assignment="sampled", max_iter=60).fit(*data)
    mean = dict(fitted.mean_parameters_)
    if kind is MixtureOfExpertsClassifier:
        mean["classes"] = fitted.classes_
    model = kind.from_parameters(**mean)
    n = len(data[0])
    score = model.score_samples(*data).sum() if kind is not HMMEM else model.score(*data) * n
    soft = make(kind).fit(*data)
    assert abs(score - soft.log_likelihood_) < 3
    turned = np.arange(K_OF.get(kind, 2))[::-1]
    name = "transmat" if kind is HMMEM else "means" if kind is GaussianMixtureEM else "coef"
    before = fitted.mean_parameters_[name]
    after = fitted.reorder(turned).mean_parameters_[name]
    expected = before[np.ix_(turned, turned)] if kind is HMMEM else before[turned]
    np.testing.assert_allclose(after, expected)


@pytest.mark.parametrize("form", ["full", "VEI", "EVI", "VEE", "tied_spherical", "factor"])
def test_mean_parameters_are_legal_for_every_form(form):
    (X,) = problem(GaussianMixtureEM)
    X = np.column_stack([X, X @ [0.5, 0.3] + np.random.RandomState(1).normal(size=len(X))])
    fitted = make(GaussianMixtureEM, assignment="sampled", max_iter=40, covariance_type=form, n_factors=1).fit(
        X
    )
    model = GaussianMixtureEM.from_parameters(**fitted.mean_parameters_, covariance_type=form)
    assert model.score(X) > fitted.score(X) - 0.1


def test_equal_rows_are_drawn_one_by_one():
    """A hundred rows at each of three places between two components: not all go to the same one."""
    X = np.repeat([-1.5, -1.0, 0.0, 1.0, 1.5], 60)[:, None]
    fitted = GaussianMixtureEM(
        2, covariance_type="tied", assignment="sampled", random_state=0, n_init=1, max_iter=100
    ).fit(X)
    weights = np.array([0.5 - abs(0.5 - w) for w in fitted.mean_parameters_["weights"]])
    assert (weights * 300 % 60).max() > 1e-6  # no sum of whole places


def test_groups_of_regressions_may_be_hard_or_sampled():
    rng = np.random.RandomState(0)
    groups = np.repeat(np.arange(40), 5)
    X = rng.normal(size=(200, 1))
    y = np.where(groups % 2, 2.0, -2.0) * X[:, 0] + 0.5 * rng.normal(size=200)
    for assignment in ("hard", "sampled"):
        fitted = MixtureOfLinearRegressions(2, assignment=assignment, max_iter=50, random_state=0).fit(
            X, y, groups=groups
        )
        np.testing.assert_allclose(np.sort(fitted.coef_[:, 0]), [-2, 2], atol=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_warm_start_goes_on_in_another_way(kind):
    data = problem(kind)
    fitted = make(kind, warm_start=True).fit(*data)
    before = fitted.log_likelihood_
    fitted.set_params(assignment="hard").fit(*data)
    assert fitted.restarts_.starts[0].kind == "warm"
    assert fitted.log_likelihood_ == pytest.approx(before, abs=10)
    fitted.set_params(assignment="sampled", max_iter=20).fit(*data)
    assert hasattr(fitted, "mean_parameters_")
    fitted.set_params(assignment="soft", max_iter=1000).fit(*data)
    assert not hasattr(fitted, "mean_parameters_")
    assert fitted.log_likelihood_ == pytest.approx(before, abs=1e-3)


# -- annealing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", some_slow(KINDS, 3))
def test_annealed_estimators_end_at_maxima(kind):
    data = problem(kind)
    plain = make(kind, n_init=7).fit(*data)
    for annealing in (True, [0.75, 0.9, 1.0]):
        fitted = make(kind, annealing=annealing, n_init=7).fit(*data)
        assert fitted.converged_
        assert fitted.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=0.01)
        assert fitted.lower_bounds_ != plain.lower_bounds_
    plain = make(kind, n_init=1).fit(*data)
    for nothing in ([1.0], np.bool_(False)):
        assert make(kind, annealing=nothing, n_init=1).fit(*data).lower_bounds_ == plain.lower_bounds_


def test_cooling_is_em_on_a_flattened_posterior():
    X, _ = rows_of(60, spread=2.0)
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["full"]))
    params = random_start(model, X)
    (batch,) = Batches(X)
    by_hand = params
    for beta in (0.4, 0.7):
        for _ in range(2):
            log_prob = model.family.density(by_hand.family)(batch).log_prob + np.log(by_hand.latent)[:, None]
            resp = np.exp(beta * log_prob - logsumexp(beta * log_prob, axis=0))
            by_hand = start_of(model, X, resp)
    cooled = cool(replace(model, assignment="hard"), params, X, (0.4, 0.7), 2)
    np.testing.assert_allclose(cooled.family.means, by_hand.family.means, rtol=1e-8)
    np.testing.assert_allclose(cooled.latent, by_hand.latent, rtol=1e-8)


BAD_SCHEDULES = {
    "falls": ([0.5, 0.3, 1.0], r"annealing=\[0.5, 0.3, 1.0\] must increase"),
    "rests": ([0.5, 0.5, 1.0], "must increase"),
    "zero": ([0.0, 1.0], r"must lie in \(0, 1\]"),
    "beyond": ([0.5, 1.0, 1.2], r"must lie in \(0, 1\]"),
    "stops short": ([0.5, 0.9], "must end at 1"),
    "empty": ([], "is no schedule"),
    "table": ([[0.5, 1.0]], "is no schedule"),
    "nan": ([0.5, np.nan, 1.0], "annealing"),
    "words": (["cold", "hot"], "annealing"),
}


@pytest.mark.parametrize("name", BAD_SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_schedules_are_named(kind, name):
    schedule, message = BAD_SCHEDULES[name]
    with pytest.raises(ValueError, match=message):
        make(kind, annealing=schedule).fit(*problem(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_ways_that_do_not_go_together(kind):
    with pytest.raises(
        ValueError, match="warm_start=True goes on from the last fit, which annealing would melt"
    ):
        make(kind, annealing=True, warm_start=True).fit(*problem(kind))
    with pytest.raises(ValueError, match="max_iter=0 evaluates the starts as they are, which annealing"):
        make(kind, annealing=True, max_iter=0).fit(*problem(kind))
    with pytest.raises(ValueError, match="acceleration='squarem' extrapolates what converges"):
        make(kind, assignment="sampled", acceleration="squarem").fit(*problem(kind))


def test_starting_values_that_would_melt_are_refused():
    X, labels = rows_of(60)
    for given in (
        {"means_init": APART},
        {"weights_init": [0.2, 0.3, 0.5]},
        {"precisions_init": [np.eye(2)] * 3},
        {"init_params": labels},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(given))} tells where components begin.*would melt"):
            GaussianMixtureEM(3, annealing=True, **given).fit(X)
    with pytest.raises(ValueError, match="means_init and weights_init tell where"):
        GaussianMixtureEM(3, annealing=True, means_init=APART, weights_init=[0.2, 0.3, 0.5]).fit(X)
    counts = np.repeat([1, 9, 1], 20)[:, None]
    places = {"emission": "poisson", "emission_init": {"rates": [[8.0], [2.0]]}}
    with pytest.raises(ValueError, match="emission_init tells where components begin"):
        HMMEM(2, annealing=True, **places).fit(counts)
    with pytest.raises(ValueError, match="means_init tells where components begin"):
        HMMEM(3, annealing=True, means_init=APART).fit(X)
    held = HMMEM(2, annealing=[0.1, 1.0], fixed=("rates",), random_state=0, **places).fit(counts)
    np.testing.assert_array_equal(held.rates_, [[8.0], [2.0]])
    np.testing.assert_array_equal(held.predict(counts), (counts[:, 0] == 1).astype(int))


def test_annealed_answers_of_a_callable_are_sorted():
    X, _ = rows_of(90)
    X = np.vstack([X, APART[2] + 0.1 * X[:30]])  # the third is the largest
    for seed in range(4):
        fit = GaussianMixtureEM(
            3, n_init=1, init_params=lambda X, K, rng: np.arange(len(X)) % K, annealing=True, random_state=seed
        ).fit(X)
        assert (np.diff(fit.weights_) <= 0).all()


def test_melted_components_part_when_they_are_shaken():
    X, _ = rows_of(150)
    model = LatentModel(MixtureWeights(), Gaussian(COVARIANCE_SHAPES["tied_spherical"]))
    melted = start_of(model, X, np.full((3, 150), 1 / 3))
    best = fit_em(model, start_of(model, X, (np.arange(150) % 3 == np.arange(3)[:, None]) * 1.0), X)
    for seed, parts in ((None, False), (0, True)):
        cooled = cool(model, melted, X, (0.5, 0.8), 15, seed)
        assert (fit_em(model, cooled, X).objective > best.objective - 0.01) == parts
