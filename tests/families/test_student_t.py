"""Student's t: published and otherwise found values, what outliers do, and the bounds of what is estimated."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize
from sklearn.datasets import load_iris

from emlearn import HMMEM
from emlearn.datasets import load_old_faithful
from emlearn.em import LatentModel, LatentPair, fit_em
from emlearn.families import Gaussian, GaussianParams, MultivariateStudentT, gaussian_family, student_t_family
from emlearn.families.covariance_types import STRUCTURES
from emlearn.families.student_t import LEAST_DF, MOST_DF
from emlearn.latent import MixtureWeights
from emlearn.testing import check_model
from tests.helpers.families import batch_of


def standardised(X):
    return (X - X.mean(axis=0)) / X.std(axis=0), len(X) * np.log(X.std(axis=0)).sum()


def fitted(family, X, resp, **options):
    model = LatentModel(MixtureWeights(), family)
    return fit_em(model, model.start(batch_of(X), resp), X, **{"tol": 1e-8, "max_iter": 2000} | options)


def by_first(X):
    """Responsibilities of two components, mostly by the sign of the first feature."""
    first = X[:, 0] < 0
    return 0.9 * np.stack([~first, first]) + 0.05


# Maxima that were found by BFGS on the likelihood itself. At 60 degrees of freedom it is so flat that a
# thousandth of them is a millionth of a nat.
@pytest.mark.parametrize(
    ("df", "log_likelihood", "found", "n_iter"),
    [
        (4.0, -1140.5330035, [4.0, 4.0], 20),
        ("shared", -1130.1789186, 59.8162, 80),
        ("free", -1129.9601716, [200.0, 19.2745], 120),
    ],
)
def test_maxima_of_old_faithful(df, log_likelihood, found, n_iter):
    X, volume = standardised(np.asarray(load_old_faithful().data, dtype=float))
    fit = fitted(student_t_family(df=df), X, by_first(X))
    assert fit.log_likelihood - volume == pytest.approx(log_likelihood, abs=5e-7)
    np.testing.assert_allclose(fit.params.family.df, found, rtol=2e-3)
    assert fit.n_iter < n_iter  # plain EM takes thousands where degrees of freedom are estimated


def test_maximum_of_iris():
    X, volume = standardised(load_iris().data)
    fit = fitted(student_t_family(df=4), X, np.ones((1, len(X))))
    assert fit.log_likelihood - volume == pytest.approx(-398.8843828, abs=5e-7)


def test_maximum_from_incomplete_rows():
    """Of the likelihood itself: marginal densities of what is observed."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3)) / np.sqrt(rng.chisquare(4, size=(40, 1)) / 4)
    X[rng.uniform(size=X.shape) < 0.2] = np.nan
    fit = fitted(student_t_family(), X, np.ones((1, 40)), tol=1e-10)
    means, (scale,), (df,) = (np.asarray(leaf) for leaf in fit.params.family)

    def parts(vector):
        root = np.zeros((3, 3))
        root[np.tril_indices(3)] = vector[3:9]
        return vector[:3], root @ root.T, np.exp(vector[9])

    def loss(vector):
        mean, matrix, nu = parts(vector)
        total = 0.0
        for x in X:
            o = ~np.isnan(x)
            if o.any():
                total -= stats.multivariate_t.logpdf(x[o], mean[o], matrix[np.ix_(o, o)], nu)
        return total

    at = np.concatenate([means[0], np.linalg.cholesky(scale)[np.tril_indices(3)], [np.log(df)]])
    assert loss(at) == pytest.approx(-fit.log_likelihood, rel=1e-10)
    best = minimize(loss, at + 0.05 * rng.normal(size=10), method="BFGS", options={"gtol": 1e-4})
    assert best.fun == pytest.approx(loss(at), abs=1e-6)
    np.testing.assert_allclose(parts(best.x)[2], df, rtol=1e-2)


@pytest.mark.parametrize("form", ["VEI", "VEE", "spherical", "EEI", "EVI", "VVE", "EEV"])
def test_other_forms_obey_the_laws(form):
    rng = np.random.RandomState(1)
    labels = np.arange(60) % 2
    X = np.array([[-2.0, 0.0], [2.0, 1.0]])[labels] + rng.standard_t(3, size=(60, 2))
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    model = LatentModel(MixtureWeights(), student_t_family(form, max_df=15.0))
    params = model.start(batch_of(X), 0.8 * (labels == np.arange(2)[:, None]) + 0.1)
    check_model(model, params, X, laws=["monotone", "acceleration", "batches"])


