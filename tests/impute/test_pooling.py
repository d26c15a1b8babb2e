"""Pooling of vectors, of fitted results and of correlations, and the test of several parameters."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.imputation import mice

from emlearn import EMImputer, pool
from emlearn.datasets import load_airquality


def analyses(m=5, p=3, seed=0):
    """Estimates and covariances of m analyses."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, p, 2 * p))
    return rng.normal(1, 0.3, size=(m, p)), A @ A.transpose(0, 2, 1) / p**2


@pytest.fixture(scope="module")
def fits():
    frame = load_airquality(as_frame=True).frame[["Ozone", "Solar.R", "Wind", "Temp"]]
    completed = EMImputer(random_state=0).set_output(transform="pandas").fit(frame).sample(frame, 10)
    return [sm.OLS(Z["Ozone"], sm.add_constant(Z[["Wind", "Temp"]])).fit() for Z in completed]


def test_fitted_results_as_their_numbers(fits):
    pooled = pool(fits)
    expected = pool([f.params.to_numpy() for f in fits], [f.bse.to_numpy() for f in fits], fits[0].df_resid)
    for value, plain in zip(pooled[:-1], expected[:-1], strict=True):
        assert value.index.tolist() == ["const", "Wind", "Temp"]
        np.testing.assert_allclose(value, plain)
    np.testing.assert_allclose(pooled.pvalue(), expected.pvalue())
    table = pooled.to_frame()
    assert table.index.tolist() == ["const", "Wind", "Temp"]
    np.testing.assert_allclose(table[["lower", "upper"]].T, expected.interval())
    by_number = [sm.OLS(f.model.endog, f.model.exog).fit() for f in fits]
    np.testing.assert_allclose(pool(by_number).estimate, expected.estimate)
    logit = [
        sm.Logit(np.arange(30) % 3 == 0, sm.add_constant(np.cos(np.arange(30) + i))).fit(disp=0) for i in (0, 1)
    ]
    assert (pool(logit).df == pool([f.params for f in logit], [f.bse for f in logit]).df).all()


@pytest.mark.filterwarnings("ignore")
def test_as_mice_of_statsmodels_combines():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 3)) @ rng.normal(size=(3, 3)), columns=list("yab"))
    frame.loc[::4, "a"] = np.nan
    np.random.seed(0)  # noqa: NPY002 (what it draws from)
    chained = mice.MICE("y ~ a + b", sm.OLS, mice.MICEData(frame))
    combined = chained.fit(2, 4)
    pooled = pool(chained.results_list)
    np.testing.assert_allclose(pooled.estimate, combined.params)
    np.testing.assert_allclose(pooled.standard_error, combined.bse)
    share = (1 + 1 / 4) * pooled.between / pooled.standard_error**2
    np.testing.assert_allclose(share, combined.frac_miss_info)


def test_one_fit_is_refused_by_name(fits):
    with pytest.raises(ValueError, match=r"one Series of named parameters.*'Wind'.*one fit"):
        pool(fits[0].params, fits[0].bse)
    with pytest.raises(ValueError, match=r"one fitted result"):
        pool(fits[0])
    numbers = pd.Series([1.0, 1.4, 0.7])
    assert pool(numbers, 0.5 * numbers).estimate == pytest.approx(31 / 30)


def test_names_are_put_in_order(fits):
    estimates = [f.params for f in fits]
    turned = [estimates[0], *(e[::-1] for e in estimates[1:])]
    covariances = [f.cov_params().iloc[::-1, ::-1] for f in fits]
    pooled = pool(turned, covariances=covariances, df_complete=fits[0].df_resid)
    np.testing.assert_allclose(pooled.standard_error, pool(fits).standard_error)
    np.testing.assert_allclose(pooled.within_covariance, pool(fits).within_covariance)
    frame = pool(pd.DataFrame(estimates), pd.DataFrame([f.bse for f in fits]))
    np.testing.assert_allclose(frame.estimate["Wind"], pooled.estimate["Wind"])
    with pytest.raises(ValueError, match=r"differ in their names.*'Sun'"):
        pool([estimates[0], estimates[1].rename({"Wind": "Sun"})], [f.bse for f in fits[:2]])


