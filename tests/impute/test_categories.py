"""Tables with categories: imputed by indicators beside the numbers, and returned in the types that they had."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import special, stats
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from emlearn import EMImputer, MultipleImputation, pool
from emlearn.impute._levels import _by_engine, _by_pattern

N = 300
LEVELS, SIZES = ["red", "green", "blue"], ["S", "M", "L", "XL"]
CATEGORIES = ["colour", "mood", "size", "smokes"]


def mixed(seed=0, n=N, share=0.2):
    """A table whose columns depend on one hidden number, whole and with gaps."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)

    def near():
        return z + 0.4 * rng.normal(size=n)

    whole = pd.DataFrame(
        {
            "weight": near(),
            "colour": pd.Categorical.from_codes(np.digitize(near(), [-0.8, 0.4]), LEVELS),
            "mood": np.where(near() > 0.2, "glad", "sad"),
            "size": pd.Categorical.from_codes(np.digitize(near(), [-1, 0, 1]), SIZES, ordered=True),
            "smokes": pd.array(near() > 0, dtype="boolean"),
            "visits": pd.array(np.rint(5 + 2 * near()), dtype="Int64"),
            "id": np.arange(n),
        }
    )
    gappy = whole.copy()
    for name in whole.columns[:-1]:
        gappy.loc[rng.uniform(size=n) < share, name] = np.nan if name == "weight" else None
    return whole, gappy


def by_hand(gappy):
    """Its indicators, without those of the most frequent levels, codes and numbers."""
    columns = {}
    for name in gappy:
        entries = gappy[name]
        if name == "size":
            columns[name] = entries.cat.codes.where(entries.notna(), np.nan).astype(float)
        elif name in CATEGORIES:
            levels = entries.value_counts().index  # the most frequent first
            for level in levels[1:]:
                columns[f"{name}={level}"] = (entries == level).astype(float).where(entries.notna(), np.nan)
        else:
            columns[name] = entries.astype(float)
    return pd.DataFrame(columns)


def most_probable(plain, numbers, entries):
    """Levels of rows that lack them, by shares times densities of what they have, by the textbook."""
    mean, covariance, columns = plain.mean_, plain.covariance_, list(numbers)
    first, *others = entries.value_counts().index
    at = [columns.index(f"{entries.name}={level}") for level in others]
    codes = np.vstack([np.zeros(len(at)), np.eye(len(at))])
    shares = np.array([1 - mean[at].sum(), *mean[at]])
    found = []
    for row in numbers.to_numpy()[entries.isna()]:
        o = np.flatnonzero(~np.isnan(row))
        slopes = np.linalg.solve(covariance[np.ix_(at, at)], covariance[np.ix_(at, o)])
        rest = covariance[np.ix_(o, o)] - covariance[np.ix_(o, at)] @ slopes
        densities = [
            stats.multivariate_normal(mean[o] + (c - mean[at]) @ slopes, rest).pdf(row[o]) for c in codes
        ]
        found.append([first, *others][int(np.argmax(shares * densities))])
    return found


def test_as_indicators_made_by_hand():
    _, gappy = mixed()
    numbers = by_hand(gappy)
    imputer, plain = EMImputer(integer="visits", tol=1e-9).fit(gappy), EMImputer(tol=1e-9).fit(numbers)
    order = [list(numbers).index(name) for name in imputer.column_names_]
    np.testing.assert_allclose(imputer.mean_, plain.mean_[order], rtol=1e-6, atol=1e-8)
    assert imputer.log_likelihood_ == pytest.approx(plain.log_likelihood_, rel=1e-9)
    filled = pd.DataFrame(plain.transform(numbers), columns=list(numbers))
    out = imputer.transform(gappy)
    assert (out.dtypes == gappy.dtypes).all()
    assert not out.isna().any().any()
    for name in gappy:
        there = gappy[name].notna()
        assert (out[name] == gappy[name])[there].all()
    for name in ("colour", "mood", "smokes"):
        expected, gone = most_probable(plain, numbers, gappy[name]), gappy[name].isna()
        assert out[name][gone].tolist() == expected
    assert (out["size"].cat.codes == np.clip(np.rint(filled["size"]), 0, 3)).all()
    np.testing.assert_allclose(out["visits"].astype(float), np.rint(filled["visits"]))
    np.testing.assert_allclose(out["weight"], filled["weight"], atol=1e-6)


