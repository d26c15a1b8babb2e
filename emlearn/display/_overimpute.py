"""Imputed against observed values."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from emlearn._input.columns import find_column
from emlearn._typing import RandomState
from emlearn.display._shared import grey, percent, pyplot
from emlearn.missing import Overimputed, overimpute


class OverimputeDisplay:
    """Picture of imputed against observed values, of entries that were hidden from the imputer.

    A panel for each feature: points with their intervals, and the diagonal, on which imputations would be
    exact. An interval that holds the observed value crosses the diagonal; the others are drawn in another
    colour. Features that hold categories are left out. Make it with `from_estimator`, or `from_overimputed`.

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

    axes_: tuple[Any, ...]
    figure_: Any
    points_: list[Any]
    bars_: list[Any]
    diagonals_: list[Any]

    def __init__(self, result: Overimputed) -> None:
        self.result = result

    @classmethod
    def from_overimputed(
        cls, result: Overimputed, *, feature: int | str | None = None, axes: Any = None, **kwargs: Any
    ) -> Self:
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
        imputer: Any,
        X: Any,
        *,
        coverage: float = 0.95,
        n_folds: int = 5,
        sample_weight: ArrayLike | None = None,
        random_state: RandomState = None,
        feature: int | str | None = None,
        axes: Any = None,
        **kwargs: Any,
    ) -> Self:
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
        axes: Any = None,
        *,
        feature: int | str | None = None,
        colors: Any = ("#0072b2", "#d55e00"),
        legend: bool = True,
        scatter_kwargs: dict[str, Any] | None = None,
        bar_kwargs: dict[str, Any] | None = None,
    ) -> Self:
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
        of_categories = self.result.categories
        features = [j for j in range(len(names)) if j not in of_categories]
        if feature is not None:
            features = [find_column(feature, names, len(names), "feature")]
        if not features or features[0] in of_categories:
            which = "X" if feature is None else f"feature {names[features[0]]!r}"
            raise ValueError(f"{which} holds categories, of which there is nothing to draw: see accuracy.")
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
        self.diagonals_ += ax.plot(ends, ends, color=grey(ax, 0.25), lw=1.2, ls="--", zorder=4)
        share = f"coverage {percent(inside.mean())}, {percent(result.nominal)} asked for"
        ax.set_title(f"{result.feature_names[j]}\n{share}", fontsize="medium")
        ax.set(xlabel="observed", ylabel="imputed")


def _panels(n):
    """Axes in a new figure."""
    columns = 2 if n == 4 else min(n, 4 if n <= 12 else 6)
    rows = -(-n // columns)
    size = (3.2 * columns, 3.1 * rows + 0.3) if n > 1 else (5.5, 4.8)
    axes = pyplot().subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)[1]
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
