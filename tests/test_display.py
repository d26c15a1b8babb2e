"""Displays: what they draw, for every form of covariance, and what they refuse."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from emlearn import GaussianMixtureEM
from emlearn.datasets import load_old_faithful
from emlearn.display import ConvergenceDisplay, MixtureDisplay
from emlearn.families import COVARIANCE_SHAPES

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


@pytest.mark.parametrize("covariance_type", list(COVARIANCE_SHAPES))
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
    with pytest.raises(ValueError, match="no feature 'price'; the features are"):
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
        ([0, 3], "no feature 3; X has 3, counted from 0"),
        ([0.5, 1], "no feature 0.5"),
        ("spend", "no feature 'spend'; the features have no names"),
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


def test_import_leaves_matplotlib_alone():
    code = "import sys, emlearn.display; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
