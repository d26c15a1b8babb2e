"""Estimates with their intervals, and criteria of candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from emlearn.display._shared import LINE_STYLES, PALETTE, axes_of, grey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from emlearn.inference import Inference
    from emlearn.model_selection import InformationCriterionSearch


class InferenceDisplay:
    """Forest plot: estimates side by side with their confidence intervals.

    Make it with `from_inference`.

    Parameters
    ----------
    labels : sequence of str
        Names of the estimates.
    estimates : array-like of shape (p,)
    low, high : array-like of shape (p,)
        Ends of the intervals; NaN where there is none.
    level : float, default=0.95
        Of the intervals.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        The figure that they belong to.
    points_ : matplotlib Line2D
        The estimates.
    intervals_ : matplotlib LineCollection
        Their intervals.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.display import InferenceDisplay
    >>> X = load_old_faithful().data
    >>> model = GaussianMixtureEM(n_components=2, random_state=0).fit(X)
    >>> InferenceDisplay.from_inference(model.infer(X), "weights_").labels
    ['weights_[0]', 'weights_[1]']
    """

    ax_: Axes
    figure_: Any
    points_: Any
    intervals_: Any

    def __init__(
        self,
        labels: Sequence[str],
        estimates: ArrayLike,
        low: ArrayLike,
        high: ArrayLike,
        *,
        level: float = 0.95,
    ) -> None:
        self.labels = labels
        self.estimates = estimates
        self.low = low
        self.high = high
        self.level = level

    @classmethod
    def from_inference(
        cls,
        inference: Inference,
        attribute: str | None = None,
        *,
        level: float = 0.95,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw estimates.

        Parameters
        ----------
        inference : Inference
            Of an estimator's method `infer`.
        attribute : str, default=None
            What the labels must begin with, as ``"means_"``; None for all estimates.
        level : float, default=0.95
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : InferenceDisplay

        Raises
        ------
        ValueError
            If no label begins so.
        """
        low, high = inference._intervals(level)
        places = [i for i in inference._distinct if inference.labels[i].startswith(attribute or "")]
        if not places:
            raise ValueError(f"No estimate begins with {attribute!r}: see the labels of the inference.")
        labels = [inference.labels[i] for i in places]
        display = cls(labels, inference.estimates[places], low[places], high[places], level=level)
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Axes | None = None, *, color: Any = "#0072b2", zero: bool = True, **kwargs: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        color : matplotlib colour, default="#0072b2"
        zero : bool, default=True
            Whether a line marks 0, where intervals come near it.
        **kwargs
            For the estimates (`Axes.plot`).

        Returns
        -------
        display : InferenceDisplay
        """
        ax = axes_of(ax)
        y, x = np.arange(len(self.labels))[::-1], np.asarray(self.estimates)
        low, high = np.asarray(self.low), np.asarray(self.high)
        self.ax_, self.figure_ = ax, ax.figure
        self.intervals_ = ax.hlines(y, low, high, color=color, lw=2)
        style = {"linestyle": "none", "marker": "o", "color": color, "zorder": 3, **kwargs}
        (self.points_,) = ax.plot(x, y, **style)
        if zero and np.nanmin([*low, *x]) <= 0 <= np.nanmax([*high, *x]):
            ax.axvline(0, color=grey(ax, 0.6), lw=0.8, zorder=0)
        ax.set_yticks(y, labels=self.labels)
        ax.set_ylim(-0.7, len(y) - 0.3)
        ax.set(xlabel=f"estimate and {self.level:.0%} interval".replace("%", " %"))
        return self


class ModelSelectionDisplay:
    """Criteria of the candidates of a search, by the number of components.

    Make it with `from_search`.

    Parameters
    ----------
    n_components : array-like of shape (n,)
    values : array-like of shape (n,)
        Of the criterion; smaller is better.
    forms : sequence of str
        What else tells candidates apart: there is a line for each.
    criterion : str, default="bic"
    best : int, default=None
        The candidate to mark.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the last plot.
    figure_ : matplotlib Figure
        The figure that they belong to.
    lines_ : list of matplotlib Line2D
        One for each form.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.display import ModelSelectionDisplay
    >>> from emlearn.model_selection import InformationCriterionSearch
    >>> grid = {"n_components": [1, 2, 3], "covariance_type": ["full", "tied"]}
    >>> search = InformationCriterionSearch(GaussianMixtureEM(random_state=0), grid)
    >>> display = ModelSelectionDisplay.from_search(search.fit(load_old_faithful().data))
    >>> [line.get_label() for line in display.lines_]
    ['full', 'tied']
    """

    ax_: Axes
    figure_: Any
    lines_: list[Any]

    def __init__(
        self,
        n_components: ArrayLike,
        values: ArrayLike,
        forms: Sequence[str],
        *,
        criterion: str = "bic",
        best: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.values = values
        self.forms = forms
        self.criterion = criterion
        self.best = best

    @classmethod
    def from_search(
        cls,
        search: InformationCriterionSearch,
        criterion: str | None = None,
        *,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the candidates of a search.

        Parameters
        ----------
        search : InformationCriterionSearch
            Fitted, over ``n_components`` and perhaps more.
        criterion : str, default=None
            A column of ``cv_results_``. None: that of the search.
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : ModelSelectionDisplay

        Raises
        ------
        ValueError
            If the grid has no ``n_components``, or there is no such criterion.
        """
        check_is_fitted(search)
        results, candidates = search.cv_results_, search.cv_results_["params"]
        number = next((name for name in candidates[0] if name.rsplit("__", 1)[-1] == "n_components"), None)
        if number is None:
            raise ValueError("The grid has no n_components, by which candidates are drawn.")
        chosen = search.criterion if criterion is None else criterion
        of_search = callable(chosen)
        if not of_search and chosen not in results:
            raise ValueError(f"criterion={chosen!r} is no column of cv_results_.")
        values = -results["score"] if of_search else results[chosen]
        forms = [", ".join(str(v) for name, v in c.items() if name != number) for c in candidates]
        name = getattr(chosen, "__name__", "criterion") if of_search else chosen
        best = search.best_index_ if criterion is None or criterion == search.criterion else None
        display = cls([c[number] for c in candidates], values, forms, criterion=name, best=best)
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax: Axes | None = None, *, legend: bool = True, **kwargs: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        legend : bool, default=True
            Whether to draw a legend, where there is more than one line.
        **kwargs
            For the lines (`Axes.plot`).

        Returns
        -------
        display : ModelSelectionDisplay
        """
        ax = axes_of(ax)
        K, values = np.asarray(self.n_components), np.asarray(self.values, dtype=float)
        forms = list(dict.fromkeys(self.forms))
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, []
        for i, form in enumerate(forms):
            own = np.flatnonzero(np.array(self.forms) == form)
            own = own[np.argsort(K[own], kind="stable")]
            style = {
                "color": PALETTE[i % len(PALETTE)],
                "linestyle": LINE_STYLES[i // len(PALETTE) % len(LINE_STYLES)],
                "marker": ".",
                "label": form or self.criterion,
                **kwargs,
            }
            self.lines_ += ax.plot(K[own], values[own], **style)
        if self.best is not None:
            ax.plot(
                K[self.best],
                values[self.best],
                "o",
                ms=12,
                mfc="none",
                mec=grey(ax, 0.2),
                label="_best",
                zorder=3,
            )
        # A form that fits badly would press all others flat.
        finite = values[np.isfinite(values)]
        top = np.quantile(finite, 0.75) + 1.5 * max(np.ptp(np.quantile(finite, [0.25, 0.75])), 1.0)
        top = min(top, finite.max() + 0.05 * max(np.ptp(finite), 1.0))
        ax.set_ylim(finite.min() - 0.05 * (top - finite.min()), top)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="components", ylabel=self.criterion.upper())
        if legend and len(forms) > 1:
            ax.legend()
        return self
