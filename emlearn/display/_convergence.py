"""The iterations of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from emlearn.display._shared import axes_of, grey

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    quantity : str, default="log-likelihood"
        What it is that climbs: where rows are assigned to one component each it is the log-likelihood of rows
        and components, in Bayesian fits the lower bound of the log evidence.

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
    6
    """

    ax_: Axes
    figure_: Any
    line_: Any
    marks_: Any
    other_lines_: list[Any]

    def __init__(
        self,
        log_likelihood: ArrayLike,
        *,
        extrapolated: ArrayLike | None = None,
        others: Sequence[ArrayLike] = (),
        quantity: str = "log-likelihood",
    ) -> None:
        self.log_likelihood = log_likelihood
        self.extrapolated = extrapolated
        self.others = others
        self.quantity = quantity

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None, **kwargs: Any) -> Self:
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
        best = np.asarray(estimator.lower_bounds_) * estimator._bounds_are_per
        quantity = "log-likelihood"
        if not hasattr(estimator, "log_likelihood_"):
            quantity = "lower bound of log evidence"
        elif estimator.assignment == "hard":
            quantity = "log-likelihood with assignments"
        display = cls(
            best,
            extrapolated=np.asarray(estimator.extrapolated_, dtype=bool),
            others=_other_starts(best, [start.history for start in estimator.restarts_.starts]),
            quantity=quantity,
        )
        return display.plot(ax=ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        color: Any = "#0072b2",
        legend: bool = True,
        other_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
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
        ax = axes_of(ax)
        best = np.asarray(self.log_likelihood)
        marked = np.zeros(len(best), dtype=bool) if self.extrapolated is None else self.extrapolated
        faint = {"color": grey(ax, 0.6), "lw": 0.8, "alpha": 0.6, **(other_kwargs or {})}
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
            mfc=grey(ax, 1),
            mec=color,
            zorder=3,
            label="extrapolated" if len(steps) else "_extrapolated",
        )
        # Bad starts may begin far below: they are cut off, or they would press all else flat.
        height = max(np.ptp(best), 1e-9 * (1 + abs(best[-1])))
        top = max([best.max(), *map(max, self.others)])
        ax.set_ylim(best.min() - 0.05 * height, top + 0.08 * height)  # a chain of draws may fall
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="iteration", ylabel=f"{self.quantity} (nats)")
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
