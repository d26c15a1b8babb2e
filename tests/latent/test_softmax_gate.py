"""The softmax gate: its E-step sums up what it says, and its M-step climbs from anywhere."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp
from sklearn.linear_model import LogisticRegression

from emlearn.em import Affine, Batch, Batches, LatentModel, LatentPair, fit_em
from emlearn.families import COVARIANCE_SHAPES, Gaussian
from emlearn.latent import MixtureWeights, SoftmaxGate
from emlearn.latent.softmax_gate import N_HALVES, GateStats
from emlearn.testing import LAWS, check_model, check_monotone
from tests.helpers.pace import some_slow

N = 80
COLUMNS = (0, 2)  # what the gate sees
SEEN = (1, 3)  # what the family sees
GATE = SoftmaxGate(COLUMNS)


class OnColumns:
    """A family that sees some of the columns."""

    def __init__(self, columns, family):
        self.columns, self.family = columns, family

    def __getattr__(self, name):
        return getattr(self.family, name)

    def part(self, batch):
        return batch.part(("columns", self.columns), slice(None), list(self.columns))

    def density(self, params):
        density = self.family.density(params)
        return lambda batch: density(self.part(batch))

    def start(self, batch, resp, rng=None):
        return self.family.start(self.part(batch), resp, rng)

    def sample(self, params, labels, rng):
        X = np.full((len(labels), 4), np.nan)
        X[:, self.columns] = self.family.sample(params, labels, rng)
        return X


FAMILY = OnColumns(SEEN, Gaussian(COVARIANCE_SHAPES["diag"]))


def probabilities(params, features):
    return np.exp(log_softmax(features @ params[:, 1:].T + params[:, 0], axis=1))


def truth(n_components):
    return 1.5 * np.random.RandomState(10).normal(size=(n_components, 3))


def rows(n=N, n_components=3, seed=0):
    """Rows of two features of the gate and two others, the labels behind them, and weights."""
    rng = np.random.RandomState(seed)
    features = rng.normal(size=(n, 2))
    chances = probabilities(truth(n_components), features).cumsum(axis=1)
    labels = (rng.uniform(size=(n, 1)) > chances[:, :-1]).sum(axis=1)
    centres = 2.5 * np.column_stack([np.cos(np.arange(n_components)), np.sin(2.0 * np.arange(n_components))])
    X = np.empty((n, 4))
    X[:, COLUMNS], X[:, SEEN] = features, centres[labels] + rng.normal(size=(n, 2))
    return X, labels, rng.uniform(0.5, 2.0, size=n)


def problem(ridge=0.0, n_components=3):
    X, labels, weight = rows(n_components=n_components)
    model = LatentModel(replace(GATE, ridge=ridge), FAMILY)
    resp = 0.7 * (labels == np.arange(n_components)[:, None]) + 0.3 / n_components
    return model, model.start(Batch(np.ascontiguousarray(X.T)), resp), (X, weight)


def hard(labels, n_components):
    """Log-densities that leave no doubt of the labels."""
    return np.where(labels == np.arange(n_components)[:, None], 0.0, -1e3)


def ways_out(gate, stats, params):
    """Newton's step and all that are tried when it fails: shorter ones, and last the safe one."""
    return [gate.maximize(stats, params), *(gate.shortened(stats, params, 1 + i) for i in range(N_HALVES + 1))]


def statistics(gate, params, x, log_prob, weight=None):
    return gate.posterior(params, log_prob.copy(), Batch(x, weight))[1]


def expected(gate, params, x, resp):
    """Penalised expected log-likelihood, from first principles."""
    scores = params[:, 1:] @ x[list(gate.columns)] + params[:, :1]
    return np.sum(resp * log_softmax(scores, axis=0)) - 0.5 * gate.ridge * np.sum(params[:, 1:] ** 2)


def converged(gate, x, log_prob, weight=None, n_steps=60):
    """Parameters after many guarded M-steps against fixed densities."""
    params = np.zeros((len(log_prob), len(gate.columns) + 1))

    def objective(params):
        return gate.posterior(params, log_prob.copy(), Batch(x, weight))[2] + gate.log_prior(params)

    for _ in range(n_steps):
        stats = statistics(gate, params, x, log_prob, weight)
        steps = ways_out(gate, stats, params)
        params = next((step for step in steps if objective(step) >= objective(params)), steps[-1])
    return params