@pytest.mark.parametrize("n_components", [1, 2])
def test_two_ways_to_the_densities_agree(n_components):
    _, gappy = mixed(n=100)
    imputer = EMImputer(n_components=n_components, n_init=3, random_state=0).fit(gappy)
    category = imputer._nominal[0]
    X = imputer._read(gappy, reset=False)
    X = X[np.isnan(X[:, category.at[0]])]
    given = imputer, X, category.at, np.vstack([np.zeros(2), np.eye(2)])
    ways = [densities(*given).reshape(len(X), -1) for densities in (_by_pattern, _by_engine)]
    one, other = (way - special.logsumexp(way, axis=1, keepdims=True) for way in ways)
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_better_than_the_most_frequent():
    whole, gappy = mixed(1)
    out = EMImputer().fit_transform(gappy)
    for name in CATEGORIES:
        gone = gappy[name].isna()
        most = (whole[name][gone] == gappy[name].mode()[0]).mean()
        assert (out[name][gone] == whole[name][gone]).mean() > most + 0.1


def test_draws_have_the_shares_and_the_company_of_what_is_observed():
    """Of one category and one number, all that can be known: the number given the level, and its share."""
    rng = np.random.default_rng(0)
    level = rng.choice(3, p=[0.6, 0.3, 0.1], size=4000)
    table = pd.DataFrame({"kind": np.array(list("abc"))[level], "x": 3.0 * level + rng.normal(size=4000)})
    gappy = table.copy()
    gappy.loc[:1999, "kind"] = None
    gappy.loc[1000:2499, "x"] = np.nan  # of a quarter nothing is left
    drawn = EMImputer(random_state=0).fit(gappy).sample(gappy.iloc[1000:2000], 1, X_fit=gappy)[0]
    seen = gappy.dropna()
    error = np.sqrt(0.25 / 1000)
    for kind in "abc":
        assert (drawn["kind"] == kind).mean() == pytest.approx((seen["kind"] == kind).mean(), abs=4 * error)
        assert drawn["x"][drawn["kind"] == kind].mean() == pytest.approx(
            seen["x"][seen["kind"] == kind].mean(), abs=0.6
        )


def test_sample_and_posterior():
    _, gappy = mixed()
    imputer = EMImputer(random_state=0, integer=["visits"], add_indicator=True).fit(gappy)
    first, second = imputer.sample(gappy, 2)
    for table in (first, second, EMImputer(sample_posterior=True).fit_transform(gappy)):
        assert not table.isna().any().any()
        assert (table.dtypes.iloc[:5] == gappy.dtypes.iloc[:5]).all()
    assert (first["colour"] != second["colour"]).any()
    assert first["visits"].dtype == "Int64"
    pd.testing.assert_frame_equal(first, imputer.sample(gappy, 2)[0])
    assert list(first.columns) == imputer.get_feature_names_out().tolist()


def test_the_same_of_frames_arrays_and_pieces():
    _, gappy = mixed()
    frame = gappy.astype({"size": object})
    expected = EMImputer(tol=1e-9).fit_transform(frame)
    array = EMImputer(tol=1e-9).fit_transform(frame.astype(object).to_numpy())
    assert array.dtype == object
    polars = EMImputer(tol=1e-9).fit(pl.from_pandas(frame)).transform(pl.from_pandas(frame))
    assert polars["colour"].dtype == pl.Categorical
    fit = EMImputer(tol=1e-9).fit([frame.iloc[:100], frame.iloc[100:]])
    pieces = pd.concat(fit.transform([frame.iloc[:100], frame.iloc[100:]]))
    for other in (pd.DataFrame(array, columns=list(gappy)), polars.to_pandas(), pieces):
        for name in gappy:
            if name in CATEGORIES:
                assert other[name].astype(object).tolist() == expected[name].astype(object).tolist()
            else:
                np.testing.assert_allclose(other[name].astype(float), expected[name].astype(float), rtol=1e-5)


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, pd.NaT])
def test_what_marks_a_missing_category(nothing):
    X = np.array([["a", 1.0], ["b", 3.0], ["a", 1.2], ["b", 2.9], [nothing, 1.1]], dtype=object)
    assert EMImputer().fit_transform(X)[-1, 0] == "a"


