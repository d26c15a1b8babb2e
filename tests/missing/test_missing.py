"""Patterns of missing entries, Little's test, amputation, overimputation, and their displays."""

import sys

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm
from sklearn.base import BaseEstimator

from emlearn.datasets import load_airquality
from emlearn.missing import (
    MissingPatterns,
    ampute,
    little_mcar_test,
    missing_patterns,
    overimpute,
)
from tests.helpers.data import read_table
from tests.helpers.pace import some_slow

NAN = np.nan


@pytest.fixture(scope="module")
def airquality():
    return load_airquality().data


def normal_rows(n, seed=0):
    """Three correlated columns of different scales."""
    rng = np.random.RandomState(seed)
    return rng.normal(size=(n, 3)) @ np.array([[1, 0.6, 0.3], [0, 0.8, 0.2], [0, 0, 0.9]]) * [1, 50, 1e-3] + 7


class MeanImputer(BaseEstimator):
    """The mean of each column, with normal intervals."""

    def fit(self, X, y=None, sample_weight=None):
        self.names_ = list(getattr(X, "columns", []))
        X = np.asarray(X, dtype=np.float64)
        weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        weight = weight[:, None] * ~np.isnan(X)
        self.mean_ = (weight * np.nan_to_num(X)).sum(axis=0) / weight.sum(axis=0)
        self.sd_ = np.nanstd(X, axis=0)
        return self

    def transform(self, X):
        X = np.asarray(X, dtype=np.float64)
        return np.where(np.isnan(X), self.mean_, X)

    def predict_interval(self, X, coverage=0.95):
        half = norm.ppf(0.5 + coverage / 2) * self.sd_ * np.isnan(np.asarray(X, dtype=np.float64))
        middle = self.transform(X)
        return middle - half, middle + half


# -- input ---------------------------------------------------------------------------------------------------


def test_every_kind_of_table_is_read_alike():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    rows = [[1.0, None, 1], [2.5, 5, None], [NAN, 6, 0], [4, 7, 1]]
    names = ["a", "b", "c"]
    nullable = pd.DataFrame(rows, columns=names).astype({"a": "Float64", "b": "Int64", "c": "boolean"})
    tables = {
        "list": rows,
        "array": np.array(rows, dtype=float),
        "objects": np.array(rows, dtype=object),
        "pandas": pd.DataFrame(rows, columns=names),
        "nullable": nullable,
        "pd.NA as object": nullable.astype(object),
        "polars": pl.DataFrame(rows, schema=names, orient="row"),
        "polars integers": pl.DataFrame(
            {"a": [1, 2, None, 4], "b": [None, 5, 6, 7], "c": [True, None, False, True]}
        ),
    }
    for kind, table in tables.items():
        patterns = missing_patterns(table)
        np.testing.assert_array_equal(patterns.n_missing, [1, 1, 1], err_msg=kind)
        np.testing.assert_array_equal(patterns.counts, [1, 1, 1, 1], err_msg=kind)
        named = hasattr(table, "columns")
        assert patterns.feature_names == (names if named else ["x0", "x1", "x2"]), kind


def test_a_column_of_nothing_is_a_column():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"a": [1, 2], "b": [None, None]}
    for table in (pd.DataFrame(columns), pl.DataFrame(columns)):
        np.testing.assert_array_equal(missing_patterns(table).observed, [[True, False]])


@pytest.mark.parametrize(
    "function", [missing_patterns, little_mcar_test, ampute, lambda X: overimpute(MeanImputer(), X)]
)
def test_infinity_and_what_is_no_table_are_named(function):
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="infinity in column 'spend', row 1"):
        function(pd.DataFrame({"city": ["Rome", "Oslo"], "spend": [2.0, np.inf]}))
    with pytest.raises(ValueError, match="infinity in column 'spend', row 1"):
        function(pd.DataFrame({"x": [1.0, 2.0], "spend": [2.0, np.inf]}))
    with pytest.raises(ValueError, match="infinity in column 'x1', row 0"):
        function([[1.0, -np.inf], [2.0, NAN]])
    with pytest.raises(ValueError, match="2D array"):
        function([1.0, NAN])


