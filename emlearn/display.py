"""Pictures of fitted models. matplotlib is imported only when something is drawn."""

import math
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from emlearn.families import COVARIANCE_SHAPES
from emlearn.missing import missing_patterns, overimpute
from emlearn.tables import shorten

__all__ = [
    "ConvergenceDisplay",
    "HMMDisplay",
    "MissingPatternDisplay",
    "MixtureDisplay",
    "OverimputeDisplay",
]

# Okabe and Ito's colours, told apart by colour-blind readers as well: orange, blue, green, pink, sky, yellow.
PALETTE = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e0b000"]
CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 181)) for f in (np.cos, np.sin)])  # (2, 181)


def _pyplot():
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("Drawing needs matplotlib, which is not installed.") from error
    return plt


def _axes(ax):
    """The axes to draw in, new ones where none are given."""
    return _pyplot().subplots()[1] if ax is None else ax


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

    def __init__(self, *, X, resp, weights, means, covariances, feature_names):
        self.X = X
        self.resp = resp
        self.weights = weights
        self.means = means
        self.covariances = covariances
        self.feature_names = feature_names

    @classmethod
    def from_estimator(cls, estimator, X, *, features=None, ax=None, **kwargs):
        """Draw a fitted mixture.

        Parameters
        ----------
        estimator : GaussianMixtureEM
            Fitted.
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
        part = estimator.marginal(index)
        structure, tied = COVARIANCE_SHAPES[estimator.covariance_type]
        covariances = part.covariances_[None] if tied else part.covariances_
        dense = structure.dense(np.asarray(covariances, dtype=np.float64), len(index))
        names = getattr(part, "feature_names_in_", [f"feature {i}" for i in index])
        display = cls(
            resp=estimator.predict_proba(X),
            X=np.asarray(X)[:, index].astype(np.float64),
            weights=part.weights_,
            means=part.means_,
            covariances=np.broadcast_to(dense, (len(part.weights_), len(index), len(index))),
            feature_names=[str(name) for name in names],
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        ax=None,
        *,
        n_sd=(1, 2),
        labels=None,
        colors=None,
        legend=True,
        scatter_kwargs=None,
        line_kwargs=None,
    ):
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
        ax = _axes(ax)
        K, n_features = self.means.shape
        colors = _component_colors(colors, K)
        if labels is None:
            labels = [f"component {k}" for k in range(K)]
        elif len(labels) != K:
            raise ValueError(f"labels has {len(labels)} entries, but there are {K} components.")
        labels = [f"{label} ({w:.0%})" for label, w in zip(labels, self.weights, strict=True)]
        self.ax_, self.figure_ = ax, ax.figure
        self.scatter_ = self.bars_ = None
        draw = self._plot_densities if n_features == 1 else self._plot_ellipses
        self.lines_ = draw(ax, n_sd, labels, colors, scatter_kwargs or {}, line_kwargs or {})
        if legend:
            ax.legend()
        return self

    def _plot_ellipses(self, ax, n_sd, labels, colors, scatter_kwargs, line_kwargs):
        # Small points for many rows, so that they do not hide one another.
        size = float(np.clip(20 * math.sqrt(500 / max(len(self.X), 1)), 2, 20))
        self.scatter_ = ax.scatter(
            *self.X.T,
            c=np.clip(self.resp @ colors, 0, 1),
            **{"s": size, "linewidths": 0, "alpha": 0.6, **scatter_kwargs},
        )
        lines = []
        for mean, covariance, color, label in zip(self.means, self.covariances, colors, labels, strict=True):
            variances, axes = np.linalg.eigh(covariance)
            ellipse = axes * np.sqrt(np.maximum(variances, 0)) @ CIRCLE  # (2, 181), 1 sd
            lines.append([])
            for i, size in enumerate(n_sd):
                style = {"color": color * 0.7, "lw": 2.0 / (1 + 0.5 * i), **line_kwargs}
                points = mean[:, None] + size * ellipse
                lines[-1] += ax.plot(*points, label=None if i else label, **style)
        ax.set(xlabel=self.feature_names[0], ylabel=self.feature_names[1])
        return lines

    def _plot_densities(self, ax, n_sd, labels, colors, hist_kwargs, line_kwargs):
        style = {"bins": "auto", "color": "0.85", **hist_kwargs}
        self.bars_ = ax.hist(self.X[:, 0], density=True, **style)[2]
        sd = np.sqrt(self.covariances[:, 0, 0])
        # Every component gets points of its own, so that a narrow one keeps its peak.
        z = np.linspace(-4, 4, 101)
        grid = np.sort(np.append((self.means + sd[:, None] * z).ravel(), self.X[:, 0]))
        z = (grid - self.means) / sd[:, None]  # (K, m)
        scale = (self.weights / sd)[:, None] / math.sqrt(2 * math.pi)
        densities = scale * np.exp(-0.5 * z**2)
        if len(densities) > 1:
            ax.plot(grid, densities.sum(axis=0), color="0.3", ls="--", lw=1, label="mixture")
        lines = [
            ax.plot(grid, density, label=label, **{"color": color, "lw": 2, **line_kwargs})
            for density, color, label in zip(densities, colors, labels, strict=True)
        ]
        ax.set(xlabel=self.feature_names[0], ylabel="density")
        return lines


def _feature_numbers(estimator, features):
    """Numbers of the one or two features to draw."""
    if features is None:
        return np.arange(min(2, estimator.n_features_in_))
    numbers = estimator._column_numbers(features)
    if len(numbers) > 2:
        raise ValueError(f"features={features!r}: give one or two features, by number or name.")
    return numbers


def _component_colors(colors, K):
    """Colours as an array (K, 3)."""
    import matplotlib
    from matplotlib.colors import to_rgb

    if colors is None:
        turbo = matplotlib.colormaps["turbo"]
        colors = PALETTE[:K] if len(PALETTE) >= K else turbo(np.linspace(0.05, 0.95, K))
    if len(colors) != K:
        raise ValueError(f"colors has {len(colors)} entries, but there are {K} components.")
    return np.array([to_rgb(color) for color in colors])


class HMMDisplay:
    """Picture of a hidden Markov model and of one sequence, in three panels.

    The first shows one feature of the sequence, its points coloured by the decoded states, and the mean of
    each state as a step line. The second shows the smoothed probabilities of the states, stacked. The third
    shows the transition matrix. Make it with `from_estimator`.

    Parameters
    ----------
    x : ndarray of shape (T,)
        The feature drawn, NaN where it is missing.
    states : ndarray of int of shape (T,)
        Decoded states.
    proba : ndarray of shape (T, K)
        Smoothed probabilities of the states.
    transition : ndarray of shape (K, K)
        Transition matrix.
    means : ndarray of shape (K,), default=None
        Mean of the feature in each state; None for categories, which have none.
    times : array-like of shape (T,), default=None
        Where the steps stand on the x axis; their numbers by default.
    feature_name : str, default="x"
        Name of the feature.

    Attributes
    ----------
    axes_ : tuple of three matplotlib Axes
        Axes of the last plot: sequence, probabilities, transitions. None for a panel that was left out.
    figure_ : matplotlib Figure
        The figure that they belong to.
    line_ : matplotlib Line2D or None
        Thin line that connects the points, unless they are categories. It breaks where a step is missing.
    points_ : matplotlib PathCollection or None
        Steps, with one colour each. A missing step has no point.
    means_line_ : matplotlib Line2D or None
        Means of the decoded states, through gaps as well.
    areas_ : list of K matplotlib PolyCollection
        Probabilities; empty if the panel was left out.
    image_ : matplotlib AxesImage or None
        Transition matrix.
    texts_ : list of K lists of K matplotlib Text
        Its entries; empty if the panel was left out.

    Examples
    --------
    >>> from emlearn import HMMEM
    >>> from emlearn.datasets import load_earthquakes
    >>> from emlearn.display import HMMDisplay
    >>> earthquakes = load_earthquakes()
    >>> model = HMMEM(n_components=2, emission="poisson", random_state=0).fit(earthquakes.data)
    >>> display = HMMDisplay.from_estimator(model, earthquakes.data, times=earthquakes.year)
    >>> display.means.round(2)
    array([15.42, 26.02])
    >>> display.texts_[0][1].get_text()
    '.07'
    """

    def __init__(self, *, x, states, proba, transition, means=None, times=None, feature_name="x"):
        self.x = x
        self.states = states
        self.proba = proba
        self.transition = transition
        self.means = means
        self.times = times
        self.feature_name = feature_name

    @classmethod
    def from_estimator(
        cls, estimator, X, *, feature=0, groups=None, lengths=None, sequence=0, times=None, axes=None, **kwargs
    ):
        """Draw a fitted model and one sequence.

        Parameters
        ----------
        estimator : HMMEM
            Fitted.
        X : list of array-likes of shape (T_i, d), or array-like of shape (n, d)
            Sequences, or the rows of them, in all features of the fit.
        feature : int or str, default=0
            Feature to draw, by number or name.
        groups : array-like of shape (n,), default=None
            With rows: those of the same group are a sequence.
        lengths : array-like of int, default=None
            With rows: lengths of the sequences.
        sequence : int, default=0
            Number of the sequence to draw. Groups count in order of first appearance.
        times : array-like of shape (T,), default=None
            Where the steps of this sequence stand on the x axis: numbers or dates.
        axes : sequence of three matplotlib Axes, default=None
            Where to draw the sequence, the probabilities and the transitions; None in place of one leaves
            that panel out. A new figure by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : HMMDisplay

        Raises
        ------
        ValueError
            If there is no such feature or sequence, or if ``times`` has another length.
        """
        check_is_fitted(estimator)
        numbers = estimator._column_numbers(feature)
        if len(numbers) != 1:
            raise ValueError(f"feature={feature!r}: give one feature, by number or name.")
        sequences = estimator._read(X, groups, lengths, reset=False)
        if not (isinstance(sequence, Integral) and 0 <= sequence < sequences.n_sequences):
            raise ValueError(
                f"sequence={sequence!r}: there are {sequences.n_sequences} sequences, counted from 0."
            )
        steps = slice(*sequences.offsets[sequence : sequence + 2])
        if times is not None and len(times) != steps.stop - steps.start:
            raise ValueError(
                f"times has {len(times)} entries, but sequence {sequence} has {steps.stop - steps.start} steps."
            )

        def of_sequence(values):
            if sequences.form == "list":
                return values[sequence]
            return (values if sequences.order is None else values[sequences.order])[steps]

        means = estimator._moments_of(np.eye(len(estimator.startprob_)), estimator._params.family)[0]
        means = means[:, numbers[0]]
        names = getattr(estimator, "feature_names_in_", None)
        display = cls(
            x=sequences.rows[steps, numbers[0]].astype(np.float64),
            states=of_sequence(estimator.predict(X, groups=groups, lengths=lengths)),
            proba=of_sequence(estimator.predict_proba(X, groups=groups, lengths=lengths)),
            transition=estimator.transmat_,
            means=None if np.isnan(means).any() else means,
            times=times,
            feature_name=f"feature {numbers[0]}" if names is None else str(names[numbers[0]]),
        )
        return display.plot(axes=axes, **kwargs)

    def plot(
        self,
        axes=None,
        *,
        labels=None,
        colors=None,
        legend=True,
        scatter_kwargs=None,
        line_kwargs=None,
        area_kwargs=None,
        image_kwargs=None,
    ):
        """Draw.

        Parameters
        ----------
        axes : sequence of three matplotlib Axes, default=None
            Where to draw the sequence, the probabilities and the transitions; None in place of one leaves
            that panel out. A new figure by default.
        labels : sequence of K str, default=None
            Names of the states; their numbers by default. The legend adds their means.
        colors : sequence of K matplotlib colours, default=None
            Colours of the states.
        legend : bool, default=True
            Whether to draw a legend, above the sequence or, without it, above the probabilities.
        scatter_kwargs : dict, default=None
            For the steps (`Axes.scatter`).
        line_kwargs : dict, default=None
            For the means (`Axes.plot`).
        area_kwargs : dict, default=None
            For the probabilities (`Axes.stackplot`).
        image_kwargs : dict, default=None
            For the transition matrix (`Axes.imshow`).

        Returns
        -------
        display : HMMDisplay
        """
        K = len(self.transition)
        colors = _component_colors(colors, K)
        if labels is None:
            labels = [f"state {k}" for k in range(K)]
        elif len(labels) != K:
            raise ValueError(f"labels has {len(labels)} entries, but there are {K} states.")
        self.axes_ = _state_axes() if axes is None else tuple(axes)
        there = [ax for ax in self.axes_ if ax is not None]
        if len(self.axes_) != 3 or not there:
            raise ValueError("axes are three: for the sequence, the probabilities and the transitions.")
        self.figure_ = there[0].figure
        self.line_ = self.points_ = self.means_line_ = self.image_ = None
        self.areas_, self.texts_ = [], []
        times = np.arange(len(self.x)) if self.times is None else np.asarray(self.times)
        time_name = "step" if self.times is None else str(getattr(self.times, "name", None) or "time")
        series, proba, transition = self.axes_
        if series is not None:
            self._plot_series(series, times, colors, scatter_kwargs or {}, line_kwargs or {})
        if proba is not None:
            style = {"colors": list(colors), "lw": 0, "alpha": 0.85, **(area_kwargs or {})}
            self.areas_ = proba.stackplot(times, self.proba.T, **style)
            proba.set(ylabel="probability of state", ylim=(0, 1))
            proba.margins(x=0.01)
        if transition is not None:
            self._plot_transition(transition, labels, colors, image_kwargs or {})
        timed = [ax for ax in (series, proba) if ax is not None]
        if timed:
            timed[-1].set_xlabel(time_name)
        if legend and timed:
            _legend_of_states(timed[0], labels, colors, self.means)
        return self

    def _plot_series(self, ax, times, colors, scatter_kwargs, line_kwargs):
        seen = ~np.isnan(self.x)
        size = float(np.clip(18 * math.sqrt(200 / max(len(self.x), 1)), 2, 18))
        style = {"s": size, "linewidths": 0, "zorder": 2, **scatter_kwargs}
        self.points_ = ax.scatter(times[seen], self.x[seen], c=colors[self.states[seen]], **style)
        if self.means is None:
            ax.yaxis.get_major_locator().set_params(integer=True)  # codes
        else:
            (self.line_,) = ax.plot(times, self.x, color="0.75", lw=0.8, zorder=1)
            style = {"color": "0.2", "lw": 1.2, "drawstyle": "steps-mid", "zorder": 3, **line_kwargs}
            (self.means_line_,) = ax.plot(times, self.means[self.states], **style)
        ax.margins(x=0.01)
        ax.set_ylabel(self.feature_name)

    def _plot_transition(self, ax, labels, colors, image_kwargs):
        K = len(labels)
        self.image_ = ax.imshow(self.transition, **{"cmap": "Greys", "vmin": 0, "vmax": 1, **image_kwargs})
        style = {"ha": "center", "va": "center", "fontsize": float(np.clip(56 / K, 5, 10))}
        self.texts_ = [
            [
                ax.text(j, i, _share(p), color="white" if p > 0.5 else "black", **style)
                for j, p in enumerate(row)
            ]
            for i, row in enumerate(self.transition)
        ]
        # Names such as "state 3" become numbers, which have more room.
        short = [label.removeprefix("state ") for label in map(str, labels)]
        ax.set_xticks(range(K), short)
        ax.set_yticks(range(K), short)
        for axis in (ax.xaxis, ax.yaxis):
            for tick, color in zip(axis.get_ticklabels(), colors, strict=True):
                tick.set(color=color * 0.8, fontweight="bold")
        ax.set(xlabel="to state", ylabel="from state", title="transitions")


def _state_axes():
    """Three axes in a new figure: the sequence above the probabilities, the transitions beside them."""
    figure = _pyplot().figure(figsize=(10, 5), layout="constrained")
    panels = figure.subplot_mosaic(
        [["series", "transition"], ["proba", "transition"]], width_ratios=[5, 2], height_ratios=[3, 2]
    )
    panels["proba"].sharex(panels["series"])
    panels["series"].tick_params(labelbottom=False)
    return panels["series"], panels["proba"], panels["transition"]


def _legend_of_states(ax, labels, colors, means):
    from matplotlib.lines import Line2D

    if means is not None:
        labels = [f"{label}: mean {mean:.4g}" for label, mean in zip(labels, means, strict=True)]
    handles = [
        Line2D([], [], ls="none", marker="o", color=color, label=label)
        for label, color in zip(labels, colors, strict=True)
    ]
    # Above the axes, where it hides nothing.
    style = {"frameon": False, "borderaxespad": 0.3, "columnspacing": 1.2, "handletextpad": 0.1}
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(len(labels), 3), **style)


def _share(p):
    """A probability in two digits, which looks like 0 or 1 only if it is."""
    if p in (0, 1):
        return f"{p:.0f}"
    return "<.01" if p < 0.005 else ">.99" if p >= 0.995 else f"{p:.2f}"[1:]


class ConvergenceDisplay:
    """Picture of a fit: the log-likelihood at each iteration, of the best start and of the others.

    Make it with `from_estimator`.

    Parameters
    ----------
    log_likelihood : array-like of shape (n_iter + 1,)
        Total log-likelihood at each iteration of the best start, in nats.
    extrapolated : array-like of bool of shape (n_iter + 1,), default=None
        Which of them were reached by extrapolation.
    others : sequence of array-like, default=()
        The same total for other starts.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        The figure that they belong to.
    line_ : matplotlib Line2D
        The best start.
    marks_ : matplotlib Line2D
        Extrapolated steps.
    other_lines_ : list of matplotlib Line2D
        The other starts.

    Notes
    -----
    The race of starts is kept in standardised units. There a log-likelihood differs by a constant, so
    the other starts are shifted by what takes the best one to its values in the units of the data. A race
    on a subsample of a large data set differs by more than that, and its starts are left out.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.display import ConvergenceDisplay
    >>> mixture = GaussianMixtureEM(n_components=2, random_state=0).fit(load_old_faithful().data)
    >>> display = ConvergenceDisplay.from_estimator(mixture)
    >>> print(f"{display.log_likelihood[-1]:.3f}")
    -1130.264
    >>> len(display.others)
    29
    """

    def __init__(self, log_likelihood, *, extrapolated=None, others=()):
        self.log_likelihood = log_likelihood
        self.extrapolated = extrapolated
        self.others = others

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, **kwargs):
        """Draw the iterations of a fit.

        Parameters
        ----------
        estimator : estimator
            Fitted by EM: with ``lower_bounds_``, ``extrapolated_`` and ``restarts_``.
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : ConvergenceDisplay
        """
        check_is_fitted(estimator, "lower_bounds_")
        bound = estimator.lower_bound_
        total_weight = estimator.log_likelihood_ / bound if bound else 1.0
        best = np.asarray(estimator.lower_bounds_) * total_weight
        display = cls(
            best,
            extrapolated=np.asarray(estimator.extrapolated_, dtype=bool),
            others=_other_starts(best, [start.history for start in estimator.restarts_.starts]),
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, color="#0072b2", legend=True, other_kwargs=None, **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        color : matplotlib colour, default="#0072b2"
            Colour of the best start.
        legend : bool, default=True
            Whether to draw a legend.
        other_kwargs : dict, default=None
            For the other starts (`Axes.plot`).
        **kwargs
            For the best start (`Axes.plot`).

        Returns
        -------
        display : ConvergenceDisplay
        """
        ax = _axes(ax)
        best = np.asarray(self.log_likelihood)
        marked = np.zeros(len(best), dtype=bool) if self.extrapolated is None else self.extrapolated
        faint = {"color": "0.6", "lw": 0.8, "alpha": 0.6, **(other_kwargs or {})}
        self.ax_, self.figure_ = ax, ax.figure
        self.other_lines_ = []
        for i, other in enumerate(self.others):
            label = None if i else f"other starts ({len(self.others)})"
            self.other_lines_ += ax.plot(other, label=label, zorder=1, **faint)
        style = {"color": color, "lw": 1.8, "marker": ".", "zorder": 2, "label": "best start", **kwargs}
        (self.line_,) = ax.plot(best, **style)
        steps = np.flatnonzero(marked)
        (self.marks_,) = ax.plot(
            steps,
            best[steps],
            linestyle="none",
            marker="o",
            mfc="white",
            mec=color,
            zorder=3,
            label="extrapolated" if len(steps) else "_extrapolated",
        )
        # Bad starts may begin far below: they are cut off, or they would press all else flat.
        height = max(np.ptp(best), 1e-9 * (1 + abs(best[-1])))
        ax.set_ylim(best[0] - 0.05 * height, max(best[-1], *map(max, self.others), best[0]) + 0.08 * height)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="iteration", ylabel="log-likelihood (nats)")
        if legend:
            ax.legend()
        return self


