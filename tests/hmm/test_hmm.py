"""HMMEM as an estimator: published maxima, laws, every path one by one, scikit-learn."""

import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from emlearn import HMMEM, GaussianMixtureEM
from emlearn.datasets import load_earthquakes, load_old_faithful
from emlearn.families import COVARIANCE_SHAPES, Gaussian, Poisson
from emlearn.latent import _chain_numpy, stationary_distribution
from emlearn.sequences import SequenceWise
from tests.helpers.data import read_table
from tests.helpers.families import n_of_covariances
from tests.helpers.kernels import COMPILED, needs_compiled
from tests.helpers.pace import EACH_KIND, some_slow

SPEED_LENGTHS = [168, 134, 137]
SHORT = 1e-3  # nats that a fit may stay below a published value
NAN = np.nan


def hmm(n_components=2, **kwargs):
    return HMMEM(n_components, **{"random_state": 0, "n_init": 5, **kwargs})


@pytest.fixture(scope="module")
def speed():
    """Response times in three series."""
    rt = read_table("speed", 1)
    return np.split(rt, np.cumsum(SPEED_LENGTHS)[:-1])


@pytest.fixture(scope="module")
def earthquakes():
    return load_earthquakes().data


def chain_states(rng, T, start, transition):
    states = [rng.choice(len(start), p=start)]
    while len(states) < T:
        states.append(rng.choice(len(start), p=transition[states[-1]]))
    return np.array(states)


def regimes(seed=0, lengths=(60, 45, 30), d=2):
    """Sequences of three Gaussian states that last."""
    rng = np.random.RandomState(seed)
    transition = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
    centres = 4.0 * np.arange(3)[:, None] * np.linspace(1, 0.5, d)
    states = [chain_states(rng, T, [0.5, 0.3, 0.2], transition) for T in lengths]
    return [centres[s] + rng.normal(size=(len(s), d)) for s in states]


def same_fit(a, b, rtol=1e-8):
    assert a.log_likelihood_ == pytest.approx(b.log_likelihood_, abs=1e-8)
    np.testing.assert_allclose(a.startprob_, b.startprob_, atol=rtol)
    np.testing.assert_allclose(a.transmat_, b.transmat_, atol=rtol)
    np.testing.assert_allclose(a.means_, b.means_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(a.covariances_, b.covariances_, rtol=rtol, atol=rtol)


# -- published maxima --------------------------------------------------------------------------------------

# Data, K, distribution of the first state, log-likelihood, and whether nothing above it is known. Values are
# those of independent optimisers from many starts, to their printed digits.
PUBLISHED = [
    ("earthquakes", 1, "free", -391.91892817, True),
    ("earthquakes", 2, "free", -341.87870101, True),
    ("earthquakes", 3, "free", -328.52748338, True),
    ("earthquakes", 4, "free", -326.41061074, False),
    ("earthquakes", 1, "stationary", -391.918928, True),
    ("earthquakes", 2, "stationary", -342.318267, True),
    ("earthquakes", 3, "stationary", -329.460276, True),
    ("earthquakes", 4, "stationary", -327.831585, True),
    ("speed", 1, "free", -305.33094041, True),
    ("speed", 2, "free", -84.34171428, True),
    ("speed", 3, "free", -56.03792736, False),  # by evidence; by likelihood see below
    ("speed as one", 2, "free", -88.73058448, True),
    ("speed as one", 3, "free", -58.38552138, True),
]


def published_data(name, earthquakes, speed):
    if name == "earthquakes":
        return earthquakes, "poisson"
    return (speed if name == "speed" else np.concatenate(speed)), "gaussian"


CASES = [
    pytest.param(seed, on, id=f"{seed}-{name}", marks=[*marks, *([] if seed < fast else [pytest.mark.slow])])
    for name, on, fast, n, marks in [
        ("compiled", COMPILED, 1, 6, [needs_compiled]),
        ("numpy", _chain_numpy, 0, 2, []),  # the same but for rounding, and slow
    ]
    for seed in range(n)
]


@pytest.mark.parametrize(("seed", "kernel"), CASES, indirect=["kernel"])
@pytest.mark.parametrize(
    ("data", "K", "startprob", "published", "is_maximum"),
    some_slow(PUBLISHED, [case for case in PUBLISHED if case[1] < (3 if "stationary" in case else 4)]),
)
def test_published_maxima(data, K, startprob, published, is_maximum, seed, kernel, earthquakes, speed):
    X, emission = published_data(data, earthquakes, speed)
    fitted = HMMEM(K, emission=emission, startprob=startprob, random_state=seed).fit(X)
    assert fitted.converged_
    found = fitted.log_likelihood_
    assert found >= published - SHORT
    assert found <= published + SHORT or not is_maximum
    limit = fitted.set_params(warm_start=True, tol=1e-9, max_iter=10_000).fit(X).log_likelihood_
    assert found == pytest.approx(limit, abs=0.01)


def test_the_highest_published_maximum(speed):
    """It is .93 nats higher, by a state of a third of the variance: that is likelihood, but no evidence."""
    chain = np.array([0.0, 0.0, 1.0]), np.array([[0.36, 0.59, 0.05], [0.41, 0.46, 0.13], [0.05, 0.03, 0.92]])
    means, variances = [[5.43], [5.61], [6.39]], [[[0.0034]], [[0.065]], [[0.057]]]
    near = HMMEM.from_parameters(*chain, means=means, covariances=variances, warm_start=True)
    highest, found = near.fit(speed), hmm(3).fit(speed)
    assert highest.log_likelihood_ == pytest.approx(-55.10972861, abs=SHORT)
    assert highest.log_likelihood_ > found.log_likelihood_ + 0.9
    evidence = [next(s.evidence for s in m.restarts_.starts if s.status == "best") for m in (highest, found)]
    assert evidence[0] < evidence[1] - 3


def test_parameters_of_earthquakes(earthquakes):
    fitted = hmm(emission="poisson", tol=1e-9).fit(earthquakes)
    np.testing.assert_allclose(fitted.rates_[:, 0], [15.420762, 26.018235], atol=1e-4)
    np.testing.assert_allclose(fitted.transmat_, [[0.928375, 0.071625], [0.119036, 0.880964]], atol=1e-5)
    np.testing.assert_allclose(fitted.startprob_, [1, 0], atol=1e-6)
    fitted = hmm(3, emission="poisson", tol=1e-9).fit(earthquakes)
    np.testing.assert_allclose(fitted.rates_[:, 0], [13.13376, 19.713161, 29.709748], atol=1e-4)


def test_parameters_of_speed(speed):
    fitted = hmm(tol=1e-9).fit(speed)
    np.testing.assert_allclose(fitted.means_[:, 0], [5.511144, 6.385488], atol=1e-5)
    np.testing.assert_allclose(np.sqrt(fitted.covariances_.ravel()), [0.192599, 0.243941], atol=1e-5)
    np.testing.assert_allclose(fitted.transmat_, [[0.894655, 0.105345], [0.083751, 0.916249]], atol=1e-5)
    np.testing.assert_allclose(fitted.startprob_, [0, 1], atol=1e-6)


# -- special cases -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("K", [2, 3])
def test_sequences_of_one_step_are_a_mixture(K):
    X = load_old_faithful().data
    chain = hmm(K, tol=1e-9).fit(X[:, None])
    mixture = GaussianMixtureEM.from_parameters(
        chain.startprob_, chain.means_, chain.covariances_, tol=1e-9, warm_start=True
    ).fit(X)
    assert chain.log_likelihood_ == pytest.approx(mixture.log_likelihood_, abs=1e-6)
    order = np.argsort(mixture.means_[:, 0])
    np.testing.assert_allclose(chain.startprob_, mixture.weights_[order], atol=1e-4)
    np.testing.assert_allclose(chain.means_, mixture.means_[order], rtol=1e-4)
    np.testing.assert_allclose(chain.covariances_, mixture.covariances_[order], rtol=1e-3)


def test_a_chain_without_memory_is_a_mixture():
    X = load_old_faithful().data
    mixture = GaussianMixtureEM(2, random_state=0).fit(X)
    weights = mixture.weights_
    # No step follows another in fit: the transitions stay what they are to start from.
    forgetful = hmm(startprob=weights, transmat_init=[weights, weights], means_init=mixture.means_, tol=1e-9)
    forgetful.fit(X[:, None])
    np.testing.assert_allclose(forgetful.transmat_, [weights, weights], rtol=1e-12)
    np.testing.assert_allclose(forgetful.score_samples(X), mixture.score_samples(X), atol=1e-3)
    np.testing.assert_allclose(forgetful.predict_proba(X), mixture.predict_proba(X), atol=1e-3)
    np.testing.assert_allclose(forgetful.filter_proba(X), forgetful.predict_proba(X), atol=1e-12)
    one_by_one = forgetful.score_samples(X[:, None])
    np.testing.assert_allclose(forgetful.score_samples(X), np.concatenate(one_by_one), rtol=1e-10)


def test_one_state_is_the_closed_form(speed):
    X = np.concatenate(regimes())
    fitted = hmm(1).fit(X, lengths=[60, 45, 30])
    np.testing.assert_allclose(fitted.means_[0], X.mean(axis=0))
    np.testing.assert_allclose(fitted.covariances_[0], np.cov(X.T, ddof=0))
    np.testing.assert_array_equal(fitted.transmat_, [[1.0]])
    expected = stats.multivariate_normal(X.mean(axis=0), np.cov(X.T, ddof=0)).logpdf(X).sum()
    assert fitted.log_likelihood_ == pytest.approx(expected)
    assert len(fitted.restarts_.starts) == 1
    counts = np.random.RandomState(0).randint(4, size=(50, 2)).astype(float)
    np.testing.assert_allclose(hmm(1, emission="poisson").fit(counts).rates_[0], counts.mean(axis=0))
    np.testing.assert_allclose(
        hmm(1, emission="bernoulli").fit(counts > 1).probabilities_[0], (counts > 1).mean(axis=0)
    )
    shares = hmm(1, emission="categorical").fit(counts).probabilities_
    for column, share in zip(counts.T, shares, strict=True):
        np.testing.assert_allclose(share[0], np.bincount(column.astype(int)) / len(counts))


def test_a_gmm_of_one_gaussian_is_a_gaussian():
    X = regimes()
    one, plain = hmm(3, emission="gmm", n_mixtures=1).fit(X), hmm(3).fit(X)
    assert one.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-6)
    np.testing.assert_array_equal(one.weights_, np.ones((3, 1)))
    np.testing.assert_allclose(one.means_[:, 0], plain.means_, rtol=1e-4)
    np.testing.assert_allclose(one.covariances_[:, 0], plain.covariances_, rtol=1e-3)
    assert one.n_parameters_ == plain.n_parameters_