# -- patterns ------------------------------------------------------------------------------------------------


def test_patterns_of_airquality(airquality):
    patterns = missing_patterns(airquality[:, :4])
    np.testing.assert_array_equal(patterns.counts, [111, 35, 5, 2])
    np.testing.assert_array_equal(~patterns.observed[:, :2], [[0, 0], [1, 0], [0, 1], [1, 1]])
    np.testing.assert_array_equal(patterns.n_missing, [37, 7, 0, 0])
    assert patterns.observed[:, 2:].all()


def test_order_of_patterns():
    """Fewest gaps, then most rows, then gaps in the later features; the order of the rows does not matter."""
    kinds = np.array([[NAN, 1, 1], [1, NAN, 1], [1, 1, NAN], [NAN, NAN, NAN], [1, NAN, NAN], [1, 1, 1]])
    rows = np.repeat(kinds, [1, 2, 1, 1, 1, 1], axis=0)
    patterns = missing_patterns(rows)
    np.testing.assert_array_equal(patterns.counts, [1, 2, 1, 1, 1, 1])
    expected = [[1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(patterns.observed, expected)
    shuffled = missing_patterns(np.random.RandomState(0).permutation(rows))
    np.testing.assert_array_equal(shuffled.observed, patterns.observed)


def test_patterns_add_up():
    X = ampute(np.random.RandomState(0).normal(size=(400, 11)), random_state=1)
    patterns = missing_patterns(X)
    assert patterns.counts.sum() == 400
    np.testing.assert_array_equal(patterns.counts @ ~patterns.observed, np.isnan(X).sum(axis=0))
    assert len(np.unique(patterns.observed, axis=0)) == len(patterns.observed)
    assert (np.diff(patterns.observed.sum(axis=1)) <= 0).all()


def test_table_in_print():
    complete = repr(missing_patterns([[1.0, 2.0]]))
    assert complete.splitlines()[0] == "1 row, 1 pattern, 0 of 2 entries missing"
    X = ampute(np.random.RandomState(0).normal(size=(500, 40)), columns=range(5, 40), random_state=0)
    patterns = missing_patterns(X)
    lines = str(patterns).splitlines()
    assert max(map(len, lines)) <= 112
    assert lines[1].split()[0] == "rows"
    assert f"and {len(patterns.counts) - 20} other patterns of" in lines[-2]
    assert "more features" in lines[-1]
    # The features with the most gaps are those that are shown.
    shown = [int(name[1:]) for name in lines[1].split()[1:]]
    assert shown == sorted(shown)
    hidden = np.setdiff1d(np.arange(40), shown)
    assert patterns.n_missing[shown].min() >= patterns.n_missing[hidden].max()
    long = MissingPatterns(np.array([[True]]), np.array([3]), np.array([0]), ["a" * 50])
    assert "aaaaaa…aaaaa" in str(long)


def test_table_as_frame(monkeypatch):
    pd = pytest.importorskip("pandas")
    patterns = missing_patterns(pd.DataFrame({"n_rows": [1.0, NAN, NAN], "b": [1.0, 2.0, 3.0]}))
    frame = patterns.to_frame()
    assert list(frame.columns) == ["n_rows", "n_rows", "b", "n_missing"]
    assert frame.iloc[:, 0].tolist() == [1, 2]
    assert frame["n_missing"].tolist() == [0, 1]
    np.testing.assert_array_equal(frame.iloc[:, 1:3], patterns.observed)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas"):
        patterns.to_frame()


# -- Little's test -------------------------------------------------------------------------------------------


def test_little_known_value(airquality):
    """The manual of R's naniar prints 35.1, 14, 0.00142, 4; the further digits were computed independently."""
    test = little_mcar_test(airquality)
    assert test.statistic == pytest.approx(35.106175, abs=1e-6)
    assert test.df == 14
    assert test.pvalue == pytest.approx(0.0014178, abs=5e-8)
    assert test.n_patterns == 4


def test_little_by_hand():
    """With one column complete: regression gives the maximum, and the formula the rest."""
    apple = read_table("apple")
    mean = np.array([14.72222222, 49.33333333])
    covariance = np.array([[89.53395062, -90.6967292], [-90.6967292, 114.69495512]])
    offset = apple[:12].mean(axis=0) - mean
    rest = apple[12:, 0].mean() - mean[0]
    expected = 12 * offset @ np.linalg.solve(covariance, offset) + 6 * rest**2 / covariance[0, 0]
    test = little_mcar_test(apple)
    assert test.statistic == pytest.approx(expected, rel=1e-7)
    assert (test.df, test.n_patterns) == (1, 2)
    missvals = read_table("missvals")
    assert little_mcar_test(missvals).df == 5 + 4 + 2 - 5


def test_little_ignores_units_order_and_empty_rows(airquality):
    test = little_mcar_test(airquality)
    scaled = airquality * [1e-6, 1e3, -1.0, 1e8, 1.0, 0.1] + [0, 1e4, 1, 0, -5, 0]
    empty = np.full((7, 6), NAN)
    mixed = np.random.RandomState(0).permutation(np.vstack([scaled, empty]))[:, [3, 1, 5, 0, 4, 2]]
    same = little_mcar_test(mixed)
    assert same.statistic == pytest.approx(test.statistic, rel=1e-6)
    assert same[1:] == (test.df, pytest.approx(test.pvalue, rel=1e-5), test.n_patterns)


@pytest.mark.parametrize(
    ("n", "least", "most"),
    some_slow([(60, 0, 8), (200, 2, 19)], [(60, 0, 8)]),  # of one in twenty
)
def test_little_rejects_as_often_as_it_says(n, least, most):
    """Five per cent under MCAR, nearly always under a strong MAR."""
    mcar = [
        little_mcar_test(ampute(normal_rows(100, seed), "mcar", 0.15, random_state=seed)).pvalue
        for seed in range(n)
    ]
    # 10 expected of 200, standard deviation 3.1; 3 of 60, 1.7.
    assert least <= np.count_nonzero(np.array(mcar) < 0.05) <= most
    assert 0.4 < np.mean(mcar) < 0.6
    mar = [
        little_mcar_test(ampute(normal_rows(150, seed), "mar", 0.3, random_state=seed)).pvalue
        for seed in range(15)
    ]
    assert np.count_nonzero(np.array(mar) < 0.05) >= 14


def test_little_refuses(airquality):
    pd = pytest.importorskip("pandas")
    frame = load_airquality(as_frame=True).frame
    nothing = frame.assign(Wind=NAN)
    flat = frame.assign(Wind=np.where(np.arange(153) % 2, 3.1, NAN))
    twice = frame.assign(Kelvin=(frame["Temp"] - 32) / 1.8 + 273.15)
    strangers = frame.assign(Wind=frame["Wind"].where(frame["Ozone"].isna()))
    gap = np.vstack([normal_rows(20), np.full((2, 3), NAN)])
    cases = [
        (frame[["Wind", "Temp"]], "no missing entries: there is nothing to test"),
        (nothing, "nothing but missing entries in column 'Wind'"),
        (frame[["Ozone"]], "one column only, 'Ozone'"),
        (flat, "constant in column 'Wind'"),
        (twice, r"singular: columns \['Temp', 'Kelvin'\] depend on one another"),
        (strangers, "no row with both 'Ozone' and 'Wind'"),
        (gap, "one pattern of missing entries, besides rows without any entry"),
        (ampute(normal_rows(4), columns=[2], proportion=0.5, random_state=3), "singular.*too few rows, 4"),
        (pd.DataFrame({"a": [1.0, 2.0, NAN], "b": [NAN, NAN, NAN]}), "missing entries in column 'b'"),
    ]
    for X, message in cases:
        with pytest.raises(ValueError, match=message):
            little_mcar_test(X)


# -- amputation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
@pytest.mark.parametrize("proportion", [0.05, 0.3, 0.6])
def test_share_that_is_removed(mechanism, proportion):
    X = np.random.RandomState(0).standard_gamma(1.0, size=(20_000, 5))
    out = ampute(X, mechanism, proportion, columns=[1, 3], random_state=0)
    gaps = np.isnan(out)
    assert not gaps[:, [0, 2, 4]].any()
    np.testing.assert_allclose(gaps[:, [1, 3]].mean(axis=0), proportion, atol=4 * 0.5 / np.sqrt(20_000))
    np.testing.assert_array_equal(out[~gaps], X[~gaps])
    np.testing.assert_array_equal(ampute(X, mechanism, proportion, columns=[-2, 1], random_state=0), out)


def test_the_same_gaps_for_the_same_state():
    X = normal_rows(200)
    before = X.copy()
    for mechanism in ("mcar", "mar", "mnar"):
        first, second, other = (
            np.isnan(ampute(X, mechanism, random_state=state)) for state in (3, np.random.RandomState(3), 4)
        )
        np.testing.assert_array_equal(first, second)
        assert (first != other).any()
    np.testing.assert_array_equal(X, before)


def log_odds_slope(z, gap):
    """Slope of a logistic regression of the gaps on z, by Newton's method."""
    design, beta = np.column_stack([np.ones_like(z), z]), np.zeros(2)
    for _ in range(25):
        p = expit(design @ beta)
        beta += np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design, design.T @ (gap - p))
    return beta[1]


def test_mechanisms_depend_on_what_they_say():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(40_000, 4)) * [1.0, 10.0, 100.0, 1000.0]  # independent columns
    z = X / X.std(axis=0)
    complete = (z[:, 0] + z[:, 1]) / np.sqrt(2)
    mar, mnar, mcar = (np.isnan(ampute(X, kind, 0.3, random_state=1)) for kind in ("mar", "mnar", "mcar"))
    assert not mar[:, :2].any()  # by default the last half
    for j in (2, 3):
        assert log_odds_slope(complete, mar[:, j]) == pytest.approx(2, abs=0.1)
        assert log_odds_slope(z[:, j], mar[:, j]) == pytest.approx(0, abs=0.05)
        assert log_odds_slope(z[:, 5 - j], mar[:, j]) == pytest.approx(0, abs=0.05)
    for j in range(4):
        assert log_odds_slope(z[:, j], mnar[:, j]) == pytest.approx(2, abs=0.1)
        assert log_odds_slope(z[:, j - 1], mnar[:, j]) == pytest.approx(0, abs=0.05)
        assert log_odds_slope(z[:, j], mcar[:, j]) == pytest.approx(0, abs=0.05)
    # Given the row, columns lose entries independently of one another.
    near = np.abs(complete) < 0.05
    assert abs(np.corrcoef(mar[near, 2], mar[near, 3])[0, 1]) < 4 / np.sqrt(near.sum())


