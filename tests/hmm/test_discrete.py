"""Hidden Markov models of counts and categories: what is impossible, what is missing, and what has names."""

import warnings
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.model_selection import GridSearchCV, KFold

from emlearn import HMMEM
from emlearn.families import (
    Bernoulli,
    Binomial,
    Categorical,
    MixtureOf,
    Multinomial,
    NegativeBinomial,
    Poisson,
    ZeroInflatedPoisson,
)
from tests.helpers.kernels import on_both_kernels
from tests.helpers.pace import some_slow

NAN, INF = np.nan, np.inf


def hmm(n_components=2, **kwargs):
    return HMMEM(n_components, **{"random_state": 0, "n_init": 2, **kwargs})


START = np.array([0.7, 0.3])
MOVES = {"all": np.array([[0.8, 0.2], [0.3, 0.7]]), "one way": np.array([[0.6, 0.4], [0.0, 1.0]])}


# -- against all paths, one by one ---------------------------------------------------------------------------


def categories(x, k):
    p = [[[0.5, 0.5, 0.0], [0.0, 0.4, 0.6]], [[1.0, 0.0], [0.3, 0.7]]]
    with np.errstate(divide="ignore"):
        logs = [np.log(p[j][k]) for j in range(2)]
    return sum((logs[j][int(v)] if v < len(logs[j]) else -INF) for j, v in enumerate(x) if not np.isnan(v))


def entry_by_entry(log_pmf):
    """Log-densities of rows, of the log-pmf of an entry in a state and a column."""
    return lambda x, k: sum(log_pmf(v, k, j) for j, v in enumerate(x) if not np.isnan(v))


RATES = [[0.0, 2.0], [3.0, 0.5]]
CHANCES = [[0.0, 0.4], [1.0, 0.3]]
SPREADS = [[0.5, 0.2], [2.0, 1.0]]
EXCESS = [[0.3, 0.0], [0.2, 1.0]]
SHARES = np.array([[0.5, 0.5, 0.0], [0.0, 0.3, 0.7]])


def inflated(v, k, j):
    with np.errstate(divide="ignore"):
        return np.log(EXCESS[k][j] * (v == 0) + (1 - EXCESS[k][j]) * stats.poisson(RATES[k][j]).pmf(v))


def counted(x, k):
    there = ~np.isnan(x)
    if not x[there].sum():
        return 0.0
    p = SHARES[k][there]
    if not p.sum():
        return -INF
    return stats.multinomial(int(x[there].sum()), p / p.sum()).logpmf(x[there])


def two_poissons(x, k):
    p = [[0.0, 0.0], [1.0, 5.0]][k]
    return entry_by_entry(lambda v, _, j: logsumexp([np.log(0.5) + stats.poisson(r).logpmf(v) for r in p]))(
        x, k
    )


