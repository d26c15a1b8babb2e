"""Tables of texts, categories and dates beside numbers: what is missing in them, and what is made of that."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from emlearn import EMImputer, ampute, little_mcar_test, missing_patterns, overimpute

N = 200


def table(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=N)
    return pd.DataFrame(
        {
            "x": x,
            "count": np.rint(5 + x + 0.5 * rng.normal(size=N)).astype(int),
            "town": np.where(x + 0.5 * rng.normal(size=N) > 0, "Rome", "Oslo"),
            "size": pd.Categorical.from_codes(np.digitize(x, [-1, 1]), ["S", "M", "L"], ordered=True),
            "day": pd.date_range("2020-01-01", periods=N),
            "smokes": x > 0.3,
            "name": [f"n{i}" for i in range(N)],
        }
    )


FORMS = {
    "pandas": lambda X: X,
    "polars": pl.from_pandas,
    "objects": lambda X: X.astype(object).to_numpy(),
    "lists": lambda X: X.astype(object).to_numpy().tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_gaps_are_made_and_seen_in_any_table(form):
    whole, rows = FORMS[form](table()), table().astype(object).to_numpy()
    gappy = ampute(whole, proportion=0.3, random_state=0)
    patterns = missing_patterns(gappy)
    assert missing_patterns(whole).n_missing.tolist() == [0] * 7
    assert ((patterns.n_missing > 40) & (patterns.n_missing < 80)).all()
    cells = gappy.rows() if form == "polars" else np.asarray(gappy, dtype=object)
    cells = np.array([list(row) for row in cells], dtype=object)
    gone = pd.isna(cells)
    assert gone.sum(axis=0).tolist() == patterns.n_missing.tolist()
    assert (cells[~gone] == rows[~gone]).all()


def test_types_stay_where_they_have_gaps():
    gappy = ampute(table(), proportion=0.3, random_state=0)
    assert gappy["size"].dtype == table()["size"].dtype
    assert gappy["day"].dtype == table()["day"].dtype
    assert gappy["town"].dtype == table()["town"].dtype
    assert not table().isna().any().any()
    assert ampute(table(), columns="town")["smokes"].dtype == bool
    kept = ampute(pl.from_pandas(table()), random_state=0)
    assert kept.schema == pl.from_pandas(table()).schema


def test_mechanisms_look_at_numbers():
    mar = ampute(table(), "mar", 0.3, columns=["town", "day"], random_state=0)
    assert table()["x"][mar["town"].isna()].mean() > table()["x"].mean() + 0.2
    mnar = ampute(table(), "mnar", 0.3, random_state=0)
    assert mnar.columns[mnar.isna().any()].tolist() == ["x", "count", "smokes"]
    with pytest.raises(ValueError, match=r"mnar.*column 'town' holds no numbers"):
        ampute(table(), "mnar", columns=["x", "town"])
    with pytest.raises(ValueError, match=r"mar.*column of numbers that stays complete"):
        ampute(table(), "mar", columns=["x", "count", "smokes"])


def test_nothing_in_dates():
    days = np.array([["2020-01-01", "NaT"], ["NaT", "NaT"]], dtype="M8[ns]")
    assert missing_patterns(days).n_missing.tolist() == [1, 2]
    assert missing_patterns([["a", pd.NaT], [pd.NA, 3]]).n_missing.tolist() == [1, 1]


@pytest.mark.parametrize("form", FORMS)
def test_littles_test_compares_shares_and_dates(form):
    """Like the test of the numbers that stand for them."""
    gappy = ampute(table().assign(size=table()["size"].astype(object)), proportion=0.2, random_state=1)
    day, gone = (gappy["day"] - gappy["day"].min()).dt.total_seconds(), gappy["town"].isna()
    numbers = pd.DataFrame(
        {
            "x": gappy["x"],
            "count": gappy["count"],
            "town": (gappy["town"] == "Rome").astype(float).mask(gone),
            "small": (gappy["size"] == "S").astype(float).mask(gappy["size"].isna()),
            "large": (gappy["size"] == "L").astype(float).mask(gappy["size"].isna()),
            "day": day,
            "smokes": gappy["smokes"].astype(float),
        }
    )
    expected, test = little_mcar_test(numbers), little_mcar_test(FORMS[form](gappy.drop(columns="name")))
    assert test.statistic == pytest.approx(expected.statistic, rel=1e-6)
    assert test.df == expected.df
    # Of names only what is missing tells: patterns are more, and differ in it.
    assert little_mcar_test(FORMS[form](gappy)).n_patterns > test.n_patterns


def test_littles_test_finds_what_only_categories_tell():
    whole = table()
    gappy = whole[["x", "town"]].assign(x=np.random.default_rng(0).normal(size=N))
    gappy.loc[(whole["town"] == "Rome") & (whole["x"] > 0.2), "x"] = np.nan
    assert little_mcar_test(gappy).pvalue < 1e-3
    with pytest.raises(ValueError, match="no column of numbers, categories or dates"):
        little_mcar_test(
            pd.DataFrame({"a": [f"a{i}" for i in range(30)], "b": [None, *(f"b{i}" for i in range(29))]})
        )


def test_pvalue_by_permutation():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3)) @ np.array([[1, 0.5, 0.2], [0, 1, 0.4], [0, 0, 1]])
    mcar, mar = ampute(X, random_state=0), ampute(X, "mar", 0.4, random_state=0)
    plain, test = little_mcar_test(mcar), little_mcar_test(mcar, n_resamples=19, random_state=0)
    assert test[:2] == plain[:2]
    assert test == little_mcar_test(mcar, n_resamples=19, random_state=0)
    assert test.pvalue > 0.05
    assert little_mcar_test(mar, n_resamples=19, random_state=0).pvalue == 1 / 20
    few = ampute(X[:25], proportion=0.4, random_state=1)  # hardly a complete row
    assert 0.05 < little_mcar_test(few, n_resamples=9, random_state=0).pvalue <= 1
    with pytest.raises(ValueError, match="n_resamples=-1"):
        little_mcar_test(mcar, n_resamples=-1)


@pytest.mark.slow
def test_permutation_holds_its_level_of_skewed_rows():
    by_chi2, by_permutation = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        A = np.array([[1, 0.5, 0.3, 0.2], [0, 1, 0.4, 0.3], [0, 0, 1, 0.3], [0, 0, 0, 1]])
        X = ampute(np.exp(rng.normal(size=(100, 4)) @ A), proportion=0.15, columns=[0, 1, 2], random_state=seed)
        by_chi2.append(little_mcar_test(X).pvalue)
        by_permutation.append(little_mcar_test(X, n_resamples=19, random_state=seed).pvalue)
    assert np.mean(np.array(by_permutation) <= 0.1) < 0.2
    assert np.mean(by_permutation) == pytest.approx(0.5, abs=0.12)


def test_overimpute_any_table():
    whole = table().drop(columns=["day", "name"])
    gappy = ampute(whole, proportion=0.1, random_state=0)
    result = overimpute(EMImputer(add_indicator=True), gappy, random_state=0)
    assert np.isnan(result.rmse).tolist() == [False, False, True, True, True]
    assert (result.accuracy[2:] > 0.65).all()
    assert 0.9 < result.coverage <= 1
    assert result.categories[2].tolist() == ["Oslo", "Rome"]
    assert "accuracy town: 0." in repr(result)
    mine = result.columns == 2
    names = result.categories[2][result.observed[mine].astype(int)]
    assert (names == gappy["town"].dropna()).all()
    only = overimpute(EMImputer(), gappy[["town", "smokes"]], random_state=0)
    assert np.isnan(only.lower).all()
    assert repr(only).startswith("<Overimputed: accuracy town")
    with pytest.raises(ValueError, match=r"no numbers in columns \['town'"):
        overimpute(EMImputer(categorical=None), gappy)


def test_warnings_of_folds_are_one():
    X = ampute(table()[["x", "count"]].astype(float), random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        overimpute(EMImputer(max_iter=1), X, random_state=0)
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith("In 5 of 5 folds, first in fold 0: EM stopped short")


def test_display_leaves_categories_out():
    pytest.importorskip("matplotlib").use("agg")
    from emlearn.display import OverimputeDisplay

    result = overimpute(EMImputer(), table()[["x", "town"]], random_state=0)
    assert len(OverimputeDisplay.from_overimputed(result).axes_) == 1
    with pytest.raises(ValueError, match="'town' holds categories"):
        OverimputeDisplay.from_overimputed(result, feature="town")