def test_gaps_do_not_look_at_the_columns_that_lose():
    X = normal_rows(300)
    other = X.copy()
    other[:, 2] = np.random.RandomState(5).normal(size=300)
    gaps = [np.isnan(ampute(rows, "mar", random_state=0)) for rows in (X, other)]
    np.testing.assert_array_equal(*gaps)


@pytest.mark.parametrize("mechanism", ["mcar", "mnar"])
def test_no_row_is_left_with_nothing(mechanism):
    X = normal_rows(500)
    X[:50, :2] = NAN
    X[50] = NAN  # nothing was there before
    out = ampute(X, mechanism, 0.9, random_state=0)
    left = (~np.isnan(out)).sum(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(left == 0), [50])
    np.testing.assert_array_equal(out[:50, 2], X[:50, 2])
    assert np.isnan(out[:50, :2]).all()
    # Any of the entries may be the one that is put back.
    only = ~np.isnan(out[51:][left[51:] == 1])
    assert (only.mean(axis=0) > 0.2).all()


def test_gaps_before_and_constant_columns():
    X = normal_rows(2000)
    X[::4, 0] = NAN
    X[:, 1] = 5.0
    for mechanism, columns in [("mar", [2]), ("mnar", [0, 1])]:
        gaps = np.isnan(ampute(X, mechanism, 0.25, columns=columns, random_state=0))
        assert gaps[::4, 0].all()
        there = ~np.isnan(X)
        shares = [gaps[there[:, j], j].mean() for j in columns]
        np.testing.assert_allclose(shares, 0.25, atol=0.05)


