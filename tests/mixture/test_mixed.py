"""MixtureEM: mixtures of rows of numbers, counts and categories."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from emlearn import GaussianMixtureEM, InformationCriterionSearch, MixtureEM, bootstrap, match_components
from emlearn.families import Gaussian, MissingRows, Poisson, Product
from emlearn.families.covariance import Full
from tests.helpers.data import DATA, read_table
from tests.helpers.estimators import FRAMES, POLARS_HAS_NAMES
from tests.helpers.pace import some_slow
from tests.helpers.trees import assert_same

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


@pytest.mark.filterwarnings("ignore:.* starts ended at .* different maxima")  # of gss82 there are many
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
    # Beside that of all rows there is one of -21311.5529, which a race takes for the same: seed 7 ends there.
    near = 0.0173 if case == "all" and seed else 0.0
    assert model.log_likelihood_ == pytest.approx(expected, abs=1e-3 + near)
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
    "two of a name": (
        lambda X: X.assign(other=1.0).rename(columns={"other": "visits"}),
        {},
        "emission names 'visits', but 2 columns of X have that name",
    ),
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


# -- after a fit -----------------------------------------------------------------------------------------------


def test_a_marginal_has_the_densities_of_rows_with_gaps(X, fitted):
    names = ["kind", "margin", "visits"]
    part = fitted.marginal(names)
    assert list(part.feature_names_in_) == names
    assert part.n_parameters_ == 1 + 2 * 2 + 2 + 2 * 2
    with_others_missing = X.assign(amount=np.nan, member=np.nan)
    np.testing.assert_allclose(
        part.score_samples(X[names]), fitted.score_samples(with_others_missing), atol=1e-12
    )
    np.testing.assert_allclose(
        part.predict_proba(X[names]), fitted.predict_proba(with_others_missing), atol=1e-12
    )
    assert list(part.categories_[0]) == ["web", "shop", "post"]
    assert set(part.sample(9, random_state=0)[0][:, 0]) <= {"web", "shop"}
    alone = fitted.marginal("visits")
    np.testing.assert_array_equal(alone.rates_, fitted.emission_params_[(2,)].rates)
    before = alone.score_samples(X[["visits"]]).sum()
    assert alone.set_params(warm_start=True).fit(X[["visits"]]).log_likelihood_ > before
    turned = fitted.marginal(["margin", "amount"])
    expected = fitted.marginal(["amount", "margin"]).score_samples(X[["amount", "margin"]])
    np.testing.assert_allclose(turned.score_samples(X[["margin", "amount"]]), expected, atol=1e-12)
    with pytest.raises(ValueError, match="'age', which is no feature"):
        fitted.marginal(["age"])


def test_what_is_given_tells_of_the_rest(X, fitted):
    """Of each kind by Bayes' rule: p(rest | given) from densities of whole rows and of what is given."""
    row = pd.DataFrame({"amount": [1.0], "margin": [0.5], "visits": [3.0], "kind": ["web"], "member": [1.0]})
    given = fitted.conditional(row[["margin", "kind"]], ["margin", "kind"])
    known = row.assign(amount=np.nan, visits=np.nan, member=np.nan)
    np.testing.assert_allclose(given.weights, fitted.predict_proba(known), atol=1e-12)
    assert given.probabilities == {}
    base = fitted.score_samples(known)[0]
    for place, (name, values, step) in enumerate(
        [
            ("amount", np.linspace(-15, 15, 3001), 0.01),
            ("visits", np.arange(80.0), 1.0),
            ("member", [0.0, 1.0], 1.0),
        ]
    ):
        every = known.loc[[0] * len(values)].assign(**{name: values})
        density = np.exp(fitted.score_samples(every) - base) * step
        assert given.mean()[0, place] == pytest.approx(density @ values, rel=1e-5), name
    of_kinds = fitted.conditional(row[["visits", "amount"]], ["visits", "amount"])
    known = row.assign(margin=np.nan, kind=None, member=np.nan)
    every = known.loc[[0, 0]].assign(kind=["web", "shop"])
    expected = np.exp(fitted.score_samples(every) - fitted.score_samples(known))
    np.testing.assert_allclose(of_kinds.proba(3)[0], [*expected, 0.0], atol=1e-12)
    assert np.isnan(of_kinds.mean()[0, 1])
    with pytest.raises(ValueError, match="holds all features"):
        fitted.conditional(row, list(row.columns))
    whole = mixture(1, emission="multinomial").fit(np.random.RandomState(0).poisson(3.0, size=(20, 2)))
    with pytest.raises(ValueError, match=r"some of \[0, 1\], which are one Multinomial"):
        whole.conditional([[1.0]], [0])
    with pytest.raises(ValueError, match="Some features of Multinomial have a distribution of another kind"):
        whole.marginal([0])