def random_params(rng, n_components=3, size=1.0, n_columns=2):
    params = size * rng.normal(size=(n_components, n_columns + 1))
    return params - params.mean(axis=0)


def test_law_of_density_sees_a_gate_that_is_not_one():
    """Draws follow the gate, of which the density is not what they have."""

    class Steep(SoftmaxGate):
        def log_weights(self, params, batch):
            return super().log_weights(1.5 * params, batch)

        def sample_labels(self, params, batch, rng):
            return super().sample_labels(params / 1.5, batch, rng)

    model, params, data = problem()
    params = params._replace(latent=truth(3))
    check_model(model, params, data, laws=["density"])
    with pytest.raises(AssertionError, match="Law 'density'"):
        check_model(replace(model, latent=Steep(GATE.columns)), params, data, laws=["density"])


# -- Laws ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("ridge", "n_components"), [(0.0, 2), (0.0, 3), (2.0, 3)])
def test_law(ridge, n_components, law):
    check_model(*problem(ridge, n_components), laws=[law])


def test_annealed_objective_is_monotone():
    model, params, data = problem()
    check_monotone(replace(model, beta=0.5), params, data)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_posterior_from_first_principles(beta):
    rng = np.random.RandomState(1)
    X, _, weight = rows()
    params, log_prob = random_params(rng), rng.normal(size=(3, N))
    joint = beta * (np.log(probabilities(params, X[:, COLUMNS])).T + log_prob)
    resp, _, evidence = GATE.posterior(params, log_prob, Batch(X.T, weight), beta)
    assert resp is log_prob
    np.testing.assert_allclose(resp, weight * np.exp(log_softmax(joint, axis=0)), rtol=1e-12)
    assert evidence == pytest.approx(weight @ logsumexp(joint, axis=0) / beta, rel=1e-12)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_statistics_are_the_derivatives(beta):
    rng = np.random.RandomState(2)
    X, _, weight = rows()
    x, params, log_prob = X.T, random_params(rng), rng.normal(size=(3, N))
    resp, stats, _ = GATE.posterior(params, log_prob.copy(), Batch(x, weight), beta)

    def evidence(params):
        return GATE.posterior(params, log_prob.copy(), Batch(x, weight), beta)[2]

    def gradient(params):
        """That of the expected log-likelihood at fixed responsibilities, by central differences."""
        return differences(lambda at: expected(GATE, at, x, resp), params)

    np.testing.assert_allclose(differences(evidence, params), stats.gradient, atol=1e-6)
    np.testing.assert_allclose(gradient(params), stats.gradient, atol=1e-6)
    for pair, (k, other) in enumerate(zip(*np.triu_indices(3, 1), strict=True)):
        change = differences(lambda at, k=k: gradient(at)[k], params, 1e-3)[:, other]
        np.testing.assert_allclose(change, stats.curvature[pair], atol=1e-4)


def differences(function, params, step=1e-5):
    """Central differences of a function of parameters, the coordinates of the parameters last."""
    slopes = []
    for i in range(params.size):
        ahead, behind = params.ravel().copy(), params.ravel().copy()
        ahead[i] += step
        behind[i] -= step
        change = np.subtract(function(ahead.reshape(params.shape)), function(behind.reshape(params.shape)))
        slopes.append(change / (2 * step))
    return np.moveaxis(np.array(slopes), 0, -1).reshape(*np.shape(slopes[0]), *params.shape)


