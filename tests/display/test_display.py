"""Displays: what they draw, for every form of covariance, and what they refuse."""

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from emlearn import (
    HMMEM,
    BayesianGaussianMixtureEM,
    GaussianMixtureEM,
    LatentClassEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn.datasets import load_airquality, load_earthquakes, load_npreg, load_old_faithful
from emlearn.display import (
    CertaintyDisplay,
    ConvergenceDisplay,
    HMMDisplay,
    InferenceDisplay,
    LatentClassDisplay,
    MissingPatternDisplay,
    MixtureDisplay,
    ModelSelectionDisplay,
    RegressionMixtureDisplay,
    ResidualDisplay,
)
from emlearn.display._shared import component_colors, component_lines
from emlearn.families import COVARIANCE_SHAPES
from emlearn.model_selection import InformationCriterionSearch
from tests.helpers.pace import EACH_KIND, some_slow

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    centres = np.repeat([[0.0, 0.0, 0.0], [6.0, 3.0, -4.0]], 60, axis=0)
    return centres + rng.normal(size=(120, 3)) * [1.0, 2.0, 0.5]


def fitted(X, K=2, **params):
    return GaussianMixtureEM(K, n_init=3, random_state=0, **params).fit(X)


@pytest.mark.parametrize("covariance_type", some_slow(COVARIANCE_SHAPES, EACH_KIND))
@pytest.mark.parametrize("features", [None, [2, 0], 1])
def test_every_covariance_type(rows, covariance_type, features):
    mixture = fitted(rows, covariance_type=covariance_type)
    display = MixtureDisplay.from_estimator(mixture, rows, features=features)
    q = 1 if features == 1 else 2
    assert display.covariances.shape == (2, q, q)
    assert display.ax_.figure is display.figure_
    assert [len(lines) for lines in display.lines_] == [q, q]
    if q == 2:
        assert display.scatter_.get_facecolors().shape == (len(rows), 4)


def test_ellipses_hold_what_they_promise(rows):
    """Points of the ellipse of c standard deviations are at Mahalanobis distance c."""
    mixture = fitted(rows)
    display = MixtureDisplay.from_estimator(mixture, rows, features=[2, 0], n_sd=(1, 2.5))
    for k, lines in enumerate(display.lines_):
        precision = np.linalg.inv(mixture.covariances_[k][np.ix_([2, 0], [2, 0])])
        for n_sd, line in zip((1, 2.5), lines, strict=True):
            offset = np.stack(line.get_data(), axis=1) - mixture.means_[k, [2, 0]]
            distance = np.sqrt(np.einsum("mi,ij,mj->m", offset, precision, offset))
            np.testing.assert_allclose(distance, n_sd, rtol=1e-9)


def test_density_curves_integrate_to_the_weights(rows):
    mixture = fitted(rows)
    display = MixtureDisplay.from_estimator(mixture, rows, features=1)
    areas = [np.trapezoid(*line.get_data()[::-1]) for (line,) in display.lines_]
    np.testing.assert_allclose(areas, mixture.weights_, rtol=1e-3)
    assert display.scatter_ is None
    assert display.bars_ is not None


def test_points_blend_colours_by_responsibility(rows):
    mixture = fitted(rows)
    display = MixtureDisplay.from_estimator(mixture, rows, colors=["red", "blue"])
    shown = display.scatter_.get_facecolors()[:, [0, 2]]
    np.testing.assert_allclose(shown, mixture.predict_proba(rows), atol=1e-12)


def test_features_by_name(rows):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(rows, columns=["spend", "visits", "items"])
    mixture = fitted(frame)
    display = MixtureDisplay.from_estimator(mixture, frame, features=["items", "spend"])
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("items", "spend")
    np.testing.assert_array_equal(display.X, rows[:, [2, 0]])
    with pytest.raises(ValueError, match="names 'price', which is no feature; the features are"):
        MixtureDisplay.from_estimator(mixture, frame, features=["items", "price"])


def test_one_feature_and_many_components(rows):
    mixture = fitted(rows[:, :1])
    assert MixtureDisplay.from_estimator(mixture, rows[:, :1]).bars_ is not None
    many = fitted(rows, K=8, covariance_type="tied")
    assert len(MixtureDisplay.from_estimator(many, rows).lines_) == 8


def test_style(rows):
    mixture = fitted(rows)
    _, ax = plt.subplots()
    display = MixtureDisplay.from_estimator(mixture, rows, ax=ax, labels=["low", "high"])
    assert display.ax_ is ax
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == [f"{name} ({w:.0%})" for name, w in zip(["low", "high"], mixture.weights_, strict=True)]
    assert display.plot(legend=False, n_sd=[3]).ax_ is not ax
    with pytest.raises(ValueError, match="labels has 1 entries, but there are 2 components"):
        display.plot(labels=["low"])
    with pytest.raises(ValueError, match="colors has 3 entries, but there are 2 components"):
        display.plot(colors=["red", "green", "blue"])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([0, 1, 2], "give one or two features"),
        ([], "names no feature"),
        ([0, 3], "names 3, which is no feature; X has 3 of them"),
        ([0.5, 1], "names 0.5, which is no feature"),
        ("spend", "features names 'spend', which is no feature; the features have no names"),
        ([1, -2], "a feature twice"),
    ],
)
def test_bad_features(rows, features, message):
    with pytest.raises(ValueError, match=message):
        MixtureDisplay.from_estimator(fitted(rows), rows, features=features)


