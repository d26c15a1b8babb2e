"""What a fit knew beside X and y, in what is asked of it later; and groups that were seen before."""

import warnings

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning

from emlearn import MixtureOfExperts, MixtureOfExpertsClassifier, MixtureOfLinearRegressions
from emlearn.display import RegressionMixtureDisplay
from tests.helpers.pace import some_slow

N, LENGTH = 160, 4
GROUPS = np.repeat(np.arange(N // LENGTH), LENGTH)
KINDS = [MixtureOfLinearRegressions, MixtureOfExperts, MixtureOfExpertsClassifier]


def problem(kind, seed=0):
    """Groups of rows, an offset for each row, and responses of two kinds of group."""
    rng = np.random.default_rng(seed)
    member = (rng.uniform(size=N // LENGTH) < 0.5)[GROUPS]
    X = np.c_[rng.normal(size=N), rng.normal(size=N // LENGTH)[GROUPS]]
    offset = rng.normal(size=N)
    eta = np.where(member, 2 + X[:, 0], -2 - X[:, 0]) + offset
    y = rng.uniform(size=N) < expit(eta) if kind is MixtureOfExpertsClassifier else eta + rng.normal(size=N)
    return X, y, offset


def make(kind, **options):
    gate = {} if kind is MixtureOfLinearRegressions else {"gate_features": [1]}
    return kind(2, n_init=3, random_state=0, **gate, **options)


@pytest.mark.parametrize("kind", some_slow(KINDS, [MixtureOfExperts]))
def test_what_the_fit_had_is_asked_for(kind):
    X, y, offset = problem(kind)
    fit = make(kind).fit(X, y, groups=GROUPS, offset=offset)
    given = {"groups": GROUPS, "offset": offset}
    for name in given:
        rest = {key: value for key, value in given.items() if key != name}
        for judge in (fit.score_samples, fit.aic, fit.bic, fit.icl, fit.component_proba):
            with pytest.raises(ValueError, match=f"The fit had {name}, and this call has none: it would judge"):
                judge(X, y, **rest)
            judge(X, y, **given)
    with pytest.raises(ValueError, match="The fit had offset, and this call has none"):
        fit.score(X, y)
    fit.score(X, y, offset=offset)
    fit.predict(X)  # at an offset of 0, as the guide has it
    fit.component_proba(X)
    plain = make(kind).fit(X, y)
    plain.bic(X, y)
    plain.score(X, y)
    if kind is not MixtureOfExpertsClassifier:
        with pytest.raises(ValueError, match="The fit had groups"):
            RegressionMixtureDisplay.from_estimator(fit, X, y, feature=0, offset=offset)


def test_a_criterion_of_a_weighted_fit_wants_weights():
    X, y, _ = problem(MixtureOfLinearRegressions)
    weight = np.tile([1.0, 2.0], N // 2)
    fit = make(MixtureOfLinearRegressions).fit(X, y, weight)
    for criterion in (fit.aic, fit.bic, fit.icl):
        with pytest.warns(UserWarning, match="The fit had sample_weight, and this call has none"):
            criterion(X, y)
        criterion(X, y, weight)
    fit.fit(X, y).bic(X, y)  # the next fit had none


def test_a_stream_remembers_its_offset():
    X, y, offset = problem(MixtureOfLinearRegressions)
    fit = make(MixtureOfLinearRegressions).partial_fit(X, y, offset=offset).partial_fit(X, y)
    with pytest.raises(ValueError, match="The fit had offset"):
        fit.score_samples(X, y)


@pytest.mark.parametrize("kind", some_slow(KINDS, KINDS[1:]))
def test_groups_seen_before(kind):
    """The weights of a group are what its history makes of the prior ones, by Bayes' rule row by row."""
    X, y, offset = problem(kind)
    fit = make(kind).fit(X, y, groups=GROUPS, offset=offset)
    old, new = np.arange(N) % LENGTH < 2, np.arange(N) % LENGTH >= 2
    old &= GROUPS != 3  # of which nothing is known
    names = np.array([f"group {g}" for g in GROUPS])
    order = np.random.default_rng(1).permutation(np.flatnonzero(old))
    history = (X[order], y[order], names[order], offset[order])
    known = {"groups": names[new], "history": history}
    proba = fit.component_proba(X[new], **known)

    eta = fit.intercept_ + X @ fit.coef_.T + offset[:, None]
    if kind is MixtureOfExpertsClassifier:
        density = np.log(np.where(y[:, None], expit(eta), expit(-eta)))
    else:
        density = -0.5 * ((y[:, None] - eta) / fit.sigma_) ** 2 - np.log(fit.sigma_)
    prior = np.log(fit.component_proba(X[new]))
    total = np.stack([density[old & (g == GROUPS)].sum(axis=0) for g in GROUPS[new]])
    np.testing.assert_allclose(proba, softmax(prior + total, axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(proba[GROUPS[new] == 3], np.exp(prior)[GROUPS[new] == 3], rtol=1e-9)

    by_group = fit.component_proba(X[new], **known, by_group=True)
    np.testing.assert_array_equal(by_group, proba[::2])
    means = fit.predict_components(X[new], offset=offset[new])
    expected = (proba * means).sum(axis=1)
    if kind is MixtureOfExpertsClassifier:
        found = fit.predict_proba(X[new], offset=offset[new], **known)[:, 1]
        np.testing.assert_array_equal(fit.predict(X[new], offset=offset[new], **known), expected > 0.5)
    else:
        found = fit.predict(X[new], offset=offset[new], **known)
        again, std = fit.predict(X[new], True, offset=offset[new], **known)
        np.testing.assert_array_equal(again, found)
        spread = (proba * (fit.sigma_**2 + (means - found[:, None]) ** 2)).sum(axis=1)
        np.testing.assert_allclose(std**2, spread, rtol=1e-9)
        interval = fit.predict_interval(X[new], 0.9, offset=offset[new], **known)
        inside = (y[new] > interval[:, 0]) & (y[new] < interval[:, 1])
        assert inside.mean() > 0.75
        alone = fit.predict(X[new], offset=offset[new])
        assert np.mean((y[new] - found) ** 2) < 0.5 * np.mean((y[new] - alone) ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # Responses of today add to it: history and today are the whole.
    both = fit.component_proba(X[new], y[new], offset=offset[new], **known)
    whole = fit.component_proba(X, y, groups=GROUPS, offset=offset)[new]
    seen = GROUPS[new] != 3
    np.testing.assert_allclose(both[seen], whole[seen], rtol=1e-9, atol=1e-12)


def test_one_row_for_each_group():
    X, y, _ = problem(MixtureOfExperts)
    fit = make(MixtureOfExperts).fit(X, y, groups=GROUPS)
    shuffled = np.random.default_rng(2).permutation(N)
    groups = GROUPS[shuffled]
    rows = fit.predict_proba(X[shuffled], y[shuffled], groups=groups)
    one = fit.predict_proba(X[shuffled], y[shuffled], groups=groups, by_group=True)
    first = np.unique(groups, return_index=True)[1]
    np.testing.assert_array_equal(one, rows[np.sort(first)])
    assert len(fit.score_samples(X[shuffled], y[shuffled], groups=groups)) == len(one)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"groups": GROUPS}, r"groups say nothing without responses of theirs: give history=\(X, y, groups\)"),
        ({"history": "known"}, "say by groups= to which of them each row of X belongs"),
        ({"groups": GROUPS, "history": 3}, r"history must be \(X, y, groups\), or"),
        ({"groups": GROUPS, "history": "known"}, "The fit had offset, and this call has none"),
        ({"groups": GROUPS[:3], "history": "with offset"}, r"groups of shape \(3,\) beside 160 rows"),
        ({"groups": GROUPS, "history": "short"}, r"history has groups of shape \(5,\) beside 160 rows"),
    ],
)
def test_bad_histories(given, message):
    X, y, offset = problem(MixtureOfLinearRegressions)
    fit = make(MixtureOfLinearRegressions).fit(X, y, groups=GROUPS, offset=offset)
    histories = {
        "known": (X, y, GROUPS),
        "with offset": (X, y, GROUPS, offset),
        "short": (X, y, GROUPS[:5], offset),
    }
    if isinstance(given.get("history"), str):
        given = {**given, "history": histories[given["history"]]}
    with pytest.raises(ValueError, match=message):
        fit.predict(X, **given)
    with pytest.raises(ValueError, match="by_group=True asks for a row for each group"):
        fit.component_proba(X, by_group=True)


# -- what is told of a fit -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "of_fewer"),
    [({}, {}), ({"shared_coef": [1, 2, 3]}, {"shared_coef": [1, 2]}), ({"alpha": 0.5}, None)],
)
@pytest.mark.parametrize("kind", some_slow(KINDS[:2], [MixtureOfExperts]))
def test_parameters_are_those_that_rows_determine(kind, options, of_fewer):
    """All columns of a category are no more than all but one of them."""
    rng = np.random.default_rng(0)
    level, x = rng.integers(3, size=N), rng.normal(size=N)
    y = np.where(rng.uniform(size=N) < 0.5, 2 * x + level, -2 * x - level) + 0.3 * rng.normal(size=N)
    X = np.c_[x, np.eye(3)[level]]
    fit = kind(2, n_init=3, random_state=0, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # these columns are named, as before
        fit.fit(X, y)
    fewer = kind(2, n_init=3, random_state=0, **(options if of_fewer is None else of_fewer)).fit(X[:, :3], y)
    assert fit.n_parameters_ == fewer.n_parameters_
    if of_fewer is not None:  # of one likelihood
        assert fit.bic(X, y) == pytest.approx(fewer.bic(X[:, :3], y), abs=1e-3)
    assert fit.reorder([1, 0]).n_parameters_ == fewer.n_parameters_


@pytest.mark.parametrize(
    ("family", "y", "message"),
    [
        ("poisson", lambda x: x**2, r"give counts, and the exposure by offset=np.log\(exposure\)"),
        ("poisson", lambda x: np.round(x) - 9.5, "0, 1, 2 and so on, but is -[0-9.]+ in row 0.$"),
        ("binomial", lambda x: 1 / (1 + x**2), "give the numbers of successes and of failures"),
        ("binomial", lambda x: np.where(x > 0, 1, -1), "Encode the two classes as 0 and 1, as in y == 1"),
        ("binomial", lambda x: np.where(x > 0, "yes", "no"), "or encode them as 0 and 1, as in y == 'yes'"),
    ],
)
def test_responses_that_mean_something_else(family, y, message):
    x = np.random.default_rng(0).normal(size=30)
    with pytest.raises(ValueError, match=message):
        MixtureOfLinearRegressions(2, family=family).fit(x[:, None], y(x))


def test_errors_name_no_private_class():
    fit = MixtureOfLinearRegressions(1).fit([[0.0], [1.0], [3.0]], [1.0, 2.0, 2.0])
    for method in (fit.score_samples, fit.bic, fit.score, fit.predict_quantiles):
        with pytest.raises(TypeError, match=rf"^{method.__name__}\(\) missing 1 required positional argument"):
            method([[0.0]])


def test_what_is_projected_does_not_contradict_the_warning():
    """On a flat ridge gains shrink ever more slowly: less than tol is projected, and not believed."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 1))
    y = 1.0 * (rng.uniform(size=200) < expit(X[:, 0]))
    fit = MixtureOfLinearRegressions(2, family="binomial", n_init=1, max_iter=3, tol=0.01, random_state=0)
    with pytest.warns(
        ConvergenceWarning, match="to be gained, or many times as many, since gains do not shrink"
    ):
        fit.fit(X, y)
    assert fit.gap_ < 0.01


@pytest.mark.parametrize("seed", some_slow(range(8), [3]))  # of which 3 ended elsewhere
def test_a_code_for_missing_responses_is_no_unit(seed):
    """Three of them have a component, and the lines of the others are found to their last digit."""
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 10, size=300)
    y = np.where(rng.uniform(size=300) < 0.5, 2 * x + 1, 20 - x) + 0.05 * rng.normal(size=300)
    y[[7, 9, 30]] = 999999
    fit = MixtureOfLinearRegressions(3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the code has no noise
        fit.fit(x[:, None], y)
    bulk = fit.intercept_ < 1000
    np.testing.assert_allclose(np.sort(fit.coef_[bulk, 0]), [-1, 2], atol=0.02)
    np.testing.assert_allclose(fit.sigma_[bulk], 0.05, rtol=0.1)


@pytest.mark.parametrize("kind", some_slow([KINDS[0], KINDS[2]], [KINDS[0]]))
def test_weights_that_sum_to_one_beside_a_prior(kind):
    X, y, _ = problem(kind)
    share = np.full(N, 1 / N)
    with pytest.warns(
        ConvergenceWarning, match=r"sums to 1: .* worth 1 rows, over which the prior of alpha=1 wins"
    ):
        make(kind, alpha=1.0).fit(X, y, share)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        make(kind, alpha=1.0).fit(X, y, N * share)
        make(kind, alpha=0.0).fit(X, y, share)  # nothing is on
    assert not any("sample_weight sums" in str(warning.message) for warning in told)
