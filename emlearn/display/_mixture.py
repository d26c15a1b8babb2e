"""A Gaussian mixture in one or two of its features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from emlearn.display._shared import (
    axes_of,
    component_colors,
    component_labels,
    component_lines,
    grey,
    point_size,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from emlearn.mixture import GaussianMixtureEM


CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 181)) for f in (np.cos, np.sin)])  # (2, 181)


class MixtureDisplay:
    """Picture of a Gaussian mixture in two of its features, or in one.

    In two features: the rows as points, coloured by their responsibilities, and ellipses of the marginal
    covariance of each component. In one: a histogram of the rows and the density of each component.
    Make it with `from_estimator`.

    Parameters
    ----------
    X : ndarray of shape (n, q)
        Rows, in the q = 1 or 2 features drawn.
    resp : ndarray of shape (n, K)
        Responsibilities, of all features.
    weights : ndarray of shape (K,)
        Weights of the components.
    means : ndarray of shape (K, q)
        Means of the features drawn.
    covariances : ndarray of shape (K, q, q)
        Covariances of the features drawn.
    feature_names : sequence of q str
        Names of the features drawn.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        The figure that they belong to.
    scatter_ : matplotlib PathCollection or None
        Points, with one colour each; None in one feature.
    bars_ : matplotlib BarContainer or None
        Histogram; None in two features.
    lines_ : list of K lists of matplotlib Line2D
        Outlines of each component: ellipses, one per entry of ``n_sd``, or its one density curve.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.display import MixtureDisplay
    >>> X = load_old_faithful().data
    >>> mixture = GaussianMixtureEM(n_components=2, random_state=0).fit(X)
    >>> display = MixtureDisplay.from_estimator(mixture, X)
    >>> len(display.lines_), display.ax_.get_xlabel()
    (2, 'feature 0')
    """

    ax_: Axes
    figure_: Any
    scatter_: Any
    bars_: Any
    lines_: list[list[Any]]

    def __init__(
        self,
        *,
        X: Any,
        resp: NDArray[Any],
        weights: NDArray[Any],
        means: NDArray[Any],
        covariances: NDArray[Any],
        feature_names: Sequence[str],
    ) -> None:
        self.X = X
        self.resp = resp
        self.weights = weights
        self.means = means
        self.covariances = covariances
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: GaussianMixtureEM,
        X: Any,
        *,
        features: ArrayLike | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw a fitted mixture.

        Parameters
        ----------
        estimator : GaussianMixtureEM or BayesianGaussianMixtureEM
            Fitted. Of a Bayesian mixture only components that hold more than half a row are drawn.
        X : array-like of shape (n, d)
            Rows to draw, in all features of the fit.
        features : int, str, or sequence of one or two of them, default=None
            Features to draw, by number or name; the first two, or the only one, by default.
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : MixtureDisplay

        Raises
        ------
        ValueError
            If ``features`` are more than two, none, repeated, or not there.
        """
        check_is_fitted(estimator)
        index = _feature_numbers(estimator, features)
        family = estimator._model.family
        params = family.in_units(estimator._params.family, estimator._units)
        known = getattr(estimator, "feature_names_in_", None)
        names = [f"feature {i}" for i in index] if known is None else known[index]
        K = len(estimator.weights_) - family.n_others
        n_held = max(getattr(estimator, "n_effective_components_", K), 1)
        held = np.sort(np.argsort(-estimator.weights_[:K], kind="stable")[:n_held])
        if n_held < K:
            kwargs = {"labels": [f"component {k}" for k in held], **kwargs}
        display = cls(
            resp=estimator.predict_proba(X)[:, held],
            X=np.asarray(X)[:, index].astype(np.float64),
            weights=estimator.weights_[held],
            means=family.mean(params)[held][:, index],
            covariances=family.covariance(params)[held][:, index[:, None], index],
            feature_names=[str(name) for name in names],
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_sd: Sequence[float] = (1, 2),
        labels: Sequence[str] | None = None,
        colors: Any = None,
        legend: bool = True,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        n_sd : sequence of float, default=(1, 2)
            Size of the ellipses, in standard deviations. In two features an ellipse of 1 holds 39 % of its
            component and one of 2 holds 86 %.
        labels : sequence of K str, default=None
            Names of the components; their numbers by default. The legend adds their weights.
        colors : sequence of K matplotlib colours, default=None
            Colours of the components.
        legend : bool, default=True
            Whether to draw a legend.
        scatter_kwargs : dict, default=None
            For the points (`Axes.scatter`), or the bars of the histogram (`Axes.hist`).
        line_kwargs : dict, default=None
            For the ellipses or density curves (`Axes.plot`).

        Returns
        -------
        display : MixtureDisplay
        """
        ax = axes_of(ax)
        K, n_features = self.means.shape
        colors = component_colors(colors, K)
        labels = component_labels(labels, self.weights)
        self.ax_, self.figure_ = ax, ax.figure
        self.scatter_ = self.bars_ = None
        draw = self._plot_densities if n_features == 1 else self._plot_ellipses
        self.lines_ = draw(ax, n_sd, labels, colors, scatter_kwargs or {}, line_kwargs or {})
        if legend:
            ax.legend()
        return self

    def _plot_ellipses(self, ax, n_sd, labels, colors, scatter_kwargs, line_kwargs):
        self.scatter_ = ax.scatter(
            *self.X.T,
            c=np.clip(self.resp @ colors, 0, 1),
            **{"s": point_size(len(self.X)), "linewidths": 0, "alpha": 0.6, **scatter_kwargs},
        )
        lines = []
        fixed = {"lw", "linewidth"} & set(line_kwargs)
        styles = component_lines(ax, colors, line_kwargs)
        for mean, covariance, style, label in zip(self.means, self.covariances, styles, labels, strict=True):
            variances, axes = np.linalg.eigh(covariance)
            ellipse = axes * np.sqrt(np.maximum(variances, 0)) @ CIRCLE  # (2, 181), 1 sd
            lines.append([])
            for i, size in enumerate(n_sd):
                thinner = {} if fixed else {"linewidth": 2 / (1 + 0.5 * i)}
                points = mean[:, None] + size * ellipse
                lines[-1] += ax.plot(*points, label=None if i else label, **{**style, **thinner})
        ax.set(xlabel=self.feature_names[0], ylabel=self.feature_names[1])
        return lines

    def _plot_densities(self, ax, n_sd, labels, colors, hist_kwargs, line_kwargs):
        style = {"bins": "auto", "color": grey(ax, 0.85), **hist_kwargs}
        self.bars_ = ax.hist(self.X[:, 0], density=True, **style)[2]
        sd = np.sqrt(self.covariances[:, 0, 0])
        # Every component gets points of its own, so that a narrow one keeps its peak.
        z = np.linspace(-4, 4, 101)
        grid = np.sort(np.append((self.means + sd[:, None] * z).ravel(), self.X[:, 0]))
        z = (grid - self.means) / sd[:, None]  # (K, m)
        scale = (self.weights / sd)[:, None] / math.sqrt(2 * math.pi)
        densities = scale * np.exp(-0.5 * z**2)
        if len(densities) > 1:
            ax.plot(grid, densities.sum(axis=0), color=grey(ax, 0.3), ls="--", lw=1, label="mixture")
        styles = component_lines(ax, colors, line_kwargs)
        lines = [
            ax.plot(grid, density, label=label, **style)
            for density, style, label in zip(densities, styles, labels, strict=True)
        ]
        ax.set(xlabel=self.feature_names[0], ylabel="density")
        return lines


def _feature_numbers(estimator, features):
    """Numbers of the one or two features to draw."""
    if features is None:
        return np.arange(min(2, estimator.n_features_in_))
    numbers = estimator._column_numbers(features, "features")
    if len(numbers) > 2:
        raise ValueError(f"features={features!r}: give one or two features, by number or name.")
    return numbers