def test_not_fitted(rows):
    with pytest.raises(NotFittedError):
        MixtureDisplay.from_estimator(GaussianMixtureEM(), rows)
    with pytest.raises(NotFittedError):
        ConvergenceDisplay.from_estimator(GaussianMixtureEM())


def test_convergence():
    mixture = GaussianMixtureEM(2, random_state=0).fit(load_old_faithful().data)
    _, ax = plt.subplots()
    display = ConvergenceDisplay.from_estimator(mixture, ax=ax)
    assert display.ax_ is ax
    iterations, values = display.line_.get_data()
    assert len(iterations) == len(mixture.lower_bounds_)
    np.testing.assert_allclose(values[-1], mixture.log_likelihood_, rtol=1e-12)
    marked, _ = display.marks_.get_data()
    assert len(marked) > 0
    np.testing.assert_array_equal(marked, np.flatnonzero(mixture.extrapolated_))


def test_other_starts_end_where_the_race_says():
    """In the data's units, starts that reach the best value end at the fit's log-likelihood."""
    mixture = GaussianMixtureEM(2, random_state=0).fit(load_old_faithful().data * [60.0, 1e-3])
    display = ConvergenceDisplay.from_estimator(mixture)
    assert len(display.others) == len(display.other_lines_) == len(mixture.restarts_.starts) - 1
    ends = np.array([other[-1] for other in display.others])
    assert ends.max() <= mixture.log_likelihood_ + 0.01
    assert np.count_nonzero(ends > mixture.log_likelihood_ - 0.01) >= 1


def test_single_start_has_no_others(rows):
    display = ConvergenceDisplay.from_estimator(fitted(rows, K=1))
    assert display.others == []


def test_race_on_a_subsample_leaves_the_others_out():
    X = np.random.default_rng(0).normal(size=(20_500, 1))
    X[::2] += 5
    mixture = fitted(X, init_params="kmeans")
    display = ConvergenceDisplay.from_estimator(mixture)
    assert len(mixture.restarts_.starts) > 1
    assert display.others == []
    np.testing.assert_allclose(display.log_likelihood[-1], mixture.log_likelihood_, rtol=1e-12)


@pytest.fixture(scope="module")
def sequences():
    """Two sequences of levels, counts and codes, a step of the first missing."""
    rng = np.random.default_rng(0)
    states = [np.repeat([0, 1, 0], 20), np.repeat([1, 0], 15)]
    parts = [
        np.column_stack(
            [rng.normal(6.0 * z), rng.poisson(2.0 + 10.0 * z), rng.uniform(size=len(z)) < 0.1 + 0.8 * z]
        )
        for z in states
    ]
    parts[0][7] = np.nan
    return parts


MIXED = {0: "gaussian", 1: "poisson", 2: "categorical"}


@pytest.fixture(scope="module")
def chain(sequences):
    return HMMEM(2, emission=MIXED, n_init=2, random_state=0).fit(sequences)


@pytest.mark.parametrize(
    ("emission", "column"),
    [("gaussian", 0), ("gmm", 0), ("poisson", 1), ("categorical", 2), ("bernoulli", 2)],
)
def test_sequences_of_every_emission(sequences, emission, column):
    X = [part[:, [column]] for part in sequences]
    model = HMMEM(2, emission=emission, covariance_type="tied", n_init=5, random_state=0).fit(X)
    display = HMMDisplay.from_estimator(model, X, sequence=1)
    assert all(ax.figure is display.figure_ for ax in display.axes_)
    assert len(display.points_.get_offsets()) == 30
    assert len(display.areas_) == 2
    np.testing.assert_array_equal(display.image_.get_array(), model.transmat_)
    if emission == "categorical":
        assert display.means is display.means_line_ is display.line_ is None
        return
    drawn, levels = display.means_line_.get_data()
    np.testing.assert_array_equal(drawn, np.arange(30))
    rows, proba = np.concatenate(X), np.concatenate(model.predict_proba(X))
    seen = ~np.isnan(rows[:, 0])
    by_hand = rows[seen, 0] @ proba[seen] / proba[seen].sum(axis=0)
    np.testing.assert_allclose(display.means, by_hand, atol=0.05)
    np.testing.assert_array_equal(levels, display.means[model.predict(X)[1]])