def test_streams_know_all_levels_from_the_first_or_refuse():
    _, gappy = mixed()
    with pytest.raises(ValueError, match=r"'mood'.*type for categories"):
        EMImputer().partial_fit(gappy)
    typed = gappy.astype({"mood": "category"})
    stream = EMImputer().partial_fit(typed.iloc[:100]).partial_fit(typed.iloc[100:])
    whole = EMImputer().fit(typed)
    assert stream.transform(typed)["colour"].equals(whole.transform(typed)["colour"])
    strange = typed.astype({"mood": object}).assign(mood="cross")
    with pytest.raises(ValueError, match=r"'cross'.*'mood'"):
        stream.partial_fit(strange)


def test_unseen_levels_are_missing_with_one_warning():
    _, gappy = mixed()
    imputer = EMImputer(random_state=0).fit(gappy)
    new = gappy.iloc[:5].astype({"colour": object}).assign(colour="purple")
    for work in (imputer.transform, lambda X: imputer.sample(X, 3, X_fit=gappy)[0]):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            out = work(new)
        assert [str(w.message) for w in caught] == [
            "X has categories unseen at fit, taken for missing: 'purple' in column 'colour'."
        ]
        assert out["colour"].dtype == gappy["colour"].dtype
        assert out["colour"].notna().all()
    with pytest.raises(ValueError, match=r"'XXL' in column 'size', row 0.*ordered"):
        imputer.transform(gappy.iloc[:5].astype({"size": object}).assign(size="XXL"))


def test_levels_that_are_few_or_many():
    n = 60
    x = np.arange(n, dtype=float)
    table = pd.DataFrame(
        {
            "x": np.where(x % 7 == 0, np.nan, x),
            "one": np.where(x % 5 == 0, None, "u"),
            "none": pd.Categorical([None] * n, categories=["p", "q"]),
            "rare": pd.Categorical(np.where(x < 30, "p", "q"), categories=["never", "p", "q"]),
        }
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = EMImputer().fit_transform(table)
    said = " ".join(str(w.message) for w in caught)
    assert "'none' without any entry" in said
    assert "'one' constant" in said
    assert "rare" not in said
    assert out.columns.tolist() == ["x", "one", "rare"]
    assert (out["one"] == "u").all()
    with pytest.warns(UserWarning, match="categories stay missing"):
        kept = EMImputer(keep_empty_features=True).fit_transform(table.drop(columns="one"))
    assert kept["none"].isna().all()
    ids = pd.DataFrame({"name": [f"n{i % 40}" for i in range(n)], "x": table["x"]})
    with pytest.warns(UserWarning, match=r"40 categories among 60 entries in column 'name'"):
        EMImputer().fit(ids)
    with pytest.raises(ValueError, match=r"1001 categories in column 'name'"):
        EMImputer().fit(pd.DataFrame({"name": [f"n{i}" for i in range(1001)], "x": 1.0}))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"categorical": None}, "no numbers in columns .'colour', 'mood', 'size'"),
        ({"categorical": ["nowhere"]}, "categorical names 'nowhere'"),
        ({"integer": ["colour"]}, "integer names column 'colour', which holds categories"),
        ({"integer": "nowhere"}, "integer names 'nowhere'"),
        ({"integer": "weight", "min_value": 0.2, "max_value": 0.8}, "no whole number between"),
    ],
)
def test_bad_parameters_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        EMImputer(**params).fit(mixed()[1])


def test_chosen_columns_and_markers():
    codes = np.array([[1.0, 0], [2, 1], [3, 1], [-1, 0], [4, -1], [1.2, -1], [1.1, 0], [3.5, 1]])
    out = EMImputer(categorical=[1], missing_values=-1).fit_transform(codes)
    assert out[4:6, 1].tolist() == [1, 0]
    numbers = np.where(codes == -1, np.nan, codes)
    rounded = EMImputer(integer=[0], min_value=[2.4, 0]).fit_transform(numbers)
    assert rounded.dtype == np.float64
    assert rounded[3, 0] == 3
    dates = pd.DataFrame(
        {"day": pd.to_datetime(["2020-01-01", "2020-01-02", None] * 4), "x": [1.0, 2, 1.1] * 4}
    )
    filled = EMImputer(categorical="day").fit_transform(dates)["day"]
    assert filled.dtype == dates["day"].dtype
    assert (filled[2::3] == pd.Timestamp("2020-01-01")).all()


