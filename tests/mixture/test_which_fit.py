"""Which of the fits of many starts is returned: thin components that many rows support, and no others.

Data are of kinds on which a rule of the floor, or the likelihood alone, is wrong.
"""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

from emlearn import HMMEM, EMImputer, GaussianMixtureEM, MixtureOfLinearRegressions
from emlearn._rare import WorstExplained
from emlearn._spikes import spikes
from emlearn.datasets import load_old_faithful
from emlearn.em import Batch, Start, fit_em
from emlearn.em.fit import climb
from tests.helpers.pace import some_slow

SEEDS = some_slow(range(5), [0])


def quietly(estimator, X, **given):
    """The fitted estimator, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X, **given)
    return estimator, [str(warning.message) for warning in caught]


def best_of(fitted):
    return next(start for start in fitted.restarts_.starts if start.status == "best")


# -- thin, and many rows say so ----------------------------------------------------------------------------


def machine(rng, off=300):
    """A machine that is off, low or high."""
    X = np.r_[np.zeros(off), rng.normal(10, 3, 300), rng.normal(50, 5, 300)][:, None]
    return X, np.repeat([0, 1, 2], [off, 300, 300])


def tight(rng):
    return np.r_[rng.normal(0, 0.005, 200), rng.normal(10, 0.005, 200)][:, None], np.repeat([0, 1], 200)


def jittered(rng):
    X, y = machine(rng)
    return X + 0.05 * rng.normal(size=X.shape), y


def places(rng):
    """Two places 25 km apart, located within 3 m, in degrees."""
    centres = np.repeat([[48.2, 11.5], [48.29, 11.84]], 200, axis=0)
    return rng.normal(centres, 3e-5), np.repeat([0, 1], 200)


def bursts(rng):
    """Seconds since 1970, of two bursts of ten minutes, a week apart."""
    return 1.7e9 + np.r_[rng.uniform(0, 600, 300), 604_800 + rng.uniform(0, 600, 300)][:, None], np.repeat(
        [0, 1], 300
    )


def lines(rng):
    a, b = rng.uniform(-3, 3, (2, 150))
    X = np.r_[np.c_[a, 2 * a + 1], np.c_[b, -b - 2], rng.normal([6, -6], 0.7, (150, 2))]
    return X, np.repeat([0, 1, 2], 150)


def plane(rng):
    """A plane and a cloud in space."""
    flat = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 3))
    return np.r_[flat, rng.normal([4, 4, 4], 1, (200, 3))], np.repeat([0, 1], 200)


def sentinels(rng):
    X = np.r_[rng.normal(0, 1, 500), rng.normal(10, 1, 500), [-99999.0] * 4][:, None]
    return X, np.repeat([0, 1, 2], [500, 500, 4])


def binary(rng):
    k = rng.randint(2, size=600)
    return np.c_[rng.randint(2, size=600), rng.normal(size=(600, 2)) + 3.5 * k[:, None] * [1, 0]], k


FOUND = {
    "machine": (machine, 0.95),
    "jittered": (jittered, 0.95),
    "tight": (tight, 1.0),
    "places": (places, 1.0),
    "bursts": (bursts, 1.0),
    "lines": (lines, 0.9),
    "plane": (plane, 0.9),
    "sentinels": (sentinels, 0.98),
    "binary": (binary, 0.75),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FOUND)
def test_thin_components_are_found(name, seed):
    make, least = FOUND[name]
    X, y = make(np.random.RandomState(100 + seed))
    fitted, _ = quietly(GaussianMixtureEM(len(np.unique(y)), random_state=seed), X)
    assert adjusted_rand_score(y, fitted.predict(X)) >= least


@pytest.mark.parametrize("shape", ["diag", "tied", "spherical", "VEI", "VEE", "EVI", "factor"])
def test_places_are_found_whatever_the_shape(shape):
    X, y = places(np.random.RandomState(0))
    fitted, _ = quietly(GaussianMixtureEM(2, covariance_type=shape, n_factors=1, random_state=0), X)
    assert adjusted_rand_score(y, fitted.predict(X)) == 1.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "emission", some_slow(["gaussian", "beside another feature", "dict", "gmm"], ["gaussian", "dict"])
)
def test_thin_states_are_found(emission, seed):
    rng = np.random.RandomState(200 + seed)
    X, y = machine(rng)
    if emission == "beside another feature":
        X = np.c_[X, rng.normal(y, 0.5)]
    elif emission == "dict":
        X = np.c_[X, rng.poisson(3.0 + y)]
    words = {"dict": {0: "gaussian", 1: "poisson"}, "gmm": "gmm"}.get(emission, "gaussian")
    fitted, _ = quietly(HMMEM(3, emission=words, n_mixtures=2, random_state=seed), X)
    assert adjusted_rand_score(y, fitted.predict(X)) >= 0.95


def test_known_states_may_be_thin():
    X, y = machine(np.random.RandomState(0))
    fitted, _ = quietly(HMMEM(3, random_state=0), X, state_labels=y)
    np.testing.assert_allclose(fitted.means_.ravel(), [0.0, X[300:600].mean(), X[600:].mean()], atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_imputer_finds_a_thin_component(seed):
    rng = np.random.RandomState(300 + seed)
    X, _ = lines(rng)
    X[rng.uniform(size=len(X)) < 0.2, 1] = np.nan
    fitted, _ = quietly(EMImputer(n_components=3, ridge=0.01, random_state=seed), X)
    np.testing.assert_allclose(fitted.weights_, 1 / 3, atol=0.07)
    slopes = sorted(c[0, 1] / c[0, 0] for c in fitted.covariances_)
    assert slopes[0] == pytest.approx(-1.0, abs=0.05)
    assert slopes[-1] == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_regression_of_little_noise_is_found(seed):
    rng = np.random.RandomState(400 + seed)
    X = rng.uniform(-2, 2, (300, 1))
    k = rng.randint(2, size=300)
    y = np.where(k, 1 + 2 * X[:, 0] + 0.05 * rng.normal(size=300), -X[:, 0] + rng.normal(size=300))
    fitted = MixtureOfLinearRegressions(2, random_state=seed).fit(X, y)
    thin = np.argmin(fitted.sigma_)
    assert fitted.coef_[thin, 0] == pytest.approx(2.0, abs=0.05)
    assert fitted.sigma_[thin] == pytest.approx(0.05, rel=0.4)


# -- thin by luck ------------------------------------------------------------------------------------------


def ratings(rng):
    k = rng.randint(2, size=800)
    return np.clip(np.round(np.where(k[:, None], 4.2, 1.8) + rng.normal(0, 0.8, (800, 2))), 1, 5), 2


def outlier(rng):
    return np.r_[rng.normal(5.0 * rng.randint(2, size=(400, 1)), 1), [[40.0]]], 2


def pairs(rng):
    return rng.normal(size=(60, 5)) + 3 * rng.randint(2, size=(60, 1)) * np.eye(5)[0], 2


def noise(rng):
    return rng.normal(size=(30, 3)), 2


def integers(rng):
    k = rng.randint(3, size=900)
    return np.round(rng.normal(np.array([7, 14, 30])[k], np.array([1.5, 2, 3])[k]))[:, None], 3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("make", [ratings, outlier, pairs, noise, integers])
def test_no_spike_wins(make, seed):
    X, K = make(np.random.RandomState(500 + seed))
    fitted, _ = quietly(GaussianMixtureEM(K, random_state=seed), X)
    scale = X.std(axis=0)
    least = min(np.linalg.eigvalsh(c / np.outer(scale, scale)).min() for c in fitted.covariances_)
    assert least > 1e-4
    assert fitted.weights_.min() > 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_no_state_holds_one_step(seed):
    rng = np.random.RandomState(600 + seed)
    X = np.repeat([0.0, 3.0, 0.0, 3.0], 100)[:, None] + rng.normal(size=(400, 1))
    X[57] = 60.0
    fitted, _ = quietly(HMMEM(2, random_state=seed), X)
    assert np.bincount(fitted.predict(X), minlength=2).min() > 50


@pytest.mark.slow
def test_evidence_is_right_more_often_than_likelihood():
    scores = {"evidence": [], "likelihood": []}
    for seed in range(20):
        rng = np.random.RandomState(seed)
        centres, z = 1.5 * rng.normal(size=(3, 5)), rng.randint(3, size=500)
        X = centres[z] + rng.normal(size=(500, 5))
        for ranking, found in scores.items():
            fitted, _ = quietly(GaussianMixtureEM(3, ranking=ranking, random_state=seed), X)
            found.append(adjusted_rand_score(z, fitted.predict(X)))
    assert np.mean(scores["evidence"]) > np.mean(scores["likelihood"]) + 0.03


# -- what is told of it ------------------------------------------------------------------------------------


def test_what_is_returned_has_the_best_evidence():
    X = load_old_faithful().data
    fitted = GaussianMixtureEM(3, random_state=0).fit(X)
    best = best_of(fitted)
    assert best.log_likelihood == pytest.approx(fitted.log_likelihood_)
    assert best.evidence == max(s.evidence for s in fitted.restarts_.starts if s.status in ("best", "finished"))
    highest = GaussianMixtureEM(3, ranking="likelihood", random_state=0).fit(X)
    assert highest.log_likelihood_ > fitted.log_likelihood_
    assert best_of(highest).evidence < best.evidence
    assert (
        highest.log_likelihood_ - fitted.log_likelihood_
        < best_of(highest).log_likelihood - best_of(highest).evidence
    )


def test_restarts_are_in_units_of_the_user():
    X = load_iris().data
    one, other = (GaussianMixtureEM(3, n_init=6, random_state=0).fit(X * unit) for unit in (1.0, 1000.0))
    shift = X.size * np.log(1000.0)
    for a, b in zip(one.restarts_.starts, other.restarts_.starts, strict=True):
        assert a.kind == b.kind
        for name in ("log_likelihood", "evidence", "limit"):
            assert getattr(a, name) - shift == pytest.approx(getattr(b, name), abs=1e-4)
        np.testing.assert_allclose(np.array(a.history) - shift, b.history, atol=1e-4)
    assert best_of(one).history[-1] == pytest.approx(one.log_likelihood_)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ([0], "(300), all equal to 0. Its covariance rests on the floor"),
        ([0, 1], "(300), all with column 0 = 0. Its covariance rests on the floor"),
        ([1, 0], "(300), all with column 1 = 0. Its covariance rests on the floor"),
    ],
)
@pytest.mark.parametrize("cls", [GaussianMixtureEM, HMMEM])
def test_a_spike_is_described(cls, columns, says):
    rng = np.random.RandomState(0)
    X = np.c_[machine(rng)[0], rng.normal(size=900)][:, columns]
    _, messages = quietly(cls(3, random_state=0), X)
    (message,) = messages
    assert "holds 33 % of the " in message
    assert says in message
    assert "n_components" not in message


def test_a_spike_is_described_by_weight():
    X = np.r_[0.0, np.random.RandomState(0).normal(10, 3, 300)][:, None]
    _, (message,) = quietly(GaussianMixtureEM(2, random_state=0), X, sample_weight=np.r_[200.0, np.ones(300)])
    assert "holds 40 % of the rows (200), all equal to 0" in message


def test_many_maxima_are_told():
    rng = np.random.RandomState(0)
    fitted, messages = quietly(GaussianMixtureEM(6, random_state=0), rng.normal(size=(150, 4)))
    assert fitted.restarts_.unseen > 0.2
    (message,) = [m for m in messages if "different maxima" in m]
    assert f"ended at {fitted.restarts_.n_maxima} different maxima" in message
    assert f"about {fitted.restarts_.unseen:.0%} of further ones" in message


# -- weights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", some_slow([1 / 3000, 1e-9], [1 / 3000]))
def test_weights_have_no_scale(share):
    rng = np.random.default_rng(1)
    mu, k = rng.normal(0, 3, (6, 2)), rng.integers(6, size=3000)
    X = mu[k] + rng.normal(size=(3000, 2)) * rng.uniform(0.5, 1.6, (6, 2))[k]
    model = GaussianMixtureEM(6, n_init=6, random_state=0)
    one, other = (clone(model).fit(X, sample_weight=w) for w in (None, np.full(3000, share)))
    np.testing.assert_allclose(one.means_, other.means_, rtol=1e-6)
    assert one.restarts_.n_best == other.restarts_.n_best
    assert [s.status for s in one.restarts_.starts] == [s.status for s in other.restarts_.starts]
    with pytest.warns(UserWarning, match="none reaches 1. Scale them"):
        other.bic(X, sample_weight=np.full(3000, share))
    one.bic(X, sample_weight=np.ones(3000))


def test_weights_of_regressions_and_chains_have_no_scale():
    rng = np.random.RandomState(0)
    X = rng.uniform(-2, 2, (200, 1))
    y = np.where(rng.uniform(size=200) < 0.5, 1 + X[:, 0], 3 - 2 * X[:, 0]) + 0.3 * rng.normal(size=200)
    for weight in (np.full(200, 1e-4), np.full(200, 1.0)):
        fitted = MixtureOfLinearRegressions(2, random_state=0).fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(np.sort(fitted.coef_.ravel()), [-2, 1], atol=0.15)
    sequences = [np.repeat([0.0, 4.0, 0.0], 30)[:, None] + rng.normal(size=(90, 1)) for _ in range(4)]
    one, other = (HMMEM(2, random_state=0).fit(sequences, sample_weight=w) for w in (None, np.full(4, 1e-5)))
    np.testing.assert_allclose(one.means_, other.means_, rtol=1e-6)
    assert [s.status for s in one.restarts_.starts] == [s.status for s in other.restarts_.starts]


# -- the race ----------------------------------------------------------------------------------------------


def test_underflow_is_meant():
    X = load_old_faithful().data
    with np.errstate(under="raise"):
        fitted = GaussianMixtureEM(2, random_state=0).fit(X)
    assert fitted.log_likelihood_ == pytest.approx(-1130.2640, abs=1e-3)
    assert not any(start.message for start in fitted.restarts_.starts)


@pytest.mark.parametrize("max_iter", [1, 3, 10])
def test_out_of_iterations_the_best_fit_wins(max_iter):
    X = load_old_faithful().data
    for seed in range(5):
        results = {}
        for n_init in (1, 4):
            model = GaussianMixtureEM(
                3, max_iter=max_iter, n_init=n_init, random_state=seed, ranking="likelihood"
            )
            results[n_init] = quietly(model, X)[0].log_likelihood_
        assert results[4] >= results[1] - 1e-9


def test_a_step_that_gains_nothing_converges():
    X = np.random.RandomState(0).normal(size=(50, 2))
    fitted, messages = quietly(GaussianMixtureEM(1, max_iter=2), X)
    assert fitted.converged_
    assert not messages
    fitted.set_params(warm_start=True)
    assert fitted.fit(X).converged_


@pytest.mark.parametrize("shape", some_slow(["full", "diag", "spherical", "VEI", "factor"], ["full", "VEI"]))
def test_equal_means_are_told_apart(shape):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(600, 3)) * np.repeat([1, 3, 1], 200)[:, None]
    fitted, _ = quietly(
        GaussianMixtureEM(2, covariance_type=shape, n_factors=1, means_init=np.zeros((2, 3)), max_iter=3000), X
    )
    assert abs(fitted.weights_[0] - 0.5) < 0.45
    assert adjusted_rand_score(np.repeat([0, 1, 0], 200), fitted.predict(X)) > 0.3


def test_switching_variances_are_found_from_equal_means():
    x = np.random.RandomState(0).normal(size=(300, 1)) * np.repeat([1, 3, 1], 100)[:, None]
    fitted, messages = quietly(HMMEM(2, means_init=[[0.0], [0.0]]), x)
    assert not messages
    assert fitted.log_likelihood_ == pytest.approx(HMMEM(2, random_state=0).fit(x).log_likelihood_, abs=0.01)


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (GaussianMixtureEM, {"covariance_type": "tied"}),
        (GaussianMixtureEM, {"precisions_init": [[[1.0]], [[1.0]]]}),
        (HMMEM, {"covariance_type": "tied"}),
        (HMMEM, {"emission": "poisson"}),
    ],
)
def test_equal_components_are_named(cls, settings):
    x = np.random.RandomState(0).poisson(np.repeat([2, 6], 100))[:, None]
    _, messages = quietly(cls(2, means_init=[[3.0], [3.0]], **settings), x)
    assert any(
        message.startswith("Components 0 and 1 began the same, and EM cannot part them") for message in messages
    )


# -- what is rare in long data -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_three_faults_in_a_million_steps(seed):
    rng = np.random.RandomState(seed)
    T = 1_000_000
    x = np.where(np.cumsum(rng.uniform(size=T) < 0.01) % 2, 4.0, 0.0) + rng.normal(size=T)
    faults = np.array([100_000, 444_444, 900_000])[:, None] + np.arange(100)
    x[faults] = 12 + rng.normal(size=faults.shape)
    fitted, _ = quietly(HMMEM(3, random_state=seed), x[:, None])
    np.testing.assert_allclose(fitted.means_.ravel(), [0.0, 4.0, 12.0], atol=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_two_hundred_rows_of_half_a_million(seed):
    rng = np.random.RandomState(seed)
    z = rng.randint(3, size=500_000)
    z[:200] = 3
    centres = np.array([[0.0, 0, 0], [6, 0, 0], [0, 6, 0], [9, 9, -9]])
    X = centres[z] + rng.normal(size=(500_000, 3)) * np.where(z == 3, 0.5, 1.0)[:, None]
    fitted, _ = quietly(GaussianMixtureEM(4, random_state=seed), X)
    assert fitted.weights_.min() == pytest.approx(200 / 500_000, rel=0.05)


def rare_rows(seed):
    """Of 30,000 rows 40 are rare."""
    z = np.repeat([0, 1, 2], [15_000, 14_960, 40])
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [12.0, 12.0]])
    return centres[z] + np.random.RandomState(seed).normal(size=(30_000, 2))


def plan_of(K, X, seed):
    model = GaussianMixtureEM(K, random_state=seed)
    return model._plan(model._data(X, None))


@pytest.mark.parametrize("seed", range(3))
def test_what_is_explained_worst_gets_a_start(seed, monkeypatch):
    monkeypatch.setattr("emlearn.mixture._base.SAMPLE_ROWS", 400)
    X = rare_rows(seed)
    plan = plan_of(3, X, seed)
    resp = np.vstack([X[:, 0] > 2.5, (X[:, 0] <= 2.5) & (X[:, 1] > 0), (X[:, 0] <= 2.5) & (X[:, 1] <= 0)])
    batch = Batch(np.ascontiguousarray(((X - plan.units.shift) / plan.units.scale).T))
    missed = climb(plan.model, plan.model.start(batch, resp.astype(float)), plan.data, max_iter=5)
    (start,) = plan.again(missed.params)
    with np.errstate(under="raise"):
        found = fit_em(plan.model, start.make(), plan.data)
    assert found.log_likelihood > missed.log_likelihood + 300
    assert found.params.latent.min() == pytest.approx(40 / 30_000, rel=0.05)
    assert not plan.again(found.params)  # nothing is explained badly now
    common = plan_of(2, X[:29_960], seed)
    assert not common.again(fit_em(common.model, common.starts[0].make(), common.data).params)


def test_a_start_of_what_is_explained_worst_may_fail(monkeypatch):
    """That is recorded, and the fit is what it was without."""
    monkeypatch.setattr("emlearn.mixture._base.SAMPLE_ROWS", 400)
    model, X = GaussianMixtureEM(2, random_state=0), rare_rows(0)[:29_970]
    monkeypatch.setattr(WorstExplained, "_alone", lambda self, pieces, total: np.arange(len(pieces.weight)) < 9)
    monkeypatch.setattr(WorstExplained, "_instead_of_each", lambda *_: iter([Start("worst", lambda: {}["no"])]))
    with pytest.raises(KeyError):  # a mistake in a program is none of the data
        model.fit(X)

    def fails():
        raise np.linalg.LinAlgError("not today")

    monkeypatch.setattr(WorstExplained, "_instead_of_each", lambda *_: iter([Start("worst", fails)]))
    late = model.fit(X).restarts_.starts[-1]
    assert (late.kind, late.status, late.on_part) == ("worst explained", "failed", False)
    assert "not today" in late.message


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rare_component_is_found(seed, monkeypatch):
    monkeypatch.setattr("emlearn.mixture._base.SAMPLE_ROWS", 400)
    fitted, _ = quietly(GaussianMixtureEM(3, random_state=seed), rare_rows(seed))
    assert fitted.weights_.min() == pytest.approx(40 / 30_000, rel=0.05)


@pytest.mark.parametrize("with_groups", [False, True])
def test_a_rare_regression_is_found(with_groups, monkeypatch):
    monkeypatch.setattr("emlearn.regression._base.SAMPLE_ROWS", 600)
    rng = np.random.RandomState(0)
    z = np.repeat([2, 1, 0], [60, 9_940, 10_000])
    X = rng.uniform(-2, 2, (20_000, 1))
    y = np.array([0.0, 3.0, 25.0])[z] + np.array([3.0, -3.0, 0.0])[z] * X[:, 0] + 0.5 * rng.normal(size=20_000)
    groups = np.arange(20_000) // 5 if with_groups else None
    with np.errstate(under="raise"):
        fitted, _ = quietly(MixtureOfLinearRegressions(3, random_state=0), X, y=y, groups=groups)
    np.testing.assert_allclose(np.sort(fitted.intercept_), [0.0, 3.0, 25.0], atol=0.2)


@pytest.mark.slow
def test_where_a_part_has_spikes_alone_all_data_may_not():
    """What a race on a part says of its winner is not said of the fit."""
    X = rare_rows(1)
    fitted, plan = GaussianMixtureEM(3, random_state=1).fit(X), plan_of(3, X, 1)
    best = best_of(fitted)._replace(evidence=-np.inf)
    for on_part, n_messages in ((True, 0), (False, 1)):
        fitted.restarts_ = fitted.restarts_._replace(starts=(best._replace(on_part=on_part),))
        messages = list(spikes(fitted, plan, "component", "rows"))
        assert len(messages) == n_messages
        assert all("so few rows" in message for message in messages)