def test_states_and_probabilities_drawn(sequences, chain):
    display = HMMDisplay.from_estimator(chain, sequences, feature=1, colors=["red", "blue"])
    states, proba = chain.predict(sequences)[0], chain.predict_proba(sequences)[0]
    seen = np.arange(60) != 7
    np.testing.assert_array_equal(display.points_.get_offsets()[:, 0], np.flatnonzero(seen))
    np.testing.assert_array_equal(display.points_.get_facecolors()[:, 2], states[seen])
    assert np.isnan(display.line_.get_ydata()[7])
    assert not np.isnan(display.means_line_.get_ydata()).any()
    # The first area goes up to the first state's probability, the second up to 1.
    for area, top in zip(display.areas_, (proba[:, 0], np.ones(60)), strict=True):
        corners = area.get_paths()[0].vertices
        heights = [corners[corners[:, 0] == step, 1].max() for step in range(60)]
        np.testing.assert_allclose(heights, top, atol=1e-12)
    assert display.means.shape == (2,)
    assert HMMDisplay.from_estimator(chain, sequences, feature=2).means is None


def test_one_sequence_whichever_way_it_comes(sequences, chain):
    pd = pytest.importorskip("pandas")
    rows, ids = np.concatenate(sequences), np.repeat(["a", "b"], [60, 30])
    mixed = np.argsort(np.arange(90) % 30, kind="stable")
    frame = pd.DataFrame(rows, columns=["level", "count", "code"]).assign(day=ids)
    named = HMMEM(2, emission=dict(zip(frame.columns, MIXED.values(), strict=False)), sequence_id="day")
    named.set_params(n_init=2, random_state=0).fit(frame)
    drawn = [
        HMMDisplay.from_estimator(chain, sequences, feature=1, sequence=1),
        HMMDisplay.from_estimator(chain, rows, feature=1, lengths=[60, 30], sequence=1),
        HMMDisplay.from_estimator(chain, rows[mixed], feature=1, groups=ids[mixed], sequence=1),
        HMMDisplay.from_estimator(named, frame, feature="count", sequence=1),
    ]
    for display in drawn:
        np.testing.assert_array_equal(display.x, sequences[1][:, 1])
        np.testing.assert_array_equal(display.states, drawn[0].states)
        np.testing.assert_allclose(display.proba, drawn[0].proba, atol=1e-3)
    assert [display.axes_[0].get_ylabel() for display in drawn[2:]] == ["feature 1", "count"]


def test_times_labels_and_panels():
    earthquakes = load_earthquakes()
    X, dates = earthquakes.data, np.datetime64("1900", "Y") + np.arange(107)
    model = HMMEM(2, emission="poisson", n_init=2, random_state=0).fit(X)
    display = HMMDisplay.from_estimator(model, X, times=dates, labels=["calm", "violent"])
    series, proba, transition = display.axes_
    assert series.get_xlim() == proba.get_xlim()
    assert proba.get_xlabel() == "time"
    texts = [text.get_text() for text in series.get_legend().get_texts()]
    calm, violent = model.rates_[:, 0]
    assert texts == [f"calm: mean {calm:.4g}", f"violent: mean {violent:.4g}"]
    assert [tick.get_text() for tick in transition.get_xticklabels()] == ["calm", "violent"]
    _, ax = plt.subplots()
    alone = display.plot([ax, None, None], legend=False)
    assert alone.axes_ == (ax, None, None)
    assert alone.figure_ is ax.figure
    assert alone.image_ is None
    assert alone.areas_ == alone.texts_ == []
    assert ax.get_legend() is None
    with pytest.raises(ValueError, match="labels has 1 entries, but there are 2 states"):
        display.plot(labels=["calm"])
    with pytest.raises(ValueError, match="axes are three"):
        display.plot(axes=[ax])


def test_entries_look_like_0_or_1_only_if_they_are():
    transition = np.array([[0.0, 1.0, 0.0], [0.001, 0.998, 0.001], [0.25, 0.004, 0.746]])
    display = HMMDisplay(
        x=np.zeros(2), states=np.zeros(2, dtype=int), proba=np.full((2, 3), 1 / 3), transition=transition
    ).plot()
    shown = [[text.get_text() for text in row] for row in display.texts_]
    assert shown == [["0", "1", "0"], ["<.01", ">.99", "<.01"], [".25", "<.01", ".75"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature": [0, 1]}, "give one feature"),
        ({"feature": 3}, "names 3, which is no feature; X has 3 of them"),
        ({"feature": "count"}, "feature names 'count', which is no feature; the features have no names"),
        ({"sequence": 2}, "there are 2 sequences, counted from 0"),
        ({"times": range(30)}, "times has 30 entries, but sequence 0 has 60 steps"),
    ],
)
def test_no_such_sequence(sequences, chain, arguments, message):
    with pytest.raises(ValueError, match=message):
        HMMDisplay.from_estimator(chain, sequences, **arguments)
    with pytest.raises(NotFittedError):
        HMMDisplay.from_estimator(HMMEM(), sequences, **arguments)