def test_with_many_degrees_of_freedom_it_is_gaussian():
    X, _ = standardised(load_iris().data)
    resp = by_first(X)
    X[::7, 1] = np.nan
    normal = fitted(gaussian_family("full"), X, resp)
    fit = fitted(student_t_family(df=MOST_DF), X, resp)
    assert fit.log_likelihood == pytest.approx(normal.log_likelihood, abs=1e-2)
    np.testing.assert_allclose(fit.params.family.means, normal.params.family.means, atol=1e-3)


def test_outliers_leave_it_where_it_was():
    rng = np.random.RandomState(0)
    clean = rng.normal(size=(200, 2))
    X = np.vstack([clean, 1000 + rng.normal(size=(6, 2))])
    fit = fitted(student_t_family(), X, np.ones((1, len(X))))
    np.testing.assert_allclose(fit.params.family.means[0], clean.mean(axis=0), atol=0.1)
    assert np.linalg.det(fit.params.family.scale_matrices[0]) < 1.5
    assert fit.params.family.df[0] < 3


# -- bounds ------------------------------------------------------------------------------------------------


def test_estimates_stay_within_their_bounds():
    rng = np.random.RandomState(0)
    light = fitted(student_t_family(max_df=50), rng.uniform(size=(100, 2)), np.ones((1, 100)))
    heavy = fitted(student_t_family(), rng.standard_t(0.5, size=(200, 1)), np.ones((1, 200)))
    assert light.params.family.df == 50
    assert heavy.params.family.df == LEAST_DF
    for fit, family in ((light, student_t_family(max_df=50)), (heavy, student_t_family())):
        resting = family.resting(fit.params.family)
        assert resting[-1]
        assert not resting[:-1].any()


def test_degrees_of_freedom_at_the_most_have_no_standard_error():
    rng = np.random.RandomState(3)
    states = np.cumsum(rng.uniform(size=600) < 0.05) % 2
    X = np.where(states, 6 + rng.standard_t(3, size=600), rng.uniform(-1, 1, size=600))[:, None]
    model = HMMEM(2, emission="student_t", random_state=0).fit(X)
    assert model.df_[0] == 200
    errors = model.standard_errors(X)
    assert np.isnan(errors["df_"][0])
    assert errors["df_"][1] > 0
    assert "fixed" in str(model.summary(X))


def test_constant_and_collinear_features_rest_on_the_floor():
    rng = np.random.RandomState(0)
    x = rng.standard_t(3, size=(80, 1))
    X = np.hstack([x, 2 * x, np.full((80, 1), 3.0), rng.standard_t(3, size=(80, 1))])
    X = (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1.0)
    for form in ("full", "diag", "EVI"):
        model = LatentModel(MixtureWeights(), student_t_family(form, floor=1e-6))
        labels = np.arange(80) % 2
        params = model.start(batch_of(X), 0.8 * (labels == np.arange(2)[:, None]) + 0.1)
        fit = fit_em(model, params, X, tol=1e-3)
        assert (np.diff(fit.history) > -1e-6).all()
        values = np.linalg.eigvalsh(model.family.normal.covariance(GaussianParams(*fit.params.family[:2])))
        assert values.min() > 0.99e-6