@pytest.mark.parametrize(
    ("m", "p", "df_complete"), [(5, 3, None), (3, 2, None), (2, 1, None), (5, 3, 40), (20, 2, 9)]
)
def test_wald_by_the_formulas(m, p, df_complete):
    """Li, Raghunathan & Rubin (1991), eqs 1.17 to 1.20, and Reiter (2007), in another way."""
    q, U = analyses(m, p)
    test = pool(q, covariances=U, df_complete=df_complete).wald(null=0.9)
    W, B = U.mean(axis=0), np.atleast_2d(np.cov(q.T))
    r = (1 + 1 / m) * np.mean(np.linalg.eigvals(np.linalg.inv(W) @ B).real)
    d = q.mean(axis=0) - 0.9
    assert test.statistic == pytest.approx(d @ np.linalg.inv((1 + r) * W) @ d / p)
    assert test.relative_increase == pytest.approx(r)
    t = p * (m - 1)
    df = 4 + (t - 4) * (1 + (1 - 2 / t) / r) ** 2 if t > 4 else t * (1 + 1 / p) * (1 + 1 / r) ** 2 / 2
    if df_complete is None:
        assert test.df_denom == pytest.approx(df)
    else:
        assert 0 < test.df_denom < min(df, df_complete)
        more = pool(q, covariances=U, df_complete=1e9).wald(null=0.9)
        assert more.df_denom == pytest.approx(df, rel=1e-3)
    assert test.pvalue == pytest.approx(stats.f.sf(test.statistic, p, test.df_denom))


def test_wald_of_one_and_of_complete_data(fits):
    pooled = pool(fits)
    one = pooled.wald("Wind")
    assert one.statistic == pytest.approx((pooled.estimate["Wind"] / pooled.standard_error["Wind"]) ** 2)
    whole = pool([fits[0], fits[0]])  # nothing is missing: the F test of the fit itself
    expected = fits[0].f_test(np.eye(3)[1:])
    assert whole.wald(["Wind", "Temp"]).statistic == pytest.approx(float(expected.fvalue))
    assert whole.wald([1, 2]).df_denom == pytest.approx(fits[0].df_resid, rel=0.02)


@pytest.mark.slow
def test_wald_holds_its_level():
    """Two slopes that are 0, where one of the features has gaps."""
    rng, pvalues = np.random.default_rng(0), []
    for seed in range(120):
        X = rng.normal(size=(60, 3))
        X[:, 1] += X[:, 0]
        X[rng.uniform(size=60) < 0.3, 1] = np.nan
        completed = EMImputer(random_state=seed).fit(X).sample(X, 5)
        fitted = [sm.OLS(Z[:, 2], sm.add_constant(Z[:, :2])).fit() for Z in completed]
        pvalues.append(pool(fitted).wald([1, 2]).pvalue)
    assert np.mean(np.array(pvalues) < 0.05) < 0.1
    assert np.mean(pvalues) == pytest.approx(0.5, abs=0.1)


def test_correlations_by_fishers_z():
    r = np.array([0.62, 0.58, 0.66, 0.6])
    pooled = pool(r, n_rows=50)
    z = pool(np.arctanh(r), np.full(4, 1 / np.sqrt(47)))
    assert pooled.estimate == pytest.approx(np.tanh(z.estimate))
    np.testing.assert_allclose(pooled.interval(), np.tanh(z.interval()))
    assert pooled.pvalue(0.3) == pytest.approx(z.pvalue(np.arctanh(0.3)))
    assert pooled.df == pytest.approx(z.df)
    matrix = np.stack([r, -r]).T
    assert pool(matrix, n_rows=[50, 50]).estimate == pytest.approx([pooled.estimate, -pooled.estimate])


Q, U = analyses()
BAD = [
    ({"estimates": Q}, "estimates have no errors: give one of standard_errors, covariances, n_rows"),
    (
        {"estimates": Q, "standard_errors": np.abs(Q), "covariances": U},
        "standard_errors and covariances are given",
    ),
    (
        {"estimates": Q, "covariances": U[:, :2, :2]},
        r"covariances have shape \(5, 2, 2\); expected \(5, 3, 3\)",
    ),
    ({"estimates": Q[:, 0], "covariances": U}, r"vectors of estimates, \(m, p\)"),
    ({"estimates": Q, "covariances": -U}, "variance of -.* negative"),
    ({"estimates": Q, "covariances": U + np.triu(np.ones((3, 3)), 1)}, "not symmetric"),
    ({"estimates": [0.3, 1.0], "n_rows": 30}, "1, which is no correlation"),
    ({"estimates": [0.3, 0.2], "n_rows": 3}, "more than 3 rows"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bad_input_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        pool(**given)


def test_bad_tests_are_named():
    with pytest.raises(ValueError, match="wald needs the covariances"):
        pool(Q, np.abs(Q)).wald()
    pooled = pool(Q, covariances=U)
    with pytest.raises(ValueError, match="parameters names 7"):
        pooled.wald([7])
    with pytest.raises(ValueError, match=r"null has shape \(2,\), but 3"):
        pooled.wald(null=[0.0, 1.0])
    with pytest.raises(ValueError, match="singular"):
        pool(Q[:, [0, 0]], covariances=U[:, [[0, 0], [0, 0]], 0]).wald()
    fit = sm.OLS(np.arange(5.0), np.ones(5)).fit()
    with pytest.raises(ValueError, match="bring their errors"):
        pool([fit, fit], [[1.0], [1.0]])
    with pytest.raises(ValueError, match="null=1"):
        pool([0.3, 0.2], n_rows=30).pvalue(1)