@pytest.fixture(scope="module")
def regressions():
    """Rows of three features on two crossing lines along the second, and their responses."""
    rng = np.random.default_rng(0)
    X = rng.uniform([4.0, -1.0, -3.0], [6.0, 1.0, -1.0], size=(120, 3))
    slope = np.where(rng.uniform(size=120) < 0.7, 3.0, -3.0)
    return X, 1.0 + slope * X[:, 1] + 0.5 * X[:, 0] + 0.2 * rng.normal(size=120)


def fitted_regressions(X, y, estimator=MixtureOfLinearRegressions, **params):
    return estimator(2, n_init=3, random_state=0, **params).fit(X, y)


def test_lines_are_what_is_predicted(regressions):
    X, y = regressions
    model = fitted_regressions(X, y)
    _, ax = plt.subplots()
    display = RegressionMixtureDisplay.from_estimator(
        model, X, y, feature=1, interval=0.9, ax=ax, colors=["red", "blue"], labels=["up", "down"]
    )
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.gate_ax_ is None
    assert display.areas_ == []
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature 1", "y")
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    up, down = model.weights_
    band = "90 % of responses,\nother features fixed"
    assert texts == [f"up ({up:.0%})", f"down ({down:.0%})", "mixture mean", band]
    np.testing.assert_allclose(display.scatter_.get_offsets(), np.column_stack([X[:, 1], y]))
    shown = display.scatter_.get_facecolors()[:, [0, 2]]
    np.testing.assert_allclose(shown, model.predict_proba(X, y), atol=1e-12)
    for line, coef, intercept in zip(display.lines_, model.coef_, model.intercept_, strict=True):
        along, mean = line.get_data()
        assert (along[0], along[-1]) == (X[:, 1].min(), X[:, 1].max())
        by_hand = intercept + coef[1] * along + X[:, [0, 2]].mean(axis=0) @ coef[[0, 2]]
        np.testing.assert_allclose(mean, by_hand)
    along = np.column_stack([np.full(len(along), X[:, 0].mean()), along, np.full(len(along), X[:, 2].mean())])
    np.testing.assert_allclose(display.mean_line_.get_ydata(), model.predict(along))
    corners = display.band_.get_paths()[0].vertices
    for side, ends in zip((np.min, np.max), model.predict_interval(along, 0.9).T, strict=True):
        drawn = [side(corners[corners[:, 0] == x, 1]) for x in along[[0, 100, -1], 1]]
        np.testing.assert_allclose(drawn, ends[[0, 100, -1]])
    assert display.plot(legend=False).ax_ is not ax
    with pytest.raises(ValueError, match="labels has 1 entries, but there are 2 components"):
        display.plot(labels=["up"])


def test_one_regression_has_no_mixture_mean(regressions):
    X, y = regressions
    model = MixtureOfLinearRegressions(1).fit(X[:, [1]], y)
    display = RegressionMixtureDisplay.from_estimator(model, X[:, [1]], y)
    assert display.mean_line_ is display.band_ is None
    assert display.ax_.get_xlabel() == "feature 0"


def test_prior_weights_below(regressions):
    X, _ = regressions
    rng = np.random.default_rng(1)
    low = rng.uniform(size=len(X)) < 1 / (1 + np.exp(12 * X[:, 1]))
    y = np.where(low, 4 * X[:, 1], 8 - 4 * X[:, 1]) + 0.1 * rng.normal(size=len(X))
    model = fitted_regressions(X[:, [1]], y, MixtureOfExperts)
    display = RegressionMixtureDisplay.from_estimator(model, X[:, [1]], y)
    assert display.gate_ax_.figure is display.figure_
    assert (display.ax_.get_xlabel(), display.gate_ax_.get_xlabel()) == ("", "feature 0")
    assert display.ax_.get_xlim() == display.gate_ax_.get_xlim()
    corners = display.areas_[0].get_paths()[0].vertices
    tops = [corners[corners[:, 0] == x, 1].max() for x in display.grid]
    prior = model.predict_proba(display.grid[:, None])
    np.testing.assert_allclose(tops, prior[:, 0], atol=1e-12)
    # Lines end where an expert has next to no weight.
    for line, weight in zip(display.lines_, prior.T, strict=True):
        np.testing.assert_array_equal(np.isnan(line.get_ydata()), weight < 0.01 * weight.max())
    _, (ax, gate_ax) = plt.subplots(2)
    assert display.plot(ax).gate_ax_ is None
    assert display.plot(ax, gate_ax).gate_ax_ is gate_ax
    # A gate that does not see the feature drawn has nothing to show along it.
    blind = fitted_regressions(X, y, MixtureOfExperts, gate_features=0)
    assert RegressionMixtureDisplay.from_estimator(blind, X, y, feature=1).gate_ax_ is None
    assert RegressionMixtureDisplay.from_estimator(blind, X, y, feature=0).gate_ax_ is not None


