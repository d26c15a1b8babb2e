"""MixtureEM: mixtures of rows of numbers, counts and categories."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.utils.estimator_checks import parametrize_with_checks

from emlearn import GaussianMixtureEM, MixtureEM
from emlearn.families import Poisson
from tests.helpers.data import DATA, read_table
from tests.helpers.estimators import FRAMES
from tests.helpers.pace import some_slow

MIXED = {
    ("amount", "margin"): "gaussian",
    "visits": "poisson",
    "kind": "categorical",
    "member": "bernoulli",
}


def mixture(n_components=2, **kwargs):
    return MixtureEM(n_components, **{"random_state": 0, "n_init": 6, **kwargs})


def customers(n=240, seed=0):
    """Columns of every kind, of two groups."""
    rng = np.random.RandomState(seed)
    z = rng.uniform(size=n) < 0.4
    return pd.DataFrame(
        {
            "amount": rng.normal(np.where(z, 3.0, 0.0)),
            "margin": rng.normal(np.where(z, -1.0, 1.0), 2.0),
            "visits": rng.poisson(np.where(z, 6.0, 1.0)).astype(float),
            "kind": pd.Categorical(
                np.where(rng.uniform(size=n) < np.where(z, 0.8, 0.3), "shop", "web"),
                categories=["web", "shop", "post"],
            ),
            "member": (rng.uniform(size=n) < np.where(z, 0.7, 0.2)).astype(float),
        }
    )


def with_gaps(X, share=0.25, seed=1):
    rng = np.random.RandomState(seed)
    return X.mask(rng.uniform(size=X.shape) < share)


@pytest.fixture(scope="module")
def X():
    return with_gaps(customers())


@pytest.fixture(scope="module")
def fitted(X):
    return mixture(emission=MIXED).fit(X)


def log_density(model, row):
    """Log-density of a row of customers, from first principles."""
    codes = {name: i for i, name in enumerate(model.categories_[0])}
    joint = np.log(model.weights_)
    for k in range(len(joint)):
        normal, counts, kinds, flags = model.emission_params_.values()
        there = [j for j in range(2) if not pd.isna(row.iloc[j])]
        if there:
            covariance = normal.covariances[k][np.ix_(there, there)]
            values = [row.iloc[j] for j in there]
            joint[k] += stats.multivariate_normal(normal.means[k, there], covariance).logpdf(values)
        if not pd.isna(row.visits):
            joint[k] += stats.poisson(counts.rates[k, 0]).logpmf(row.visits)
        if not pd.isna(row.kind):
            joint[k] += np.log(kinds.probabilities[0][k, codes[row.kind]])
        if not pd.isna(row.member):
            joint[k] += stats.bernoulli(flags.probabilities[k, 0]).logpmf(row.member)
    return logsumexp(joint), np.exp(joint - logsumexp(joint))


# -- laws ----------------------------------------------------------------------------------------------------


def test_densities_are_those_of_the_entries_that_are_there(X, fitted):
    expected = [log_density(fitted, row) for _, row in X.iloc[:60].iterrows()]
    np.testing.assert_allclose(fitted.score_samples(X[:60]), [e[0] for e in expected], rtol=1e-10)
    np.testing.assert_allclose(fitted.predict_proba(X[:60]), [e[1] for e in expected], atol=1e-10)
    assert fitted.score_samples(X).sum() == pytest.approx(fitted.log_likelihood_, abs=1e-8)
    assert fitted.score(X) == pytest.approx(fitted.lower_bound_, abs=1e-10)
    assert (np.diff(fitted.lower_bounds_) >= -1e-9).all()
    assert fitted.converged_


def test_a_missing_entry_is_integrated_out(fitted):
    """Over all categories, all counts that matter, both values of a flag, and a grid of numbers."""
    row = pd.DataFrame({"amount": [1.0], "margin": [0.5], "visits": [3.0], "kind": ["web"], "member": [1.0]})
    for name, values, step in (
        ("kind", ["web", "shop"], 1.0),
        ("visits", np.arange(80.0), 1.0),
        ("member", [0.0, 1.0], 1.0),
        ("margin", np.linspace(-30, 30, 6001), 0.01),
    ):
        every = row.loc[[0] * len(values)].assign(**{name: values})
        total = np.exp(fitted.score_samples(every)).sum() * step
        without = row.assign(**{name: [None if name == "kind" else np.nan]})
        assert np.exp(fitted.score_samples(without))[0] == pytest.approx(total, rel=1e-6), name


def test_a_row_of_nothing_says_nothing(fitted):
    nothing = pd.DataFrame({c: [np.nan] for c in ("amount", "margin", "visits", "kind", "member")})
    np.testing.assert_allclose(fitted.predict_proba(nothing)[0], fitted.weights_)
    assert fitted.score_samples(nothing)[0] == pytest.approx(0.0, abs=1e-14)


def test_weights_repeat_rows(X):
    weight = np.random.RandomState(2).randint(0, 4, size=len(X))
    weighted = mixture(emission=MIXED).fit(X, sample_weight=weight)
    repeated = mixture(emission=MIXED).fit(X.loc[X.index.repeat(weight)])
    assert weighted.log_likelihood_ == pytest.approx(repeated.log_likelihood_, rel=1e-12)
    np.testing.assert_allclose(weighted.weights_, repeated.weights_, rtol=1e-9)
    assert weighted.bic(X, weight) == pytest.approx(repeated.bic(X.loc[X.index.repeat(weight)]))


def test_the_order_of_rows_does_not_matter(X, fitted):
    order = np.random.RandomState(3).permutation(len(X))
    other = mixture(emission=MIXED).fit(X.iloc[order])
    assert other.log_likelihood_ == pytest.approx(fitted.log_likelihood_, rel=1e-12)
    np.testing.assert_array_equal(other.predict(X), fitted.predict(X))


def test_units_do_not_matter(X, fitted):
    moved = X.assign(amount=1000 * X.amount + 7)
    other = mixture(emission=MIXED).fit(moved)
    n = X.amount.notna().sum()
    assert other.log_likelihood_ == pytest.approx(fitted.log_likelihood_ - n * np.log(1000), abs=1e-6)
    np.testing.assert_allclose(other.predict_proba(moved), fitted.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize(
    "covariance_type", some_slow(["full", "tied", "diag", "factor", "VEE"], ["full", "tied"])
)
@pytest.mark.parametrize("gaps", [False, True])
def test_a_gaussian_emission_is_a_gaussian_mixture(covariance_type, gaps):
    rng = np.random.RandomState(0)
    X = np.r_[rng.normal(size=(80, 3)), rng.normal(3.0, 1.5, size=(50, 3))]
    if gaps:
        X[rng.uniform(size=X.shape) < 0.2] = np.nan
    params = {"covariance_type": covariance_type, "n_factors": 1, "random_state": 0, "n_init": 8}
    own, gaussian = MixtureEM(2, **params).fit(X), GaussianMixtureEM(2, **params).fit(X)
    for name in ("weights_", "means_", "covariances_", "log_likelihood_", "n_parameters_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(own, name), getattr(gaussian, name), err_msg=name)
    np.testing.assert_array_equal(own.predict_proba(X), gaussian.predict_proba(X))
    assert own.bic(X) == gaussian.bic(X)


def test_one_component_in_closed_form():
    rng = np.random.RandomState(0)
    counts, codes, bits = rng.poisson(3.0, 50), rng.randint(3, size=50), rng.randint(2, size=50)
    model = mixture(1, emission={0: "poisson", 1: "categorical", 2: "bernoulli"}).fit(
        np.c_[counts, codes, bits]
    )
    share = np.bincount(codes) / 50
    expected = stats.poisson(counts.mean()).logpmf(counts).sum() + 50 * share @ np.log(share)
    expected += stats.bernoulli(bits.mean()).logpmf(bits).sum()
    assert model.log_likelihood_ == pytest.approx(expected, abs=1e-9)
    assert model.n_parameters_ == 1 + 2 + 1


def test_a_small_table_by_enumeration():
    """Of two items of two categories, counted by pattern: no latent classes fit better than what is found."""
    patterns = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    counts = np.array([30, 6, 9, 5, 8, 40])
    model = mixture(2, emission="categorical", tol=1e-8).fit(patterns, sample_weight=counts)
    best = model.log_likelihood_
    saturated = counts @ np.log(counts / counts.sum())
    assert best <= saturated + 1e-9
    rng = np.random.RandomState(0)
    for _ in range(300):
        near = [
            np.clip(p + rng.normal(scale=0.05, size=2)[:, None] * [1, -1], 0.0, 1.0)
            for p in model.probabilities_
        ]
        weights = np.clip(model.weights_[0] + rng.normal(scale=0.05), 0, 1) * np.array([1, -1]) + [0, 1]
        with np.errstate(divide="ignore"):
            joint = np.log(weights) + sum(np.log(p[:, patterns[:, j]]).T for j, p in enumerate(near))
        assert counts @ logsumexp(joint, axis=1) <= best + 1e-6


@pytest.mark.parametrize(
    "emission", ["negative_binomial", "zero_inflated_poisson", "binomial", "multinomial", "gmm"]
)
def test_every_word_fits(emission):
    rng = np.random.RandomState(0)
    z = rng.uniform(size=150) < 0.5
    a, b = rng.poisson(np.where(z, 9.0, 1.0)), rng.poisson(np.where(z, 1.0, 5.0))
    X = np.c_[a, a + b] if emission == "binomial" else np.c_[a, b]
    X = X.astype(float)
    if emission == "gmm":
        X += rng.normal(scale=0.3, size=X.shape)
    model = mixture(2, emission=emission, n_init=3).fit(X)
    assert (
        np.mean(model.predict(X) == z) in (pytest.approx(0, abs=0.15), pytest.approx(1, abs=0.15))
        or emission == "gmm"
    )
    assert (np.diff(model.lower_bounds_) >= -1e-9).all()
    assert model.score_samples(X).sum() == pytest.approx(model.log_likelihood_, rel=1e-9)
    assert model.sample(5, random_state=0)[0].shape == (5, 2)


# -- published values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", some_slow(range(20), [0]))
@pytest.mark.parametrize(
    ("name", "n_components", "log_likelihood"),
    [
        ("carcinoma", 2, -317.2568373),
        ("carcinoma", 3, -293.7049788),
        ("carcinoma", 4, -289.2858507),
        ("gss82", 2, -2783.26801018),
        ("gss82", 3, -2754.54540559),
    ],
)
def test_latent_classes(name, n_components, log_likelihood, seed):
    """poLCA, Linzer & Lewis (2011), and an independent optimiser."""
    X = read_table(name)
    model = MixtureEM(n_components, emission="categorical", random_state=seed).fit(X)
    assert model.log_likelihood_ == pytest.approx(log_likelihood, abs=1e-3)


@pytest.mark.parametrize("seed", some_slow(range(10), [0]))
@pytest.mark.parametrize("case", ["complete", "all", "gate"])
def test_voters(case, seed):
    """Twelve traits of two candidates, and party as what membership depends on: poLCA's example."""
    votes = pd.read_csv(DATA / "election.csv")
    items = list(votes.columns[:12])
    voters, gate = votes[items], None
    if case == "complete":
        voters = voters.dropna()
    elif case == "gate":
        voters, gate = votes[[*items, "PARTY"]].dropna(), "PARTY"
    model = MixtureEM(3, emission="categorical", gate=gate, random_state=seed).fit(voters)
    expected = {"complete": -16714.6591427758, "all": -21311.5356716281, "gate": -16222.3233488003}[case]
    assert model.log_likelihood_ == pytest.approx(expected, abs=1e-3)
    if case == "gate":
        slopes, constants = model.gate_coef_[:, 0], model.gate_intercept_
        low = np.argmax(slopes)
        others = np.argsort(slopes)[[1, 0]]
        np.testing.assert_allclose(slopes[others] - slopes[low], [-0.793280, -1.367631], atol=2e-3)
        np.testing.assert_allclose(constants[others] - constants[low], [3.818168, 4.979650], atol=4e-3)
    elif case == "complete":
        np.testing.assert_allclose(model.weights_, [0.419377, 0.319841, 0.260782], atol=2e-4)