# Emission, its parameters, log-density of a row in a state, rows to draw sequences from.
EMISSIONS = {
    "categorical": (
        "categorical",
        {"probabilities": ([[0.5, 0.5, 0.0], [0.0, 0.4, 0.6]], [[1.0, 0.0], [0.3, 0.7]])},
        categories,
        [(0, 0), (1, 0), (2, 0), (0, 1), (1, NAN), (NAN, 1), (3, 0), (2, 1)],
    ),
    "bernoulli": (
        "bernoulli",
        {"probabilities": CHANCES},
        entry_by_entry(lambda v, k, j: stats.bernoulli(CHANCES[k][j]).logpmf(int(v))),
        [(0, 0), (1, 0), (0, 1), (1, 1), (NAN, 1), (1, NAN)],
    ),
    "poisson": (
        "poisson",
        {"rates": RATES},
        entry_by_entry(lambda v, k, j: stats.poisson(RATES[k][j]).logpmf(v)),
        [(0, 0), (2, 1), (0, 3), (NAN, 1), (1, NAN)],
    ),
    "binomial": (
        Binomial((3, 2)),
        {"probabilities": CHANCES},
        entry_by_entry(lambda v, k, j: stats.binom((3, 2)[j], CHANCES[k][j]).logpmf(v)),
        [(0, 0), (3, 1), (2, 1), (NAN, 2), (3, NAN), (0, 2)],
    ),
    "binomial pairs": (
        Binomial(),
        {"probabilities": [[0.0], [0.6]]},
        lambda x, k: 0.0 if np.isnan(x).any() else stats.binom(x[1], (0.0, 0.6)[k]).logpmf(x[0]),
        [(0, 4), (2, 4), (0, 0), (1, NAN), (NAN, 3), (3, 3)],
    ),
    "negative binomial": (
        "negative_binomial",
        {"rates": RATES, "dispersions": SPREADS},
        entry_by_entry(
            lambda v, k, j: stats.nbinom(1 / SPREADS[k][j], 1 / (1 + SPREADS[k][j] * RATES[k][j])).logpmf(v)
        ),
        [(0, 0), (2, 1), (0, 3), (NAN, 1), (1, NAN)],
    ),
    "zero-inflated": (
        "zero_inflated_poisson",
        {"rates": RATES, "inflations": EXCESS},
        entry_by_entry(inflated),
        [(0, 0), (2, 1), (0, 3), (NAN, 1), (1, NAN)],
    ),
    "multinomial": (
        "multinomial",
        {"probabilities": SHARES},
        counted,
        [(1, 2, 0), (0, 3, 1), (0, 2, 0), (1, 0, 1), (NAN, 2, 0), (1, NAN, NAN), (NAN, NAN, 2)],
    ),
    "mixture of poissons": (
        MixtureOf(Poisson(), 2),
        {"weights": [[0.5, 0.5]] * 2, "rates": [[[0.0], [0.0]], [[1.0], [5.0]]]},
        two_poissons,
        [(0,), (3,), (1,), (NAN,)],
    ),
}


def logs_of(X, log_density):
    """Log-densities (T, K) of the rows of a sequence."""
    return np.array([[0.0 if np.isnan(x).all() else log_density(x, k) for k in range(len(START))] for x in X])


def every_path(seen, transition):
    """Evidence, posterior (T, K) and best log-probability, from the sum over all paths."""
    n, K = seen.shape
    posterior, best, total = np.zeros((n, K)), -INF, 0.0
    for path in product(range(K), repeat=n):
        with np.errstate(divide="ignore"):
            joint = np.log(START[path[0]]) + sum(np.log(transition[a, b]) for a, b in pairwise(path))
        joint += seen[np.arange(n), path].sum()
        best = max(best, joint)
        total += np.exp(joint)
        posterior[np.arange(n), path] += np.exp(joint)
    with np.errstate(divide="ignore"):
        return np.log(total), posterior / (total or 1.0), best