def test_counts_shares_and_zeros(regressions):
    X, y = regressions
    X, rate = X[:, [1]], np.exp(0.4 * y)
    rng = np.random.default_rng(0)
    exposure = rng.uniform(1, 3, size=len(y))
    counts, offset = rng.poisson(exposure * rate), np.log(exposure)
    poisson = MixtureOfLinearRegressions(2, family="poisson", n_init=3, random_state=0)
    poisson.fit(X, counts, offset=offset)
    display = RegressionMixtureDisplay.from_estimator(poisson, X, counts, offset=offset)
    at_mean = counts / exposure * np.exp(offset.mean())
    np.testing.assert_allclose(display.scatter_.get_offsets()[:, 1], at_mean)
    assert display.ax_.get_ylabel() == "y at the mean offset"
    np.testing.assert_allclose(display.resp, poisson.predict_proba(X, counts, offset=offset))
    for line, coef, intercept in zip(display.lines_, poisson.coef_, poisson.intercept_, strict=True):
        along, mean = line.get_data()
        np.testing.assert_allclose(np.log(mean), intercept + coef[0] * along + offset.mean())

    shares = rng.binomial(10, rate / (1 + rate))
    trials = np.column_stack([shares, 10 - shares])
    trials[0] = 0
    binomial = fitted_regressions(X, trials, family="binomial")
    display = RegressionMixtureDisplay.from_estimator(binomial, X, trials, interval=0.95)
    drawn = display.scatter_.get_offsets()
    np.testing.assert_allclose(drawn[1:, 1], shares[1:] / 10)
    assert len(drawn) == len(X)
    assert display.band_ is None  # shares of ten trials vary less than one trial

    normal = fitted_regressions(X, y)
    display = RegressionMixtureDisplay.from_estimator(normal, X, y + offset, offset=offset)
    np.testing.assert_allclose(display.y, y + offset.mean())

    npreg = load_npreg()
    X, zeros, groups = npreg.data, npreg.yb, npreg.id2
    model = MixtureOfLinearRegressions(2, family="binomial", n_init=3, random_state=0)
    model.fit(X, zeros, groups=groups)
    display = RegressionMixtureDisplay.from_estimator(model, X, zeros, groups=groups)
    spread = display.scatter_.get_offsets()[:, 1] - zeros
    assert 0 < np.abs(spread).max() < 0.05
    np.testing.assert_array_equal(display.y, zeros)
    np.testing.assert_array_equal(display.resp[0], display.resp[3])


@pytest.mark.parametrize("library", [None, "pandas", "polars"])
def test_through_a_pipeline(regressions, library):
    X, y = regressions
    X = X[:, :2]
    if library:
        X = pytest.importorskip(library).DataFrame({"cost": X[:, 0], "time": X[:, 1]})
    final = MixtureOfLinearRegressions(2, n_init=3, random_state=0)
    model = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), final).fit(X, y)
    feature = "time" if library else 1
    display = RegressionMixtureDisplay.from_estimator(model, X, y, feature=feature)
    rows = np.asarray(X)
    along = np.column_stack([np.full(201, rows[:, 0].mean()), display.grid])
    if library:
        along = type(X)({"cost": along[:, 0], "time": along[:, 1]})
    np.testing.assert_allclose(display.mean_line_.get_ydata(), model.predict(along))
    np.testing.assert_array_equal(display.scatter_.get_offsets()[:, 0], rows[:, 1])
    assert display.ax_.get_xlabel() == ("time" if library else "feature 1")
    alone = make_pipeline(final)
    assert len(RegressionMixtureDisplay.from_estimator(alone.fit(X, y), X, y, feature=0).lines_) == 2


@pytest.mark.parametrize("library", ["pandas", "polars", "category", None])
def test_columns_of_text_are_held_at_the_most_frequent(regressions, library):
    X, y = regressions
    south, north = (7, 3) if library == "category" else ("south", "north")  # numbers, but codes
    zone = [south if i % 3 == 0 else north for i in range(len(X))]
    make = pytest.importorskip("polars" if library == "polars" else "pandas").DataFrame
    frame = make({"zone": zone, "cost": X[:, 0], "time": X[:, 1]})
    if library == "category":
        frame["zone"] = frame["zone"].astype("category")
    rows = frame if library else frame.to_numpy()
    encode = make_column_transformer((OneHotEncoder(drop="first"), [0]), (StandardScaler(), [1, 2]))
    model = make_pipeline(encode, MixtureOfLinearRegressions(2, n_init=3, random_state=0)).fit(rows, y)
    display = RegressionMixtureDisplay.from_estimator(model, rows, y, feature="time" if library else 2)
    along = make({"zone": [north] * 201, "cost": np.full(201, X[:, 0].mean()), "time": display.grid})
    along = along if library else along.to_numpy()
    np.testing.assert_allclose(display.mean_line_.get_ydata(), model.predict(along))
    name = "zone" if library else "feature 0"
    with pytest.raises(ValueError, match=f"'{name}' holds no numbers: give another feature to draw along"):
        RegressionMixtureDisplay.from_estimator(model, rows, y, feature=0)