def test_deaths():
    X = read_table("london_deaths")
    model = MixtureEM(2, emission="poisson", random_state=0).fit(X[:, :1], sample_weight=X[:, 1])
    assert model.log_likelihood_ == pytest.approx(-1989.945859882964, abs=1e-4)
    np.testing.assert_allclose(np.sort(model.rates_[:, 0]), [1.256095, 2.663404], atol=2e-3)


# -- input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", FRAMES)
def test_names_of_categories_come_back(frame):
    X = customers(80).drop(columns=["margin"])
    X["kind"] = X["kind"].astype(str)
    emission = {"amount": "gaussian", "visits": "poisson", "kind": "categorical", "member": "bernoulli"}
    as_frame = frame({c: X[c].to_list() for c in X})
    model = mixture(emission=emission).fit(as_frame)
    assert list(model.categories_[0]) == ["shop", "web"]
    assert list(model.feature_names_in_) == list(emission)
    drawn, component = model.sample(20, random_state=0)
    assert set(drawn[:, 2]) <= {"shop", "web"}
    assert drawn.shape == (20, 4)
    assert len(component) == 20
    codes = X.assign(kind=(X.kind == "web").astype(float)).to_numpy()
    by_number = mixture(emission=dict(zip(range(4), emission.values(), strict=True))).fit(codes)
    assert by_number.log_likelihood_ == pytest.approx(model.log_likelihood_, rel=1e-12)
    np.testing.assert_allclose(by_number.predict_proba(codes), model.predict_proba(as_frame), atol=1e-12)


