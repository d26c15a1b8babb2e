"""How certain it is which component each observation belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from emlearn.display._shared import axes_of, component_colors, component_lines, grey, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class CertaintyDisplay:
    """How certain the assignment of observations to components is, component by component.

    Observations are assigned to the component that is most probable for them. Of each component there is a line
    of these probabilities, the least first, over the share of its observations: one that stays at 1 is a
    cluster apart, one that rises slowly overlaps with others. Make it with `from_estimator`.

    Parameters
    ----------
    proba : array-like of shape (n, K)
        Posterior probabilities of the components; rows of NaN are left out.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        The figure that they belong to.
    lines_ : list of matplotlib Line2D
        One for each component that has observations.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.display import CertaintyDisplay
    >>> X = load_old_faithful().data
    >>> model = GaussianMixtureEM(n_components=2, random_state=0).fit(X)
    >>> [line.get_label() for line in CertaintyDisplay.from_estimator(model, X).lines_]
    ['component 0 (64 %), mean >99 %', 'component 1 (36 %), mean >99 %']
    """

    ax_: Axes
    figure_: Any
    lines_: list[Any]

    def __init__(self, proba: ArrayLike) -> None:
        self.proba = proba

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the posterior probabilities of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted mixture, hidden Markov model or regression.
        X : array-like, or list of array-likes
            What it takes as X. Steps of several sequences are drawn together.
        y : array-like, default=None
            Responses, of regressions: components are told by them.
        groups, lengths, offset : array-like, default=None
            As of the estimator's own probabilities.
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : CertaintyDisplay

        Raises
        ------
        TypeError
            If the estimator has no probabilities of components.
        """
        posterior = getattr(estimator, "component_proba", getattr(estimator, "predict_proba", None))
        if posterior is None:
            raise TypeError(f"A {type(estimator).__name__} has no probabilities of components.")
        check_is_fitted(estimator)
        beside = {"y": y, "groups": groups, "lengths": lengths, "offset": offset}
        proba = posterior(X, **{name: value for name, value in beside.items() if value is not None})
        if proba.dtype == object:
            proba = np.concatenate(list(proba))
        return cls(proba).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        labels: Sequence[str] | None = None,
        colors: Any = None,
        legend: bool = True,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        labels : sequence of K str, default=None
            Names of the components; their numbers by default. The legend adds the share of the observations
            that are assigned to each, and the mean of their probabilities.
        colors : sequence of K matplotlib colours, default=None
            Colours of the components.
        legend : bool, default=True
            Whether to draw a legend.
        line_kwargs : dict, default=None
            For the lines (`Axes.plot`).

        Returns
        -------
        display : CertaintyDisplay
        """
        proba: NDArray[np.float64] = np.asarray(self.proba, dtype=np.float64)
        proba = proba[~np.isnan(proba).any(axis=1)]
        K = proba.shape[1]
        if labels is None:
            labels = [f"component {k}" for k in range(K)]
        elif len(labels) != K:
            raise ValueError(f"labels has {len(labels)} entries, but there are {K} components.")
        ax = axes_of(ax)
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, []
        assigned, certainty = proba.argmax(axis=1), proba.max(axis=1)
        styles = component_lines(ax, component_colors(colors, K), line_kwargs)
        for k, (label, style) in enumerate(zip(labels, styles, strict=True)):
            own = np.sort(certainty[assigned == k])
            if len(own):
                told = f"{label} ({percent(len(own) / len(proba))}), mean {percent(own.mean())}"
                place = (np.arange(len(own)) + 0.5) / len(own)
                self.lines_ += ax.plot(place, own, label=told, **style)
        ax.axhline(1 / K, color=grey(ax, 0.6), lw=0.8, ls="--", zorder=0)
        ax.set(
            xlabel="share of the component's observations", ylabel="probability of the component", xlim=(0, 1)
        )
        ax.set_ylim(min(1 / K, 0.5) - 0.03, 1.03)
        if legend:
            ax.legend()
        return self