def test_limits_follow_the_rows(regressions):
    """On a log scale too; a component that leaves the rows is cut off."""
    X, y = regressions
    counts = np.random.default_rng(0).poisson(np.exp(0.4 * y))
    model = fitted_regressions(X[:, [1]], counts, family="poisson")
    display = RegressionMixtureDisplay.from_estimator(model, X[:, [1]], counts, interval=0.95)
    display.ax_.set_yscale("log")
    low, high = display.ax_.get_ylim()
    assert 0.1 < low < 1
    assert counts.max() < high < 3 * counts.max()
    display.means = display.means * [1, 100]
    display.prior = np.tile([1 - 1e-6, 1e-6], (201, 1))
    assert display.plot().ax_.get_ylim()[1] < 2 * counts.max()


@pytest.mark.parametrize("value", [-2.0, 0.0])
def test_one_row_has_lines(regressions, value):
    X, y = regressions
    model = fitted_regressions(X[:, [1]], y)
    along = RegressionMixtureDisplay.from_estimator(model, [[value]], y[:1]).lines_[0].get_xdata()
    assert along[0] < value < along[-1]


@pytest.mark.parametrize("layout", some_slow([None, "constrained"], [None]))
def test_legends_stay_within_axes_that_are_given(regressions, layout):
    X, y = regressions
    model = fitted_regressions(X, y)
    for shape, drawn in [((1, 2), True), ((2, 3), True), ((6, 6), False)]:
        figure, axes = plt.subplots(*shape, layout=layout)
        ax = axes.flat[0]
        RegressionMixtureDisplay.from_estimator(model, X, y, feature=1, interval=0.95, ax=ax)
        figure.draw_without_rendering()
        legend = ax.get_legend()
        assert (legend is not None) == drawn
        if drawn:
            frame, room = legend.get_window_extent(), ax.bbox
            assert room.x0 < frame.x0 < frame.x1 < room.x1
            assert room.y0 < frame.y0 < frame.y1 < room.y1


def test_name_of_the_response(regressions):
    pd = pytest.importorskip("pandas")
    X, y = regressions
    frame, target = pd.DataFrame(X, columns=["cost", "time", "size"]), pd.Series(y, name="yield")
    model = fitted_regressions(frame, target)
    display = RegressionMixtureDisplay.from_estimator(model, frame, target, feature="time")
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("time", "yield")


def test_no_such_regression(regressions):
    X, y = regressions
    draw = RegressionMixtureDisplay.from_estimator
    model = fitted_regressions(X, y)
    with pytest.raises(ValueError, match=r"X has 3 features: give the one to draw along\. .*'feature 2'"):
        draw(model, X, y)
    for feature in (3, "time", 0.5):
        with pytest.raises(ValueError, match="the features are"):
            draw(model, X, y, feature=feature)
    with pytest.raises(ValueError, match=r"feature=\[0, 1\]: give one feature"):
        draw(model, X, y, feature=[0, 1])
    with pytest.raises(ValueError, match=r"coverage=1\.5: give a probability"):
        draw(model, X, y, feature=0, interval=1.5)
    with pytest.raises(NotFittedError):
        draw(MixtureOfExperts(), X, y, feature=0)
    with pytest.raises(NotFittedError):
        draw(make_pipeline(StandardScaler(), MixtureOfExperts()), X, y, feature=0)
    for other in (MixtureOfExpertsClassifier(), StandardScaler(), make_pipeline(StandardScaler())):
        with pytest.raises(TypeError, match=r"that end with one of them, not (MixtureOfExpertsC|StandardSc)"):
            draw(other, X, y, feature=0)


# Machado, Oliveira and Fernandes (2009): linear RGB as seen without one of the three cones.
BLIND_TO = {
    "nothing": np.eye(3),
    "red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def cielab(colors, seen=BLIND_TO["nothing"]):
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.072175],
        [0.0193339, 0.119192, 0.9503041],
    ]
    xyz = np.clip(linear @ np.transpose(seen), 0, 1) @ np.transpose(to_xyz) / [0.95047, 1.0, 1.08883]
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29).T
    return np.column_stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blind_to", list(BLIND_TO))
def test_colors_stay_apart_for_every_eye(blind_to):
    for K in range(2, 13):
        seen = cielab(component_colors(None, K), BLIND_TO[blind_to])
        between = np.linalg.norm(seen[:, None] - seen, axis=-1)[np.triu_indices(K, 1)]
        assert between.min() > (16 if K <= 6 else 25)


def test_lines_of_many_components_differ():
    ax = plt.figure().subplots()
    styles = component_lines(ax, component_colors(None, 24), {})
    assert len({(*style["color"], style["linestyle"]) for style in styles}) == 24


def chain_picture():
    return HMMDisplay.from_estimator(HMMEM(2, n_init=1, random_state=0).fit(EARTHQUAKES), EARTHQUAKES)


def gaps_picture():
    return MissingPatternDisplay.from_data(load_airquality().data)


def mixture_picture(features):
    X = load_old_faithful().data
    return MixtureDisplay.from_estimator(fitted(X), X, features=features)