def test_frames_in_frames_out():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    X = normal_rows(50)
    expected = ampute(X, columns=["x2", "x0"], random_state=0)
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=range(50, 100))
    out = ampute(frame, columns=["c", "a"], random_state=0)
    assert out.index.equals(frame.index)
    assert list(out.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(out, expected)
    out = ampute(pl.DataFrame(X, schema=["a", "b", "c"]), columns=["c", "a"], random_state=0)
    assert out.null_count().row(0) == tuple(np.isnan(expected).sum(axis=0))
    np.testing.assert_array_equal(out.to_numpy(), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mechanism": "MAR"}, r"mechanism='MAR' is not one of \['mcar', 'mar', 'mnar'\]"),
        ({"proportion": 0}, "proportion=0 is not between 0 and 1"),
        ({"proportion": 1.0}, "proportion=1.0 is not between"),
        ({"proportion": "half"}, "proportion='half' is not between"),
        ({"columns": "price"}, r"'price', which is no feature; the features are \['x0', 'x1', 'x2'\]"),
        ({"columns": 3}, "columns names 3, which is no feature"),
        ({"columns": [0.5]}, "columns names 0.5, which is no feature"),
        ({"columns": []}, "names no feature"),
        ({"columns": [0, -3]}, "a feature twice"),
        ({"columns": [0, 1, 2], "mechanism": "mar"}, "needs a column that stays complete"),
    ],
)
def test_ampute_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        ampute(normal_rows(10), **arguments)