def gated(n=300):
    rng = np.random.RandomState(0)
    age = rng.uniform(20, 80, size=n)
    z = rng.uniform(size=n) < 1 / (1 + np.exp(-(age - 50) / 5))
    return pd.DataFrame(
        {
            "visits": rng.poisson(np.where(z, 8.0, 1.0)).astype(float),
            "age": age,
            "kind": np.where(rng.uniform(size=n) < np.where(z, 0.9, 0.2), "shop", "web"),
        }
    )


def test_weights_that_depend_on_columns():
    X = gated()
    emission = {"visits": "poisson", "kind": "categorical"}
    model = mixture(emission=emission, gate="age").fit(X)
    slope, constant = np.diff(model.gate_coef_[:, 0])[0], np.diff(model.gate_intercept_)[0]
    rates = model.emission_params_[(0,)].rates[:, 0]
    sign = np.sign(rates[1] - rates[0])
    assert slope * sign == pytest.approx(0.2, abs=0.06)
    assert -constant / slope == pytest.approx(50, abs=3)
    assert model.n_parameters_ == 2 + 2 + 2
    odds = constant + slope * X.age
    prior = np.c_[1 / (1 + np.exp(odds)), 1 / (1 + np.exp(-odds))]
    np.testing.assert_allclose(model.weights_, prior.mean(axis=0), atol=1e-9)
    p = model.emission_params_[(2,)].probabilities[0]
    joint = (
        prior * stats.poisson(rates).pmf(X.visits.to_numpy()[:, None]) * p[:, (X.kind == "web").astype(int)].T
    )
    np.testing.assert_allclose(model.predict_proba(X), joint / joint.sum(axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(model.score_samples(X), np.log(joint.sum(axis=1)), atol=1e-9)
    assert model.log_likelihood_ > mixture(emission=emission).fit(X[["visits", "kind"]]).log_likelihood_ + 20
    moved = mixture(emission=emission, gate="age", gate_alpha=0).fit(X.assign(age=X.age * 12 + 5))
    free = mixture(emission=emission, gate="age", gate_alpha=0).fit(X)
    assert moved.log_likelihood_ == pytest.approx(free.log_likelihood_, abs=1e-5)

    again = clone(model).fit(X).reorder([1, 0])
    np.testing.assert_array_equal(again.weights_, model.weights_[::-1])
    np.testing.assert_array_equal(match_components(model, again), [1, 0])
    ages = np.repeat([30.0, 70.0], 2000)[:, None]
    drawn, component = model.sample(X_gate=ages, random_state=0)
    np.testing.assert_array_equal(drawn[:, 1].astype(float), ages[:, 0])
    share = np.reshape(component == np.argmax(rates), (2, -1)).mean(axis=1)
    assert share[0] < 0.1
    assert share[1] > 0.9
    for message, call in {
        "give them as X_gate": lambda: model.sample(3),
        r"X_gate has shape \(2, 3\)": lambda: model.sample(X_gate=np.ones((2, 3))),
        "which this mixture does not have": lambda: mixture(1).fit([[0.0], [1.0]]).sample(X_gate=[[1.0]]),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()

    last = clone(free).set_params(warm_start=True).fit(X)
    np.testing.assert_allclose(last.fit(X).lower_bounds_[0], free.lower_bound_, atol=1e-6)
    some = X[:200]  # in other units than all, the same parameters have the density that they had
    expected = last.score(some)
    assert last.fit(some).lower_bounds_[0] == pytest.approx(expected, abs=1e-9)

    part = model.marginal(["kind"])
    assert list(part.feature_names_in_) == ["kind", "age"]
    np.testing.assert_allclose(
        part.score_samples(X[["kind", "age"]]), model.score_samples(X.assign(visits=np.nan)), atol=1e-12
    )
    given = model.conditional(X[["age", "kind"]][:5], ["age", "kind"])
    np.testing.assert_allclose(given.weights, model.predict_proba(X[:5].assign(visits=np.nan)), atol=1e-12)
    np.testing.assert_allclose(given.mean()[:, 0], given.weights @ rates)
    with pytest.raises(ValueError, match="The gate sees column 'age', so that it must be known"):
        model.conditional(X[["kind"]], ["kind"])


def test_known_parameters_are_a_mixture(X, fitted):
    made = MixtureEM.from_parameters(
        fitted.weights_, emission=MIXED, emission_params=fitted.emission_params_, feature_names=list(X.columns)
    )
    codes = X.assign(kind=X.kind.cat.codes.where(X.kind.notna()))
    np.testing.assert_allclose(made.score_samples(codes), fitted.score_samples(X), atol=1e-10)
    made.set_params(warm_start=True, n_categories=3).fit(codes)
    assert made.log_likelihood_ == pytest.approx(fitted.log_likelihood_, abs=1e-3)

    table = gated()
    model = mixture(emission={"visits": "poisson"}, gate="age").fit(table[["visits", "age"]])
    made = MixtureEM.from_parameters(
        emission="poisson", rates=model.rates_, gate=["age"], gate_coef=model.gate_coef_,
        gate_intercept=model.gate_intercept_, feature_names=["visits", "age"],
    )  # fmt: skip
    for name in ("predict_proba", "score_samples"):
        expected = getattr(model, name)(table[["visits", "age"]])
        np.testing.assert_allclose(getattr(made, name)(table[["visits", "age"]]), expected, atol=1e-10)
    gmm = mixture(1, emission="gmm").fit(table[["visits"]])
    of_gmm = {"means": gmm.means_, "covariances": gmm.covariances_, "member_weights": gmm.member_weights_}
    again = MixtureEM.from_parameters([1.0], emission="gmm", **of_gmm)
    assert again.score_samples([[2.0]]) == pytest.approx(gmm.score_samples(pd.DataFrame({"visits": [2.0]})))
    for message, params in {
        "gate_coef goes with a gate": {"rates": [[1.0]], "gate": [1]},
        "weights must sum to 1": {"weights": [0.4], "rates": [[1.0]]},
        "Give weights, or a gate": {"rates": [[1.0]]},
        "means is no parameter here": {"weights": [1.0], "means": [[1.0]]},
    }.items():
        with pytest.raises(ValueError, match=message):
            MixtureEM.from_parameters(emission="poisson", **params)


def test_draws_have_the_moments_of_the_mixture(fitted):
    drawn, component = fitted.sample(20_000, random_state=0)
    np.testing.assert_allclose(np.bincount(component) / 20_000, fitted.weights_, atol=0.02)
    numbers = drawn[:, [0, 1, 2, 4]].astype(float)
    params = fitted.emission_params_
    means = np.hstack([params[(0, 1)].means, params[(2,)].rates, params[(4,)].probabilities])
    np.testing.assert_allclose(numbers.mean(axis=0), fitted.weights_ @ means, atol=0.1)


def test_starting_values_and_what_is_held(X):
    own = {("visits",): {"rates": [[1.0], [6.0]]}}
    held = mixture(emission=MIXED, emission_init=own, fixed="rates").fit(X)
    np.testing.assert_array_equal(held.emission_params_[(2,)].rates, [[1.0], [6.0]])
    free = mixture(emission=MIXED).fit(X)
    assert held.n_parameters_ == free.n_parameters_ - 2
    assert held.log_likelihood_ < free.log_likelihood_
    counts = X[["visits"]].dropna()
    begun = mixture(emission="poisson", means_init=[[9.0], [0.5]], weights_init=[0.2, 0.8]).fit(counts)
    assert begun.rates_[0] > begun.rates_[1]
    assert [start.kind for start in begun.restarts_.starts] == ["given"]
    labels = (counts.visits > 3).to_numpy()
    from_labels = mixture(emission="poisson", init_params=labels).fit(counts)
    assert from_labels.log_likelihood_ == pytest.approx(begun.log_likelihood_, abs=1e-3)
    assert (np.diff(from_labels.rates_[:, 0]) > 0).all()
    with pytest.raises(ValueError, match="annealing would melt"):
        mixture(emission="poisson", means_init=[[9.0], [0.5]], annealing=True).fit(counts)


def test_a_prior_leaves_nothing_impossible():
    X = np.array([[0, 0], [0, 1], [1, 0], [0, 0], [0, 0]])
    model = mixture(1, emission="categorical", n_categories=3, emission_prior=2.0).fit(X)
    np.testing.assert_allclose(model.probabilities_[0][0], [5 / 8, 2 / 8, 1 / 8])
    assert (np.diff(model.lower_bounds_) >= -1e-9).all()
    assert np.isfinite(model.score_samples([[2, 2]])).all()


def test_a_stream_learns(X, fitted):
    model = mixture(emission=MIXED)
    for some in np.array_split(np.arange(len(X)), 4):
        model.partial_fit(X.iloc[some])
    assert model.n_rows_seen_ == len(X)
    assert model.log_likelihood_ == pytest.approx(fitted.log_likelihood_, abs=1e-2)
    with pytest.raises(ValueError, match="not one of the counts"):
        model.partial_fit(X.assign(visits=-1.0))


WAYS = [{"assignment": "hard"}, {"assignment": "sampled", "max_iter": 20}, {"annealing": True}]


@pytest.mark.parametrize("params", WAYS)
def test_other_ways_to_fit(X, fitted, params):
    model = mixture(emission=MIXED, n_init=2, **params).fit(X)
    assert model.log_likelihood_ == pytest.approx(fitted.log_likelihood_, abs=15)
    if "assignment" in params:
        assert model.lower_bound_ <= fitted.lower_bound_ + 1e-9


def test_the_number_of_threads_does_not_matter(X, fitted):
    threaded = mixture(emission=MIXED, n_jobs=2).fit(X)
    np.testing.assert_array_equal(threaded.predict_proba(X), fitted.predict_proba(X))


def test_errors_of_estimates_are_those_of_differences():
    """Against second differences of the log-likelihood in the rates and a logit of the weight."""
    X = read_table("london_deaths")
    model = MixtureEM(2, emission="poisson", random_state=0, tol=1e-8).fit(X[:, :1], sample_weight=X[:, 1])
    errors = model.standard_errors(X[:, :1], sample_weight=X[:, 1])
    order = np.argsort(model.rates_[:, 0])
    np.testing.assert_allclose(errors["rates_"][order, 0], [0.350030, 0.250478], rtol=1e-2)
    np.testing.assert_allclose(errors["weights_"], 0.194684, rtol=1e-2)


def test_tools_of_scikit_learn_and_others(X):
    search = GridSearchCV(mixture(emission=MIXED, n_init=2), {"n_components": [1, 2]}, cv=2).fit(X)
    assert search.best_params_ == {"n_components": 2}
    chosen = InformationCriterionSearch(mixture(emission=MIXED, n_init=3), {"n_components": [1, 2, 3]}).fit(X)
    assert chosen.best_params_ == {"n_components": 2}
    pipe = make_pipeline(FunctionTransformer(lambda X: X.assign(visits=X.visits * 2)), mixture(emission=MIXED))
    assert pipe.fit_predict(X).shape == (len(X),)
    model = mixture(emission=MIXED, n_init=2).fit(X)
    draws = bootstrap(model, X, n=8, random_state=0)
    assert (draws.standard_errors["weights_"] > 0).all()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_families_serve_as_words_do(X):
    Z = X[["amount", "visits"]].to_numpy()
    words = mixture(emission={0: "gaussian", 1: "poisson"}).fit(Z)
    families = mixture(emission={0: Gaussian(Full()), 1: Poisson()}).fit(Z)
    product = mixture(emission=Product((((0,), MissingRows(Gaussian(Full()))), ((1,), Poisson())))).fit(Z)
    for other in (families, product):
        assert other.log_likelihood_ == pytest.approx(words.log_likelihood_, abs=1e-9)


@POLARS_HAS_NAMES
def test_a_frame_of_polars_with_gaps():
    frame = pl.DataFrame({"a": ["x", "y", "x", None, "y", "x"] * 9, "b": [0, 1, 2, 3, 9, 8] * 9})
    model = mixture(emission={"a": "categorical", "b": "poisson"}).fit(frame)
    assert model.predict(frame).shape == (54,)
    assert list(model.categories_[0]) == ["x", "y"]
    typed = frame.with_columns(pl.col("a").cast(pl.Categorical))
    assert_same(model.predict_proba(typed), model.predict_proba(frame))
    assert_same(mixture(emission=model.emission).fit(typed).weights_, model.weights_)
    with pytest.raises(ValueError, match="must be in the same order"):
        model.predict(frame[["b", "a"]])


LATER = ["student_t", "gamma", "exponential", "lognormal", "beta", "geometric", "von_mises"]


@pytest.mark.parametrize("emission", LATER)
def test_a_marginal_of_every_word(emission):
    rng = np.random.RandomState(0)
    X = rng.beta(np.where(np.arange(90) < 40, 2.0, 6.0)[:, None], 3.0, size=(90, 3))
    X = np.floor(9 * X) if emission == "geometric" else X
    model = mixture(2, emission=emission, n_init=2).fit(X)
    gaps = X.copy()
    gaps[:, 1] = np.nan
    np.testing.assert_allclose(
        model.marginal([2, 0]).score_samples(X[:, [2, 0]]), model.score_samples(gaps), atol=1e-10
    )