@on_both_kernels
@pytest.mark.parametrize("moves", some_slow(MOVES, ["one way"]))
@pytest.mark.parametrize("name", EMISSIONS)
def test_all_paths_with_zeros_and_missing_entries(name, moves):
    emission, params, log_density, rows = EMISSIONS[name]
    transition = MOVES[moves]
    model = HMMEM.from_parameters(START, transition, emission=emission, **params)
    rng = np.random.RandomState(0)
    sequences = [np.array(rows, dtype=float)[rng.randint(len(rows), size=n)] for n in (1, 2, 3, 4, 5, 5)]
    sequences[2][1] = NAN
    logs = [logs_of(X, log_density) for X in sequences]
    expected = [every_path(seen, transition) for seen in logs]
    evidence, posterior, best = zip(*expected, strict=True)
    assert max(evidence) > -INF
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X is .* never seen in fit")
        found = model.log_likelihood(sequences)
        paths, joint = model.decode(sequences)
        proba, filtered = model.predict_proba(sequences), model.filter_proba(sequences)
        steps = model.score_samples(sequences)
    np.testing.assert_allclose(found, evidence, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(joint, best, rtol=1e-10, atol=1e-12)
    for own, given, smoothed, seen, per_step, path in zip(
        logs, posterior, proba, filtered, steps, paths, strict=True
    ):
        np.testing.assert_allclose(smoothed, given, atol=1e-12)
        parts = [every_path(own[: t + 1], transition) for t in range(len(own))]
        np.testing.assert_allclose(seen, [part[1][-1] for part in parts], atol=1e-12)
        np.testing.assert_allclose(np.cumsum(per_step), [part[0] for part in parts], rtol=1e-10, atol=1e-12)
        assert set(path) <= {0, 1}


# -- fits ----------------------------------------------------------------------------------------------------


def regimes(n=400, length=25):
    return (np.arange(n) // length) % 2


def draw(name, rng, states):
    """Rows that states emit, and the parameters they come from."""
    p = np.array([0.15, 0.7])[states]
    rates = np.array([2.0, 11.0])
    kinds = np.array([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]])
    if name == "negative_binomial":
        alpha = np.array([0.5, 0.2])
        X = rng.poisson(rates[states] * rng.gamma(1 / alpha[states]) * alpha[states])[:, None]
        return X, {"rates": rates, "dispersions": alpha}
    if name == "zero_inflated_poisson":
        X = rng.poisson(rates[states]) * (rng.uniform(size=len(states)) > np.array([0.2, 0.4])[states])
        return X[:, None], {"rates": rates, "inflations": [0.2, 0.4]}
    if name == "binomial":
        trials = rng.randint(1, 30, size=len(states))
        return np.column_stack([rng.binomial(trials, p), trials]), {"probabilities": [0.15, 0.7]}
    assert name == "multinomial"
    totals = rng.randint(1, 9, size=len(states))
    X = np.array([rng.multinomial(n, kinds[k]) for n, k in zip(totals, states, strict=True)])
    return X, {"probabilities": kinds}


NEW = ("negative_binomial", "zero_inflated_poisson", "binomial", "multinomial")


def in_order(model):
    """States by their first parameter, as `draw` has them."""
    first = np.reshape(model.emission_params_[0], (2, -1))[:, 0]
    return np.argsort(-first if model.emission == "multinomial" else first)


@pytest.mark.parametrize("name", NEW)
def test_new_emissions_are_fitted(name):
    states = regimes()
    X, _ = draw(name, np.random.RandomState(0), states)
    model = hmm(emission=name).fit(X)
    order = in_order(model)
    assert model.converged_
    assert (order[states] == model.predict(X)).mean() > 0.93
    drops = np.diff(model.lower_bounds_)
    assert drops.min() > -1e-9
    assert model.score(X) == pytest.approx(model.lower_bound_, abs=1e-9)
    again = hmm(emission=name).fit([X, X], sample_weight=[0.5, 0.5])
    assert again.log_likelihood_ == pytest.approx(model.log_likelihood_, abs=1e-3)
    drawn, _ = model.sample(30)
    assert np.isfinite(model.score(drawn))


@pytest.mark.slow
@pytest.mark.parametrize("name", NEW)
def test_parameters_are_recovered(name):
    """Within a few standard errors, and closer with more data; a fifth of the rows are missing in part."""
    for n, tolerance in ((2_000, 0.3), (40_000, 0.06)):
        states = regimes(n)
        rng = np.random.RandomState(1)
        X, truth = draw(name, rng, states)
        X = np.where((rng.uniform(size=X.shape) < 0.1), NAN, X)
        model = hmm(emission=name).fit(X)
        order = in_order(model)
        for field, values in truth.items():
            found = np.reshape(getattr(model.emission_params_, field), (2, -1))[order]
            values = np.reshape(values, (2, -1))
            np.testing.assert_allclose(found, values, rtol=tolerance)


def test_counts_that_vary_no_more_than_poisson_counts_need_no_dispersion():
    X = np.random.RandomState(0).poisson(np.array([2.0, 12.0])[regimes()])[:, None]
    plain = hmm(emission="poisson").fit(X)
    model = hmm(emission="negative_binomial").fit(X)
    assert model.log_likelihood_ >= plain.log_likelihood_ - 1e-3
    assert model.log_likelihood_ - plain.log_likelihood_ < 4
    np.testing.assert_allclose(model.rates_, plain.rates_, rtol=0.02)


def test_columns_of_several_emissions():
    states, rng = regimes(), np.random.RandomState(0)
    parts = {name: draw(name, rng, states)[0] for name in ("binomial", "zero_inflated_poisson", "multinomial")}
    X = np.column_stack(list(parts.values()))
    emission = {(0, 1): Binomial(), 2: "zero_inflated_poisson", (3, 4, 5): Multinomial()}
    model = hmm(emission=emission).fit(X)
    assert set(model.emission_params_) == {(0, 1), (2,), (3, 4, 5)}
    agreement = (model.predict(X) == states).mean()
    assert max(agreement, 1 - agreement) > 0.99
    words = {
        0: "binomial",
        1: "binomial",
        2: "zero_inflated_poisson",
        3: "multinomial",
        4: "multinomial",
        5: "multinomial",
    }
    again = hmm(emission=words).fit(X)
    assert again.log_likelihood_ == pytest.approx(model.log_likelihood_, abs=1e-6)


def test_held_parameters_stay():
    X, _ = draw("negative_binomial", np.random.RandomState(0), regimes())
    given = {"rates": [[2.0], [11.0]], "dispersions": [[0.5], [0.2]]}
    for held, n_free in (("rates", 5), ("dispersions", 5), (("rates", "dispersions"), 3)):
        model = hmm(emission="negative_binomial", emission_init=given, fixed=held).fit(X)
        for name in (held,) if isinstance(held, str) else held:
            np.testing.assert_array_equal(getattr(model.emission_params_, name), given[name])
        assert model.n_parameters_ == n_free


def test_a_start_that_makes_a_sequence_impossible_is_named():
    X = [np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([[0.0], [2.0], [0.0], [1.0]])]
    init = {"probabilities": [[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]]}
    with pytest.raises(ValueError, match=r"Sequence 1 is impossible where the fit starts: .* at step 1"):
        hmm(emission="categorical", emission_init=init).fit(X)
    # Without weight it is nothing, and with a way around it the fit goes on.
    model = hmm(emission="categorical", emission_init=init, n_categories=3)
    assert np.isfinite(model.fit(X, sample_weight=[1, 0]).log_likelihood_)
    init["probabilities"][1] = [0.2, 0.3, 0.5]
    model = hmm(emission="categorical", emission_init=init).fit(X)
    assert np.isfinite(model.log_likelihood_)
    assert model.probabilities_[0][0, 2] == 0


def test_a_sequence_that_one_model_cannot_make():
    """Every violation is infinitely unlikely, not a constant."""
    turns = HMMEM.from_parameters([1, 0], [[0, 1], [1, 0]], emission="bernoulli", probabilities=[[0.0], [1.0]])
    coin = HMMEM.from_parameters([1.0], [[1.0]], emission="bernoulli", probabilities=[[0.5]])
    tosses = np.random.RandomState(0).randint(2, size=(3000, 1)).astype(float)
    assert turns.log_likelihood(tosses)[0] == -INF
    assert coin.log_likelihood(tosses)[0] == pytest.approx(3000 * np.log(0.5))
    assert turns.log_likelihood(np.arange(3000)[:, None] % 2)[0] == 0.0
    after = turns.predict_next(np.array([[1.0]]))
    assert not after.state_proba.any()
    assert np.isnan(after.mean).all()
    assert np.isnan(after.covariance).all()


# -- categories ----------------------------------------------------------------------------------------------


def weather(n=300, seed=0):
    rng = np.random.RandomState(seed)
    likely = np.array(["rain", "sun"])[regimes(n)]
    return np.where(rng.uniform(size=n) < 0.8, likely, rng.choice(["fog", "wind"], size=n))


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("scale", [1, 10])
def test_only_codes_that_occur_are_parameters(shift, scale):
    codes = np.unique(weather(), return_inverse=True)[1][:, None]
    plain = hmm(emission="categorical").fit(codes)
    other = hmm(emission="categorical").fit(codes * scale + shift)
    assert other.n_parameters_ == plain.n_parameters_ == 1 + 2 + 2 * 3
    assert other.bic(codes * scale + shift) == pytest.approx(plain.bic(codes), abs=1e-6)
    prior = [hmm(emission="categorical", emission_prior=2.0).fit(X) for X in (codes, codes * scale + shift)]
    assert prior[0].lower_bound_ == pytest.approx(prior[1].lower_bound_, abs=1e-9)
    assert prior[0].n_parameters_ == prior[1].n_parameters_ == plain.n_parameters_


def test_pseudo_counts_are_counts_of_observations():
    """With known states the mode is counts and concentration less 1, over their sum."""
    codes, states = np.unique(weather(), return_inverse=True)[1][:, None], regimes(300)
    counts = np.array([np.bincount(codes[states == k, 0], minlength=6) for k in range(2)])
    for prior in (3.0, {"concentration": 3.0}, {"concentration": [1.0, 2.0, 3.0, 4.0, 1.0, 7.0]}):
        model = hmm(emission="categorical", n_categories=6, emission_prior=prior)
        model.fit(codes, state_labels=states)
        value = prior if isinstance(prior, float) else prior["concentration"]
        expected = counts + np.broadcast_to(value, 6) - 1.0
        np.testing.assert_allclose(
            model.probabilities_[0], expected / expected.sum(axis=1, keepdims=True), rtol=1e-6
        )
    assert np.isfinite(model.score([[5.0], [0.0]]))
    bits = (codes[:, :1] > 1) * 1.0
    model = hmm(emission="bernoulli", emission_prior={"ones": 3.0, "zeros": 2.0}).fit(bits, state_labels=states)
    ones = np.array([bits[states == k].sum() for k in range(2)])
    np.testing.assert_allclose(model.probabilities_[:, 0], (ones + 2) / (np.bincount(states) + 3), rtol=1e-6)


def test_a_prior_of_some_columns():
    codes = np.unique(weather(), return_inverse=True)[1]
    X = np.column_stack([codes, codes > 1, codes])
    emission = {0: "categorical", 1: "bernoulli", 2: "poisson"}
    by_columns = {0: {"concentration": 2.0}, 1: 2.0}
    model = hmm(emission=emission, emission_prior=by_columns).fit(X)
    same = hmm(emission=emission, emission_prior=2.0).fit(X)
    assert same.lower_bound_ == pytest.approx(model.lower_bound_, abs=1e-9)
    assert (model.emission_params_[(1,)].probabilities > 0).all()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"emission_prior": 0.5}, "emission_prior: concentration holds 0.5: .* at least 1"),
        ({"emission_prior": {"concentration": [1, 0]}}, "concentration holds 0: "),
        ({"emission_prior": {"ones": 2}}, "has no prior by the name 'ones', but by concentration"),
        ({"emission_prior": {"concentration": [[1, 1, 1], [1, 1, 1]]}}, "is for 2 columns, but X has 1"),
        ({"emission_prior": 2.0, "emission": "poisson"}, "for inference='variational', but inference='em'"),
        ({"n_categories": 2}, "X is 3 in column 0, sequence 0, step 8: not one of the codes 0 to 1"),
        ({"n_categories": [3, 3]}, r"n_categories has shape \(2,\); expected \(1,\)"),
        ({"n_categories": 3, "emission": "poisson"}, "n_categories=3 is of categories, but"),
    ],
)
def test_bad_priors_and_numbers_of_categories(kwargs, message):
    codes = np.unique(weather(), return_inverse=True)[1][:, None]
    with pytest.raises(ValueError, match=message):
        hmm(**{"emission": "categorical", **kwargs}).fit(codes)