def test_ampute_refuses_one_column():
    with pytest.raises(ValueError, match="one column only, 'x0'"):
        ampute([[1.0], [2.0]])


# -- overimputation ------------------------------------------------------------------------------------------


def test_every_observed_entry_is_hidden_once(airquality):
    seen = []

    class Watcher(MeanImputer):
        def fit(self, X, y=None, sample_weight=None):
            seen.append(np.isnan(X))
            return super().fit(X, sample_weight=sample_weight)

    result = overimpute(Watcher(), airquality, n_folds=4, random_state=0)
    missing = np.isnan(airquality)
    hidden = np.array(seen) & ~missing
    assert len(hidden) == 4
    np.testing.assert_array_equal(hidden.sum(axis=0), ~missing)
    per_fold = hidden.sum(axis=1)
    assert (np.ptp(per_fold, axis=0) <= 1).all()  # each column is spread over all folds
    np.testing.assert_array_equal(np.stack([result.rows, result.columns]), np.nonzero(~missing))
    np.testing.assert_array_equal(result.observed, airquality[~missing])
    # Every entry is imputed by the fit that it was hidden from.
    fold = hidden.argmax(axis=0)[~missing]
    means = np.array([np.nanmean(np.where(gaps, NAN, airquality), axis=0) for gaps in seen])
    np.testing.assert_allclose(result.imputed, means[fold, result.columns])
    error = result.imputed - result.observed
    for j in range(6):
        assert result.rmse[j] == pytest.approx(np.sqrt(np.mean(error[result.columns == j] ** 2)))
    assert 0.9 < result.coverage < 1
    assert result.coverage == np.mean((result.lower <= result.observed) & (result.observed <= result.upper))


