"""Estimators that are fitted to streams, by partial_fit."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from emlearn import (
    HMMEM,
    BayesianGaussianMixtureEM,
    EMImputer,
    GaussianMixtureEM,
    MixtureOfLinearRegressions,
    _online,
)
from emlearn._online import OF_A_FIT
from emlearn.em.trees import leaves

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MEANS = np.array([[-3.0, 0.0], [2.0, 2.0]])
LENGTH = 50  # of a sequence


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch):
    """Streams end their races sooner, so that tests are quick."""
    monkeypatch.setattr(_online, "BUFFER_ROWS", 2000)


def rows(n, seed=0, shift=0.0):
    """Two clusters in the plane, of 3 to 7."""
    rng = np.random.RandomState(seed)
    labels = (rng.uniform(size=n) < 0.7).astype(int)
    return MEANS[labels] + shift + rng.normal(size=(n, 2)), labels


class Kind:
    """An estimator, and its data: tables that are cut anywhere."""

    def __init__(self, make, n=4000):
        self.make, self.n = make, n

    def data(self, n=None, seed=0, shift=0.0):
        return (rows(n or self.n, seed, shift)[0],)

    def cut(self, data, start, stop, weight=None):
        return tuple(part[start:stop] for part in data), {} if weight is None else {"sample_weight": weight}

    def score(self, estimator, data):
        return estimator.score(*data)


class Regressions(Kind):
    def data(self, n=None, seed=0, shift=0.0):
        labels, rng = rows(n or self.n, seed)[1], np.random.RandomState(seed + 1)
        X = rng.normal(size=(len(labels), 2))
        y = np.where(labels, 1.0 + 2 * X[:, 0] + shift, -1.0 - X[:, 1] + shift) + 0.3 * rng.normal(size=len(X))
        return X, y

    def score(self, estimator, data):
        return estimator.score_samples(*data).mean()


class Sequences(Kind):
    """Cut at whole sequences."""

    def data(self, n=None, seed=0, shift=0.0):
        rng, n = np.random.RandomState(seed), n or self.n
        stays, state = rng.uniform(size=n) < 0.9, np.zeros(n, dtype=int)
        for t in range(1, n):
            state[t] = state[t - 1] if stays[t] else 1 - state[t - 1]
        return (MEANS[state] + shift + rng.normal(size=(n, 2)),)

    def cut(self, data, start, stop, weight=None):
        n = max((stop - start) // LENGTH, 1)
        X = data[0][start : start + n * LENGTH]
        marks = {"lengths": np.full(n, len(X) // n)}
        return (X,), marks if weight is None else {**marks, "sample_weight": weight}

    def score(self, estimator, data):
        return estimator.score(data[0], lengths=np.full(len(data[0]) // LENGTH, LENGTH))


KINDS = {
    "mixture": Kind(lambda **p: GaussianMixtureEM(2, random_state=0, n_init=3, **p)),
    "bayesian": Kind(lambda **p: BayesianGaussianMixtureEM(2, random_state=0, n_init=3, **p)),
    "imputer": Kind(lambda **p: EMImputer(**p)),
    "imputer of two": Kind(lambda **p: EMImputer(n_components=2, random_state=0, n_init=3, **p)),
    "regressions": Regressions(lambda **p: MixtureOfLinearRegressions(2, random_state=0, n_init=3, **p)),
    "chain": Sequences(lambda **p: HMMEM(2, random_state=0, n_init=3, **p)),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
# Others take the same paths.
most_slow = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=name, marks=() if name in ("mixture", "chain") else pytest.mark.slow)
        for name, kind in KINDS.items()
    ],
)


def learn(kind, estimator, data, size, start=0, stop=None, weight=None):
    stop = len(data[0]) if stop is None else stop
    for first in range(start, stop, size):
        arrays, options = kind.cut(data, first, first + size)
        if weight is not None:
            options["sample_weight"] = weight
        estimator.partial_fit(*arrays, **options)
    return estimator


def parameters(estimator):
    return [leaf.copy() for leaf in leaves(estimator._params)]


def assert_same_model(a, b, **tolerance):
    for x, y in zip(parameters(a), parameters(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def state_of(estimator):
    return pickle.dumps(vars(estimator))


# -- what a stream comes to --------------------------------------------------------------------------------


@every_kind
def test_stream_comes_near_to_the_fit(kind):
    data = kind.data()
    arrays, options = kind.cut(data, 0, len(data[0]))
    fit = kind.make().fit(*arrays, **options)
    stream = learn(kind, kind.make(), data, 1000)
    assert stream.n_rows_seen_ == len(data[0])
    assert not hasattr(stream, "_buffer"), "rows are kept for no reason"
    assert abs(kind.score(fit, data) - kind.score(stream, data)) < 2e-3
    for x, y in zip(parameters(fit), parameters(stream), strict=True):
        if not isinstance(stream, BayesianGaussianMixtureEM):  # whose hyperparameters are counts
            np.testing.assert_allclose(x, y, atol=0.12)


@every_kind
def test_one_batch_that_is_large_enough_is_the_fit(kind):
    data = kind.data()
    arrays, options = kind.cut(data, 0, len(data[0]))
    stream, fit = kind.make().partial_fit(*arrays, **options), kind.make().fit(*arrays, **options)
    assert_same_model(stream, fit, rtol=0)
    assert stream.converged_ == fit.converged_
    assert stream.n_rows_seen_ == len(data[0])


@most_slow
def test_cut_hardly_matters(kind):
    data = kind.data()
    few, many = (learn(kind, kind.make(), data, size) for size in (2000, 500))
    assert abs(kind.score(few, data) - kind.score(many, data)) < 1e-3


@most_slow
def test_fit_is_gone_on_from(kind):
    data = kind.data()
    arrays, options = kind.cut(data, 0, 2000)
    fit = kind.make().fit(*arrays, **options)
    before = kind.score(fit, data)
    learn(kind, fit, data, 500, start=2000)
    assert fit.n_rows_seen_ == len(data[0])
    assert kind.score(fit, data) > before
    # Rows that were kept for a race lead to the same place as those of the fit.
    again = learn(kind, kind.make().partial_fit(*arrays, **options), data, 500, start=2000)
    assert_same_model(again, fit, rtol=0)
    assert not hasattr(fit.fit(*arrays, **options), "n_rows_seen_")


@most_slow
def test_same_stream_gives_the_same(kind):
    data = kind.data()
    assert_same_model(*(learn(kind, kind.make(), data, 1000) for _ in range(2)), rtol=0)


@most_slow
def test_drift_is_followed_where_the_past_is_forgotten(kind):
    """Of a drift by 3 most is followed, where a stream without forgetting is left behind."""
    start, end = kind.data(2000), kind.data(1000, seed=99, shift=3.0)
    gains = []
    for forgetting in (0.0, 0.003):
        stream = learn(kind, kind.make(forgetting=forgetting), start, 1000)
        for i in range(20):
            learn(kind, stream, kind.data(200, seed=i, shift=3.0 * min(i / 15, 1)), 200)
        gains.append(kind.score(stream, end))
    assert gains[1] > gains[0] + 0.03


@most_slow
def test_missing_and_narrow_numbers(kind):
    if isinstance(kind, Regressions):
        pytest.skip("regressions take no missing entries")
    (X,) = kind.data()
    X = np.where(np.random.RandomState(3).uniform(size=X.shape) < 0.2, np.nan, X).astype(np.float32)
    stream = learn(kind, kind.make(), (X,), 1000)
    arrays, options = kind.cut((X,), 0, len(X))
    assert abs(kind.score(stream, (X,)) - kind.score(kind.make().fit(*arrays, **options), (X,))) < 4e-3
    if hasattr(stream, "means_") and not isinstance(stream, EMImputer | HMMEM):
        assert stream.means_.dtype == np.float32


@most_slow
def test_weight_of_two_is_a_row_twice(kind):
    data = kind.data(2400)
    weighted = learn(kind, kind.make(), data, 600, weight=2.0)
    twice = kind.make()
    for start in range(0, 2400, 600):
        arrays, options = kind.cut(data, start, start + 600)
        doubled = tuple(np.concatenate([array, array]) for array in arrays)
        twice.partial_fit(*doubled, **{name: np.tile(value, 2) for name, value in options.items()})
    # Twice as many rows are enough for a race sooner: all else is the same.
    assert abs(kind.score(weighted, data) - kind.score(twice, data)) < 3e-3


# -- the first rows ----------------------------------------------------------------------------------------


def test_races_while_rows_are_kept():
    X = rows(2600)[0]
    stream, seen = GaussianMixtureEM(2, random_state=0, n_init=2), []
    for start in range(0, 2600, 100):
        stream.partial_fit(X[start : start + 100])
        fit = stream.restarts_
        if not seen or seen[-1][1] is not fit:
            seen.append((stream.n_rows_seen_, fit))
    assert [n for n, _ in seen] == [100, 200, 400, 800, 1600, 2000]
    assert not hasattr(stream, "_buffer")
    assert not any(hasattr(stream, name + "_") for name in OF_A_FIT)
    at_last_race = GaussianMixtureEM(2, random_state=0, n_init=2).fit(X[:2000])
    np.testing.assert_array_equal(stream._units, at_last_race._units)


def test_more_parameters_keep_more_rows():
    X = np.random.RandomState(0).normal(size=(3000, 20))
    stream = GaussianMixtureEM(1).partial_fit(X[:2500])
    assert stream.n_parameters_ == 230  # 2300 rows are enough
    assert not hasattr(stream, "_buffer")
    assert GaussianMixtureEM(1).partial_fit(X[:2200])._buffer.n_rows == 2200


def test_model_stands_from_the_first_batch():
    X = rows(60)[0]
    stream = GaussianMixtureEM(2, random_state=0).partial_fit(X)
    fit = GaussianMixtureEM(2, random_state=0).fit(X)
    assert stream.score(X) == fit.score(X) == pytest.approx(stream.lower_bound_)
    np.testing.assert_array_equal(stream.predict(X), fit.predict(X))


def test_rows_that_are_kept_are_copies():
    X = rows(100)[0]
    stream = GaussianMixtureEM(2, random_state=0).partial_fit(X)
    given, kept = X.copy(), stream._buffer.joined().X.copy()
    X[:] = 7.0
    np.testing.assert_array_equal(stream._buffer.joined().X, kept)
    np.testing.assert_array_equal(kept, given)


def test_weights_of_some_batches():
    X, weight = rows(300)[0], np.random.RandomState(0).uniform(0.5, 2.0, size=100)
    stream = (
        GaussianMixtureEM(2, random_state=0).partial_fit(X[:100]).partial_fit(X[100:200], sample_weight=weight)
    )
    whole = GaussianMixtureEM(2, random_state=0).fit(X[:200], sample_weight=np.r_[np.ones(100), weight])
    assert_same_model(stream, whole, rtol=0)


# -- what goes along ---------------------------------------------------------------------------------------


@most_slow
def test_pickles_and_clones(kind):
    data = kind.data(3000)
    stream = learn(kind, kind.make(), data, 1250, stop=2500)
    copy = pickle.loads(pickle.dumps(stream))
    for estimator in (stream, copy):
        learn(kind, estimator, data, 500, start=2500)
    assert_same_model(stream, copy, rtol=0)
    assert not hasattr(clone(stream), "n_rows_seen_")


@pytest.mark.parametrize("name", ["mixture", "bayesian", "regressions", "chain"])
def test_order_by_hand_is_kept(name):
    kind = KINDS[name]
    data = kind.data(3000)
    streams = [learn(kind, kind.make(), data, 1250, stop=2500) for _ in range(2)]
    streams[1].reorder([1, 0])
    for stream in streams:
        learn(kind, stream, data, 500, start=2500)
    if name == "regressions":
        np.testing.assert_allclose(streams[0].coef_, streams[1].coef_[::-1], rtol=1e-12)
    else:
        np.testing.assert_allclose(streams[0].means_, streams[1].means_[::-1], rtol=1e-12)
    assert kind.score(streams[0], data) == pytest.approx(kind.score(streams[1], data), rel=1e-12)


def test_names_of_columns():
    X = rows(400)[0]
    frame = pd.DataFrame(X, columns=["left", "right"])
    stream = GaussianMixtureEM(2, random_state=0).partial_fit(frame[:100]).partial_fit(frame[100:200])
    assert stream.feature_names_in_.tolist() == ["left", "right"]
    with pytest.raises(ValueError, match="feature names"):
        stream.partial_fit(frame[200:].rename(columns={"left": "up"}))


def test_offset_of_counts():
    rng = np.random.RandomState(0)
    stream = MixtureOfLinearRegressions(1, family="poisson")
    for _ in range(8):
        x, exposure = rng.normal(size=500), rng.uniform(0.5, 5.0, size=500)
        counts = rng.poisson(exposure * np.exp(0.3 + 0.5 * x))
        stream.partial_fit(x[:, None], counts, offset=np.log(exposure))
    np.testing.assert_allclose([stream.intercept_[0], stream.coef_[0, 0]], [0.3, 0.5], atol=0.03)
    # A batch without exposures, as if all were 1.
    x = rng.normal(size=500)
    stream.partial_fit(x[:, None], rng.poisson(np.exp(0.3 + 0.5 * x)))
    np.testing.assert_allclose([stream.intercept_[0], stream.coef_[0, 0]], [0.3, 0.5], atol=0.03)


def test_imputer_tells_of_all_rows():
    X = rows(4000)[0]
    X[2500:, 1] = np.nan
    stream = EMImputer().partial_fit(X[:2500]).partial_fit(X[2500:])
    np.testing.assert_allclose(stream.missing_fraction_, [0.0, 0.375])
    mean, deviation = X[:, 0].mean(), X[:, 0].std()
    np.testing.assert_allclose(stream._fitted_to.mean[0], mean, rtol=1e-12)
    np.testing.assert_allclose(stream._fitted_to.variance[0], deviation**2, rtol=1e-12)
    filled = stream.transform(X[2500:2600])
    known = np.linalg.lstsq(np.column_stack([np.ones(2500), X[:2500, 0]]), X[:2500, 1], rcond=None)[0]
    np.testing.assert_allclose(filled[:, 1], known[0] + known[1] * X[2500:2600, 0], atol=0.1)


def test_imputer_warns_of_what_begins_to_vary():
    X = np.column_stack([rows(2500)[0], np.full(2500, 5.0)])
    stream = EMImputer()
    with pytest.warns(UserWarning, match="constant"):
        stream.partial_fit(X)
    more = X[:100].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        stream.partial_fit(more)
    more[:, 2] = np.arange(100)
    with pytest.warns(UserWarning, match="column 2 was constant.* but now it varies"):
        stream.partial_fit(more)


def test_imputer_waits_for_something_to_vary():
    stream = EMImputer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(5):
            stream.partial_fit([[1.0, np.nan], [np.nan, 2.0]] * 300)
        assert stream._buffer.n_rows == 3000
        stream.partial_fit(rows(3000)[0])
    assert not hasattr(stream, "_buffer")
    assert np.isfinite(stream.score(rows(100)[0]))


def test_prior_weighs_as_in_a_fit():
    """Concentration worth 2000 rows beside 4000: as without forgetting rows add up."""
    X = rows(4000)[0]
    options = {
        "weight_concentration_prior_type": "dirichlet_distribution",
        "weight_concentration_prior": 1000.0,
    }
    stream = BayesianGaussianMixtureEM(2, random_state=0, n_init=3, **options)
    for start in range(0, 4000, 500):
        stream.partial_fit(X[start : start + 500])
    fit = BayesianGaussianMixtureEM(2, random_state=0, n_init=3, **options).fit(X)
    np.testing.assert_allclose(stream.weights_, fit.weights_, atol=0.01)
    assert stream._params.latent.sum() == pytest.approx(2 * 1000 + 4000, rel=1e-9)


# -- bad input ---------------------------------------------------------------------------------------------


def assert_refused(estimator, message, *args, error=ValueError, **kwargs):
    before = state_of(estimator)
    with pytest.raises(error, match=message):
        estimator.partial_fit(*args, **kwargs)
    assert state_of(estimator) == before, "a refused batch changed something"


@every_kind
@pytest.mark.parametrize("n", [0, 100, 2600], ids=["fresh", "keeping rows", "following"])
def test_bad_batches_are_named_and_change_nothing(kind, n):
    data = kind.data(2600)
    stream = learn(kind, kind.make(), data, 1300 if n else 1, stop=n) if n > 100 else kind.make()
    if n == 100:
        arrays, options = kind.cut(data, 0, 100)
        stream.partial_fit(*arrays, **options)
    (X, *others), options = kind.cut(data, 0, 100)
    bad = X.copy()
    bad[7, 1] = np.inf
    assert_refused(stream, "infinity in column 1", bad, *others, **options)
    assert_refused(stream, "sample_weight has shape", X, *others, **options, sample_weight=np.ones(3))
    assert_refused(stream, "negative", X, *others, **options, sample_weight=-1.0)
    # Of an imputer's texts the levels that are still to come are not known.
    no_numbers = "must know all categories|entries that are no numbers"
    assert_refused(stream, no_numbers, np.full(X.shape, "text"), *others, **options)
    if n:
        assert_refused(stream, "X has 3 features, but .* is expecting 2", np.c_[X, X[:, 0]], *others, **options)
    stream.set_params(forgetting=1.0)
    assert_refused(stream, "'forgetting' parameter", X, *others, **options)


@every_kind
def test_first_batch_must_carry_the_model(kind):
    (X, *others), _ = kind.cut(kind.data(), 0, 50)
    row = tuple(part[:1] for part in (X, *others))
    least = max(2, kind.make().n_components)
    assert_refused(
        kind.make(), f"n_components=\\d needs at least {least} distinct rows, but X has n_samples=1, 1", *row
    )
    same = tuple(np.repeat(part, 9, axis=0) for part in row)
    assert_refused(kind.make(), f"at least {least} distinct rows, but X has n_samples=9, 1 of them", *same)


def test_what_cannot_go_on():
    X = rows(2500)[0]
    known = GaussianMixtureEM.from_parameters([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], [np.eye(2)] * 2)
    assert_refused(known, "GaussianMixtureEM has parameters without any. Begin a stream", X)
    assert_refused(GaussianMixtureEM(2, assignment="sampled"), "assignment='sampled' makes a chain of draws", X)
    stream = GaussianMixtureEM(2, random_state=0).partial_fit(X)
    stream.set_params(n_components=3)
    assert_refused(stream, "n_components=3, but what partial_fit goes on from has 2", X)


def test_rows_without_a_density_are_named():
    stream = GaussianMixtureEM(2, random_state=0).partial_fit(rows(2500)[0])
    with np.errstate(over="ignore", invalid="ignore"):
        assert_refused(stream, "The log-likelihood of new rows is", np.full((3, 2), 1e200))


def test_fit_with_groups_is_not_gone_on_from():
    X, y = KINDS["regressions"].data(400)
    fit = MixtureOfLinearRegressions(2, random_state=0).fit(X, y, groups=np.arange(400) // 4)
    assert_refused(fit, "had groups of them", X, y)


def test_responses_of_another_kind():
    rng = np.random.RandomState(0)
    X, successes = rng.normal(size=(200, 1)), rng.binomial(5, 0.4, size=200)
    pairs = np.column_stack([successes, 5 - successes])
    stream = MixtureOfLinearRegressions(1, family="binomial").partial_fit(X, pairs)
    assert_refused(stream, "as many columns in all batches", X, (successes > 2).astype(int))
    assert_refused(stream, "y must be", X, np.full(200, 0.5))


def test_codes_that_a_chain_does_not_know():
    rng = np.random.RandomState(0)
    stream = HMMEM(2, emission="categorical", random_state=0, n_init=3)
    stream.partial_fit(rng.randint(3, size=(2500, 1)), lengths=np.full(50, 50))
    assert_refused(stream, "column 0, sequence 0, step 1", [[0], [7]])
    assert_refused(stream, "drop lengths", [[0], [1]], groups=[0, 0], lengths=[2])


@pytest.mark.parametrize("n", [100, 2500])
def test_interrupted_call_changes_nothing(n, monkeypatch):
    X = rows(2600)[0]
    stream = GaussianMixtureEM(2, random_state=0).partial_fit(X[:n])

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(GaussianMixtureEM, "_take", interrupt)
    assert_refused(stream, None, X[:100], error=KeyboardInterrupt)


def test_arguments_are_of_partial_fit():
    with pytest.raises(TypeError, match=r"GaussianMixtureEM.partial_fit\(\) got an unexpected"):
        GaussianMixtureEM().partial_fit(rows(10)[0], weights=1)


def test_warm_start_does_not_go_on_from_a_race_of_few():
    X = rows(300)[0]
    warm = GaussianMixtureEM(2, random_state=0, warm_start=True).partial_fit(X[:50]).partial_fit(X[50:])
    assert_same_model(warm, GaussianMixtureEM(2, random_state=0).fit(X), rtol=0)
    assert len(warm.restarts_.starts) > 1


def test_convergence_is_said_of_races_alone():
    X = rows(2100)[0]
    stream = GaussianMixtureEM(2, max_iter=1, random_state=0)
    with pytest.warns(ConvergenceWarning, match="stopped short of tol"):
        stream.partial_fit(X[:2000])
    assert not stream.converged_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream.partial_fit(X[2000:])
    assert not hasattr(stream, "converged_")