# -- Symmetries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ridge", [0.0, 2.0])
@pytest.mark.parametrize("step", [0, 1, N_HALVES, N_HALVES + 1])
def test_order_of_components_makes_no_difference(step, ridge):
    rng = np.random.RandomState(3)
    X, _, weight = rows()
    gate, order = replace(GATE, ridge=ridge), np.array([2, 3, 0, 1])
    params, log_prob = random_params(rng, 4), rng.normal(size=(4, N))

    def move(params, log_prob):
        stats = statistics(gate, params, X.T, log_prob, weight)
        return ways_out(gate, stats, params)[step]

    moved = move(params, log_prob)
    np.testing.assert_allclose(move(params[order], log_prob[order]), moved[order], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(moved.sum(axis=0), 0, atol=1e-12)
    # What all components share says nothing, and goes.
    shared = np.array([0.3, -1.0, 2.0])
    again = move(params + shared, log_prob)
    if step in (1, N_HALVES):  # shortened, half of it stays, or more
        again -= again.mean(axis=0)
    np.testing.assert_allclose(again, moved, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("step", [0, 1, N_HALVES, N_HALVES + 1])
def test_units_of_the_features_make_no_difference(step):
    rng = np.random.RandomState(4)
    X, _, weight = rows()
    shift, scale = np.array([0.5, -2.0]), np.array([30.0, 0.02])
    there = X.copy()
    there[:, COLUMNS] = shift + scale * X[:, COLUMNS]
    params, log_prob = random_params(rng), rng.normal(size=(3, N))
    params_there = params.copy()
    params_there[:, 1:] /= scale
    params_there[:, 0] -= params_there[:, 1:] @ shift
    found = []
    for data, at in ((X, params), (there, params_there)):
        stats = statistics(GATE, at, data.T, log_prob, weight)
        moved = ways_out(GATE, stats, at)[step]
        found.append(GATE.log_weights(moved, Batch(data.T)))
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)


def test_slopes_of_zero_are_mixture_weights():
    rng = np.random.RandomState(5)
    X, _, weight = rows()
    batch, resp = Batch(X.T, weight), rng.dirichlet([1.0, 2.0, 5.0], size=N).T * weight
    weights, params = MixtureWeights().start(batch, resp), GATE.start(batch, resp)
    log_weights = np.tile(MixtureWeights().log_weights(weights, batch), N)
    np.testing.assert_allclose(GATE.log_weights(params, batch), log_weights, rtol=1e-12)
    log_prob = rng.normal(size=(3, N))
    plain, _, evidence = MixtureWeights().posterior(weights, log_prob.copy(), batch)
    gated, _, gated_evidence = GATE.posterior(params, log_prob.copy(), batch)
    np.testing.assert_allclose(gated, plain, rtol=1e-12)
    assert gated_evidence == pytest.approx(evidence, rel=1e-12)


def test_gate_without_features_is_mixture_weights():
    X, labels, weight = rows()
    data = (X[:, SEEN], weight)
    family = Gaussian(COVARIANCE_SHAPES["diag"])
    resp = 0.7 * (labels == np.arange(3)[:, None]) + 0.1
    fits = []
    for latent in (MixtureWeights(), SoftmaxGate(())):
        model = LatentModel(latent, family)
        start = model.start(Batch(np.ascontiguousarray(X[:, SEEN].T)), resp)
        fits.append(fit_em(model, start, data, tol=1e-10, max_iter=10_000))
    plain, gated = fits
    assert gated.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-8)
    np.testing.assert_allclose(np.exp(log_softmax(gated.params.latent[:, 0])), plain.params.latent, atol=1e-6)
    np.testing.assert_allclose(gated.params.family.means, plain.params.family.means, atol=1e-5)


def test_batches_remember_no_other_gate():
    """Two gates on the same batches see their own columns each."""
    rng = np.random.RandomState(6)
    X, _, weight = rows()
    params, log_prob = random_params(rng), rng.normal(size=(3, N))
    shared = Batch(X.T, weight, room=100.0)
    for columns in ((0, 2), (1, 3), (2, 0)):
        gate = SoftmaxGate(columns)
        found = gate.posterior(params, log_prob.copy(), shared)[1]
        alone = gate.posterior(params, log_prob.copy(), Batch(X.T, weight))[1]
        for a, b in zip(found, alone, strict=True):
            np.testing.assert_array_equal(a, b)