def test_a_type_for_categories_says_which_there_are(fitted):
    assert list(fitted.categories_[0]) == ["web", "shop", "post"]
    assert (fitted.emission_params_[(3,)].probabilities[0][:, 2] == 0).all()
    likely = mixture(emission=MIXED, emission_prior={("kind",): {"concentration": 2.0}})
    likely.fit(with_gaps(customers()))
    assert (likely.emission_params_[(3,)].probabilities[0][:, 2] > 0).all()


def test_what_fit_never_saw_is_impossible(X, fitted):
    strange = X.astype({"kind": object}).fillna({"kind": "web"})
    strange.loc[3, "kind"] = "fax"
    with pytest.warns(UserWarning, match=r"X is 'fax' in column 'kind', row 3: never seen .* of that row"):
        density = fitted.score_samples(strange)
    assert density[3] == -np.inf
    assert np.isfinite(np.delete(density, 3)).all()
    with pytest.warns(UserWarning, match="never seen"):
        assert not fitted.predict_proba(strange)[3].any()


def as_is(X):
    return X


BAD = {
    "negative count": (lambda X: X.replace({"visits": {1.0: -1.0}}), {}, "-1 in column 'visits', row"),
    "no count": (lambda X: X.assign(visits=X.visits + 0.5), {}, r"\.5 in column 'visits', row 0: not one of"),
    "nothing": (lambda X: X.assign(amount=np.nan), {}, "nothing but NaN in column 'amount'"),
    "infinite": (lambda X: X.assign(amount=np.inf), {}, "infinity in column 'amount', row 0"),
    "text": (lambda X: X.assign(amount="a"), {}, r"no numbers in columns \['amount'\]"),
    "too few": (lambda X: X[:1], {}, "n_components=2 needs at least as many distinct rows"),
    "twice": (as_is, {"emission": {**MIXED, "amount": "poisson"}}, "names a feature twice"),
    "left out": (as_is, {"emission": {"visits": "poisson"}}, r"says nothing of the columns \['amount'"),
    "not there": (as_is, {"emission": {**MIXED, "age": "poisson"}}, "names 'age', which is no feature"),
    "no word": (as_is, {"emission": "normal"}, "emission='normal' is none of gaussian, student_t"),
    "no gate": (as_is, {"gate": "age"}, "gate names 'age', which is no feature"),
    "both": (as_is, {"gate": ["visits"]}, r"gate and emission name the columns \['visits'\]"),
    "gate of all": (
        lambda X: X[["visits"]],
        {"emission": "poisson", "gate": 0},
        "none is left for the emission",
    ),
    "gaps in the gate": (
        lambda X: X.assign(age=X.amount.where(X.index != 7)),
        {"gate": "age"},
        "NaN in column 'age', row 7, which the gate sees",
    ),
    "weights and gate": (
        lambda X: X.assign(age=X.amount),
        {"gate": "age", "weights_init": [0.5, 0.5]},
        "weights_init gives weights for all rows",
    ),
    "prior of numbers": (
        lambda X: X[["amount"]],
        {"emission": "gaussian", "emission_prior": {"means": 1.0}},
        "emission_prior is given, but by EM probabilities alone have priors",
    ),
    "fixed nothing": (as_is, {"fixed": "rates"}, "fixed holds rates, but there is no value to hold it at"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    spoil, params, message = BAD[case]
    estimator = mixture(**{"emission": MIXED, **params})
    with pytest.raises(ValueError, match=message):
        estimator.fit(spoil(customers(40)))
    assert not hasattr(estimator, "n_features_in_")


def test_a_failed_fit_leaves_the_estimator(X, fitted):
    before = pickle.dumps(fitted.emission_params_)
    with pytest.raises(ValueError, match="not one of the counts"):
        fitted.fit(X.assign(visits=-1.0))
    assert pickle.dumps(fitted.emission_params_) == before
    fitted.predict(X)


def test_a_family_that_takes_rows_whole():
    class AllOrNothing(Poisson):
        marginalises = False

    X = np.random.RandomState(0).poisson(3.0, size=(30, 2)).astype(float)
    X[4] = np.nan
    model = mixture(1, emission=AllOrNothing()).fit(X)
    np.testing.assert_allclose(model.rates_[0], np.nanmean(X, axis=0))
    X[5, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN in column 1, row 5, beside .* a row is missing as a whole"):
        model.fit(X)


# -- manners -------------------------------------------------------------------------------------------------


@parametrize_with_checks([MixtureEM(n_init=2)])
def test_sklearn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)