def test_unseen_categories_do_not_stop_a_search():
    X = [np.random.RandomState(i).randint(3, size=(20, 1)) for i in range(6)]
    X[4][3] = 7
    search = GridSearchCV(hmm(emission="categorical"), {"n_components": [1, 2]}, cv=KFold(3))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X is 7 in column 0")
        warnings.filterwarnings("ignore", "One or more of the test scores are non-finite")
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # scikit-learn takes deviations from -inf
        search.fit(X)
    assert np.isneginf(search.cv_results_["mean_test_score"]).all()
    search.set_params(estimator__emission_prior=1.5, estimator__n_categories=8).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("kind", ["array", "frame", "category", "list", "string"])
def test_categories_by_name_come_back(kind):
    names = weather()
    codes = np.unique(names, return_inverse=True)[1][:, None]
    plain = hmm(emission="categorical").fit(codes)
    X = {
        "array": names[:, None],
        "frame": pd.DataFrame({"sky": names}),
        "category": pd.DataFrame({"sky": pd.Categorical(names)}),
        "list": [[name] for name in names],
        "string": pd.DataFrame({"sky": pd.Series(names, dtype="string")}),
    }[kind]
    model = hmm(emission="categorical").fit(X)
    assert [list(labels) for labels in model.categories_] == [["fog", "rain", "sun", "wind"]]
    assert [list(labels) for labels in plain.categories_] == [[0, 1, 2, 3]]
    assert model.log_likelihood_ == plain.log_likelihood_
    np.testing.assert_array_equal(model.predict(X), plain.predict(codes))
    drawn, _ = model.sample(50)
    assert drawn.shape == (50, 1)
    assert set(drawn[:, 0]) <= set(names)
    assert np.isfinite(
        model.score(pd.DataFrame(drawn, columns=["sky"]) if kind not in ("array", "list") else drawn)
    )