# -- M-step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ridge", [0.1, 10.0])
def test_known_labels_make_it_logistic_regression(ridge, weighted):
    X, labels, weight = rows(300)
    weight = weight if weighted else None
    params = converged(replace(GATE, ridge=ridge), X.T, hard(labels, 3), weight)
    reference = LogisticRegression(C=1 / ridge, tol=1e-12, solver="newton-cholesky", max_iter=1000)
    reference.fit(X[:, COLUMNS], labels, sample_weight=weight)
    np.testing.assert_allclose(params[:, 1:], reference.coef_, atol=1e-6)
    intercepts = reference.intercept_ - reference.intercept_.mean()
    np.testing.assert_allclose(params[:, 0], intercepts, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.1, 10.0])
def test_newton_step_squares_the_error(ridge):
    X, labels, weight = rows(300)
    gate, log_prob = replace(GATE, ridge=ridge), hard(labels, 3)
    end = converged(gate, X.T, log_prob, weight)
    near = end + random_params(np.random.RandomState(11), size=1e-3)
    after = gate.maximize(statistics(gate, near, X.T, log_prob, weight), near)
    assert np.abs(near - end).max() > 1e-4
    assert np.abs(after - end).max() < 1e-5


@pytest.mark.parametrize("ridge", [0.0, 1.0])
@pytest.mark.parametrize("size", some_slow([0.1, 1.0, 10.0, 100.0], [1.0, 100.0]))
def test_shortened_step_never_lowers_the_objective(size, ridge):
    gate = replace(GATE, ridge=ridge)
    lowered = 0
    for seed in range(50):
        rng = np.random.RandomState(seed)
        n_components = 2 + seed % 4
        x = rng.normal(size=(3, 40)) * rng.choice([0.1, 1.0, 5.0], size=(3, 1))
        params = random_params(rng, n_components, size)
        resp = rng.dirichlet(np.full(n_components, 0.3), size=40).T
        # Densities of which these are the posterior probabilities.
        log_prob = np.log(resp + 1e-300) - gate.log_weights(params, Batch(x))
        stats = statistics(gate, params, x, log_prob)
        before = expected(gate, params, x, resp)
        newton = gate.maximize(stats, params)
        safe = ways_out(gate, stats, params)[-1]
        assert gate.shortened(stats, params, N_HALVES + 2) is None  # there is nothing shorter
        rounding = 1e-12 * (1 + abs(before))
        assert expected(gate, safe, x, resp) >= before - rounding
        failed = expected(gate, newton, x, resp) < before - rounding
        lowered += failed
        if failed:
            assert expected(gate, safe, x, resp) > before
    # Newton's step does fail, or the other would be there for nothing.
    assert lowered > 0 or size < 1


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_halves_of_a_step_come_first(ridge):
    """The safe step is short: where Newton's overshoots, a half of it often gains more."""
    X, labels, weight = rows(300)
    gate, log_prob = replace(GATE, ridge=ridge), hard(labels, 3)

    def objective(params):
        return gate.posterior(params, log_prob.copy(), Batch(X.T, weight))[2] + gate.log_prior(params)

    better = 0
    for seed in range(20):
        params = random_params(np.random.RandomState(seed), size=3.0)
        steps = ways_out(gate, statistics(gate, params, X.T, log_prob, weight), params)
        assert len(steps) == 1 + N_HALVES + 1
        for i, step in enumerate(steps[:-1]):
            np.testing.assert_allclose(step - params, 0.5**i * (steps[0] - params), rtol=1e-7, atol=1e-9)
        gains = [objective(step) for step in steps]
        assert gains[-1] >= objective(params)
        better += gains[0] < objective(params) and max(gains[1:-1]) > gains[-1]
    assert better > 0


# -- Units -------------------------------------------------------------------------------------------------

UNITS = Affine(np.array([1e3, -2.0]), np.array([30.0, 0.02]))