def test_coverage_folds_and_weights(airquality):
    narrow = overimpute(MeanImputer(), airquality, coverage=0.5, random_state=0)
    wide = overimpute(MeanImputer(), airquality, coverage=0.99, random_state=0)
    assert narrow.coverage < wide.coverage
    np.testing.assert_array_equal(narrow.imputed, wide.imputed)
    assert (narrow.imputed != overimpute(MeanImputer(), airquality, random_state=1).imputed).any()
    weighted = overimpute(MeanImputer(), airquality, sample_weight=np.arange(153), random_state=0)
    assert (narrow.imputed != weighted.imputed).any()
    share = f"{wide.coverage:.1%} of 874 entries in their 99% intervals"
    assert repr(wide).startswith(f"<Overimputed: {share}; rmse x0: ")


def test_imputer_is_given_what_the_user_gave(airquality):
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    expected = overimpute(MeanImputer(), airquality, random_state=0)
    names = load_airquality().feature_names
    kinds = []

    class Watcher(MeanImputer):
        def fit(self, X, y=None):
            kinds.append(type(X))
            return super().fit(X)

    for frame in (pd.DataFrame(airquality, columns=names), pl.DataFrame(airquality, schema=names)):
        imputer = Watcher()
        result = overimpute(imputer, frame, random_state=0)
        assert set(kinds[-5:]) == {type(frame)}
        assert result.feature_names == names
        np.testing.assert_allclose(result.imputed, expected.imputed, rtol=1e-12)
        assert not hasattr(imputer, "mean_")


def test_intervals_of_the_em_imputer_hold():
    """On rows from a normal distribution, with gaps at random: 95 % of 1,600 entries, give or take."""
    from emlearn import EMImputer

    X = ampute(normal_rows(600), "mar", 0.3, random_state=0)
    for coverage in (0.5, 0.95):
        result = overimpute(EMImputer(), X, coverage=coverage, random_state=0)
        spread = np.sqrt(coverage * (1 - coverage) / len(result.observed))
        assert result.coverage == pytest.approx(coverage, abs=4 * spread)
    # What the columns say of one another makes it better than their means.
    assert (result.rmse < overimpute(MeanImputer(), X, random_state=0).rmse).all()


def test_overimpute_refuses():
    pd = pytest.importorskip("pandas")
    from sklearn.impute import SimpleImputer

    X = ampute(normal_rows(30), random_state=0)
    with pytest.raises(ValueError, match=r"needs an imputer.*SimpleImputer has no predict_interval"):
        overimpute(SimpleImputer(), X)
    for n_folds in (1, 0, 2.5):
        with pytest.raises(ValueError, match=f"n_folds={n_folds}: give 2 or more"):
            overimpute(MeanImputer(), X, n_folds=n_folds)
    with pytest.raises(ValueError, match=r"n_folds=200, but X has \d\d observed entries"):
        overimpute(MeanImputer(), X, n_folds=200)
    for coverage in (0, 1, 95):
        with pytest.raises(ValueError, match=f"coverage={coverage} is not between"):
            overimpute(MeanImputer(), X, coverage=coverage)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame.loc[1:, "b"] = NAN
    frame.loc[0, "b"] = 1.0
    with pytest.raises(ValueError, match="1 observed value in column 'b': hiding would leave it empty"):
        overimpute(MeanImputer(), frame)

    class Marker(MeanImputer):
        missing_values = -999

    with pytest.raises(ValueError, match="missing_values=-999: overimpute hides entries as NaN"):
        overimpute(Marker(), X)

    class Dropper(MeanImputer):
        def transform(self, X):
            return np.zeros((len(X), 2))

        def predict_interval(self, X, coverage=0.95):
            return np.asarray(X), np.asarray(X)

    with pytest.raises(ValueError, match=r"Dropper answers with shape \(30, 2\) where X has \(30, 3\)"):
        overimpute(Dropper(), X)


# -- displays ------------------------------------------------------------------------------------------------


@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    yield pyplot
    pyplot.close("all")


def labels(ticks):
    return [tick.get_text() for tick in ticks]