def test_names_beside_numbers_in_sequences():
    names, rng = weather(), np.random.RandomState(0)
    frame = pd.DataFrame(
        {"sky": names, "calls": rng.poisson(2 + 6 * regimes(300)), "day": np.arange(300) // 50}
    )
    frame.loc[7, "sky"] = None
    model = hmm(emission={"sky": "categorical", "calls": "poisson"}, sequence_id="day")
    model.fit(frame)
    assert model.n_sequences_ == 6
    later = frame[frame["day"] == 1].copy()
    later.loc[later.index[3], "sky"] = "snow"
    message = "X is 'snow' in column 'sky', sequence 0, step 3: never seen in fit"
    with pytest.warns(UserWarning, match=message) as caught:
        assert model.score(later) == -INF
    assert len(caught) == 1
    drawn, _ = model.sample(5)
    assert drawn.dtype == object
    assert all(isinstance(sky, str) for sky in drawn[:, 0])
    assert all(calls == int(calls) for calls in drawn[:, 1])


def test_a_type_for_categories_names_those_that_do_not_occur():
    names = pd.Categorical(weather(), categories=["sun", "rain", "snow", "wind", "fog"])
    X = pd.DataFrame({"sky": names})
    model = hmm(emission="categorical", emission_prior=2).fit(X)
    assert list(model.categories_[0]) == ["sun", "rain", "snow", "wind", "fog"]
    assert (model.probabilities_[0][:, 2] > 0).all()
    assert np.isfinite(model.score(pd.DataFrame({"sky": ["snow", "sun"]})))
    numbers = pd.DataFrame({"dose": pd.Categorical([10, 20, 10, 50] * 20)})
    assert list(hmm(1, emission="categorical").fit(numbers).categories_[0]) == [10, 20, 50]


def test_categories_of_mixed_types_are_named():
    X = [np.array([["a"], ["b"]], dtype=object), np.array([["a"], [3], ["b"]], dtype=object)]
    with pytest.raises(
        ValueError, match=r"X is 3 in column 0, sequence 1, step 1, beside texts: .* of one type"
    ):
        hmm(emission="categorical").fit(X)
    rows = np.concatenate(X)
    for kwargs in ({"lengths": [2, 3]}, {"groups": ["x", "x", "y", "y", "y"]}):
        with pytest.raises(ValueError, match="X is 3 in column 0, sequence 1, step 1"):
            hmm(emission="categorical").fit(rows, **kwargs)
    model = hmm(1, emission="categorical").fit([["a"], ["b"], ["a"]])
    with pytest.raises(ValueError, match=r"X is 1 in column 0, sequence 0, step 1: in fit .* were texts"):
        model.score(np.array([[None], [1]], dtype=object))


def test_states_by_name_come_back():
    names, states = weather(), np.array(["low", "high"])[regimes(300)]
    X = names[:, None]
    known = [state if i < 60 else None for i, state in enumerate(states)]
    model = hmm(emission="categorical").fit(X, state_labels=known)
    codes = np.where(np.arange(300) < 60, (states == "low") * 1, -1)
    plain = hmm(emission="categorical").fit(X, state_labels=codes)
    assert list(model.states_) == ["high", "low"]
    assert not hasattr(plain, "states_")
    np.testing.assert_array_equal(model.predict(X), np.array(["high", "low"])[plain.predict(X)])
    assert model.log_likelihood_ == plain.log_likelihood_
    for found in (model.decode(X)[0], model.sample_states(X), model.sample(9)[1]):
        assert set(found) <= {"high", "low"}
    assert (model.predict(X) == states).mean() > 0.9
    typed = pd.Categorical(known, categories=["low", "high"])
    turned = hmm(emission="categorical").fit(X, state_labels=typed)
    assert list(turned.states_) == ["low", "high"]
    assert list(turned.reorder([1, 0]).states_) == ["high", "low"]
    np.testing.assert_array_equal(turned.predict(X), model.predict(X))
    in_list = hmm(3, emission="categorical").fit([X[:200], X[200:]], state_labels=[known[:200], known[200:]])
    assert list(in_list.states_) == ["high", "low", "state 0"]
    assert not hasattr(in_list.fit(X), "states_")


def test_a_stream_learns_what_its_beginning_did_not_have():
    rng = np.random.RandomState(0)
    model = hmm(emission="poisson", random_state=0, n_init=2)
    states = regimes(6000, 50)
    first = np.column_stack([rng.poisson(np.array([2, 9])[states]), np.zeros(6000)])
    model.partial_fit(np.split(first, 6))
    second = np.column_stack([rng.poisson(np.array([2, 9])[states]), rng.poisson(3 * states)])
    for part in np.split(second, 6):
        model.partial_fit([part])
    assert model.rates_[1, 1] > 0.5
    assert np.isfinite(model.log_likelihood([second])).all()


# -- tags ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("emission", "positive", "categorical"),
    [
        ("gaussian", False, False),
        ("gmm", False, False),
        ("poisson", True, False),
        ("categorical", True, True),
        (NegativeBinomial(), True, False),
        (MixtureOf(ZeroInflatedPoisson(), 2), True, False),
        ({0: "gaussian", 1: "categorical"}, False, True),
        ({0: Bernoulli(), 1: Categorical()}, True, True),
    ],
)
def test_tags_say_what_is_observed(emission, positive, categorical):
    tags = HMMEM(emission=emission).__sklearn_tags__().input_tags
    assert (tags.positive_only, tags.categorical) == (positive, categorical)
    assert tags.allow_nan
