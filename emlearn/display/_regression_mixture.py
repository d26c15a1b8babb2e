"""A mixture of regressions along one feature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from emlearn._input.columns import find_column
from emlearn._input.sequences import is_missing
from emlearn._input.tables import as_numpy, is_frame, read_table
from emlearn.display._shared import (
    component_colors,
    component_labels,
    component_lines,
    grey,
    point_size,
    pyplot,
)

GRID = 201
JITTER = 0.04
# An expert whose prior weight is below this, relative to its largest, says nothing there: its line ends.
NO_WEIGHT = 0.01
# Largest share of the height of axes for a legend in them.
LEGEND_HEIGHT = 0.45

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class RegressionMixtureDisplay:
    """Picture of a mixture of regressions, or of experts whose response is a number, along one of its features.

    The rows as points, coloured by their responsibilities, the mean response of each component as a line, that
    of the mixture dashed, and on request a band that holds most responses. Where prior weights depend on the
    feature, they are drawn below, stacked, and lines end where a component has next to none. Make it with
    `from_estimator`.

    Parameters
    ----------
    x : ndarray of shape (n,)
        The feature drawn.
    y : ndarray of shape (n,)
        Responses; shares of success where there are trials.
    resp : ndarray of shape (n, K)
        Responsibilities.
    weights : ndarray of shape (K,)
        Weights of the components, for the legend.
    grid : ndarray of shape (m,)
        Values of the feature at which lines are drawn.
    means : ndarray of shape (m, K)
        Mean response of each component there.
    prior : ndarray of shape (m, K)
        Prior weights there.
    band : ndarray of shape (m, 2), default=None
        Lower and upper ends of an interval there.
    band_name : str, default="interval"
        What the legend says of it.
    feature_name : str, default="x"
        Name of the feature.
    response_name : str, default="y"
        Name of the response.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    gate_ax_ : matplotlib Axes or None
        Axes of the prior weights.
    figure_ : matplotlib Figure
        The figure that they belong to.
    scatter_ : matplotlib PathCollection
        Points, with one colour each.
    lines_ : list of K matplotlib Line2D
        Mean response of each component.
    mean_line_ : matplotlib Line2D or None
        Mean response of the mixture; None with one component.
    band_ : matplotlib PolyCollection or None
        The interval.
    areas_ : list of K matplotlib PolyCollection
        Prior weights; empty if they were not drawn.

    Examples
    --------
    >>> from emlearn import MixtureOfLinearRegressions
    >>> from emlearn.datasets import load_tone_perception
    >>> from emlearn.display import RegressionMixtureDisplay
    >>> tones = load_tone_perception()
    >>> mixture = MixtureOfLinearRegressions(n_components=2, random_state=0).fit(tones.data, tones.target)
    >>> display = RegressionMixtureDisplay.from_estimator(mixture, tones.data, tones.target, interval=0.95)
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['component 0 (70%)', 'component 1 (30%)', 'mixture mean', '95 % of responses']
    """

    ax_: Axes
    gate_ax_: Axes | None
    figure_: Any
    scatter_: Any
    lines_: list[Any]
    mean_line_: Any
    band_: Any
    areas_: list[Any]

    def __init__(
        self,
        *,
        x: NDArray[Any],
        y: NDArray[Any],
        resp: NDArray[Any],
        weights: NDArray[Any],
        grid: NDArray[Any],
        means: NDArray[Any],
        prior: NDArray[Any],
        band: NDArray[Any] | None = None,
        band_name: str = "interval",
        feature_name: str = "x",
        response_name: str = "y",
    ) -> None:
        self.x = x
        self.y = y
        self.resp = resp
        self.weights = weights
        self.grid = grid
        self.means = means
        self.prior = prior
        self.band = band
        self.band_name = band_name
        self.feature_name = feature_name
        self.response_name = response_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        feature: int | str | None = None,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        interval: float | None = None,
        ax: Axes | None = None,
        gate_ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw a fitted mixture.

        Lines are drawn with all other features, and the offset, at their means over the rows; columns that are
        no numbers, or of pandas' type category, at their most frequent value. With an offset, counts and normal
        responses are drawn as they would be at its mean; a band is that of responses there.

        Parameters
        ----------
        estimator : MixtureOfLinearRegressions, MixtureOfExperts, or Pipeline that ends with one
            Fitted; not a MixtureOfExpertsClassifier. Through a pipeline, lines are drawn along a feature that
            goes into its first step.
        X : array-like of shape (n, d)
            Rows to draw.
        y : array-like of shape (n,), or of shape (n, 2) for successes and failures
            Their responses.
        feature : int or str, default=None
            Feature to draw, by number or name; the only one by default.
        groups : array-like of shape (n,), default=None
            Rows of one group share their component, and their colour.
        offset : array-like of shape (n,), default=None
            Offset of each row.
        interval : float, default=None
            Draw a band that holds responses with this probability, as `predict_interval` has it. There is none
            for successes and failures, as shares vary the less the more trials a row has.
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        gate_ax : matplotlib Axes, default=None
            Where to draw prior weights. By default they have a panel of a new figure, if they depend on the
            feature; with ``ax`` alone they are left out.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : RegressionMixtureDisplay

        Raises
        ------
        TypeError
            If the estimator is of another kind.
        ValueError
            If there is no such feature, it holds no numbers, none is named though there are several, or the
            fit has several responses.
        """
        final = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
        if not (hasattr(final, "predict_interval") and hasattr(final, "predict_components")):
            raise TypeError(
                "RegressionMixtureDisplay draws MixtureOfLinearRegressions, MixtureOfExperts and pipelines "
                f"that end with one of them, not {type(final).__name__}."
            )
        check_is_fitted(final)
        if final.coef_.ndim == 3:
            raise ValueError(
                f"The fit has {final.coef_.shape[1]} responses, and a picture shows one: fit to one of them."
            )
        columns = _columns(X)
        names = _feature_names(estimator, X, len(columns))
        if feature is None and len(names) > 1:
            raise ValueError(f"X has {len(names)} features: give the one to draw along. They are {names}.")
        number = 0 if feature is None else find_column(feature, names, len(names), "feature")
        x = columns[number]
        if x.dtype == object:
            raise ValueError(f"{names[number]!r} holds no numbers: give another feature to draw along.")
        low, high = np.nanmin(x), np.nanmax(x)
        beyond = 0.0 if low < high else 0.1 * abs(low) or 1.0  # one row has no range
        grid = np.linspace(low - beyond, high + beyond, GRID)
        along = [[_typical(column)] * GRID for column in columns]
        along[number] = grid
        if is_frame(X):  # of pandas or polars
            along = type(X)(dict(zip(X.columns, along, strict=True)))
        else:
            along = np.array(along, dtype=np.result_type(*columns)).T
        if final is not estimator and len(estimator.steps) > 1:
            X, along = (estimator[:-1].transform(Z) for Z in (X, along))
        resp = final.predict_proba(X, y, groups=groups, offset=offset)
        response_name = str(getattr(y, "name", None) or "y")
        y = np.asarray(y, dtype=np.float64)
        of_trials = y.ndim == 2 and y.shape[1] == 2
        if of_trials:
            trials = y.sum(axis=1)
            y = y[:, 0] / np.where(trials > 0, trials, np.nan)
        y, at = y.ravel(), None
        if offset is not None:
            at = np.full(GRID, np.mean(offset))
            response = final._response
            if response.name != "binomial":
                more = at[0] - np.asarray(offset)
                y = y + more if response.has_unit else y * np.exp(more)
                response_name += " at the mean offset"
        band, band_name = None, "interval"
        if interval is not None and not of_trials:
            band = final.predict_interval(along, interval, offset=at)
            band_name = f"{100 * interval:.4g} % of responses" + ",\nother features fixed" * (len(names) > 1)
        display = cls(
            x=x,
            y=y,
            resp=resp,
            weights=final.weights_,
            grid=grid,
            means=final.predict_components(along, offset=at),
            prior=final.predict_proba(along),
            band=band,
            band_name=band_name,
            feature_name=names[number],
            response_name=response_name,
        )
        return display.plot(ax=ax, gate_ax=gate_ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        gate_ax: Axes | None = None,
        *,
        labels: Sequence[str] | None = None,
        colors: Any = None,
        legend: bool = True,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        area_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; a new figure by default.
        gate_ax : matplotlib Axes, default=None
            Where to draw prior weights. By default they have a panel of a new figure, if they depend on the
            feature; with ``ax`` alone they are left out.
        labels : sequence of K str, default=None
            Names of the components; their numbers by default. The legend adds their weights.
        colors : sequence of K matplotlib colours, default=None
            Colours of the components.
        legend : bool, default=True
            Whether to draw a legend: above the axes, or in them if ``ax`` is given and has room for it.
        scatter_kwargs : dict, default=None
            For the points (`Axes.scatter`). Where all responses are 0 or 1 they are spread a little at random,
            so that they do not hide one another.
        line_kwargs : dict, default=None
            For the components (`Line2D`).
        area_kwargs : dict, default=None
            For the prior weights (`Axes.stackplot`).

        Returns
        -------
        display : RegressionMixtureDisplay
        """
        from matplotlib.lines import Line2D

        K = self.means.shape[1]
        colors = component_colors(colors, K)
        labels = component_labels(labels, self.weights)
        own = ax is None
        if own:
            ax, below = _panels(gate_ax is None and np.ptp(self.prior, axis=0).max() > 1e-9)
            gate_ax = below if gate_ax is None else gate_ax
        self.ax_, self.gate_ax_, self.figure_ = ax, gate_ax, ax.figure
        y = self.y
        if np.isin(y, [0, 1]).all():
            y = y + np.random.RandomState(0).uniform(-JITTER, JITTER, size=len(y))
        style = {"s": point_size(len(y)), "linewidths": 0, "alpha": 0.6, "zorder": 2, **(scatter_kwargs or {})}
        self.scatter_ = ax.scatter(self.x, y, c=np.clip(self.resp @ colors, 0, 1), **style)
        self.lines_ = []
        there = self.prior >= NO_WEIGHT * self.prior.max(axis=0)
        styles = component_lines(ax, colors, {"zorder": 3, **(line_kwargs or {})})
        for line, style, label in zip(np.where(there, self.means, np.nan).T, styles, labels, strict=True):
            # A component may leave the rows where it has little weight. It does not extend the axes, or it
            # would press the rows flat: the mixture mean does.
            self.lines_.append(ax.add_artist(Line2D(self.grid, line, label=label, **style)))
        mean = (self.prior * self.means).sum(axis=1)
        ax.update_datalim(np.column_stack([self.grid, mean]))
        self.mean_line_ = self.band_ = None
        if K > 1:
            style = {"color": grey(ax, 0.3), "lw": 1.2, "ls": "--", "zorder": 2.5, "label": "mixture mean"}
            (self.mean_line_,) = ax.plot(self.grid, mean, **style)
        if self.band is not None:
            style = {"color": grey(ax, 0.88), "lw": 0, "zorder": 0, "label": self.band_name}
            self.band_ = ax.fill_between(self.grid, *self.band.T, **style)
        ax.autoscale_view()
        ax.set_ylabel(self.response_name)
        self.areas_ = []
        if gate_ax is not None:
            style = {"colors": list(colors), "lw": 0, "alpha": 0.85, **(area_kwargs or {})}
            self.areas_ = gate_ax.stackplot(self.grid, self.prior.T, **style)
            gate_ax.set(ylabel="prior weight", ylim=(0, 1))
        (ax if gate_ax is None else gate_ax).set_xlabel(self.feature_name)
        if legend and own:  # above the axes, where it hides nothing
            style = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2, "frameon": False}
            ax.legend(borderaxespad=0.3, **style)
        elif legend:
            _legend_within(ax)
        return self


def _columns(X):
    """Columns of X: numbers as floats, others, and those of pandas' type category, as objects."""
    X = as_numpy(X)
    columns = [X[[name]] for name in X.columns] if is_frame(X) else np.hsplit(X, X.shape[1])
    return [_numbers(column) for column in columns]


def _numbers(column):
    if not is_frame(column) or str(next(iter(column.dtypes))) != "category":
        try:
            return np.asarray(read_table(column), dtype=np.float64).ravel()
        except (TypeError, ValueError):
            pass
    return np.asarray(column, dtype=object).ravel()


def _typical(column):
    """Mean of numbers, most frequent value of others."""
    if column.dtype != object:
        return np.nanmean(column)
    counts = Counter(value for value in column if not is_missing(value))
    return max(counts, key=counts.get, default=None)


def _feature_names(estimator, X, d):
    """Names of the columns of X, or else of the fit, or else numbers."""
    names = X.columns if is_frame(X) else getattr(estimator, "feature_names_in_", None)
    if names is None or len(names) != d:
        names = [f"feature {j}" for j in range(d)]
    return [str(name) for name in names]


def _legend_within(ax):
    """A legend in axes that others may surround: small enough to stay within, or none."""
    for size in ("small", "x-small", "xx-small"):
        legend = ax.legend(loc="best", fontsize=size, handlelength=1.5, labelspacing=0.3)
        room, taken = ax.bbox, legend.get_window_extent()
        if taken.width < 0.9 * room.width and taken.height < LEGEND_HEIGHT * room.height:
            return
    legend.remove()


def _panels(gated):
    """Axes of a new figure for the lines and, below them, for prior weights if there are any to show."""
    plt, style = pyplot(), {"layout": "constrained", "squeeze": False}
    if not gated:
        return plt.subplots(figsize=(6.4, 5), **style)[1][0, 0], None
    return plt.subplots(2, 1, sharex=True, figsize=(6.4, 6.4), height_ratios=[3, 1], **style)[1][:, 0]