def test_family_objects_are_emissions_too(earthquakes):
    by_name, by_object = (hmm(emission=emission).fit(earthquakes) for emission in ("poisson", Poisson()))
    assert by_name.log_likelihood_ == by_object.log_likelihood_
    np.testing.assert_array_equal(by_name.rates_, by_object.rates_)
    X = regimes()
    by_name = hmm(3, covariance_type="diag").fit(X)
    by_object = hmm(3, emission=Gaussian(COVARIANCE_SHAPES["diag"])).fit(X)
    same_fit(by_name, by_object)
    assert by_object.covariances_.shape == (3, 2)
    assert by_object.n_parameters_ == by_name.n_parameters_


@pytest.mark.parametrize("shape", some_slow(COVARIANCE_SHAPES, EACH_KIND))
def test_covariance_types(shape):
    X = regimes()
    fitted = hmm(3, covariance_type=shape).fit(X)
    expected = {"full": (3, 2, 2), "tied": (2, 2), "diag": (3, 2), "spherical": (3,), "tied_diag": (2,)}
    expected |= {"VEI": (3, 2), "EVI": (3, 2), "tied_spherical": ()}
    assert np.shape(fitted.covariances_) == expected.get(shape, (3, 2, 2))
    assert fitted.n_parameters_ == 2 + 6 + 6 + n_of_covariances(shape, 3, 2)
    assert fitted.score(X) == pytest.approx(fitted.lower_bound_)


# -- what must not matter ----------------------------------------------------------------------------------


def test_weights_are_repetition(speed):
    first, second, _ = speed
    weighted = hmm().fit(speed, sample_weight=[2, 1, 0])
    same_fit(weighted, hmm().fit([first, first, second]))
    same_fit(weighted, hmm().fit([first, second], sample_weight=[2, 1]))
    assert weighted.score(speed, sample_weight=[2, 1, 0]) == pytest.approx(weighted.lower_bound_)
    of_rows = np.repeat([2, 1, 0], SPEED_LENGTHS)
    same_fit(weighted, hmm().fit(np.concatenate(speed), sample_weight=of_rows, lengths=SPEED_LENGTHS))
    np.testing.assert_allclose(
        weighted.bic(speed, sample_weight=[2, 1, 0]), weighted.bic([first, first, second])
    )


def test_weights_by_a_common_factor_change_no_estimate(speed):
    once, thrice = (hmm(tol=1e-9).fit(speed, sample_weight=weight) for weight in (None, 3.0))
    np.testing.assert_allclose(once.means_, thrice.means_, rtol=1e-5)
    np.testing.assert_allclose(once.transmat_, thrice.transmat_, atol=1e-4)
    assert thrice.log_likelihood_ == pytest.approx(3 * once.log_likelihood_, abs=1e-6)
    assert thrice.lower_bound_ == pytest.approx(once.lower_bound_, abs=1e-8)


def test_order_of_sequences_does_not_matter(speed):
    same_fit(hmm().fit(speed), hmm().fit([speed[i] for i in (2, 0, 1)]))


def test_order_of_features_does_not_matter():
    X = regimes(d=3)
    there = hmm(3, tol=1e-8).fit(X)
    turned = hmm(3, tol=1e-8).fit([rows[:, [2, 0, 1]] for rows in X])
    assert turned.log_likelihood_ == pytest.approx(there.log_likelihood_, abs=1e-6)
    np.testing.assert_allclose(turned.means_, there.means_[:, [2, 0, 1]], atol=1e-4)
    np.testing.assert_allclose(turned.transmat_, there.transmat_, atol=1e-4)


MAPS = [(-3.0, 5.0), (1e-8, 0.0), (1e8, 0.0), (1.0, 1e8), (1e-8, 1.0), (1e8, 1e8)]