def test_numbers_about_a_fit_with_categories():
    _, gappy = mixed()
    imputer = EMImputer(add_indicator=True).fit(gappy)
    assert imputer.missing_fraction_ == pytest.approx(gappy.isna().mean().to_numpy())
    assert imputer.categories_[1].tolist() == LEVELS
    std, (lower, upper) = imputer.conditional_std(gappy), imputer.predict_interval(gappy)
    assert std.shape == lower.shape == (N, 7)
    assert np.isnan(std[:, [1, 2, 4]]).all()
    assert np.isfinite(upper[:, [0, 3, 5, 6]]).all()
    gone = gappy["size"].isna().to_numpy()
    assert (lower[gone, 3] == np.rint(lower[gone, 3])).all()
    back = imputer.inverse_transform(imputer.transform(gappy))
    assert (pd.isna(back) == gappy.isna().to_numpy()).all()
    assert set(back[~gappy["colour"].isna(), 1]) == set(LEVELS)


def encoder():
    one_hot = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_selector(dtype_include=["category", "object", "string", "boolean"])
    return ColumnTransformer([("one_hot", one_hot, columns)], remainder="passthrough")


def test_in_pipelines_searches_and_multiple_imputation():
    whole, gappy = mixed()
    y = whole["weight"].to_numpy()
    gappy = gappy.drop(columns=["weight", "id"])
    search = GridSearchCV(make_pipeline(EMImputer(), encoder(), Ridge()), {"emimputer__ridge": [0.1, 1]}, cv=3)
    assert search.fit(gappy, y).best_score_ > 0.5
    model = MultipleImputation(make_pipeline(encoder(), Ridge()), 3, random_state=0).fit(gappy, y)
    assert model.score(gappy, y) > 0.5
    for imputer in model.imputers_:
        assert (imputer.transform(gappy).dtypes.iloc[:4] == gappy.dtypes.iloc[:4]).all()
    names = ["visits", "smokes", "size", "mood", "colour"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(gappy[names])
    new = gappy.iloc[:4].astype({"colour": object}).assign(colour="purple")
    with pytest.warns(UserWarning, match="'purple'") as caught:
        model.predict(new)
    assert len(caught) == 1
    steps = make_pipeline(encoder(), LogisticRegression(max_iter=1000))
    classifier = MultipleImputation(steps, 2, imputer=EMImputer(add_indicator=True), random_state=0)
    assert classifier.fit(gappy, y > 0).predict_proba(gappy).shape == (N, 2)
    assert "missingindicator_mood" in classifier.estimators_[0][0].feature_names_in_
    parts = ColumnTransformer([("fill", EMImputer(), list(gappy))]).set_output(transform="pandas")
    assert parts.fit_transform(gappy).dtypes.iloc[0] == gappy["colour"].dtype


@pytest.mark.slow
def test_draws_serve_an_analysis():
    """Means by group and a share, where the group is missing at random, more often where y is large."""
    found, held = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        level = rng.choice(3, p=[0.5, 0.3, 0.2], size=150)
        y = level + rng.normal(size=150)
        gone = rng.uniform(size=150) < special.expit(y - 1.5)
        table = pd.DataFrame(
            {"group": np.where(gone, None, np.array(list("abc"), dtype=object)[level]), "y": y}
        )
        completed = EMImputer(random_state=seed).fit(table).sample(table, 10)
        results = []
        for Z in completed:
            groups = [Z["y"][Z["group"] == name] for name in "abc"]
            share = np.mean(Z["group"] == "c")
            errors = [*(group.sem() for group in groups), np.sqrt(share * (1 - share) / 150)]
            results.append(([*(group.mean() for group in groups), share], errors))
        pooled = pool(*zip(*results, strict=True))
        lower, upper = pooled.interval()
        found.append(pooled.estimate)
        held.append((lower <= [0, 1, 2, 0.2]) & (np.array([0, 1, 2, 0.2]) <= upper))
    np.testing.assert_allclose(np.mean(found, axis=0), [0, 1, 2, 0.2], atol=0.12)
    assert 0.88 < np.mean(held) < 1