def test_a_gate_sees_its_columns_in_its_units():
    rng = np.random.RandomState(12)
    X, _, weight = rows()
    there = X.copy()
    there[:, COLUMNS] = UNITS.shift + UNITS.scale * X[:, COLUMNS]
    params, log_prob = random_params(rng), rng.normal(size=(3, N))
    gate = replace(GATE, units=UNITS, ridge=0.3)
    plain = replace(GATE, ridge=0.3)
    found = gate.posterior(params, log_prob.copy(), Batch(there.T, weight))
    expected = plain.posterior(params, log_prob.copy(), Batch(X.T, weight))
    log_weights = plain.log_weights(params, Batch(X.T))
    np.testing.assert_allclose(gate.log_weights(params, Batch(there.T)), log_weights, atol=1e-9)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-9)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
    assert gate.log_prior(params) == plain.log_prior(params)
    steps = [ways_out(one, stats, params) for one, stats in ((gate, found[1]), (plain, expected[1]))]
    for i in (0, -1):  # Newton's and the safe one
        np.testing.assert_allclose(steps[0][i], steps[1][i], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("units", [None, UNITS])
def test_units_there_and_back(units):
    rng = np.random.RandomState(13)
    X, _, _ = rows()
    gate, params = replace(GATE, units=units), random_params(rng)
    of_rows = Affine(rng.normal(size=4), rng.uniform(0.5, 2.0, size=4))
    inside = (X - of_rows.shift) / of_rows.scale
    outside = gate.in_units(params, of_rows)
    np.testing.assert_allclose(gate.from_units(outside, of_rows), params, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(gate.in_units(gate.from_units(params, of_rows), of_rows), params, atol=1e-8)
    # For rows as the user gives them the gate needs no units of its own.
    expected = gate.log_weights(params, Batch(inside.T))
    np.testing.assert_allclose(GATE.log_weights(outside, Batch(X.T)), expected, atol=1e-7)
    np.testing.assert_allclose(outside.sum(axis=0), 0.0, atol=1e-6 * np.abs(outside).max())


def test_mixture_weights_have_nothing_shorter():
    counts, weights = np.array([3.0, 1.0]), np.array([0.5, 0.5])
    assert MixtureWeights().shortened(counts, weights, 1) is None
    assert MixtureWeights().n_parameters(weights) == 1


def test_separated_components_need_the_ridge():
    x = np.vstack([np.linspace(-1, 1, 40), np.zeros(40)])
    labels = (x[0] > 0).astype(int)
    gate = SoftmaxGate((0,), ridge=0.01)
    params = converged(gate, x, hard(labels, 2))
    # Two slopes ±s cost ridge · s², which is what the one slope 2s of binary regression costs at C = 2 / ridge.
    reference = LogisticRegression(C=2 / 0.01, tol=1e-12, solver="newton-cholesky").fit(x[:1].T, labels)
    np.testing.assert_allclose(2 * params[1], [reference.intercept_[0], reference.coef_[0, 0]], atol=1e-5)
    assert np.isfinite(converged(SoftmaxGate((0,)), x, hard(labels, 2), n_steps=200)).all()


def test_redundant_columns_change_no_probability():
    X, labels, weight = rows(200)
    log_prob = hard(labels, 3)
    x = np.vstack([X.T, 3.0 * X[:, 0] - 1.0, X[:, 0] + X[:, 2], np.full(200, 2.0), np.zeros(200)])
    lean = GATE.log_weights(converged(GATE, x, log_prob, weight), Batch(x))
    for more in ((0,), (4,), (5,), (6,), (7,), (4, 5, 6, 7)):
        gate = SoftmaxGate(COLUMNS + more)
        params = converged(gate, x, log_prob, weight)
        assert np.abs(params).max() < 100
        np.testing.assert_allclose(gate.log_weights(params, Batch(x)), lean, atol=1e-7)


def test_ridge_shares_a_slope_between_equal_columns():
    X, labels, weight = rows(200)
    params = converged(SoftmaxGate((0, 2, 0), ridge=1.0), X.T, hard(labels, 3), weight)
    np.testing.assert_allclose(params[:, 1], params[:, 3], atol=1e-8)
    # Two equal slopes of g / 2 cost half of what one of g does.
    halved = X.copy()
    halved[:, 0] *= np.sqrt(2.0)
    single = converged(SoftmaxGate((0, 2), ridge=1.0), halved.T, hard(labels, 3), weight)
    np.testing.assert_allclose(2 * params[:, 1], np.sqrt(2.0) * single[:, 1], atol=1e-8)


@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_empty_component_stays_finite(ridge):
    X, labels, _ = rows(200, n_components=2)
    gate, pair = replace(GATE, ridge=ridge), replace(GATE, ridge=ridge)
    log_prob = np.vstack([hard(labels, 2), np.full(200, -1e4)])
    params = gate.start(Batch(X.T), np.exp(log_prob))
    assert np.isfinite(params).all()
    weights = np.exp(gate.log_weights(params, Batch(X.T)))
    assert 0 < weights[2].max() < 1e-5
    params = converged(gate, X.T, log_prob, n_steps=300)
    assert np.isfinite(params).all()
    found = np.exp(gate.log_weights(params, Batch(X.T)))
    assert found[2].max() < 1e-6
    if ridge == 0.0:
        two = converged(pair, X.T, log_prob[:2])
        np.testing.assert_allclose(found[:2], np.exp(pair.log_weights(two, Batch(X.T))), atol=1e-6)


def test_weight_zero_everywhere_moves_nothing():
    X, labels, _ = rows()
    params = random_params(np.random.RandomState(7))
    stats = statistics(GATE, params, X.T, hard(labels, 3), np.zeros(N))
    for moved in ways_out(GATE, stats, params):
        np.testing.assert_allclose(moved, params, atol=1e-14)


def test_one_component():
    X, _, weight = rows()
    batch = Batch(np.ascontiguousarray(X.T), weight)
    params = GATE.start(batch, weight[None])
    np.testing.assert_array_equal(params, np.zeros((1, 3)))
    log_prob = np.random.RandomState(8).normal(size=(1, N))
    resp, stats, evidence = GATE.posterior(params, log_prob.copy(), batch)
    np.testing.assert_array_equal(resp[0], weight)
    assert evidence == pytest.approx(weight @ log_prob[0])
    for moved in ways_out(GATE, stats, params):
        np.testing.assert_array_equal(moved, params)
    assert GATE.shortened(stats, params, N_HALVES + 2) is None
    assert GATE.n_parameters(params) == 0
    fit = fit_em(LatentModel(GATE, FAMILY), LatentPair(params, FAMILY.start(batch, weight[None])), (X, weight))
    mean = np.average(X[:, SEEN], axis=0, weights=weight)
    np.testing.assert_allclose(fit.params.family.means[0], mean)


def test_number_of_parameters_is_the_rank_of_the_statistics():
    rng = np.random.RandomState(9)
    X, _, _ = rows()
    params = random_params(rng, 4)
    # Scores of single observations span as many directions as there are free parameters.
    scores = [statistics(GATE, params, row[:, None], rng.normal(size=(4, 1))).gradient.ravel() for row in X]
    assert np.linalg.matrix_rank(np.array(scores)) == GATE.n_parameters(params) == 9


def test_fit_finds_the_gate():
    X, labels, _ = rows(4000)
    model = LatentModel(GATE, FAMILY)
    resp = (labels == np.arange(3)[:, None]) * 0.8 + 0.2 / 3
    fit = fit_em(model, model.start(Batch(np.ascontiguousarray(X.T)), resp), Batches(X), tol=1e-4)
    found = probabilities(fit.params.latent, X[:, COLUMNS])
    assert np.sqrt(np.mean((found - probabilities(truth(3), X[:, COLUMNS])) ** 2)) < 0.03


def test_gradients_elsewhere_are_told_to_first_order():
    """Half as far away the error is a quarter."""
    rng = np.random.RandomState(0)
    gate, old, away = SoftmaxGate((0, 1)), random_params(rng), random_params(rng, size=1e-3)
    x, resp = rng.normal(size=(2, 80)), rng.dirichlet(np.ones(3), size=80).T

    def gradient(params):
        weights = np.exp(gate.log_weights(params, Batch(x)))
        z = np.vstack([np.ones(80), x])
        first, second = np.triu_indices(3, 1)
        curvature = np.array([(weights[k] * weights[j] * z) @ z.T for k, j in zip(first, second, strict=True)])
        return GateStats((resp - weights) @ z.T, curvature, z @ z.T)

    errors = []
    for share in (1.0, 0.5):
        new = old + share * away
        errors.append(np.abs(gate.recentred(gradient(old), old, new).gradient - gradient(new).gradient).max())
    assert 3.5 < errors[0] / errors[1] < 4.5
