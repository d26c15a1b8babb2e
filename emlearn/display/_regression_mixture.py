"""A mixture of regressions along one feature."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from emlearn.display._shared import (
    component_colors,
    component_labels,
    feature_number,
    point_size,
    pyplot,
)
from emlearn.tables import is_frame, only_numbers

GRID = 201
JITTER = 0.04
# An expert whose prior weight is below this, relative to its largest, says nothing there: its line ends.
NO_WEIGHT = 0.01


class RegressionMixtureDisplay:
    """Picture of a mixture of regressions, or of experts, along one of its features.

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
    coverage : float, default=None
        The probability of the response to be in it.
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

    def __init__(
        self,
        *,
        x,
        y,
        resp,
        weights,
        grid,
        means,
        prior,
        band=None,
        coverage=None,
        feature_name="x",
        response_name="y",
    ):
        self.x = x
        self.y = y
        self.resp = resp
        self.weights = weights
        self.grid = grid
        self.means = means
        self.prior = prior
        self.band = band
        self.coverage = coverage
        self.feature_name = feature_name
        self.response_name = response_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        feature=None,
        groups=None,
        offset=None,
        interval=None,
        ax=None,
        gate_ax=None,
        **kwargs,
    ):
        """Draw a fitted mixture.

        Lines are drawn with all other features, and the offset, at their means over the rows.

        Parameters
        ----------
        estimator : MixtureOfLinearRegressions, MixtureOfExperts, or Pipeline that ends with one
            Fitted. Through a pipeline, lines are drawn along a feature that goes into its first step.
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
            Draw a band that holds responses with this probability, as `predict_interval` has it.
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
            If there is no such feature, or none is named though there are several.
        """
        final = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
        if not (hasattr(final, "predict_interval") and hasattr(final, "predict_components")):
            raise TypeError(
                "RegressionMixtureDisplay draws MixtureOfLinearRegressions, MixtureOfExperts and pipelines "
                f"that end with one of them, not {type(final).__name__}."
            )
        check_is_fitted(final)
        rows = np.asarray(only_numbers(X), dtype=np.float64)
        names = _feature_names(estimator, X, rows)
        if feature is None and len(names) > 1:
            raise ValueError(f"X has {len(names)} features: give the one to draw along. They are {names}.")
        number = 0 if feature is None else feature_number(feature, names)
        x = rows[:, number]
        grid = np.linspace(np.nanmin(x), np.nanmax(x), GRID)
        along = np.tile(np.nanmean(rows, axis=0), (GRID, 1))
        along[:, number] = grid
        if is_frame(X):  # of pandas or polars
            along = type(X)(dict(zip(X.columns, along.T, strict=True)))
        if final is not estimator and len(estimator.steps) > 1:
            X, along = (estimator[:-1].transform(Z) for Z in (X, along))
        at = None if offset is None else np.full(GRID, np.mean(offset))
        responses = np.asarray(y, dtype=np.float64)
        if responses.ndim == 2 and responses.shape[1] == 2:
            trials = responses.sum(axis=1)
            responses = responses[:, 0] / np.where(trials > 0, trials, np.nan)
        display = cls(
            x=x,
            y=responses.ravel(),
            resp=final.predict_proba(X, y, groups=groups, offset=offset),
            weights=final.weights_,
            grid=grid,
            means=final.predict_components(along, offset=at),
            prior=final.predict_proba(along),
            band=None if interval is None else final.predict_interval(along, interval, offset=at),
            coverage=interval,
            feature_name=names[number],
            response_name=str(getattr(y, "name", None) or "y"),
        )
        return display.plot(ax=ax, gate_ax=gate_ax, **kwargs)

    def plot(
        self,
        ax=None,
        gate_ax=None,
        *,
        labels=None,
        colors=None,
        legend=True,
        scatter_kwargs=None,
        line_kwargs=None,
        area_kwargs=None,
    ):
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
            Whether to draw a legend: above the axes, or in them if ``ax`` is given.
        scatter_kwargs : dict, default=None
            For the points (`Axes.scatter`). Where all responses are 0 or 1 they are spread a little at random,
            so that they do not hide one another.
        line_kwargs : dict, default=None
            For the components (`Axes.plot`).
        area_kwargs : dict, default=None
            For the prior weights (`Axes.stackplot`).

        Returns
        -------
        display : RegressionMixtureDisplay
        """
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
        for line, color, label in zip(np.where(there, self.means, np.nan).T, colors * 0.7, labels, strict=True):
            style = {"color": color, "lw": 2, "zorder": 3, **(line_kwargs or {})}
            self.lines_ += ax.plot(self.grid, line, label=label, **style)
        mean = (self.prior * self.means).sum(axis=1)
        self.mean_line_ = self.band_ = None
        if K > 1:
            style = {"color": "0.3", "lw": 1.2, "ls": "--", "zorder": 2.5, "label": "mixture mean"}
            (self.mean_line_,) = ax.plot(self.grid, mean, **style)
        shown = [y, mean]
        if self.band is not None:
            style = {"color": "0.88", "lw": 0, "zorder": 0}
            style["label"] = f"{100 * self.coverage:.4g} % of responses"
            self.band_ = ax.fill_between(self.grid, *self.band.T, **style)
            shown.append(self.band.ravel())
        # A component may leave the rows where it has little weight: it is cut off, or it would press them flat.
        low, high = np.nanmin(np.concatenate(shown)), np.nanmax(np.concatenate(shown))
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        ax.set(ylim=(low - margin, high + margin), ylabel=self.response_name)
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
            ax.legend()
        return self


def _feature_names(estimator, X, rows):
    """Names of the columns of X, or else of the fit, or else numbers."""
    names = X.columns if is_frame(X) else getattr(estimator, "feature_names_in_", None)
    if names is None or len(names) != rows.shape[1]:
        names = [f"feature {j}" for j in range(rows.shape[1])]
    return [str(name) for name in names]


def _panels(gated):
    """Axes of a new figure for the lines and, below them, for prior weights if there are any to show."""
    plt, style = pyplot(), {"layout": "constrained", "squeeze": False}
    if not gated:
        return plt.subplots(figsize=(6.4, 5), **style)[1][0, 0], None
    return plt.subplots(2, 1, sharex=True, figsize=(6.4, 6.4), height_ratios=[3, 1], **style)[1][:, 0]
