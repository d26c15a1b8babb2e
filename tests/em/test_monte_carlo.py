"""Monte Carlo EM, against maxima that are known."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import optimize
from sklearn.exceptions import ConvergenceWarning

from emlearn.em import (
    Batches,
    Draws,
    EStep,
    LatentModel,
    MonotonicityWarning,
    MonteCarloModel,
    Positive,
    Real,
    fit_em,
    fit_mcem,
    monte_carlo,
)
from emlearn.families import Poisson
from emlearn.latent import MixtureWeights
from emlearn.testing import check_model
from tests.helpers.pace import some_slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plot_random_intercepts.py"


class Params(NamedTuple):
    means: np.ndarray  # of each measurement
    between: float  # variance of the intercepts
    within: float  # variance of the noise


class Stats(NamedTuple):
    n: float
    sums: np.ndarray
    squares: float
    hidden_squares: float


class Intercepts(MonteCarloModel):
    """Rows are people, measured J times each: x_j = mean_j + intercept + noise. EM is exact here, too."""

    spaces = Params(Real(), Positive(), Positive())

    def posterior(self, params, batch):
        precision = len(batch.x) / params.within + 1 / params.between
        return (batch.x - params.means[:, None]).sum(axis=0) / params.within / precision, 1 / precision

    def expectation(self, params):
        def e_step(batch):
            mean, variance = self.posterior(params, batch)
            off = batch.x - params.means[:, None]
            J = len(off)
            log_det = J * np.log(2 * np.pi * params.within) + np.log(params.between / variance)
            log_prob = -0.5 * (log_det + (off**2).sum(axis=0) / params.within - mean**2 / variance)
            left = batch.x - mean
            stats = Stats(
                batch.total_weight,
                np.array([batch.sum(row) for row in left]),
                batch.sum((left**2).sum(axis=0) + J * variance),
                batch.sum(mean**2 + variance),
            )
            return EStep(stats, batch.sum(log_prob), batch.total_weight)

        return e_step

    def sample_hidden(self, params, batch, n_draws, rng):
        mean, variance = self.posterior(params, batch)
        return mean + np.sqrt(variance) * rng.normal(size=(n_draws, len(mean)))

    def log_joint(self, params, batch, hidden):
        total = -0.5 * (np.log(2 * np.pi * params.between) + hidden**2 / params.between)
        for x, mean in zip(batch.x, params.means, strict=True):
            off = x - mean - hidden
            total -= 0.5 * (np.log(2 * np.pi * params.within) + off**2 / params.within)
        return total

    def statistics(self, params, batch, hidden, resp):
        left = [x - hidden for x in batch.x]
        return Stats(
            resp.sum(),
            np.array([(resp * row).sum() for row in left]),
            sum((resp * row**2).sum() for row in left),
            (resp * hidden**2).sum(),
        )

    def maximize(self, stats, params):
        means = stats.sums / stats.n
        within = stats.squares / stats.n / len(means) - np.mean(means**2)
        return Params(means, stats.hidden_squares / stats.n, within)


class Weighted(Intercepts):
    """Draws from the prior, twice as wide: a poor proposal, but one that anybody can write."""

    def sample_hidden(self, params, batch, n_draws, rng):
        width = 2 * np.sqrt(params.between)
        noise = rng.normal(size=(n_draws, batch.x.shape[1]))
        return Draws(width * noise, -0.5 * noise**2 - np.log(width) - 0.5 * np.log(2 * np.pi))


class Chained(Intercepts):
    """A chain whose stationary distribution is the posterior; its draws are correlated by .6."""

    chained = True

    def sample_hidden(self, params, batch, n_draws, rng, last=None):
        mean, variance = self.posterior(params, batch)
        noise = np.sqrt(variance) * rng.normal(size=(n_draws, len(mean)))
        off = noise[0] if last is None else 0.6 * (last - mean) + 0.8 * noise[0]
        hidden = [off]
        for step in noise[1:]:
            off = 0.6 * off + 0.8 * step
            hidden.append(off)
        return mean + np.array(hidden)


def people(n=40, J=4, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.linspace(-1, 1, J) + rng.normal(size=(n, 1)) + noise * rng.normal(size=(n, J))


def start(J=4):
    return Params(np.zeros(J), 0.3, 0.5)


def log_likelihood(params, data):
    return Batches(*data).sum(Intercepts().expectation(params)).log_likelihood


def test_the_oracle_is_a_model():
    check_model(Intercepts(), start(), people())


@pytest.mark.parametrize("model", [Intercepts(), Weighted(), Chained()], ids=lambda model: type(model).__name__)
def test_ends_within_tol_of_the_maximum(model):
    X = people()
    highest = fit_em(model, start(), X, tol=1e-9).log_likelihood
    results = [fit_mcem(model, start(), X, tol=0.02, random_state=seed) for seed in range(6)]
    assert [result.reason for result in results] == ["converged"] * 6
    left = [highest - log_likelihood(result.params, (X,)) for result in results]
    assert min(left) > -1e-9
    assert max(left) < 0.02
    assert all(result.gap < 0.02 for result in results)


@pytest.mark.parametrize("seed", some_slow([0, 1], [0]))
def test_many_parameters_are_no_ascent_by_luck(seed):
    """Eighteen of them: what one half of the draws suggests the other does not believe."""
    X = people(50, 16, noise=4.0)
    highest = fit_em(Intercepts(), start(16), X, tol=1e-9).log_likelihood
    result = fit_mcem(Intercepts(), start(16), X, random_state=seed)
    assert result.converged
    assert highest - log_likelihood(result.params, (X,)) < 0.01
    last = result.history[-1]
    assert last.held_out < last.increment
    assert last.n_draws > 1000


@pytest.mark.filterwarnings("ignore:.*at max_iter=1:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_seeds", some_slow([30, 100], [30]))
def test_increments_are_within_their_errors(n_seeds):
    """The first step of many fits from one start, against that of exact Q; rows of weight 0 to 3."""
    X, params = Batches(people(12), np.arange(12) % 4), start()
    before = X.sum(Intercepts().expectation(params)).stats
    z = []
    for model in (Intercepts(), Weighted(), Chained()):
        for seed in range(n_seeds):
            step = fit_mcem(
                model, params, X, max_iter=1, n_draws=800, max_draws=800, random_state=seed
            ).history[0]
            exact = exact_q(before, step.params) - exact_q(before, params)
            z.append((step.increment - exact) / step.standard_error)
    z = np.reshape(z, (3, n_seeds))
    assert np.all(np.abs(z.mean(axis=1)) < 3.5 / np.sqrt(n_seeds))
    assert np.all(np.abs(z.std(axis=1) - 1) < 3.5 / np.sqrt(2 * n_seeds))


def exact_q(stats, params):
    n, J = stats.n, len(params.means)
    off = stats.squares - 2 * params.means @ stats.sums + n * (params.means**2).sum()
    return -0.5 * (
        n * np.log(2 * np.pi * params.between)
        + stats.hidden_squares / params.between
        + n * J * np.log(2 * np.pi * params.within)
        + off / params.within
    )


def test_chains_go_on():
    """Each half of the draws is a chain, which goes on from its last draw and begins anew with each step."""
    ends, begun = [], []

    class Watched(Chained):
        def sample_hidden(self, params, batch, n_draws, rng, last=None):
            if last is None:
                begun.append(params)
            else:
                assert any(np.array_equal(last, end) for end in ends[-2:])
            hidden = super().sample_hidden(params, batch, n_draws, rng, last)
            ends.append(hidden[-1])
            return hidden

    result = fit_mcem(Watched(), start(), people(), tol=0.1, random_state=0)
    assert len(begun) == 2 * result.n_iter
    assert len(ends) > len(begun)


def test_log_likelihood_from_weights():
    X = people()
    z = []
    for seed in range(12):
        result = fit_mcem(Weighted(), start(), X, tol=0.1, random_state=seed)
        z.append((result.log_likelihood - log_likelihood(result.params, (X,))) / result.log_likelihood_error)
    assert abs(np.mean(z)) < 4 / np.sqrt(12)
    assert 0.4 < np.std(z) < 1.6
    assert np.isnan(fit_mcem(Intercepts(), start(), X, tol=0.1, random_state=0).log_likelihood)


def test_samples_grow_where_steps_shrink():
    history = fit_mcem(Intercepts(), start(), people(), random_state=0).history
    assert history[0].n_draws == 50
    assert history[-1].n_draws > 10 * history[0].n_draws
    assert all(step.lower > 0 for step in history[:-1])
    assert history[-1].gap < 0.01 <= min(step.gap for step in history[:-1])


@pytest.mark.filterwarnings("ignore:.*at max_iter=1:sklearn.exceptions.ConvergenceWarning")
def test_the_rate_is_that_of_em():
    """From a little off the maximum, along the directions in which EM is slowest and fastest."""
    X = people()
    exact = fit_em(Intercepts(), start(), X, tol=1e-10).params
    model, batches = Intercepts(), Batches(X)

    def image(vector):
        params = model.unflatten(vector, exact)
        return model.flatten(model.maximize(batches.sum(model.expectation(params)).stats, params))

    at, h = model.flatten(exact), 1e-5
    jacobian = np.column_stack([(image(at + h * e) - image(at - h * e)) / (2 * h) for e in np.eye(len(at))])
    rates, directions = np.linalg.eig(jacobian)
    order = np.argsort(rates.real)
    assert rates.real[order[-1]] - rates.real[order[0]] > 0.3
    for which in (order[0], order[-1]):
        off = model.unflatten(at + 0.2 * directions[:, which].real, exact)
        found = fit_mcem(model, off, X, max_iter=1, n_draws=5000, tol=1e-9, random_state=0).history[0]
        assert found.rate == pytest.approx(rates[which].real, abs=0.05)


def test_reproducible():
    def fit(seed, **cut):
        return fit_mcem(Weighted(), start(), Batches(people(), **cut), tol=0.1, random_state=seed)

    first, again, other = fit(0), fit(0), fit(1)
    assert [step[1:] for step in first.history] == [step[1:] for step in again.history]
    assert np.array_equal(first.params.means, again.params.means)
    assert not np.array_equal(first.params.means, other.params.means)
    assert np.array_equal(fit(0, rows=9).params.means, fit(0, rows=9, n_threads=2).params.means)
    generator = np.random.RandomState(0)
    assert np.array_equal(
        fit_mcem(Weighted(), start(), people(), tol=0.1, random_state=generator).params.means,
        first.params.means,
    )


def test_batches_and_weights():
    """Cut finely it is the same model, and a row of weight 3 counts as three rows that share their draws."""
    X = people(20)
    weight = np.arange(20) % 4
    highest = fit_em(Intercepts(), start(), (X, weight), tol=1e-9).log_likelihood
    result = fit_mcem(Intercepts(), start(), Batches(X, weight, rows=7), tol=0.02, random_state=0)
    assert result.converged
    assert highest - log_likelihood(result.params, (X, weight)) < 0.02


def test_pieces_are_the_same_draws(monkeypatch):
    whole = fit_mcem(Intercepts(), start(), people(), tol=0.1, random_state=0)
    monkeypatch.setattr(monte_carlo, "PIECE", 300)  # seven draws at a time
    pieces = fit_mcem(Intercepts(), start(), people(), tol=0.1, random_state=0)
    np.testing.assert_allclose(pieces.params.means, whole.params.means, rtol=1e-10)
    assert fit_mcem(Chained(), start(), people(), tol=0.1, random_state=0).converged


@pytest.mark.parametrize(("limit", "reason"), [({"max_draws": 60}, "max_draws"), ({"max_iter": 3}, "max_iter")])
def test_given_up(limit, reason):
    with pytest.warns(ConvergenceWarning, match=rf"tol=0.0001, at {reason}=\d+, .* Increase {reason}") as told:
        result = fit_mcem(Intercepts(), start(), people(), tol=1e-4, random_state=0, **limit)
    assert f"a projected {result.gap:.3g} nats" in str(told[0].message)
    assert result.reason == reason
    assert not result.converged
    assert result.n_iter == len(result.history)
    assert max(step.n_draws for step in result.history) <= limit.get("max_draws", 20_000)
    assert log_likelihood(result.params, (people(),)) > log_likelihood(start(), (people(),))


def test_callback_stops():
    seen = []
    result = fit_mcem(
        Intercepts(),
        start(),
        people(),
        random_state=0,
        callback=lambda step: seen.append(step) or len(seen) == 2,
    )
    assert result.reason == "callback"
    assert tuple(seen) == result.history


def test_nothing_hidden_but_certain():
    """Draws without noise: one step to the maximum, and the next that finds nothing left."""

    class Certain(Intercepts):
        def sample_hidden(self, params, batch, n_draws, rng):
            return np.tile(batch.x.mean(axis=0), (n_draws, 1))

    result = fit_mcem(Certain(), start(), people(), random_state=0)
    assert (result.converged, result.n_iter) == (True, 2)
    np.testing.assert_allclose(result.params.between, np.mean(people().mean(axis=1) ** 2))


class Prior(Intercepts):
    """Variances have inverse gamma priors."""

    def log_prior(self, params):
        return -sum(3 * np.log(v) + 1.5 / v for v in (params.between, params.within))

    def maximize(self, stats, params):
        means = stats.sums / stats.n
        n, J = stats.n, len(means)
        squares = stats.squares - n * (means**2).sum()
        return Params(means, (stats.hidden_squares + 3) / (n + 6), (squares + 3) / (n * J + 6))


def test_log_prior_counts():
    X = people(15)
    exact = fit_em(Prior(), start(), X, tol=1e-9)
    result = fit_mcem(Prior(), start(), X, random_state=0)
    assert result.converged
    left = exact.objective - log_likelihood(result.params, (X,)) - Prior().log_prior(result.params)
    assert -1e-9 < left < 0.01


class Overshoots(Intercepts):
    """A partial M-step for the means, three times too long; a half, a quarter, ... where that is too much."""

    def maximize(self, stats, params):
        return self.shortened(stats, params, 0)

    def shortened(self, stats, params, attempt):
        best = super().maximize(stats, params)
        means = params.means + 3 * 0.5**attempt * (best.means - params.means)
        within = (stats.squares - 2 * means @ stats.sums) / stats.n / len(means) + np.mean(means**2)
        return Params(means, best.between, within)


def test_partial_steps_are_shortened():
    X = people()
    highest = fit_em(Intercepts(), start(), X, tol=1e-9).log_likelihood
    result = fit_mcem(Overshoots(), start(), X, random_state=0)
    assert result.converged
    assert highest - log_likelihood(result.params, (X,)) < 0.01
    assert all(step.increment > 0 for step in result.history)


def test_wrong_m_step_is_told():
    class Wrong(Intercepts):
        def maximize(self, stats, params):
            return params._replace(means=params.means + 1)

    with pytest.warns(MonotonicityWarning, match="does not maximise what log_joint says"):
        result = fit_mcem(Wrong(), start(), people(), random_state=0)
    assert result.reason == "fall"
    assert result.params is not None
    np.testing.assert_array_equal(result.params.means, start().means)
    assert result.history[0].increment < 0


@pytest.mark.parametrize("model", [Intercepts(), Weighted()], ids=["exact", "weighted"])
def test_parameters_that_are_not_finite_are_not_taken(model):
    type_of = type(model)

    class Bad(type_of):
        def maximize(self, stats, params):
            return params._replace(within=np.nan)

    with pytest.warns(MonotonicityWarning, match="by nan nats"):
        assert fit_mcem(Bad(), start(), people(), random_state=0).params.within == 0.5


def replaced(base=Intercepts, **methods):
    return type("Bad", (base,), methods)()


def spoilt(values, at):
    values = np.array(values)
    values[0, 0] = at
    return values


BAD = {
    "NaN draws": (
        replaced(sample_hidden=lambda self, p, b, n, rng: np.full((n, 40), np.nan)),
        r"Bad\.sample_hidden drew values that are not finite",
    ),
    "one infinite draw": (
        replaced(sample_hidden=lambda self, p, b, n, rng: spoilt(np.zeros((n, 40)), np.inf)),
        r"Bad\.sample_hidden drew values that are not finite",
    ),
    "units first": (
        replaced(sample_hidden=lambda self, p, b, n, rng: np.zeros((40, n))),
        r"shape \(40, 25\), which must begin with \(25, 40\): draws, units",
    ),
    "proposal of another shape": (
        replaced(sample_hidden=lambda self, p, b, n, rng: Draws(np.zeros((n, 40)), np.zeros(n))),
        r"log densities of shape \(25,\), not \(25, 40\)",
    ),
    "proposal not finite": (
        replaced(sample_hidden=lambda self, p, b, n, rng: Draws(np.zeros((n, 40)), np.full((n, 40), -np.inf))),
        "log density under the proposal is not finite",
    ),
    "all weights 0": (
        replaced(Weighted, log_joint=lambda self, p, b, z: np.where(np.arange(40) == 7, -np.inf, -0.5 * z**2)),
        r"All 25 draws for 1 of 40 units \(number 7 of its batch is the first\) have weight 0",
    ),
    "joint NaN, weighted": (
        replaced(Weighted, log_joint=lambda self, p, b, z: spoilt(z, np.nan)),
        r"Bad\.log_joint is NaN or infinite",
    ),
    "joint not finite, not weighted": (
        replaced(log_joint=lambda self, p, b, z: spoilt(z, -np.inf)),
        r"must come as Draws, with its log density",
    ),
    "joint of another shape": (
        replaced(log_joint=lambda self, p, b, z: z.sum(axis=1)),
        r"Bad\.log_joint gave an array of shape \(25,\), not \(25, 40\)",
    ),
    "weighted chain": (
        replaced(
            Weighted,
            chained=True,
            sample_hidden=lambda self, p, b, n, rng, last: Draws(np.zeros((n, 40)), np.zeros((n, 40))),
        ),
        "Bad is chained: its draws must come from the posterior",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_models_are_named(name):
    model, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        fit_mcem(model, start(), people(), random_state=0)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"tol": 0.0}, "tol=0.0 must be positive"),
        ({"tol": np.nan}, "tol=nan must be positive"),
        ({"max_iter": 0}, "max_iter=0 must be at least 1"),
        ({"n_draws": 9}, "n_draws=9 must be at least 10"),
        ({"max_draws": 49}, "max_draws=49 must be at least n_draws=50"),
        ({"tol": "small"}, "tol='small' must be a number"),
        ({"max_iter": 1.5}, "max_iter=1.5 must be an integer"),
        ({"n_draws": 50.0}, "n_draws=50.0 must be an integer"),
        ({"max_draws": np.inf}, "max_draws=inf must be an integer"),
    ],
)
def test_bad_numbers_are_named(numbers, message):
    with pytest.raises(ValueError, match=message):
        fit_mcem(Intercepts(), start(), people(), **numbers)


@pytest.mark.parametrize("model", [Intercepts, 3, None, LatentModel(MixtureWeights(), Poisson())])
def test_what_is_no_model_of_draws_is_named(model):
    with pytest.raises(ValueError, match="model must be an instance of a subclass of MonteCarloModel"):
        fit_mcem(model, start(), people())


def test_methods_that_are_not_there_are_named():
    with pytest.raises(NotImplementedError, match="Bad has no sample_hidden"):
        fit_mcem(replaced(sample_hidden=MonteCarloModel.sample_hidden), start(), people())


@pytest.mark.parametrize("weight", [-1.0, 0.0, np.nan])
def test_bad_weights_are_named(weight):
    with pytest.raises(ValueError, match="Weights must be 0 or more, and not all 0"):
        fit_mcem(Intercepts(), start(), (people(), np.full(len(people()), weight)), random_state=0)


def test_no_rows():
    with pytest.raises(ValueError, match="no rows"):
        fit_mcem(Intercepts(), start(), np.empty((0, 4)))


def test_fit_em_says_what_to_call():
    class Sampled(Intercepts):
        expectation = MonteCarloModel.expectation

    with pytest.raises(NotImplementedError, match=r"Sampled has no E-step in closed form.*fit_mcem"):
        fit_em(Sampled(), start(), people())


def test_few_effective_draws_are_not_believed():
    """The proposal is a tenth as wide as it should be, and far off: more draws, until some are of use."""

    class Narrow(Intercepts):
        def sample_hidden(self, params, batch, n_draws, rng):
            noise = rng.normal(size=(n_draws, batch.x.shape[1]))
            return Draws(2 + 0.5 * noise, -0.5 * noise**2)

    with pytest.warns(ConvergenceWarning, match=r"at max_draws=400, .* effective draws: draw from a proposal"):
        result = fit_mcem(Narrow(), start(), people(), max_draws=400, random_state=0)
    assert (result.reason, result.n_iter) == ("max_draws", 1)
    assert result.history[0].effective < 10


def test_example_against_quadrature():
    """On a fine grid, with a density written anew."""
    source, picture, _ = EXAMPLE.read_text("utf-8").partition("# The picture")
    assert picture
    example = {}
    exec(compile(source, EXAMPLE.name, "exec"), example)
    X, weeks, fit = example["X"], example["weeks"], example["fit"]
    first, z = np.cumsum(weeks) - weeks, np.linspace(-8, 8, 1601)
    y, features = X[:, 0], X[:, 1:]

    def height(vector):
        eta = features @ vector[2:]
        b = vector[0] + np.exp(vector[1]) * z[:, None]
        log_prob = np.add.reduceat(y * eta, first) + b * np.add.reduceat(y, first)
        log_prob = log_prob - np.exp(b) * np.add.reduceat(np.exp(eta), first)
        prior = -0.5 * (z[:, None] ** 2 + np.log(2 * np.pi)) + np.log(z[1] - z[0])
        return np.logaddexp.reduce(log_prob + prior, axis=0).sum()

    best = optimize.minimize(lambda vector: -height(vector), example["best"].x, options={"gtol": 1e-4})
    assert example["best"].fun == pytest.approx(best.fun, abs=1e-5)
    params = fit.params
    found = height(np.array([params.level, 0.5 * np.log(params.variance), *params.slopes]))
    assert fit.converged
    assert -1e-6 < -best.fun - found < fit.gap < 0.01
    assert abs(fit.log_likelihood - found) < 4 * fit.log_likelihood_error