def regression_picture():
    npreg = load_npreg()
    X, y = npreg.data, npreg.yn
    model = MixtureOfLinearRegressions(2, n_init=3, random_state=0).fit(X, y)
    return RegressionMixtureDisplay.from_estimator(model, X, y, interval=0.9)


def trace_picture():
    return ConvergenceDisplay.from_estimator(fitted(load_old_faithful().data))


EARTHQUAKES = load_earthquakes().data
PICTURES = {
    "ellipses": lambda: mixture_picture([0, 1]),
    "densities": lambda: mixture_picture([0]),
    "trace": trace_picture,
    "chain": chain_picture,
    "regression": regression_picture,
    "gaps": gaps_picture,
}


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("picture", list(PICTURES))
def test_everything_shows_on_the_background_of_the_style(picture, style):
    """Lines and words are at a distance from the background; greys that fill differ from it."""
    from matplotlib.colors import to_rgb

    with plt.style.context(style):
        figure = PICTURES[picture]().figure_
        for ax in figure.axes:
            background = cielab(np.array([to_rgb(ax.get_facecolor())]))
            lines = [to_rgb(line.get_color()) for line in ax.get_lines() if line.get_linestyle() != "None"]
            fills = [to_rgb(c) for drawn in ax.collections for c in drawn.get_facecolor()]
            fills += [to_rgb(patch.get_facecolor()) for patch in ax.patches]
            for colors, least in ((lines, 20), (fills, 5)):
                if colors:
                    assert np.linalg.norm(cielab(np.array(colors)) - background, axis=1).min() > least


def test_a_share_is_legible_in_its_cell():
    from matplotlib.colors import to_rgb

    for style in ("default", "dark_background"):
        with plt.style.context(style):
            display = chain_picture()
            for texts, row in zip(display.texts_, display.transition, strict=True):
                for text, p in zip(texts, row, strict=True):
                    cell = cielab(display.image_.to_rgba(np.array([p]))[:, :3])
                    assert abs(cielab(np.array([to_rgb(text.get_color())])) - cell)[0, 0] > 40


@pytest.mark.filterwarnings("ignore:.*starts ended at.*:sklearn.exceptions.ConvergenceWarning")
def test_bayesian_mixtures_are_drawn_alike():
    X = load_old_faithful().data
    fit = BayesianGaussianMixtureEM(2, n_init=3, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(fit, X)
    np.testing.assert_allclose(display.means, fit.means_, rtol=1e-12)
    np.testing.assert_allclose(display.covariances, fit.covariances_, rtol=1e-10)
    progress = ConvergenceDisplay.from_estimator(fit)
    np.testing.assert_allclose(progress.log_likelihood, fit.lower_bounds_, rtol=1e-12)
    assert progress.ax_.get_ylabel() == "lower bound of log evidence (nats)"


def test_empty_components_are_not_drawn():
    X = load_old_faithful().data
    fit = BayesianGaussianMixtureEM(5, random_state=0).fit(X).reorder([4, 1, 2, 0, 3])
    assert fit.n_effective_components_ == 2
    display = MixtureDisplay.from_estimator(fit, X)
    np.testing.assert_array_equal(display.weights, fit.weights_[[1, 3]])
    np.testing.assert_allclose(display.means, fit.means_[[1, 3]], rtol=1e-12)
    assert [text.get_text()[:11] for text in display.ax_.get_legend().get_texts()] == [
        "component 1",
        "component 3",
    ]


def test_what_hard_and_sampled_fits_climb_is_drawn():
    X = load_old_faithful().data
    hard = GaussianMixtureEM(2, assignment="hard", random_state=0).fit(X)
    display = ConvergenceDisplay.from_estimator(hard)
    np.testing.assert_allclose(display.log_likelihood, np.multiply(hard.lower_bounds_, len(X)), rtol=1e-12)
    assert len(display.others) == len(hard.restarts_.starts) - 1 > 0
    assert display.ax_.get_ylabel() == "log-likelihood with assignments (nats)"
    chain = GaussianMixtureEM(2, assignment="sampled", max_iter=30, n_init=2, random_state=0).fit(X)
    display = ConvergenceDisplay.from_estimator(chain)
    lowest, highest = display.ax_.get_ylim()
    assert lowest < min(display.log_likelihood)
    assert highest > max(display.log_likelihood)


# -- inference and choice of models ------------------------------------------------------------------------


def test_a_forest_of_estimates():
    X = load_old_faithful().data
    found = GaussianMixtureEM(2, random_state=0).fit(X).infer(X)
    display = InferenceDisplay.from_inference(found, "covariances_")
    assert len(display.labels) == 6  # each entry of a symmetric matrix once
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == display.labels
    ends = np.array([path.vertices[:, 0] for path in display.intervals_.get_paths()])
    low, high = found.confidence_intervals()["covariances_"]
    np.testing.assert_allclose(ends[0], [low[0, 0, 0], high[0, 0, 0]])
    np.testing.assert_allclose(ends[4], [low[1, 0, 1], high[1, 0, 1]])
    display.ax_.figure.canvas.draw()
    drawn, whole = display.ax_.get_tightbbox(), display.ax_.figure.bbox
    assert drawn.x0 >= whole.x0  # names are not cut off
    assert drawn.x1 <= whole.x1
    with pytest.raises(ValueError, match="No estimate begins with 'rates_'"):
        InferenceDisplay.from_inference(found, "rates_")


def test_criteria_of_a_search():
    grid = {"n_components": [3, 1, 2], "covariance_type": ["full", "tied"]}
    search = InformationCriterionSearch(GaussianMixtureEM(random_state=0), grid).fit(load_old_faithful().data)
    display = ModelSelectionDisplay.from_search(search)
    assert display.ax_.get_ylabel() == "BIC"
    for line in display.lines_:
        of_form = search.cv_results_["param_covariance_type"] == line.get_label()
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), search.cv_results_["bic"][of_form][[1, 2, 0]])
    assert ModelSelectionDisplay.from_search(search, "icl").best is None
    with pytest.raises(ValueError, match="criterion='dic' is no column"):
        ModelSelectionDisplay.from_search(search, "dic")