def _other_starts(best, histories):
    """Histories of starts other than the best, in its units; none where they ran on other data.

    The best is recognised by its history: it equals ``best`` up to a constant.
    """
    tolerance = 1e-9 * (1 + np.abs(best).max())
    for i, history in enumerate(histories):
        if len(history) != len(best) or not np.isfinite(history).all():
            continue
        shifts = best - history
        if np.ptp(shifts) <= tolerance:
            others = [np.asarray(other) + shifts[-1] for other in histories[:i] + histories[i + 1 :]]
            return [other for other in others if len(other) and np.isfinite(other).all()]
    return []


class MissingPatternDisplay:
    """Picture of which entries are missing together.

    A grid with a row for each pattern, those with the fewest gaps on top, and a column for each feature. On
    the right stands how many rows of the data have the pattern, on top the share of each feature that is
    missing. Make it with `from_data`.

    Parameters
    ----------
    patterns : MissingPatterns
        Patterns, of `emlearn.missing.missing_patterns`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        The figure that they belong to.
    image_ : matplotlib QuadMesh
        The grid: 1 where an entry is missing.
    shown_ : ndarray of int
        Numbers of the patterns drawn, from top to bottom.

    Examples
    --------
    >>> from emlearn.datasets import load_airquality
    >>> from emlearn.display import MissingPatternDisplay
    >>> display = MissingPatternDisplay.from_data(load_airquality(as_frame=True).frame)
    >>> display.patterns.counts[display.shown_]
    array([111,  35,   5,   2])
    """

    def __init__(self, patterns):
        self.patterns = patterns

    @classmethod
    def from_data(cls, X, *, max_patterns=20, ax=None, **kwargs):
        """Draw the patterns of missing entries.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows are observations; NaN, None and pandas' NA are missing entries.
        max_patterns : int, default=20
            Number of patterns to draw, at most: those of the most rows.
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : MissingPatternDisplay

        Raises
        ------
        ValueError
            If X has infinite entries, or columns that are no numbers.
        """
        return cls(missing_patterns(X)).plot(ax=ax, max_patterns=max_patterns, **kwargs)

    def plot(self, ax=None, *, max_patterns=20, colors=("#dbe7f0", "#d55e00"), **kwargs):
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        max_patterns : int, default=20
            Number of patterns to draw, at most: those of the most rows.
        colors : sequence of two matplotlib colours, default=("#dbe7f0", "#d55e00")
            Colours of what is observed and of what is missing.
        **kwargs
            For the grid (`Axes.pcolormesh`).

        Returns
        -------
        display : MissingPatternDisplay
        """
        if not (isinstance(max_patterns, Integral) and max_patterns > 0):
            raise ValueError(f"max_patterns={max_patterns!r}: draw one or more.")
        from matplotlib.colors import ListedColormap

        observed, counts, n_missing, names = self.patterns
        self.shown_ = self.patterns.largest(max_patterns)
        P, d = len(self.shown_), len(names)
        if ax is None:
            size = np.clip(2.2 + 0.6 * d, 4.5, 14), np.clip(1.8 + 0.3 * P, 2.6, 12)
            ax = _pyplot().subplots(figsize=size, layout="constrained")[1]
        self.ax_, self.figure_ = ax, ax.figure
        style = {"cmap": ListedColormap(list(colors)), "vmin": 0, "vmax": 1, "edgecolors": "white"}
        style = {**style, "lw": min(1, 60 / d), **kwargs}
        self.image_ = ax.pcolormesh(~observed[self.shown_] * 1.0, **style)
        ax.set(ylim=(P, 0), xlim=(0, d))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        n = counts.sum()
        names = [shorten(name, 24) for name in names]
        room = ax.get_window_extent().width / ax.figure.dpi / d
        ax.set_xticks(np.arange(d) + 0.5, names, rotation=_tilt(names, room))
        top = ax.secondary_xaxis("top")
        shares = [_percent(m / n) for m in n_missing]
        top.set_xticks(np.arange(d) + 0.5, shares, rotation=_tilt(shares, room))
        top.tick_params(length=0)
        top.spines[:].set_visible(False)
        top.set_xlabel("missing")
        ax.yaxis.tick_right()
        ax.set_yticks(np.arange(P) + 0.5, counts[self.shown_])
        # A title for the counts, at the height of the shares: it takes no room beside them.
        ax.annotate("rows", (1, 1), (3.5, 3.5), xycoords="axes fraction", textcoords="offset points")
        rarer = len(counts) - P
        if rarer:
            left = n - counts[self.shown_].sum()
            ax.set_xlabel(f"not shown: {rarer} other patterns, {left} rows")
        return self


def _tilt(labels, room):
    """Angle of labels with ``room`` inches each: upright if, roughly, they would run into one another."""
    return 90 if 0.09 * max(map(len, labels)) > room else 0


def _percent(share):
    """A share in whole per cent, which looks like 0 or 1 only if it is."""
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{share:.0%}".replace("%", " %")


class OverimputeDisplay:
    """Picture of imputed against observed values, of entries that were hidden from the imputer.

    A panel for each feature: points with their intervals, and the diagonal, on which imputations would be
    exact. An interval that holds the observed value crosses the diagonal; the others are drawn in another
    colour. Make it with `from_estimator`, or `from_overimputed`.

    Parameters
    ----------
    result : Overimputed
        Of `emlearn.missing.overimpute`.

    Attributes
    ----------
    axes_ : tuple of matplotlib Axes
        Axes of the last plot, one per panel.
    figure_ : matplotlib Figure
        The figure that they belong to.
    points_ : list of matplotlib PathCollection
        Imputed against observed values of each panel.
    bars_ : list of matplotlib LineCollection
        Intervals of each panel.
    diagonals_ : list of matplotlib Line2D
        Diagonal of each panel.

    Examples
    --------
    >>> from emlearn import EMImputer
    >>> from emlearn.datasets import load_airquality
    >>> from emlearn.display import OverimputeDisplay
    >>> X = load_airquality(as_frame=True).data[["Ozone", "Solar.R", "Wind", "Temp"]]
    >>> display = OverimputeDisplay.from_estimator(EMImputer(), X, random_state=0)
    >>> len(display.axes_)
    4
    """

    def __init__(self, result):
        self.result = result

    @classmethod
    def from_overimputed(cls, result, *, feature=None, axes=None, **kwargs):
        """Draw a result of `emlearn.missing.overimpute`.

        Parameters
        ----------
        result : Overimputed
        feature : int or str, default=None
            The only feature to draw, by number or name; all by default.
        axes : matplotlib Axes or sequence of them, default=None
            Where to draw, one for each panel; a new figure by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : OverimputeDisplay

        Raises
        ------
        ValueError
            If there is no such feature, or another number of axes than of panels.
        """
        return cls(result).plot(axes=axes, feature=feature, **kwargs)

    @classmethod
    def from_estimator(
        cls,
        imputer,
        X,
        *,
        coverage=0.95,
        n_folds=5,
        sample_weight=None,
        random_state=None,
        feature=None,
        axes=None,
        **kwargs,
    ):
        """Hide the observed entries from an imputer, in turn, and draw what it makes of them.

        Parameters
        ----------
        imputer : estimator
            With ``fit``, ``transform`` and ``predict_interval``. It is cloned, not fitted.
        X : array-like of shape (n, d)
            Rows are observations; NaN is a missing entry.
        coverage : float, default=0.95
            Share of the entries that the intervals should hold.
        n_folds : int, default=5
            Number of folds to hide.
        sample_weight : array-like of shape (n,), default=None
            How often each row counts in the fits.
        random_state : int, RandomState instance or None, default=None
            Determines the folds.
        feature : int or str, default=None
            The only feature to draw, by number or name; all by default.
        axes : matplotlib Axes or sequence of them, default=None
            Where to draw, one for each panel; a new figure by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : OverimputeDisplay

        Raises
        ------
        ValueError
            As `emlearn.missing.overimpute` and `from_overimputed` do.
        """
        result = overimpute(
            imputer,
            X,
            coverage=coverage,
            n_folds=n_folds,
            sample_weight=sample_weight,
            random_state=random_state,
        )
        return cls.from_overimputed(result, feature=feature, axes=axes, **kwargs)

    def plot(
        self,
        axes=None,
        *,
        feature=None,
        colors=("#0072b2", "#d55e00"),
        legend=True,
        scatter_kwargs=None,
        bar_kwargs=None,
    ):
        """Draw.

        Parameters
        ----------
        axes : matplotlib Axes or sequence of them, default=None
            Where to draw, one for each panel; a new figure by default.
        feature : int or str, default=None
            The only feature to draw, by number or name; all by default.
        colors : sequence of two matplotlib colours, default=("#0072b2", "#d55e00")
            Colours of entries that their intervals hold, and of the others.
        legend : bool, default=True
            Whether to draw a legend: below the panels, or in the first if ``axes`` are given.
        scatter_kwargs : dict, default=None
            For the points (`Axes.scatter`).
        bar_kwargs : dict, default=None
            For the intervals (`Axes.vlines`).

        Returns
        -------
        display : OverimputeDisplay
        """
        names = self.result.feature_names
        features = range(len(names)) if feature is None else [_feature_number(feature, names)]
        own = axes is None
        axes = _panels(len(features)) if own else axes
        self.axes_ = tuple(np.atleast_1d(np.asarray(axes, dtype=object)).ravel())
        if len(self.axes_) != len(features):
            raise ValueError(f"axes are {len(self.axes_)}, but there are {len(features)} features to draw.")
        self.figure_ = self.axes_[0].figure
        self.points_, self.bars_, self.diagonals_ = [], [], []
        for ax, j in zip(self.axes_, features, strict=True):
            self._plot_feature(ax, j, np.array(colors, dtype=object), scatter_kwargs or {}, bar_kwargs or {})
        if legend:
            _legend_of_intervals(self.axes_[0], colors, own)
        return self

    def _plot_feature(self, ax, j, colors, scatter_kwargs, bar_kwargs):
        result = self.result
        mine = result.columns == j
        observed, imputed, inside = result.observed[mine], result.imputed[mine], result.inside[mine]
        color = colors[np.where(inside, 0, 1)].tolist()
        # Fainter and smaller where there are many, so that they do not hide one another.
        crowd = float(np.clip(math.sqrt(150 / len(observed)), 0.2, 1))
        style = {"colors": color, "lw": 1.0, "alpha": 0.45 * crowd, "zorder": 1, **bar_kwargs}
        self.bars_.append(ax.vlines(observed, result.lower[mine], result.upper[mine], **style))
        style = {"s": 18 * crowd, "linewidths": 0, "alpha": 0.9, "zorder": 3, **scatter_kwargs}
        self.points_.append(ax.scatter(observed, imputed, c=color, **style))
        ends = [observed.min(), observed.max()]
        self.diagonals_ += ax.plot(ends, ends, color="0.25", lw=1.2, ls="--", zorder=4)
        share = f"coverage {_percent(inside.mean())}, {_percent(result.nominal)} asked for"
        ax.set_title(f"{result.feature_names[j]}\n{share}", fontsize="medium")
        ax.set(xlabel="observed", ylabel="imputed")


def _feature_number(feature, names):
    if isinstance(feature, str) and feature in names:
        return names.index(feature)
    if isinstance(feature, Integral) and -len(names) <= feature < len(names):
        return int(feature) % len(names)
    raise ValueError(f"feature={feature!r}: the features are {names}, counted from 0.")


def _panels(n):
    """Axes in a new figure."""
    columns = 2 if n == 4 else min(n, 4 if n <= 12 else 6)
    rows = -(-n // columns)
    size = (3.2 * columns, 3.1 * rows + 0.3) if n > 1 else (5.5, 4.8)
    axes = _pyplot().subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)[1]
    for ax in axes.ravel()[n:]:
        ax.remove()
    return axes.ravel()[:n]


def _legend_of_intervals(ax, colors, own):
    from matplotlib.lines import Line2D

    labels = ["observed value inside its interval", "outside"]
    handles = [
        Line2D([], [], color=color, marker="o", ms=4, lw=1, label=label)
        for color, label in zip(colors, labels, strict=True)
    ]
    if own:
        ax.figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    else:
        ax.legend(handles=handles, fontsize="small", framealpha=0.7)