# -- parameters by name ------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("df",), ("scale_matrices",), ("means", "df"), ("means", "scale_matrices")])
def test_laws_hold_where_parameters_are_held(names):
    rng = np.random.RandomState(2)
    labels = np.arange(80) % 2
    X = np.array([[-2.0, 0.0], [2.0, 1.0]])[labels] + rng.standard_t(4, size=(80, 2))
    family = student_t_family(max_df=15.0)
    params = family.start(batch_of(X), 0.8 * (labels == np.arange(2)[:, None]) + 0.1)
    params = params._replace(df=np.array([4.0, 9.0]))
    held = family.held(names, params)
    n_held = {"df": 2, "means": 4, "scale_matrices": 6}
    assert held.n_parameters(params) == 12 - sum(n_held[name] for name in names)
    start = LatentPair(np.array([0.5, 0.5]), params)
    check_model(LatentModel(MixtureWeights(), held), start, X, laws=["monotone", "acceleration"])
    fit = fit_em(LatentModel(MixtureWeights(), held), start, X).params.family
    for name in names:
        np.testing.assert_array_equal(getattr(fit, name), getattr(params, name))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: student_t_family("fulll"), "covariance_type='fulll' is none of full, tied"),
        (lambda: student_t_family("factor"), "covariance_type='factor' is none of full, tied"),
        (lambda: student_t_family(df="fixed"), 'neither "free" nor "shared"'),
        (lambda: student_t_family(df=0), "df=0: degrees of freedom must be positive"),
        (lambda: student_t_family(df=np.inf), "beyond which components are Gaussian"),
        (lambda: student_t_family(max_df=1), "max_df=1 must be more than 1"),
        (
            lambda: student_t_family(df=4).from_fields(
                {"means": [[0.0]], "scale_matrices": [[[1.0]]], "df": [5]}, (1,)
            ),
            "df is given, but the degrees of freedom of this family are 4",
        ),
        (
            lambda: student_t_family().from_fields(
                {"means": [[0.0]], "scale_matrices": [[[-1.0]]], "df": [5]}, (1,)
            ),
            "scale_matrices must be positive definite",
        ),
        (
            lambda: student_t_family().from_fields(
                {"means": [[0.0]], "scale_matrices": [[[1.0]]], "df": [-5]}, (1,)
            ),
            "df holds -5",
        ),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_covariances_are_infinite_up_to_two_degrees_of_freedom():
    family = student_t_family()
    given = {"means": [[0.0, 1.0]] * 2, "scale_matrices": [np.diag([1.0, 2.0])] * 2, "df": [2.0, 4.0]}
    params = family.from_fields(given, (2,))
    np.testing.assert_array_equal(family.covariance(params)[0], [[np.inf, 0], [0, np.inf]])
    np.testing.assert_allclose(family.covariance(params)[1], [[2, 0], [0, 4]])
    apart = family.divergence(params, family, params)
    assert np.isfinite(apart).all()
    assert apart[0, 1] > 1e-3


# -- states ------------------------------------------------------------------------------------------------


def returns(n=1500):
    """A calm and a wild state, both with outliers."""
    rng = np.random.RandomState(0)
    states = np.cumsum(rng.uniform(size=n) < 0.02) % 2
    return np.array([0.4, 2.0])[states, None] * rng.standard_t(4, size=(n, 1)), states


def test_states_with_outliers():
    X, states = returns()
    model = HMMEM(2, emission="student_t", random_state=0).fit(X)
    calm = int(np.argmin(model.scale_matrices_.ravel()))
    assert ((model.predict(X) == calm) == (states == 0)).mean() > 0.95
    assert (np.abs(model.df_ - 4) < 2.5).all()
    same = HMMEM.from_parameters(
        model.startprob_,
        model.transmat_,
        emission="student_t",
        means=model.means_,
        scale_matrices=model.scale_matrices_,
        df=model.df_,
    )
    assert same.score(X) == pytest.approx(model.score(X), rel=1e-12)
    kept = HMMEM(2, emission="student_t", emission_init={"df": [4, 4]}, fixed=("df",), random_state=0).fit(X)
    given = HMMEM(2, emission=student_t_family(df=4), random_state=0).fit(X)
    assert kept.log_likelihood_ == pytest.approx(given.log_likelihood_, abs=1e-3)
    assert kept.n_parameters_ == given.n_parameters_ == model.n_parameters_ - 2


def test_states_learn_from_a_stream():
    X, _ = returns(6000)
    model = HMMEM(2, emission="student_t", random_state=0)
    for start in range(0, len(X), 500):
        model.partial_fit(X[start : start + 500])
    np.testing.assert_allclose(np.sort(model.scale_matrices_.ravel()), [0.16, 4.0], rtol=0.35)


def test_every_form_of_a_gaussian_is_one_of_it():
    for name, structure in STRUCTURES.items():
        assert student_t_family(name) == MultivariateStudentT(Gaussian(structure, 1e-9))
