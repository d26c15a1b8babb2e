"""Components that are known of some rows, and classifiers made of a mixture for each class."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.datasets import load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB
from sklearn.utils.estimator_checks import parametrize_with_checks

from emlearn import BayesianGaussianMixtureEM, GaussianMixtureEM, MixtureDiscriminant, MixtureEM
from tests.helpers.estimators import SKLEARN_IS_RECENT

IRIS, SPECIES = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def counts():
    """Two columns of counts of three overlapping groups, and the group of each row."""
    rng = np.random.RandomState(0)
    z = rng.randint(3, size=200)
    return rng.poisson(np.array([[1.0, 2.0], [4.0, 2.0], [4.0, 7.0]])[z]).astype(float), z


def mixture(n_components=3, **kwargs):
    return MixtureEM(n_components, **{"emission": "poisson", "random_state": 0, "n_init": 6, **kwargs})


def some_of(z, share=0.3, seed=1):
    return np.where(np.random.RandomState(seed).uniform(size=len(z)) < share, z, -1)


def log_joint(model, X):
    """Log-probabilities (n, K) of components and rows."""
    return np.log(model.weights_) + stats.poisson(model.rates_).logpmf(X[:, None]).sum(axis=2)


def test_the_likelihood_is_that_of_rows_and_labels(counts):
    X, z = counts
    labels = some_of(z)
    model = mixture(tol=1e-8).fit(X, labels=labels)
    joint = log_joint(model, X)
    each = np.where(labels < 0, logsumexp(joint, axis=1), joint[np.arange(len(X)), labels])
    assert model.log_likelihood_ == pytest.approx(each.sum(), abs=1e-8)
    assert (np.diff(model.lower_bounds_) >= -1e-9).all()
    resp = np.where(labels[:, None] < 0, model.predict_proba(X), labels[:, None] == np.arange(3))
    np.testing.assert_allclose(resp.mean(axis=0), model.weights_, atol=1e-4)  # a fixed point of EM
    np.testing.assert_allclose(resp.T @ X / resp.sum(axis=0)[:, None], model.rates_, atol=1e-3)
    assert np.mean(model.predict(X) == z) > np.mean(mixture().fit(X).predict(X) == z) - 0.02
    np.testing.assert_array_equal(model.fit_predict(X, labels=labels), model.predict(X))


def test_all_labels_known_is_a_closed_form(counts):
    X, z = counts
    model = mixture().fit(X, labels=z)
    np.testing.assert_allclose(model.rates_, [X[z == k].mean(axis=0) for k in range(3)])
    np.testing.assert_allclose(model.weights_, np.bincount(z) / len(z))
    np.testing.assert_array_equal(mixture().fit(X, z).rates_, mixture().fit(X).rates_)  # y is ignored


def test_sets_of_components(counts):
    X, z = counts
    labels = some_of(z)
    sets = (labels[:, None] < 0) | (labels[:, None] == np.arange(3))
    one, other = mixture().fit(X, labels=labels), mixture().fit(X, labels=sets)
    assert one.log_likelihood_ == pytest.approx(other.log_likelihood_, abs=1e-9)
    not_the_last = np.tile([True, True, False], (len(X), 1))
    not_the_last[z == 2] = [False, False, True]
    model = mixture().fit(X, labels=not_the_last)
    np.testing.assert_allclose(model.rates_[2], X[z == 2].mean(axis=0), rtol=1e-6)
    assert model.weights_[2] == pytest.approx(np.mean(z == 2))
    free = mixture().fit(X)
    assert mixture().fit(X, labels=np.full(len(X), -1)).log_likelihood_ == free.log_likelihood_


def test_weights_repeat_rows_with_their_labels(counts):
    X, z = counts
    labels, weight = some_of(z), np.random.RandomState(2).randint(0, 3, size=len(X))
    weighted = mixture().fit(X, sample_weight=weight, labels=labels)
    repeated = mixture().fit(np.repeat(X, weight, axis=0), labels=np.repeat(labels, weight))
    assert weighted.log_likelihood_ == pytest.approx(repeated.log_likelihood_, rel=1e-12)
    order = np.random.RandomState(3).permutation(len(X))
    moved = mixture().fit(X[order], labels=labels[order])
    np.testing.assert_allclose(moved.rates_, mixture().fit(X, labels=labels).rates_, rtol=1e-9)


@pytest.mark.parametrize("estimator", [GaussianMixtureEM, MixtureEM, BayesianGaussianMixtureEM])
def test_few_labels_name_the_components(estimator):
    labels = np.where(np.arange(150) % 10 == 0, SPECIES, -1)
    model = estimator(3, random_state=0).fit(IRIS, labels=labels)
    assert np.mean(model.predict(IRIS) == SPECIES) > 0.95


@pytest.mark.parametrize(
    "params", [{"assignment": "hard"}, {"assignment": "sampled", "max_iter": 20}, {"annealing": True}]
)
def test_labels_hold_in_other_ways_to_fit(counts, params):
    X, z = counts
    model = mixture(n_init=2, **params).fit(X, labels=some_of(z))
    np.testing.assert_array_equal(np.argsort(model.rates_ @ [1, 1]), [0, 1, 2])


def test_labels_beside_a_gate(counts):
    X, z = counts
    age = z + np.random.RandomState(5).normal(size=len(z))
    model = mixture(gate=2, gate_alpha=0).fit(np.c_[X, age], labels=some_of(z))
    assert (np.diff(model.gate_coef_[:, 0]) > 0).all()
    assert (np.diff(model.lower_bounds_) >= -1e-9).all()


def test_a_part_of_many_rows_has_those_that_are_known():
    rng = np.random.RandomState(0)
    z = rng.uniform(size=40_000) < 0.5
    X = rng.normal(np.where(z, 2.5, 0.0))[:, None]
    labels = np.full(len(X), -1)
    labels[:6] = 1 - z[:6]  # the numbers the other way round
    model = GaussianMixtureEM(2, random_state=0).fit(X, labels=labels)
    assert model.means_[0, 0] > model.means_[1, 0]


BAD = {
    "too large": (lambda z: np.where(z == 2, 3, z), {}, r"labels is 3 in row \d+, but n_components=3"),
    "half": (lambda z: z + 0.5, {}, r"labels is \d.5 in row 0"),
    "short": (lambda z: z[1:], {}, r"labels has shape \(199,\); expected \(200,\) or \(200, 3\)"),
    "numbers for a mask": (lambda z: np.ones((len(z), 3)), {}, "make it boolean"),
    "nothing possible": (lambda z: z[:, None] == [0, 1, 5], {}, r"no component possible in row \d+"),
    "texts": (lambda z: z.astype(str), {}, "labels must be an array of numbers"),
    "a start": (lambda z: z, {"init_params": "kmeans"}, "leave init_params at 'auto'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_labels_are_named(counts, case):
    spoil, params, message = BAD[case]
    X, z = counts
    with pytest.raises(ValueError, match=message):
        mixture(**params).fit(X, labels=spoil(z))


def test_errors_of_a_fit_with_labels_are_not_told(counts):
    X, z = counts
    model = mixture().fit(X, labels=some_of(z))
    with pytest.raises(ValueError, match="The fit knew components of some rows"):
        model.standard_errors(X)
    assert np.isfinite(model.fit(X).standard_errors(X)["weights_"]).all()


def test_pieces_have_no_labels(counts):
    X, z = counts
    with pytest.raises(ValueError, match="X comes in pieces"):
        mixture().fit([X[:100], X[100:]], labels=z)


# -- classifiers ---------------------------------------------------------------------------------------------


def as_is(X):
    return X


CORNERS = {
    "lda": ({"covariance_type": "tied"}, LinearDiscriminantAnalysis(solver="lsqr"), as_is),
    "gaussian": ({"covariance_type": "diag"}, GaussianNB(var_smoothing=0), as_is),
    "multinomial": (
        {"emission": "multinomial", "emission_prior": 2.0},
        MultinomialNB(),
        lambda X: np.round(X * 3),
    ),
    "categorical": (
        {"emission": "categorical", "n_categories": 9, "emission_prior": 2.0},
        CategoricalNB(min_categories=9),
        lambda X: np.round(X).astype(int),
    ),
    "bernoulli": (
        {"emission": "bernoulli", "emission_prior": 2.0},
        BernoulliNB(),
        lambda X: 1.0 * (X.mean(axis=0) < X),
    ),
}


@pytest.mark.parametrize("case", CORNERS)
def test_one_component_for_each_class(case):
    """scikit-learn's classifiers are corners of this one."""
    params, peer, of_kind = CORNERS[case]
    X = of_kind(IRIS)
    own, theirs = MixtureDiscriminant(**params).fit(X, SPECIES), peer.fit(X, SPECIES)
    np.testing.assert_allclose(own.predict_proba(X), theirs.predict_proba(X), atol=1e-11)
    np.testing.assert_array_equal(own.classes_, theirs.classes_)


