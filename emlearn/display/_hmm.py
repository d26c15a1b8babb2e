"""A hidden Markov model and one sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from emlearn._input.columns import find_column
from emlearn.display._shared import component_colors, grey, ground, ink, pyplot, strong

if TYPE_CHECKING:
    from emlearn.hmm import HMMEM


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
    >>> display.means.round(1)
    array([15.4, 26. ])
    >>> display.texts_[0][1].get_text()
    '.07'
    """

    axes_: tuple[Any, ...]
    figure_: Any
    line_: Any
    points_: Any
    means_line_: Any
    areas_: list[Any]
    image_: Any
    texts_: list[list[Any]]

    def __init__(
        self,
        *,
        x: NDArray[Any],
        states: NDArray[Any],
        proba: NDArray[Any],
        transition: NDArray[Any],
        means: NDArray[Any] | None = None,
        times: Any = None,
        feature_name: str = "x",
    ) -> None:
        self.x = x
        self.states = states
        self.proba = proba
        self.transition = transition
        self.means = means
        self.times = times
        self.feature_name = feature_name

    @classmethod
    def from_estimator(
        cls,
        estimator: HMMEM,
        X: Any,
        *,
        feature: int | str = 0,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        sequence: int = 0,
        times: Any = None,
        axes: Any = None,
        **kwargs: Any,
    ) -> Self:
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
        names = getattr(estimator, "feature_names_in_", None)
        number = find_column(feature, names, estimator.n_features_in_, "feature")
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

        means = estimator._moments_of(np.eye(len(estimator.startprob_)))[0]
        means = means[:, number]
        names = getattr(estimator, "feature_names_in_", None)
        display = cls(
            x=sequences.rows[steps, number].astype(np.float64),
            states=of_sequence(estimator.predict(X, groups=groups, lengths=lengths)),
            proba=of_sequence(estimator.predict_proba(X, groups=groups, lengths=lengths)),
            transition=estimator.transmat_,
            means=None if np.isnan(means).any() else means,
            times=times,
            feature_name=f"feature {number}" if names is None else str(names[number]),
        )
        return display.plot(axes=axes, **kwargs)

    def plot(
        self,
        axes: Any = None,
        *,
        labels: Sequence[str] | None = None,
        colors: Any = None,
        legend: bool = True,
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
        area_kwargs: dict[str, Any] | None = None,
        image_kwargs: dict[str, Any] | None = None,
    ) -> Self:
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
        colors = component_colors(colors, K)
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
            (self.line_,) = ax.plot(times, self.x, color=grey(ax, 0.75), lw=0.8, zorder=1)
            style = {"color": grey(ax, 0.2), "lw": 1.2, "drawstyle": "steps-mid", "zorder": 3, **line_kwargs}
            (self.means_line_,) = ax.plot(times, self.means[self.states], **style)
        ax.margins(x=0.01)
        ax.set_ylabel(self.feature_name)

    def _plot_transition(self, ax, labels, colors, image_kwargs):
        from matplotlib.colors import LinearSegmentedColormap

        K = len(labels)
        shades = LinearSegmentedColormap.from_list("share", [ground(ax), ink(ax)])
        self.image_ = ax.imshow(self.transition, **{"cmap": shades, "vmin": 0, "vmax": 1, **image_kwargs})
        style = {"ha": "center", "va": "center", "fontsize": float(np.clip(56 / K, 5, 10))}
        self.texts_ = [
            [
                ax.text(j, i, _share(p), color=ground(ax) if p > 0.5 else ink(ax), **style)
                for j, p in enumerate(row)
            ]
            for i, row in enumerate(self.transition)
        ]
        # Names such as "state 3" become numbers, which have more room.
        short = [label.removeprefix("state ") for label in map(str, labels)]
        ax.set_xticks(range(K), short)
        ax.set_yticks(range(K), short)
        for axis in (ax.xaxis, ax.yaxis):
            for tick, color in zip(axis.get_ticklabels(), strong(ax, colors, 0.2), strict=True):
                tick.set(color=color, fontweight="bold")
        ax.set(xlabel="to state", ylabel="from state", title="transitions")


def _state_axes():
    """Three axes in a new figure: the sequence above the probabilities, the transitions beside them."""
    figure = pyplot().figure(figsize=(10, 5), layout="constrained")
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