@pytest.mark.parametrize(
    ("scale", "offset", "shape"),
    some_slow([(*by, shape) for by, shape in itertools.product(MAPS, COVARIANCE_SHAPES)], 5),
)
def test_affine_equivariance(shape, scale, offset):
    # Numbers that the shift does not round, so that both fits see the same data: multiples of 2^-6.
    X = [np.round(rows * 64) / 64 for rows in regimes()]
    moved = [scale * rows + offset for rows in X]
    before, after = (hmm(3, covariance_type=shape, tol=1e-8, n_init=3).fit(data) for data in (X, moved))
    n, d = np.concatenate(X).shape
    change = n * d * np.log(abs(scale))
    assert after.log_likelihood_ + change == pytest.approx(before.log_likelihood_, abs=1e-4)
    assert after.score(moved) * n + change == pytest.approx(before.log_likelihood_, abs=1e-4)
    order = slice(None) if scale > 0 else slice(None, None, -1)  # states are sorted by their means
    labels, moved_labels = np.concatenate(before.predict(X)), np.concatenate(after.predict(moved))
    np.testing.assert_array_equal(moved_labels, labels if scale > 0 else 2 - labels)
    means = ((after.means_ - offset) / scale)[order]
    np.testing.assert_allclose(means, before.means_, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(after.transmat_[order, order], before.transmat_, atol=1e-5)
    np.testing.assert_allclose(
        np.concatenate(after.score_samples(moved)),
        np.concatenate(before.score_samples(X)) - d * np.log(abs(scale)),
        atol=1e-4,
    )


def test_units_of_a_fit_with_gaps():
    X = with_gaps(regimes(), 0.2, np.random.RandomState(1))
    X = [np.round(rows * 64) / 64 for rows in X]
    a, b = np.array([1e-3, -1e4]), np.array([3.0, 1e5])
    moved = [a * rows + b for rows in X]
    before, after = (hmm(3, tol=1e-8).fit(data) for data in (X, moved))
    n_seen = (~np.isnan(np.concatenate(X))).sum(axis=0)
    change = (n_seen * np.log(np.abs(a))).sum()
    assert after.log_likelihood_ + change == pytest.approx(before.log_likelihood_, abs=1e-4)
    np.testing.assert_array_equal(np.concatenate(after.predict(moved)), np.concatenate(before.predict(X)))


def test_score_is_the_reported_likelihood(speed):
    for weight in (None, [0.5, 2.0, 1.0]):
        fitted = hmm().fit(speed, sample_weight=weight)
        total = np.dot(np.ones(3) if weight is None else weight, SPEED_LENGTHS)
        assert fitted.score(speed, sample_weight=weight) == pytest.approx(fitted.lower_bound_, rel=1e-10)
        assert fitted.lower_bounds_[-1] == pytest.approx(fitted.lower_bound_, rel=1e-10)
        assert fitted.log_likelihood_ == pytest.approx(fitted.lower_bound_ * total, rel=1e-10)
        assert np.all(np.diff(fitted.lower_bounds_) > -1e-10)
        assert len(fitted.extrapolated_) == len(fitted.lower_bounds_) == fitted.n_iter_ + 1
    by_step = fitted.score_samples(speed)
    by_sequence = fitted.log_likelihood(speed)
    np.testing.assert_allclose([steps.sum() for steps in by_step], by_sequence)
    p = 1 + 2 + 2 + 2
    assert fitted.n_parameters_ == p
    assert fitted.aic(speed) == pytest.approx(2 * p - 2 * by_sequence.sum())
    assert fitted.bic(speed) == pytest.approx(p * np.log(sum(SPEED_LENGTHS)) - 2 * by_sequence.sum())


def test_missing_steps_do_not_count():
    X = regimes()
    gone = X[0].copy()
    gone[10:13] = NAN
    fitted = hmm(3).fit([gone, *X[1:]])
    assert fitted.log_likelihood_ == pytest.approx(fitted.lower_bound_ * (135 - 3))
    assert fitted.score([gone, *X[1:]]) == pytest.approx(fitted.lower_bound_)
    np.testing.assert_allclose(fitted.score_samples(gone)[10:13], 0.0, atol=1e-14)
    assert not np.isnan(fitted.predict_proba(gone)).any()
    n = 132
    assert fitted.bic([gone, *X[1:]]) == pytest.approx(
        fitted.n_parameters_ * np.log(n) - 2 * fitted.log_likelihood_
    )


def test_threads_and_seeds(speed):
    fits = [hmm(3, n_jobs=n_jobs).fit(speed) for n_jobs in (None, 2, None)]
    for other in fits[1:]:
        assert fits[0].log_likelihood_ == other.log_likelihood_
        assert fits[0].lower_bounds_ == other.lower_bounds_
        np.testing.assert_array_equal(fits[0].means_, other.means_)
        np.testing.assert_array_equal(fits[0].transmat_, other.transmat_)
        proba = zip(fits[0].predict_proba(speed), other.predict_proba(speed), strict=True)
        assert all((a == b).all() for a, b in proba)


def test_long_data_are_raced_on_a_sample_and_shared_by_threads():
    X = regimes(lengths=(30_000, 10), d=1)
    one, two = (hmm(3, n_init=3, n_jobs=n_jobs).fit(X) for n_jobs in (1, 2))
    assert one.lower_bounds_ == two.lower_bounds_
    np.testing.assert_array_equal(one.means_, two.means_)
    np.testing.assert_allclose(one.means_[:, 0], [0, 4, 8], atol=0.05)
    np.testing.assert_allclose(one.transmat_, np.full((3, 3), 0.1) + 0.7 * np.eye(3), atol=0.02)
    assert one.log_likelihood(X).sum() == pytest.approx(one.log_likelihood_, rel=1e-9)


def test_float32_is_float64_of_the_same_numbers(speed):
    single = [rows.astype(np.float32) for rows in speed]
    a, b = hmm(tol=1e-8).fit(single), hmm(tol=1e-8).fit([rows.astype(float) for rows in single])
    assert a.log_likelihood_ == pytest.approx(b.log_likelihood_, abs=1e-6)
    np.testing.assert_allclose(a.means_, b.means_, rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate(a.predict(single)), np.concatenate(b.predict(speed)))
    assert a.means_.dtype == np.float64


# -- sequences, however they come --------------------------------------------------------------------------


def ways():
    """Ways to hand the same sequences over: X, fit arguments, parameters, and order of rows (None: a list)."""
    X = regimes()
    lengths = [len(rows) for rows in X]
    rows, number = np.concatenate(X), np.repeat([0, 1, 2], lengths)
    frame = pd.DataFrame(rows, columns=["a", "b"])
    together = np.arange(len(rows))
    rng = np.random.RandomState(0)
    mixed = np.concatenate([[0], lengths[0] + np.array([0]), [lengths[0] + lengths[1]]])
    mixed = np.concatenate([mixed, *[np.flatnonzero(number == i)[1:] for i in rng.permutation(3)]])
    turns = np.concatenate([[0, 1, 2], rng.permutation(np.repeat([0, 1, 2], np.array(lengths) - 1))])
    for i in range(3):  # each sequence in its own order of time, steps of the others between
        mixed[turns == i] = np.flatnonzero(number == i)
    objects = np.empty(3, dtype=object)
    objects[:] = X
    padded = np.full((3, max(lengths), 2), NAN)
    for i, part in enumerate(X):
        padded[i, : len(part)] = part
    names = np.array(["north", "east", "south"])
    in_column = frame.assign(id=names[number])
    level = frame.set_index(pd.MultiIndex.from_arrays([number, np.arange(len(rows))], names=["id", "time"]))
    return {
        "list": (X, {}, {}, None),
        "tuple": (tuple(X), {}, {}, None),
        "lists": ([part.tolist() for part in X], {}, {}, None),
        "object array": (objects, {}, {}, None),
        "frames": ([frame[number == i] for i in range(3)], {}, {}, None),
        "padded": (padded, {}, {}, None),
        "lengths": (rows, {"lengths": lengths}, {}, together),
        "groups": (rows, {"groups": number}, {}, together),
        "names": (frame, {"groups": names[number]}, {}, together),
        "interleaved": (rows[mixed], {"groups": names[number[mixed]]}, {}, mixed),
        "column": (in_column, {}, {"sequence_id": "id"}, together),
        "interleaved column": (in_column.iloc[mixed], {}, {"sequence_id": "id"}, mixed),
        "level": (level, {}, {"sequence_id": "id"}, together),
    }


def as_rows(output, order):
    """Output for each row, in the order of the list."""
    if order is None:
        assert output.dtype == object
        assert [len(part) for part in output] == [60, 45, 30]
        return np.concatenate(output)
    assert isinstance(output, np.ndarray)
    assert output.dtype != object
    rows = np.empty_like(output)
    rows[order] = output
    return rows


@pytest.fixture(scope="module")
def fits_of_a_list():
    """Without weights and with some."""
    X, _, _, _ = ways()["list"]
    return hmm(3).fit(X), hmm(3).fit(X, sample_weight=[1.0, 0.5, 2.0])


@pytest.mark.parametrize("way", list(ways())[1:])
def test_ways_to_hand_sequences_over(way, fits_of_a_list):
    X, marks, _, _ = ways()["list"]
    one, weighted = fits_of_a_list
    X2, marks, params, order = ways()[way]
    other = hmm(3, **params).fit(X2, **marks)
    same_fit(one, other, rtol=1e-12)
    assert one.n_sequences_ == other.n_sequences_ == 3
    assert other.n_features_in_ == 2
    for method in ("predict", "predict_proba", "filter_proba", "score_samples"):
        expected = as_rows(getattr(one, method)(X), None)
        np.testing.assert_allclose(as_rows(getattr(other, method)(X2, **marks), order), expected, atol=1e-12)
    (path, joint), (other_path, other_joint) = one.decode(X), other.decode(X2, **marks)
    np.testing.assert_array_equal(as_rows(other_path, order), as_rows(path, None))
    np.testing.assert_allclose(other_joint, joint, rtol=1e-12)
    np.testing.assert_allclose(other.log_likelihood(X2, **marks), one.log_likelihood(X), rtol=1e-12)
    for ahead, expected in zip(other.predict_next(X2, 3, **marks), one.predict_next(X, 3), strict=True):
        np.testing.assert_allclose(ahead, expected, rtol=1e-11, atol=1e-12)
    for criterion in ("score", "aic", "bic"):
        expected = getattr(one, criterion)(X)
        assert getattr(other, criterion)(X2, **marks) == pytest.approx(expected, rel=1e-12)
    other.fit(X2, sample_weight=[1.0, 0.5, 2.0], **marks)
    same_fit(weighted, other, rtol=1e-12)


def test_labels_come_as_X_does():
    X, _, _, _ = ways()["list"]
    labels = [np.where(np.arange(len(rows)) % 7 == 0, rows[:, 0] > 6, -1) for rows in X]
    expected = hmm(3).fit(X, state_labels=labels)
    flat = np.concatenate(labels)
    for way in ("lengths", "interleaved", "interleaved column", "padded"):
        X2, marks, params, order = ways()[way]
        given = labels if order is None else flat[order]
        same_fit(expected, hmm(3, **params).fit(X2, state_labels=given, **marks), rtol=1e-12)


def test_rows_alone_are_one_sequence(earthquakes):
    fitted = hmm(emission="poisson").fit(earthquakes)
    assert fitted.n_sequences_ == 1
    assert fitted.predict(earthquakes).shape == (107,)
    assert fitted.predict_proba(earthquakes).shape == (107, 2)
    assert fitted.decode(earthquakes)[1].shape == fitted.log_likelihood(earthquakes).shape == (1,)
    assert fitted.predict_next(earthquakes, 4).mean.shape == (4, 1)
    assert fitted.predict_next([earthquakes], 4).mean.shape == (1, 4, 1)
    assert fitted.predict([earthquakes])[0].shape == (107,)
    assert fitted.score(earthquakes.tolist()) == fitted.score(earthquakes)


def test_rows_after_several_sequences_warn(speed):
    fitted, rows = hmm().fit(speed), np.concatenate(speed)
    message = "439 rows count as one sequence, but the model was fitted on 3"
    for criterion in (fitted.score, fitted.aic, fitted.bic):
        with pytest.warns(UserWarning, match=message) as caught:
            criterion(rows)
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.score(rows, lengths=SPEED_LENGTHS)
        fitted.score([rows])
        fitted.predict(rows)
        hmm().fit(rows).score(rows)


# -- every path, one by one --------------------------------------------------------------------------------


def with_gaps(X, share, rng):
    """Sequences with some entries missing, and some whole steps."""
    X = [np.where(rng.uniform(size=rows.shape) < share, NAN, rows) for rows in X]
    X[0][3] = NAN
    return X


def gaussian_rows(states, rng):
    return np.column_stack([4.0 * states, np.cos(states)]) + rng.normal(size=(len(states), 2))


def skewed_rows(states, rng):
    """Each state a mixture of two."""
    member = rng.randint(2, size=len(states))
    return np.column_stack([6.0 * states + 2.5 * member, 3.0 * member]) + rng.normal(size=(len(states), 2))


def counts(states, rng):
    return rng.poisson(np.column_stack([1.0 + 4 * states, 9.0 - 4 * states])).astype(float)


def codes(states, rng):
    tables = np.array([[[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], [[0.1, 0.3, 0.6], [0.1, 0.1, 0.8]]])
    return np.array([[rng.choice(3, p=table) for table in tables[k]] for k in states], dtype=float)


def bits(states, rng):
    return (rng.uniform(size=(len(states), 3)) < np.array([[0.9, 0.2, 0.5], [0.2, 0.7, 0.6]])[states]) * 1.0


def everything(states, rng):
    """Two Gaussian columns with a count and a code between them."""
    gaussian = gaussian_rows(states, rng)
    count, code = counts(states, rng)[:, 0], codes(states, rng)[:, 0]
    return np.column_stack([gaussian[:, 0], count, code, gaussian[:, 1]])


MIXED = {0: "gaussian", 1: "poisson", 2: "categorical", 3: "gaussian"}
SHIFT, SCALE = np.array([5e4, -2.0]), np.array([1e2, 1e-2])
EMISSIONS = {
    "gaussian": (3, {}, lambda s, rng: gaussian_rows(s, rng) * SCALE + SHIFT),
    "gaps": (3, {}, lambda s, rng: with_gaps([gaussian_rows(s, rng) * SCALE + SHIFT], 0.15, rng)[0]),
    "tied": (2, {"covariance_type": "tied"}, gaussian_rows),
    "spherical": (2, {"covariance_type": "spherical"}, gaussian_rows),
    "poisson": (2, {"emission": "poisson"}, counts),
    "categorical": (2, {"emission": "categorical"}, codes),
    "bernoulli": (2, {"emission": "bernoulli"}, bits),
    "gmm": (2, {"emission": "gmm"}, lambda s, rng: skewed_rows(s, rng) * SCALE + SHIFT),
    "gmm diag": (2, {"emission": "gmm", "covariance_type": "diag"}, skewed_rows),
    "mixed": (2, {"emission": MIXED}, everything),
    "gmm and bits": (
        2,
        {"emission": {0: "bernoulli", 1: "gmm", 2: "gmm", 3: "bernoulli", 4: "bernoulli"}},
        lambda s, rng: np.column_stack([bits(s, rng), skewed_rows(s, rng)])[:, [0, 3, 4, 1, 2]],
    ),
}


def emitted(name, seed=0, lengths=(70, 40, 30)):
    """Sequences of an emission. A step of each is missing."""
    K, kwargs, observe = EMISSIONS[name]
    rng = np.random.RandomState(seed)
    transition = np.full((K, K), 0.1) + (1 - 0.1 * K) * np.eye(K)
    X = [observe(chain_states(rng, T, np.full(K, 1 / K), transition), rng) for T in lengths]
    for rows in X:
        rows[len(rows) // 2] = NAN
    return X, hmm(K, n_init=3, **kwargs)


def gaussian_density(means, covariances, x):
    """(T, K), missing entries left out."""
    out = np.zeros((len(x), len(means)))
    patterns = np.unique(~np.isnan(x), axis=0)
    for pattern, k in itertools.product(patterns[patterns.any(axis=1)], range(len(means))):
        own, seen = (~np.isnan(x) == pattern).all(axis=1), np.flatnonzero(pattern)
        normal = stats.multivariate_normal(means[k, seen], covariances[k][np.ix_(seen, seen)])
        out[own, k] = normal.logpdf(x[np.ix_(own, seen)])
    return out


def dense(covariances, K, d):
    if covariances.shape == (K, d, d):
        return covariances
    if covariances.shape == (K, d):
        return covariances[:, :, None] * np.eye(d)
    if covariances.shape == (1, d, d):
        return np.repeat(covariances, K, axis=0)
    return np.reshape(covariances, (K, 1, 1)) * np.eye(d)


def part_density(params, x):
    """Log-densities (T, K) of some columns, from their parameters and SciPy alone; 0 for a missing step."""
    if hasattr(params, "rates"):
        return np.nansum(stats.poisson.logpmf(x[:, None], params.rates), axis=2)
    if hasattr(params, "means"):
        return gaussian_density(params.means, dense(params.covariances, *params.means.shape), x)
    if hasattr(params, "members"):
        K, M = params.weights.shape
        members = part_density(params.members, x).reshape(len(x), K, M)
        return np.log((np.exp(members) * params.weights).sum(axis=2))
    if isinstance(params.probabilities, tuple):
        seen = ~np.isnan(x).all(axis=1)
        tables = zip(params.probabilities, np.where(np.isnan(x), 0, x).astype(int).T, strict=True)
        return sum(np.log(table[:, code]).T for table, code in tables) * seen[:, None]
    with_zeros = np.where(np.isnan(x), 0, x)
    logs = stats.bernoulli.logpmf(with_zeros[:, None], params.probabilities)
    return np.where(np.isnan(x)[:, None], 0.0, logs).sum(axis=2)


def density_of(fitted, x):
    if isinstance(fitted.emission_params_, dict):
        return sum(part_density(params, x[:, columns]) for columns, params in fitted.emission_params_.items())
    return part_density(fitted.emission_params_, x)


def joint_of_paths(fitted, log_density):
    """All paths (n_paths, T), and log p(path, x)."""
    T, K = log_density.shape
    paths = np.array(list(itertools.product(range(K), repeat=T)))
    with np.errstate(divide="ignore"):
        start, transition = np.log(fitted.startprob_), np.log(fitted.transmat_)
    steps = transition[paths[:, :-1], paths[:, 1:]].sum(axis=1)
    return paths, start[paths[:, 0]] + steps + log_density[np.arange(T), paths].sum(axis=1)


def posterior_of_paths(paths, log_joint, K):
    weight = np.exp(log_joint - log_joint.max())
    indicator = paths[:, :, None] == np.arange(K)
    return np.einsum("p,ptk->tk", weight / weight.sum(), indicator)


# The numpy kernel takes long to fit some of them.
PATHS = [
    pytest.param(on, name, id=f"{kernel}-{name}", marks=[*marks, *([pytest.mark.slow] if name in slow else [])])
    for kernel, on, marks, slow in [
        ("numpy", _chain_numpy, [], ("gaussian", "gaps", "gmm", "gmm and bits")),
        ("compiled", COMPILED, [needs_compiled], ()),
    ]
    for name in EMISSIONS
]


@pytest.mark.parametrize(("kernel", "name"), PATHS, indirect=["kernel"])
def test_every_path(name, kernel):
    X, model = emitted(name)
    fitted = model.fit(X)
    middle = len(X[0]) // 2
    cuts = [(0, 0, 1), (0, 2, 4), (1, 5, 10), (2, 20, 24), (0, middle - 2, middle + 3), (0, middle, middle + 2)]
    short = [X[i][begin:end] for i, begin, end in cuts]
    evidence, proba = fitted.log_likelihood(short), fitted.predict_proba(short)
    filtered, predictive = fitted.filter_proba(short), fitted.score_samples(short)
    states, log_joint = fitted.decode(short)
    marginal = pickle.loads(pickle.dumps(fitted)).set_params(algorithm="posterior")
    K = fitted.n_components
    for i, x in enumerate(short):
        log_density = density_of(fitted, x)
        prefixes = [joint_of_paths(fitted, log_density[:t]) for t in range(1, len(x) + 1)]
        paths, joint = prefixes[-1]
        so_far = [np.logaddexp.reduce(joint_of_prefix) for _, joint_of_prefix in prefixes]
        assert evidence[i] == pytest.approx(so_far[-1], rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(predictive[i], np.diff(so_far, prepend=0.0), rtol=1e-8, atol=1e-8)
        expected = posterior_of_paths(paths, joint, K)
        np.testing.assert_allclose(proba[i], expected, atol=1e-9)
        np.testing.assert_allclose(
            filtered[i], [posterior_of_paths(*prefix, K)[-1] for prefix in prefixes], atol=1e-9
        )
        np.testing.assert_array_equal(states[i], paths[joint.argmax()])
        np.testing.assert_array_equal(fitted.predict(short)[i], states[i])
        assert log_joint[i] == pytest.approx(joint.max(), rel=1e-9, abs=1e-9)
        marginal_states, marginal_joint = marginal.decode(x)
        np.testing.assert_array_equal(marginal_states, expected.argmax(axis=1))
        same = (paths == marginal_states).all(axis=1)
        assert marginal_joint[0] == pytest.approx(joint[same][0], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", list(EMISSIONS))
def test_every_emission_as_an_estimator(name):
    X, model = emitted(name)
    fitted = model.fit(X)
    n = sum(map(len, X)) - np.isnan(np.concatenate(X)).all(axis=1).sum()
    assert fitted.converged_
    assert fitted.score(X) == pytest.approx(fitted.lower_bound_, rel=1e-9)
    assert fitted.log_likelihood_ == pytest.approx(fitted.lower_bound_ * n)
    assert np.all(np.diff(fitted.lower_bounds_) > -1e-9)
    share = fitted.stationary_distribution_
    np.testing.assert_allclose(share @ fitted.transmat_, share)
    again = pickle.loads(pickle.dumps(fitted))
    for one, other in zip(fitted.predict_proba(X), again.predict_proba(X), strict=True):
        np.testing.assert_array_equal(one, other)
    last = fitted.log_likelihood_
    fitted.set_params(warm_start=True).fit(X)
    assert fitted.restarts_.starts[0].kind == "warm"
    assert last - 1e-8 <= fitted.log_likelihood_ <= last + 0.01
    assert fitted.lower_bounds_[0] == pytest.approx(last / n, abs=1e-9)


@pytest.mark.parametrize("name", list(EMISSIONS))
def test_samples_are_of_the_model(name):
    X, model = emitted(name)
    fitted = model.fit(X)
    rows, states = fitted.sample(20_000)
    assert rows.shape == (20_000, X[0].shape[1])
    # What a state emits has the density that the model says: its mean log-density is that of what it draws.
    spread = density_of(fitted, rows)
    later = np.zeros((fitted.n_components,) * 2)
    np.add.at(later, (states[:-1], states[1:]), 1)
    n_visits = later.sum(axis=1, keepdims=True)
    error = np.sqrt(fitted.transmat_ * (1 - fitted.transmat_) / n_visits)
    assert np.all(np.abs(later / n_visits - fitted.transmat_) <= 5 * error + 1e-9)
    assert np.isfinite(spread[np.arange(len(rows)), states]).all()
    ahead = fitted.predict_next(X[0], 400)
    known = ~np.isnan(ahead.mean[-1])
    mean, covariance = ahead.mean[-1][known], ahead.covariance[-1][known][:, known]
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((rows[:, known].mean(axis=0) - mean) / sd, 0, atol=0.1)
    if known.any():
        sampled = np.cov(rows[:, known].T).reshape(covariance.shape)
        np.testing.assert_allclose((sampled - covariance) / np.outer(sd, sd), 0, atol=0.1)
    for j, table in coded(fitted).items():
        for k, expected in enumerate(table):
            found = np.bincount(rows[states == k, j].astype(int), minlength=len(expected))
            np.testing.assert_allclose(found / found.sum(), expected, atol=0.04)


def coded(fitted):
    """Probabilities of the codes of each column that has any."""
    parts = fitted.emission_params_
    parts = parts if isinstance(parts, dict) else {tuple(range(fitted.n_features_in_)): parts}
    tables = {}
    for columns, params in parts.items():
        if isinstance(getattr(params, "probabilities", None), tuple):
            tables.update(zip(columns, params.probabilities, strict=True))
    return tables


def test_sample_of_several_sequences(speed):
    fitted = hmm(startprob=[0.2, 0.8]).fit(speed)
    X, states = fitted.sample(4, n_sequences=5000)
    assert X.dtype == states.dtype == object
    assert X.shape == states.shape == (5000,)
    assert X[0].shape == (4, 1)
    assert states[0].shape == (4,)
    assert np.mean([path[0] for path in states]) == pytest.approx(0.8, abs=0.03)
    third = fitted.startprob_ @ np.linalg.matrix_power(fitted.transmat_, 2)
    assert np.mean([path[2] for path in states]) == pytest.approx(third[1], abs=0.03)
    np.testing.assert_array_equal(fitted.sample(5)[0], fitted.sample(5)[0])
    assert fitted.sample()[0].shape == (1, 1)
    assert fitted.sample(3, 1)[0].shape == (1,)


def test_forecast_is_the_chain_going_on(speed):
    fitted = hmm().fit(speed)
    ahead = fitted.predict_next(speed, 5)
    last = [path[-1] for path in fitted.filter_proba(speed)]
    means, variances = fitted.means_[:, 0], fitted.covariances_[:, 0, 0]
    for h in range(1, 6):
        expected = last @ np.linalg.matrix_power(fitted.transmat_, h)
        np.testing.assert_allclose(ahead.state_proba[:, h - 1], expected, rtol=1e-10)
        mean = expected @ means
        np.testing.assert_allclose(ahead.mean[:, h - 1, 0], mean, rtol=1e-10)
        np.testing.assert_allclose(
            ahead.covariance[:, h - 1, 0, 0], expected @ (variances + means**2) - mean**2, rtol=1e-8
        )
    # The same as looking at steps that have not been observed.
    longer = np.vstack([speed[0], np.full((5, 1), NAN)])
    np.testing.assert_allclose(fitted.filter_proba(longer)[-5:], ahead.state_proba[0], rtol=1e-10)
    np.testing.assert_allclose(fitted.predict_proba(longer)[-5:], ahead.state_proba[0], rtol=1e-10)


def test_forecast_by_simulation():
    X = regimes()
    fitted = hmm(3).fit(X)
    ahead = fitted.predict_next(X[0], 3)
    rng, n = np.random.RandomState(0), 40_000
    states = rng.choice(3, size=n, p=fitted.filter_proba(X[0])[-1])
    roots = np.linalg.cholesky(fitted.covariances_)
    for h in range(3):
        levels = rng.uniform(size=(n, 1))
        states = (fitted.transmat_.cumsum(axis=1)[states, :-1] < levels).sum(axis=1)
        rows = fitted.means_[states] + np.einsum("nij,nj->ni", roots[states], rng.normal(size=(n, 2)))
        sd = np.sqrt(np.diag(ahead.covariance[h]))
        np.testing.assert_allclose(np.bincount(states) / n, ahead.state_proba[h], atol=0.012)
        np.testing.assert_allclose((rows.mean(axis=0) - ahead.mean[h]) / sd, 0, atol=0.03)
        error = (np.cov(rows.T) - ahead.covariance[h]) / np.outer(sd, sd)
        np.testing.assert_allclose(error, 0, atol=0.04)


def test_categories_have_no_mean():
    X, model = emitted("categorical")
    fitted = model.fit(X)
    ahead = fitted.predict_next(X, 2)
    assert np.isnan(ahead.mean).all()
    assert ahead.mean.shape == (3, 2, 2)
    assert ahead.covariance.shape == (3, 2, 2, 2)
    np.testing.assert_allclose((ahead.state_proba @ fitted.probabilities_[1]).sum(axis=-1), 1.0)
    X, model = emitted("mixed")
    ahead = model.fit(X).predict_next(X[0], 2)
    assert not np.isnan(ahead.mean[:, [0, 1, 3]]).any()
    assert np.isnan(ahead.mean[:, 2]).all()


# -- attributes --------------------------------------------------------------------------------------------


def test_states_are_sorted():
    for seed in range(4):
        assert np.all(np.diff(hmm(3, random_state=seed).fit(regimes()).means_[:, 0]) > 0)
        X, model = emitted("poisson")
        assert np.diff(model.set_params(random_state=seed).fit(X).rates_[:, 0]) > 0
        X, model = emitted("bernoulli")
        assert np.diff(model.set_params(random_state=seed).fit(X).probabilities_[:, 0]) > 0
        X, model = emitted("categorical")
        assert np.diff(model.set_params(random_state=seed).fit(X).stationary_distribution_) < 0


def test_attributes_of_each_emission():
    names = ["means_", "covariances_", "rates_", "probabilities_", "weights_"]
    of = {
        "gaussian": {"means_": (3, 2), "covariances_": (3, 2, 2)},
        "tied": {"means_": (2, 2), "covariances_": (2, 2)},
        "spherical": {"means_": (2, 2), "covariances_": (2,)},
        "poisson": {"rates_": (2, 2)},
        "bernoulli": {"probabilities_": (2, 3)},
        "gmm": {"means_": (2, 2, 2), "covariances_": (2, 2, 2, 2), "weights_": (2, 2)},
        "gmm diag": {"means_": (2, 2, 2), "covariances_": (2, 2, 2), "weights_": (2, 2)},
        "mixed": {},
    }
    for name, shapes in of.items():
        X, model = emitted(name)
        fitted = model.fit(X)
        assert {attribute for attribute in names if hasattr(fitted, attribute)} == set(shapes), name
        for attribute, shape in shapes.items():
            assert np.shape(getattr(fitted, attribute)) == shape, (name, attribute)
    assert set(fitted.emission_params_) == {(0, 3), (1,), (2,)}
    X, model = emitted("categorical")
    assert [p.shape for p in model.fit(X).probabilities_] == [(2, 3), (2, 3)]


def test_tied_gmm():
    X = emitted("gmm diag")[0]
    fitted = hmm(emission="gmm", covariance_type="tied").fit(X)
    assert fitted.covariances_.shape == (2, 2)
    assert fitted.n_parameters_ == 1 + 2 + 2 * (2 - 1) + 4 * 2 + 3


@pytest.mark.parametrize(
    ("name", "K", "kwargs", "expected"),
    [
        ("gaussian", 2, {}, 1 + 2 + 2 * (2 + 3)),
        ("gaussian", 3, {}, 2 + 6 + 3 * (2 + 3)),
        ("gaussian", 3, {"startprob": "stationary"}, 6 + 15),
        ("gaussian", 3, {"startprob": "uniform"}, 6 + 15),
        ("gaussian", 3, {"startprob": [0.2, 0.3, 0.5]}, 6 + 15),
        ("gaussian", 3, {"transition": "left-right"}, 2 + 3 + 15),
        ("gaussian", 3, {"transition": np.eye(3, dtype=bool)}, 2 + 0 + 15),
        ("gaussian", 2, {"transition": [[0.5, 0.5], [0.0, 1.0]]}, 1 + 1 + 10),
        ("gaussian", 2, {"stickiness": 3.0, "transmat_prior": 2.0}, 1 + 2 + 10),
        ("gaussian", 2, {"covariance_type": "tied"}, 1 + 2 + 4 + 3),
        ("poisson", 2, {}, 1 + 2 + 4),
        ("categorical", 2, {}, 1 + 2 + 2 * (2 + 2)),
        ("bernoulli", 2, {}, 1 + 2 + 6),
        ("gmm", 2, {}, 1 + 2 + 2 * 1 + 4 * 5),
        ("gmm", 2, {"n_mixtures": 3, "covariance_type": "spherical"}, 1 + 2 + 2 * 2 + 6 * 3),
        ("mixed", 2, {}, 1 + 2 + 2 * (2 + 3) + 2 + 2 * 2),
    ],
)
def test_n_parameters(name, K, kwargs, expected):
    X, model = emitted(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = model.set_params(n_components=K, max_iter=5, **kwargs).fit(X)
    assert fitted.n_parameters_ == expected


def test_columns_of_a_frame_have_their_emissions():
    X, model = emitted("mixed")
    names = ["speed", "count", "code", "level"]
    frames = [pd.DataFrame(rows, columns=names) for rows in X]
    by_name = clone(model).set_params(
        emission={"level": "gaussian", "speed": "gaussian", "code": "categorical", "count": "poisson"}
    )
    by_number, by_name = model.fit(X), by_name.fit(frames)
    assert by_name.log_likelihood_ == pytest.approx(by_number.log_likelihood_, abs=1e-8)
    assert set(by_name.emission_params_) == {(0, 3), (1,), (2,)}
    with_objects = {0: Gaussian(COVARIANCE_SHAPES["full"]), 1: Poisson(), 2: "categorical", 3: "gaussian"}
    apart = clone(model).set_params(emission=with_objects).fit(X)
    assert set(apart.emission_params_) == {(0,), (1,), (2,), (3,)}


# -- start and transitions ---------------------------------------------------------------------------------


def stages(n=6, lengths=(12, 15, 9), seed=0):
    """Sequences that pass through three stages."""
    rng = np.random.RandomState(seed)
    return [
        np.repeat([0.0, 5.0, 1.0], rng.permutation(lengths))[:, None] + rng.normal(size=(sum(lengths), 1))
        for _ in range(n)
    ]


def test_left_right_keeps_its_zeros():
    X = stages()
    fitted = hmm(3, transition="left-right").fit(X)
    np.testing.assert_array_equal(fitted.transmat_[np.tril_indices(3, -1)], 0.0)
    np.testing.assert_allclose(fitted.means_[:, 0], [0, 5, 1], atol=0.3)  # in order of time, not of means
    np.testing.assert_allclose(fitted.startprob_, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(fitted.stationary_distribution_, [0, 0, 1], atol=1e-6)
    for path in fitted.predict(X):
        assert np.all(np.diff(path) >= 0)
    assert np.isfinite(fitted.decode(X)[1]).all()
    states = fitted.sample(100)[1]
    assert np.all(np.diff(states) >= 0)


def test_a_mask_forbids_transitions():
    mask = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], dtype=bool)
    for startprob in ("free", "stationary", "uniform"):
        fitted = hmm(3, transition=mask, startprob=startprob).fit(stages())
        np.testing.assert_array_equal(fitted.transmat_[~mask], 0.0)
        assert np.all(fitted.transmat_[mask] >= 0)
        assert fitted.score(stages()) == pytest.approx(fitted.lower_bound_)
    as_list = hmm(3, transition=mask.tolist(), startprob="uniform").fit(stages())
    same_fit(fitted, as_list)


def test_an_array_of_transitions_is_a_start_whose_zeros_stay():
    given = np.array([[0.5, 0.5, 0.0], [0.0, 0.3, 0.7], [0.0, 0.0, 1.0]])
    fitted = hmm(3, transition=given).fit(stages())
    np.testing.assert_array_equal(fitted.transmat_ > 0, given > 0)
    assert not np.allclose(fitted.transmat_, given, atol=0.05)
    np.testing.assert_allclose(fitted.transmat_.sum(axis=1), 1.0)
    # Where the start is given too, the first iterate has these very transitions.
    with pytest.warns(ConvergenceWarning):
        once = hmm(3, transition=given, means_init=[[0.0], [5.0], [1.0]], max_iter=1).fit(stages())
    assert once.restarts_.starts[0].kind == "given"


def test_starting_values_are_where_it_starts(speed):
    given = {
        "startprob_init": [0.5, 0.5],
        "transmat_init": [[0.9, 0.1], [0.2, 0.8]],
        "means_init": [[6.0], [5.0]],
    }
    fitted = hmm(**given).fit(speed)
    assert [start.kind for start in fitted.restarts_.starts] == ["given"]
    assert fitted.means_[0, 0] > fitted.means_[1, 0]  # states keep the order in which they were given
    best = hmm().fit(speed)
    assert fitted.log_likelihood_ == pytest.approx(best.log_likelihood_, abs=1e-3)
    kept = hmm(startprob_init=[0.0, 1.0]).fit(speed)
    assert kept.startprob_[0] == 0.0


def test_fixed_startprob(speed):
    for startprob in (np.array([0.3, 0.7]), np.array([0.0, 1.0])):
        fitted = hmm(startprob=startprob).fit(speed)
        np.testing.assert_array_equal(fitted.startprob_, startprob)
    np.testing.assert_array_equal(hmm(startprob="uniform").fit(speed).startprob_, [0.5, 0.5])
    free = hmm().fit(speed).log_likelihood_
    assert hmm(startprob="uniform").fit(speed).log_likelihood_ < free


@pytest.mark.parametrize("K", [2, 3])
def test_stationary_start(speed, K):
    fitted = hmm(K, startprob="stationary", tol=1e-8).fit(speed)
    np.testing.assert_allclose(fitted.startprob_, fitted.stationary_distribution_, rtol=1e-13)
    np.testing.assert_allclose(fitted.startprob_ @ fitted.transmat_, fitted.startprob_, rtol=1e-9)
    assert fitted.score(speed) == pytest.approx(fitted.lower_bound_, rel=1e-9)
    assert fitted.log_likelihood_ < hmm(K).fit(speed).log_likelihood_
    np.testing.assert_allclose(stationary_distribution(fitted.transmat_), fitted.startprob_)


# -- priors ------------------------------------------------------------------------------------------------


def log_prior(fitted, start_prior, prior):
    """Of probabilities with concentrations, up to the constant that leaves it 0 without a prior."""
    with np.errstate(divide="ignore"):
        start, transition = np.log(fitted.startprob_), np.log(fitted.transmat_)
    terms = [
        ((start_prior - 1) * np.ones(start.shape), start),
        ((prior - 1) * np.ones(transition.shape), transition),
    ]
    return sum((excess[excess > 0] * log[excess > 0]).sum() for excess, log in terms)


PRIORS = [
    ({"transmat_prior": 3.0}, 1.0, 3.0),
    ({"startprob_prior": 2.0}, 2.0, 1.0),
    ({"stickiness": 20.0}, 1.0, 1.0 + 20.0 * np.eye(2)),
    ({"transmat_prior": [2.0, 5.0], "startprob_prior": [1.0, 4.0]}, np.array([1.0, 4.0]), np.array([2.0, 5.0])),
    (
        {"transmat_prior": [[8.0, 1.5], [1.0, 2.0]], "stickiness": 0.5},
        1.0,
        np.array([[8.5, 1.5], [1.0, 2.5]]),
    ),
]


@pytest.mark.parametrize(("kwargs", "start_prior", "prior"), PRIORS)
def test_priors_make_it_the_posterior_mode(speed, kwargs, start_prior, prior):
    n = sum(SPEED_LENGTHS)
    fitted = hmm(tol=1e-8, **kwargs).fit(speed)
    objective = fitted.log_likelihood_ + log_prior(fitted, start_prior, prior)
    constant = fitted.lower_bounds_[-1] * n - objective
    assert constant == pytest.approx(0.0, abs=1e-7)
    assert np.all(np.diff(fitted.lower_bounds_) > -1e-10)
    assert fitted.score(speed) == pytest.approx(fitted.lower_bound_)
    likeliest = hmm(tol=1e-8).fit(speed)
    for order in ([0, 1], [1, 0]):
        likeliest.reorder(order)
        assert objective >= likeliest.log_likelihood_ + log_prior(likeliest, start_prior, prior)
    assert fitted.log_likelihood_ <= likeliest.log_likelihood_ + 1e-6


def test_posterior_mode_of_known_states_is_in_closed_form():
    X = regimes()
    labels = [np.clip(np.round(rows[:, 0] / 4), 0, 2).astype(int) for rows in X]
    fitted = hmm(3, transmat_prior=2.0, stickiness=3.0, startprob_prior=[2.0, 3.0, 4.0])
    fitted.fit(X, state_labels=labels)
    pairs = np.full((3, 3), 1.0) + 3.0 * np.eye(3)
    first = np.array([1.0, 2.0, 3.0])
    for path in labels:
        first[path[0]] += 1
        np.add.at(pairs, (path[:-1], path[1:]), 1)
    np.testing.assert_allclose(fitted.startprob_, first / first.sum(), rtol=1e-9)
    np.testing.assert_allclose(fitted.transmat_, pairs / pairs.sum(axis=1, keepdims=True), rtol=1e-9)


def test_stickiness_makes_states_last(speed):
    rows = [rows[::5] for rows in speed]
    stay = [np.diag(hmm(stickiness=s).fit(rows).transmat_).sum() for s in (0.0, 10.0, 1e4)]
    assert stay[0] < stay[1] < stay[2]
    assert stay[2] > 1.99


# -- states that are known ---------------------------------------------------------------------------------


def test_known_states_are_counted():
    X = regimes()
    labels = [2 - np.clip(np.round(rows[:, 0] / 4), 0, 2).astype(int) for rows in X]
    weight = np.array([1.0, 2.0, 0.5])
    fitted = hmm(3).fit(X, state_labels=labels, sample_weight=weight)
    first, pairs = np.zeros(3), np.zeros((3, 3))
    for path, w in zip(labels, weight, strict=True):
        first[path[0]] += w
        np.add.at(pairs, (path[:-1], path[1:]), w)
    np.testing.assert_allclose(fitted.startprob_, first / first.sum(), atol=1e-12)
    np.testing.assert_allclose(fitted.transmat_, pairs / pairs.sum(axis=1, keepdims=True), atol=1e-12)
    rows, path = np.concatenate(X), np.concatenate(labels)
    of_row = np.repeat(weight, [len(part) for part in X])
    for k in range(3):
        own, w = rows[path == k], of_row[path == k]
        np.testing.assert_allclose(fitted.means_[k], np.average(own, axis=0, weights=w))
        np.testing.assert_allclose(fitted.covariances_[k], np.cov(own.T, ddof=0, aweights=w))
    assert fitted.means_[0, 0] > fitted.means_[2, 0]  # the names of states are the user's


def test_some_known_states():
    X = regimes()
    rng = np.random.RandomState(0)
    truth = [2 - np.clip(np.round(rows[:, 0] / 4), 0, 2) for rows in X]
    labels = [np.where(rng.uniform(size=len(path)) < 0.2, path, NAN) for path in truth]
    for seed in range(3):
        fitted = hmm(3, random_state=seed).fit(X, state_labels=labels)
        for found, known in zip(fitted.predict(X), labels, strict=True):
            np.testing.assert_array_equal(found[~np.isnan(known)], known[~np.isnan(known)])
    nothing = hmm(3).fit(X, state_labels=[np.full(len(rows), -1) for rows in X])
    assert nothing.log_likelihood_ == pytest.approx(hmm(3).fit(X).log_likelihood_, abs=1e-3)


@pytest.mark.parametrize("startprob", ["free", "stationary"])
def test_likelihood_of_some_known_states_is_that_of_the_paths_through_them(startprob):
    X = np.array([[1.0], [2.0], [9.0], [8.0], [1.0], [0.0], [7.0]])
    labels = np.array([-1, 0, -1, 1, -1, -1, -1])
    fitted = hmm(emission="poisson", startprob=startprob).fit(X, state_labels=labels)
    paths, joint = joint_of_paths(fitted, density_of(fitted, X))
    through = (paths[:, [1, 3]] == [0, 1]).all(axis=1)
    assert fitted.log_likelihood_ == pytest.approx(np.logaddexp.reduce(joint[through]), abs=1e-9)


def test_known_states_with_forbidden_transitions():
    X = stages()
    labels = [np.full(len(rows), -1) for rows in X]
    labels[0][0], labels[1][-1] = 0, 2
    fitted = hmm(3, transition="left-right").fit(X, state_labels=labels)
    np.testing.assert_array_equal(fitted.transmat_[np.tril_indices(3, -1)], 0.0)
    assert fitted.predict(X)[0][0] == 0
    assert fitted.predict(X)[1][-1] == 2


# -- data at the edge --------------------------------------------------------------------------------------


def assert_finite(fitted, X):
    for name in ("startprob_", "transmat_", "stationary_distribution_", "log_likelihood_", "lower_bounds_"):
        assert np.isfinite(getattr(fitted, name)).all(), name
    np.testing.assert_allclose(fitted.transmat_.sum(axis=1), 1.0)
    np.testing.assert_allclose(fitted.startprob_.sum(), 1.0)
    np.testing.assert_allclose(np.concatenate(fitted.predict_proba(X)).sum(axis=1), 1.0)
    assert np.isfinite(fitted.log_likelihood(X)).all()


def test_constant_column():
    X = [np.column_stack([rows, np.full(len(rows), 7.0)]) for rows in regimes()]
    with pytest.warns(ConvergenceWarning, match="constant or linearly dependent in column 2") as caught:
        fitted = hmm(3).fit(X)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert_finite(fitted, X)
    alone = hmm(3).fit(regimes())
    for path, expected in zip(fitted.predict(X), alone.predict(regimes()), strict=True):
        np.testing.assert_array_equal(path, expected)
    np.testing.assert_allclose(fitted.means_[:, 2], 7.0)


@pytest.mark.parametrize("emission", ["gaussian", "poisson", "bernoulli", "categorical"])
def test_a_state_that_is_never_visited(emission):
    X = [(rows[:, :1] > 6) * 1.0 for rows in regimes()]
    if emission == "gaussian":
        X = [x + rows[:, 1:] for x, rows in zip(X, regimes(), strict=True)]
    labels = [(rows[:, 0] > 6).astype(int) for rows in regimes()]
    fitted = hmm(3, emission=emission).fit(X, state_labels=labels)
    assert_finite(fitted, X)
    assert fitted.startprob_[2] == 0.0
    np.testing.assert_array_equal(fitted.transmat_[:2, 2], 0.0)
    assert not (np.concatenate(fitted.predict(X)) == 2).any()


@pytest.mark.parametrize("emission", ["poisson", "categorical", "bernoulli"])
def test_more_states_than_values(emission):
    X = [np.r_[np.zeros(20), np.ones(20), np.zeros(5)][:, None], np.ones((7, 1))]
    fitted = hmm(4, emission=emission).fit(X)
    assert_finite(fitted, X)
    at_least = hmm(2, emission=emission).fit(X).log_likelihood_
    assert fitted.log_likelihood_ >= at_least - 1e-3


def test_nothing_but_zeros():
    X = [np.zeros((10, 1)), np.zeros((5, 1))]
    for emission in ("poisson", "bernoulli", "categorical"):
        fitted = hmm(emission=emission).fit(X)
        assert_finite(fitted, X)
        assert fitted.log_likelihood_ == pytest.approx(0.0, abs=1e-9)


def test_more_features_than_steps():
    X = np.random.RandomState(0).normal(size=(12, 20))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = hmm(n_init=2).fit([X[:7], X[7:]])
    assert "12 distinct rows, 20 columns" in str(caught[0].message)
    assert_finite(fitted, [X])


def test_impossible_paths_have_no_joint_density():
    X = stages(2)
    fitted = hmm(3, transition="left-right", algorithm="posterior").fit(X)
    states, joint = fitted.decode(X)
    for path, value in zip(states, joint, strict=True):
        assert np.isfinite(value) == np.all(np.diff(path) >= 0)


# -- the estimator -----------------------------------------------------------------------------------------


def test_repr_and_clone_keep_parameters():
    estimator = HMMEM(3, emission="poisson", tol=1e-3)
    assert repr(estimator) == "HMMEM(emission='poisson', n_components=3, tol=0.001)"
    assert clone(estimator).get_params() == estimator.get_params()
    with_arrays = HMMEM(transition=np.eye(2), means_init=np.ones((2, 1)), emission={0: Poisson()})
    cloned = clone(with_arrays).get_params()
    np.testing.assert_array_equal(cloned["transition"], np.eye(2))
    assert cloned["emission"] == {0: Poisson()}


def test_refit_and_set_params_forget_the_last_fit(speed):
    again = (
        hmm(2, emission="gmm", n_mixtures=2)
        .fit(speed[:1])
        .set_params(n_components=2, emission="gaussian")
        .fit(speed)
    )
    same_fit(hmm().fit(speed), again, rtol=1e-12)
    assert not hasattr(again, "weights_")
    counts = [np.round(rows) for rows in speed]
    assert not hasattr(again.set_params(emission="poisson").fit(counts), "means_")
    assert again.rates_.shape == (2, 1)


def test_warm_start_goes_on(speed):
    with pytest.warns(ConvergenceWarning, match="max_iter=3"):
        fitted = hmm(3, max_iter=3, n_init=1, warm_start=True).fit(speed)
    so_far = fitted.lower_bound_
    fitted.set_params(max_iter=1000).fit(speed)
    assert fitted.lower_bounds_[0] == pytest.approx(so_far, rel=1e-9)
    assert fitted.converged_
    found, limit = fitted.log_likelihood_, hmm(3, n_init=30).fit(speed).log_likelihood_
    for scale, offset in [(1.01, 0.02), (1.0, 0.0)]:  # data of another spread, and back
        fitted.fit([scale * rows + offset for rows in speed])
        assert len(fitted.restarts_.starts) == 1
    assert -0.01 <= limit - fitted.log_likelihood_ <= limit - found + 10
    fitted.set_params(startprob="stationary").fit(speed)
    np.testing.assert_allclose(fitted.startprob_, fitted.stationary_distribution_)


def test_a_failed_fit_leaves_all_as_it_was(speed):
    fitted = hmm().fit(speed)
    before, state = fitted.predict_proba(speed), dict(fitted.__dict__)
    wide = [np.column_stack([rows, rows]) for rows in speed]
    for kwargs, X, message in [
        ({"emission": "bernoulli"}, wide, "not one of 0 and 1"),
        ({"n_components": 500}, speed, "n_components=500"),
        ({"tol": -1.0}, speed, "'tol'"),
    ]:
        with pytest.raises(ValueError, match=message):
            fitted.set_params(**kwargs).fit(X)
        fitted.set_params(**hmm().get_params())
        assert fitted.__dict__.keys() == state.keys()
        assert all(fitted.__dict__[name] is value for name, value in state.items() if name.endswith("_"))
    for one, other in zip(before, fitted.predict_proba(speed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_inputs_stay_as_they_were(speed):
    given = {
        "startprob": np.array([0.3, 0.7]),
        "transition": np.array([[0.9, 0.1], [0.2, 0.8]]),
        "means_init": np.array([[5.0], [6.0]]),
        "transmat_prior": np.array([[2.0, 1.0], [1.0, 2.0]]),
    }
    X, weight = [rows.copy() for rows in speed], np.array([1.0, 2.0, 0.0])
    labels = [np.full(len(rows), -1) for rows in X]
    arrays = [*X, weight, *labels, *given.values()]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    fitted = hmm(**given).fit(X, sample_weight=weight, state_labels=labels)
    for method in (fitted.predict, fitted.predict_proba, fitted.score_samples, fitted.predict_next):
        method(X)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    for name, value in given.items():
        assert getattr(fitted, name) is value


def test_attributes_are_copies(speed):
    fitted = hmm().fit(speed)
    expected = fitted.score(speed)
    for name in ("startprob_", "transmat_", "means_", "covariances_", "stationary_distribution_"):
        getattr(fitted, name)[...] = 0.0
    assert fitted.score(speed) == expected


def test_verbose_tells_of_the_starts(speed, capsys):
    hmm(verbose=1, n_init=2).fit(speed)
    assert "HMMEM:" in capsys.readouterr().out


def test_max_iter_too_small_warns(speed):
    with pytest.warns(ConvergenceWarning, match=r"max_iter=1,.*Increase max_iter") as caught:
        fitted = hmm(max_iter=1).fit(speed)
    assert caught[0].filename == __file__
    assert not fitted.converged_
    assert fitted.n_iter_ == 1


# -- scikit-learn ------------------------------------------------------------------------------------------

EXPECTED_FAILURES = {
    # These give the rows of one sequence different weights, but a weight counts whole sequences.
    "check_sample_weight_equivalence_on_dense_data": "rows of a sequence cannot differ in weight",
    "check_sample_weights_not_overwritten": "rows of a sequence cannot differ in weight",
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny and constant data
@parametrize_with_checks([HMMEM(n_init=4)], expected_failed_checks=lambda estimator: EXPECTED_FAILURES)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [HMMEM(2, covariance_type="diag", startprob="stationary", n_init=2)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_sklearn_checks_of_other_settings(estimator, check):
    check(estimator)


@pytest.mark.parametrize("as_array", [False, True])
def test_cross_validation_of_lists(as_array):
    X = regimes(lengths=(30, 25, 20, 25, 30, 20))
    if as_array:
        objects = np.empty(6, dtype=object)
        objects[:] = X
        X = objects
    kind = np.array([0, 1, 0, 1, 0, 1])
    for cv, y in [(3, None), (KFold(3, shuffle=True, random_state=0), None), (StratifiedKFold(3), kind)]:
        scores = cross_val_score(hmm(3, n_init=2), X, y, cv=cv)
        splits = (KFold(3) if cv == 3 else cv).split(np.arange(6), kind)
        for score, (train, test) in zip(scores, splits, strict=True):
            expected = hmm(3, n_init=2).fit([X[i] for i in train])
            assert score == pytest.approx(expected.score([X[i] for i in test]))
    paths = cross_val_predict(hmm(3, n_init=2), X, cv=3)
    assert [path.shape for path in paths] == [(len(rows),) for rows in X]
    expected = hmm(3, n_init=2).fit(list(X[2:])).predict(list(X[:2]))
    np.testing.assert_array_equal(paths[0], expected[0])


def test_grid_search_over_a_pipeline():
    X = regimes(lengths=(40, 35, 30, 45))
    pipeline = make_pipeline(SequenceWise(StandardScaler()), hmm(n_init=3))
    search = GridSearchCV(pipeline, {"hmmem__n_components": [1, 2, 3]}, cv=2).fit(X)
    assert search.best_params_ == {"hmmem__n_components": 3}
    assert search.best_estimator_[-1].means_.shape == (3, 2)
    assert [len(path) for path in search.predict(X)] == [40, 35, 30, 45]
    assert search.score(X) == pytest.approx(search.best_estimator_.score(X))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = GridSearchCV(pipeline, {"hmmem__max_iter": [1, 200]}, cv=2, refit=False)
        search.fit(X)
        few = clone(pipeline).set_params(hmmem__max_iter=1).fit(X)
    assert few[-1].n_iter_ == 1
    assert few[-1].lower_bound_ < clone(pipeline).fit(X)[-1].lower_bound_
    one, many = search.cv_results_["mean_test_score"]
    assert one != many


@pytest.fixture
def six():
    """Six sequences as a frame whose column tells them apart."""
    X = regimes(lengths=(30, 25, 20, 25, 30, 20))
    number = np.repeat(np.arange(6), [len(rows) for rows in X])
    return pd.DataFrame(np.concatenate(X), columns=["a", "b"]).assign(id=number), number


def expected_scores(frame, number):
    for train, test in GroupKFold(3).split(frame, groups=number):
        X = [[frame.loc[number == i, ["a", "b"]] for i in np.unique(number[part])] for part in (train, test)]
        yield hmm(3, n_init=2).fit(X[0]).score(X[1])


def test_group_k_fold_of_a_frame_with_ids(six):
    frame, number = six
    model = hmm(3, n_init=2, sequence_id="id")
    scores = cross_val_score(model, frame, groups=number, cv=GroupKFold(3))
    np.testing.assert_allclose(scores, list(expected_scores(frame, number)), rtol=1e-8)
    search = GridSearchCV(model, {"n_components": [1, 3]}, cv=GroupKFold(3)).fit(frame, groups=number)
    assert search.best_params_ == {"n_components": 3}
    assert search.predict(frame).shape == (150,)


def test_groups_are_routed_wherever_rows_go(six):
    frame, number = six
    rows = frame[["a", "b"]]
    with sklearn.config_context(enable_metadata_routing=True):
        results = cross_validate(
            hmm(3, n_init=2), rows, params={"groups": number}, cv=GroupKFold(3), return_estimator=True
        )
        np.testing.assert_allclose(results["test_score"], list(expected_scores(frame, number)), rtol=1e-8)
        assert [fitted.n_sequences_ for fitted in results["estimator"]] == [4, 4, 4]
        search = GridSearchCV(hmm(n_init=2), {"n_components": [1, 3]}, cv=GroupKFold(3))
        search.fit(rows, groups=number)
        assert search.best_estimator_.n_sequences_ == 6
        assert search.best_params_ == {"n_components": 3}
        paths = cross_val_predict(hmm(3, n_init=2), rows, params={"groups": number}, cv=GroupKFold(3))
        assert paths.shape == (150,)
        unasked = hmm(3, n_init=2).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        weight = np.ones(150)
        weighted = cross_validate(
            unasked, rows, params={"groups": number, "sample_weight": weight}, cv=GroupKFold(3)
        )
        np.testing.assert_allclose(weighted["test_score"], results["test_score"], rtol=1e-8)


def test_without_routing_groups_reach_the_splitter_alone(six):
    frame, number = six
    rows = frame[["a", "b"]]
    scores = cross_val_score(hmm(3, n_init=2), rows, groups=number, cv=GroupKFold(3))
    train, test = next(GroupKFold(3).split(rows, groups=number))
    assert scores[0] == pytest.approx(hmm(3, n_init=2).fit(rows.iloc[train]).score(rows.iloc[test]))
    # Given to fit as well, but not to score, they are missed there.
    with pytest.warns(UserWarning, match="rows count as one sequence, but the model was fitted on 4"):
        cross_validate(hmm(3, n_init=2), rows, groups=number, params={"groups": number}, cv=GroupKFold(3))