def test_quadratic_discriminant_analysis():
    joint = np.stack(
        [
            stats.multivariate_normal(own.mean(axis=0), np.cov(own.T, bias=True)).logpdf(IRIS)
            for own in (IRIS[k == SPECIES] for k in range(3))
        ],
        axis=1,
    )
    own = MixtureDiscriminant().fit(IRIS, SPECIES)
    np.testing.assert_allclose(own.predict_proba(IRIS), np.exp(joint - logsumexp(joint, axis=1, keepdims=True)))
    theirs = QuadraticDiscriminantAnalysis().fit(IRIS, SPECIES)
    np.testing.assert_allclose(
        own.predict_proba(IRIS), theirs.predict_proba(IRIS), atol=1e-11 if SKLEARN_IS_RECENT else 0.05
    )


def test_several_components_find_what_one_cannot():
    """A class on both sides of another."""
    rng = np.random.RandomState(0)
    X = np.r_[rng.normal(-4, 1, 60), rng.normal(4, 1, 60), rng.normal(0, 1, 80)][:, None]
    y = np.repeat(["out", "in"], [120, 80])
    one = MixtureDiscriminant({"in": 1, "out": 1}, covariance_type="tied", random_state=0).fit(X, y)
    two = MixtureDiscriminant({"in": 1, "out": 2}, covariance_type="tied", random_state=0).fit(X, y)
    assert two.score(X, y) > one.score(X, y) + 0.2
    np.testing.assert_array_equal(two.component_classes_, [0, 1, 1])
    np.testing.assert_allclose(two.class_prior_, [0.4, 0.6])
    np.testing.assert_allclose(np.sort(two.mixture_.means_[1:, 0]), [-4, 4], atol=0.5)