def test_profiles_of_latent_classes():
    classes = LatentClassEM.from_parameters(
        [0.6, 0.4], emission="categorical", probabilities=[[[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.3, 0.7]]]
    )
    display = classes.profile_plot()
    assert [ax.get_title() for ax in display.axes_] == ["class 0 (60%)", "class 1 (40%)"]
    widths = [[bar.get_width() for bar in ax.patches] for ax in display.axes_]
    np.testing.assert_allclose(widths, [[0.9, 0.1, 0.5, 0.5], [0.2, 0.8, 0.3, 0.7]])
    assert len(LatentClassDisplay.from_estimator(classes, columns=[1]).axes_[0].patches) == 2
    with pytest.raises(ValueError, match="columns names"):
        classes.profile_plot(columns=[7])
    with pytest.raises(ValueError, match="1 axes"):
        classes.profile_plot(axes=[display.axes_[0]])


def test_residuals_are_drawn():
    quakes = load_earthquakes()
    model = HMMEM(2, emission="poisson", random_state=0).fit(quakes.data)
    display = ResidualDisplay.from_estimator(model, quakes.data, kind="forecast", positions=quakes.year)
    low, mid, high = model.pseudo_residuals(quakes.data, kind="forecast")
    np.testing.assert_array_equal(display.points_.get_offsets(), np.column_stack([quakes.year, mid[:, 0]]))
    np.testing.assert_array_equal(display.quantiles_.get_offsets()[:, 1], np.sort(mid[:, 0]))
    segments = np.array([path.vertices[:, 1] for path in display.segments_.get_paths()])
    bottom, top = display.axes_[0].get_ylim()
    np.testing.assert_allclose(segments[:, 0], np.maximum(low[:, 0], bottom))
    np.testing.assert_allclose(segments[:, 1], np.minimum(high[:, 0], top))
    npreg = load_npreg()
    line = MixtureOfLinearRegressions(1).fit(npreg.data, npreg.yn)
    panel = ResidualDisplay.from_estimator(line, npreg.data, npreg.yn, axes=(plt.figure().gca(), None))
    assert panel.segments_ is None is panel.quantiles_
    several = ResidualDisplay.from_estimator(model, quakes.data, lengths=[50, 57])
    assert len(several.residuals.mid) == 107
    with pytest.raises(ValueError, match="positions has 3 entries, but there are 107"):
        ResidualDisplay.from_estimator(model, quakes.data, positions=[1, 2, 3])
    with pytest.raises(ValueError, match="axes are two"):
        several.plot(axes=(None, None))
    with pytest.raises(TypeError, match="A GaussianMixtureEM has no pseudo-residuals"):
        ResidualDisplay.from_estimator(GaussianMixtureEM(), quakes.data)


def test_certainty_is_drawn(rows):
    rows = rows[:, :2] * [0.4, 1.0]
    model = fitted(rows)
    display = CertaintyDisplay.from_estimator(model, rows, labels=["a", "b"])
    proba = model.predict_proba(rows)
    for k, line in enumerate(display.lines_):
        own = np.sort(proba[proba.argmax(axis=1) == k, k])
        np.testing.assert_array_equal(line.get_ydata(), own)
        assert line.get_label().startswith(f"{'ab'[k]} ({100 * len(own) / 120:.0f} %), mean ")
    quakes = load_earthquakes().data
    chain = HMMEM(2, emission="poisson", random_state=0).fit(quakes)
    drawn = CertaintyDisplay.from_estimator(chain, [quakes[:50], quakes[50:]])
    assert sum(len(line.get_xdata()) for line in drawn.lines_) == 107
    with pytest.raises(ValueError, match="labels has 1 entries, but there are 2"):
        display.plot(labels=["a"])
    with pytest.raises(TypeError, match="no probabilities of components"):
        CertaintyDisplay.from_estimator(StandardScaler(), rows)