def test_patterns_drawn(plt):
    from emlearn.display import MissingPatternDisplay

    frame = load_airquality(as_frame=True).frame
    display = MissingPatternDisplay.from_data(frame)
    ax = display.ax_
    assert ax.figure is display.figure_
    np.testing.assert_array_equal(display.image_.get_array().reshape(4, 6), ~display.patterns.observed)
    assert labels(ax.get_xticklabels()) == list(frame.columns)
    assert labels(ax.get_yticklabels()) == ["111", "35", "5", "2"]
    (top,) = ax.child_axes
    assert labels(top.get_xticklabels()) == ["24 %", "5 %", "0 %", "0 %", "0 %", "0 %"]
    assert ax.get_xlabel() == ""
    assert ax.get_ylim() == (4, 0)  # the first on top


def test_patterns_of_most_rows_drawn(plt):
    from emlearn.display import MissingPatternDisplay

    X = ampute(np.random.RandomState(0).normal(size=(600, 30)), proportion=0.03, random_state=0)
    _, ax = plt.subplots()
    display = MissingPatternDisplay.from_data(X, max_patterns=7, ax=ax)
    assert display.ax_ is ax
    counts = display.patterns.counts
    assert len(display.shown_) == 7
    left = np.delete(counts, display.shown_)
    assert counts[display.shown_].min() >= left.max()
    assert ax.get_xlabel() == f"not shown: {len(left)} other patterns, {left.sum()} rows"
    assert ax.get_xticklabels()[0].get_rotation() == 90
    assert display.plot(max_patterns=1).ax_ is not ax
    assert MissingPatternDisplay.from_data(X[:, :4]).ax_.get_xticklabels()[0].get_rotation() == 0
    with pytest.raises(ValueError, match="max_patterns=0: draw one or more"):
        display.plot(max_patterns=0)


def test_overimputed_drawn(plt, airquality):
    from matplotlib.colors import to_rgba

    from emlearn.display import OverimputeDisplay

    result = overimpute(MeanImputer(), airquality, coverage=0.9, random_state=0)
    display = OverimputeDisplay.from_overimputed(result, colors=["blue", "red"])
    assert len(display.axes_) == len(display.points_) == len(display.bars_) == len(display.diagonals_) == 6
    assert all(ax.figure is display.figure_ for ax in display.axes_)
    for j, (points, bars, ax) in enumerate(zip(display.points_, display.bars_, display.axes_, strict=True)):
        mine = result.columns == j
        expected = np.column_stack([result.observed[mine], result.imputed[mine]])
        np.testing.assert_array_equal(points.get_offsets(), expected)
        ends = np.array(bars.get_segments())
        np.testing.assert_allclose(ends[:, 0], np.column_stack([expected[:, 0], result.lower[mine]]))
        np.testing.assert_allclose(ends[:, 1], np.column_stack([expected[:, 0], result.upper[mine]]))
        blue = (points.get_facecolors()[:, :3] == to_rgba("blue")[:3]).all(axis=1)
        np.testing.assert_array_equal(blue, result.inside[mine])
        share = f"coverage {100 * result.inside[mine].mean():.0f} %, 90 % asked for"
        assert ax.get_title() == f"x{j}\n{share}"
    assert labels(display.figure_.legends[0].get_texts()) == ["observed value inside its interval", "outside"]


def test_one_feature_from_an_imputer(plt):
    from emlearn.display import OverimputeDisplay

    frame = load_airquality(as_frame=True).frame
    _, ax = plt.subplots()
    display = OverimputeDisplay.from_estimator(
        MeanImputer(), frame, coverage=0.8, n_folds=3, random_state=0, feature="Solar.R", axes=ax
    )
    assert display.axes_ == (ax,)
    assert len(display.points_[0].get_offsets()) == 146
    assert display.result.nominal == 0.8
    assert len(ax.get_legend().get_texts()) == 2
    numbered = display.plot(feature=1, legend=False)
    assert numbered.axes_[0] is not ax
    assert not numbered.figure_.legends
    for feature in ("price", 6, 0.5):
        with pytest.raises(ValueError, match=f"feature names {feature!r}, .*; the features are"):
            display.plot(feature=feature)
    with pytest.raises(ValueError, match="axes are 1, but there are 6 features to draw"):
        display.plot(axes=ax)