def test_rows_of_unknown_class_teach(counts):
    X, z = counts
    few = np.full(len(z), -1)
    few[:12] = z[:12]
    names = np.array(["a", "b", "c"])[z].astype(object)
    names[few < 0] = None
    params = {"emission": "poisson", "random_state": 0, "n_init": 4}
    model = MixtureDiscriminant(unlabeled=-1, **params).fit(X, few)
    by_name = MixtureDiscriminant(**params).fit(X, names)
    by_nan = MixtureDiscriminant(**params).fit(X, np.where(few < 0, np.nan, few))
    assert model.score(X, z) > MixtureDiscriminant(**params).fit(X[:12], z[:12]).score(X, z)
    np.testing.assert_allclose(model.predict_proba(X), by_name.predict_proba(X))
    np.testing.assert_allclose(model.predict_proba(X), by_nan.predict_proba(X))
    assert set(by_name.predict(X)) == {"a", "b", "c"}


def test_columns_of_any_kind_with_gaps():
    rng = np.random.RandomState(0)
    y = rng.randint(2, size=120)
    X = pd.DataFrame({"size": rng.normal(y), "kind": np.where(rng.uniform(size=120) < 0.2 + 0.6 * y, "x", "z")})
    X = X.mask(rng.uniform(size=X.shape) < 0.2)
    model = MixtureDiscriminant(emission={"size": "gaussian", "kind": "categorical"}, n_init=2)
    assert cross_val_score(model, X, y, cv=3).mean() > 0.7
    with pytest.warns(UserWarning, match="never seen"):
        proba = model.fit(X, y).predict_proba(pd.DataFrame({"size": [0.0], "kind": ["new"]}))
    np.testing.assert_allclose(proba[0], model.class_prior_)


def test_bad_classes_are_named():
    X, y = IRIS, SPECIES
    for message, params, classes in (
        ("y knows no class at all", {}, np.full(150, np.nan)),
        ("names the class 7, but y has", {"n_components": {0: 1, 7: 2}}, y),
        ("does not say how many components the class 1 has", {"n_components": {0: 1, 2: 1}}, y),
        ("whole numbers, 1 or more", {"n_components": {0: 1, 1: 0, 2: 1}}, y),
        ("requires y to be passed", {}, None),
        ("inconsistent numbers of samples", {}, y[1:]),
    ):
        with pytest.raises(ValueError, match=message):
            MixtureDiscriminant(**params).fit(X, classes)


@parametrize_with_checks([MixtureDiscriminant(n_init=1)])
def test_sklearn(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)
