"""Pseudo-residuals one after another, and against normal quantiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from sklearn.utils.validation import check_is_fitted

from emlearn._input.columns import find_column
from emlearn.display._shared import grey, point_size, pyplot

if TYPE_CHECKING:
    from emlearn.inference import PseudoResiduals

# Beyond these values lies a twentieth of normal residuals.
LIMIT = 1.96


class ResidualDisplay:
    """Residuals on a normal scale, in two panels: one after another, and their quantiles against normal ones.

    If the model holds they look like draws from the standard normal distribution: without a pattern in the
    first panel, a twentieth of them beyond the dashed lines, and along the diagonal in the second. Residuals of
    counts are segments. Make it with `from_estimator`.

    Parameters
    ----------
    residuals : PseudoResiduals
        Each field of shape (n,).
    positions : array-like of shape (n,), default=None
        Where they stand on the x axis of the first panel; their numbers by default.
    position_name : str, default="observation"
        What that axis is.
    name : str, default="residual"
        What the other one is.

    Attributes
    ----------
    axes_ : tuple of two matplotlib Axes
        Axes of the last plot: the series and the quantiles. None for a panel that was left out.
    figure_ : matplotlib Figure
        The figure that they belong to.
    points_ : matplotlib PathCollection or None
        The residuals in the first panel.
    segments_ : matplotlib LineCollection or None
        Their segments; None for numbers, which have none.
    quantiles_ : matplotlib PathCollection or None
        The residuals in the second panel.

    Examples
    --------
    >>> from emlearn import HMMEM
    >>> from emlearn.datasets import load_earthquakes
    >>> from emlearn.display import ResidualDisplay
    >>> quakes = load_earthquakes()
    >>> model = HMMEM(3, emission="poisson", random_state=0).fit(quakes.data)
    >>> display = ResidualDisplay.from_estimator(model, quakes.data, positions=quakes.year)
    >>> int((abs(display.residuals.mid) > 1.96).sum()), len(display.residuals.mid)
    (6, 107)
    """

    axes_: tuple[Any, ...]
    figure_: Any
    points_: Any
    segments_: Any
    quantiles_: Any

    def __init__(
        self,
        residuals: PseudoResiduals,
        *,
        positions: Any = None,
        position_name: str = "observation",
        name: str = "residual",
    ) -> None:
        self.residuals = residuals
        self.positions = positions
        self.position_name = position_name
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        kind: str | None = None,
        feature: int | str = 0,
        positions: Any = None,
        groups: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        offset: Any = None,
        axes: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the pseudo-residuals of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with a method `pseudo_residuals`: HMMEM, MarkovSwitchingRegression,
            MixtureOfLinearRegressions, MixtureOfExperts.
        X : array-like, or list of array-likes
            What it takes as X. Of several sequences the residuals stand one after another.
        y : array-like, default=None
            Responses, of regressions.
        kind : {"ordinary", "forecast"}, default=None
            Of chains: given all other steps, which is the default, or those before alone.
        feature : int or str, default=0
            Of hidden Markov models: the feature to draw.
        positions : array-like of shape (n,), default=None
            Where residuals stand on the x axis: times, a feature, predicted means. Their numbers by default.
        groups, lengths, offset : array-like, default=None
            As of `pseudo_residuals`.
        axes : sequence of two matplotlib Axes, default=None
            Where to draw the series and the quantiles; None in place of one leaves that panel out. A new figure
            by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : ResidualDisplay

        Raises
        ------
        TypeError
            If the estimator has no such residuals.
        ValueError
            If there is no such feature, nothing of it is a number, or ``positions`` has another length.
        """
        if not hasattr(estimator, "pseudo_residuals"):
            raise TypeError(f"A {type(estimator).__name__} has no pseudo-residuals.")
        check_is_fitted(estimator)
        beside = {"y": y, "kind": kind, "groups": groups, "lengths": lengths, "offset": offset}
        given = {name: value for name, value in beside.items() if value is not None}
        found = estimator.pseudo_residuals(X, **given)
        fields = [np.concatenate(list(part)) if part.dtype == object else part for part in found]
        name = "residual"
        if fields[0].ndim == 2:
            names = getattr(estimator, "feature_names_in_", None)
            number = find_column(feature, names, estimator.n_features_in_, "feature")
            fields = [part[:, number] for part in fields]
            if estimator.n_features_in_ > 1:
                name = f"residual of {f'feature {number}' if names is None else names[number]}"
            if np.isnan(fields[1]).all():
                raise ValueError(f"feature={feature!r} holds no numbers: categories have no residuals.")
        n, position_name = len(fields[1]), "observation"
        if positions is not None:
            if len(positions) != n:
                raise ValueError(f"positions has {len(positions)} entries, but there are {n} residuals.")
            position_name = str(getattr(positions, "name", None) or "position")
        display = cls(type(found)(*fields), positions=positions, position_name=position_name, name=name)
        return display.plot(axes=axes, **kwargs)

    def plot(
        self,
        axes: Any = None,
        *,
        color: Any = "#0072b2",
        scatter_kwargs: dict[str, Any] | None = None,
        line_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        axes : sequence of two matplotlib Axes, default=None
            Where to draw the series and the quantiles; None in place of one leaves that panel out. A new figure
            by default.
        color : matplotlib colour, default="#0072b2"
        scatter_kwargs : dict, default=None
            For the residuals (`Axes.scatter`).
        line_kwargs : dict, default=None
            For the segments (`Axes.vlines`).

        Returns
        -------
        display : ResidualDisplay
        """
        self.axes_ = _panels() if axes is None else tuple(axes)
        there = [ax for ax in self.axes_ if ax is not None]
        if len(self.axes_) != 2 or not there:
            raise ValueError("axes are two: for the series and for the quantiles.")
        self.figure_ = there[0].figure
        self.points_ = self.segments_ = self.quantiles_ = None
        low, mid, high = (np.asarray(part, dtype=np.float64) for part in self.residuals)
        style = {
            "s": point_size(len(mid)),
            "color": color,
            "linewidths": 0,
            "zorder": 2,
            **(scatter_kwargs or {}),
        }
        series, quantiles = self.axes_
        if series is not None:
            places = np.arange(len(mid)) if self.positions is None else np.asarray(self.positions)
            self.points_ = series.scatter(places, mid, **style)
            series.margins(x=0.01)
            self._draw_segments(series, places, low, mid, high, {"color": color, **(line_kwargs or {})})
            series.axhline(0, color=grey(series, 0.6), lw=0.8, zorder=0)
            for limit in (-LIMIT, LIMIT):
                series.axhline(limit, color=grey(series, 0.6), lw=0.8, ls="--", zorder=0)
            series.set(xlabel=self.position_name, ylabel=self.name)
        if quantiles is not None:
            ordered = np.sort(mid[~np.isnan(mid)])
            expected = ndtri((np.arange(len(ordered)) + 0.5) / len(ordered))
            self.quantiles_ = quantiles.scatter(expected, ordered, **style)
            quantiles.axline((0, 0), slope=1, color=grey(quantiles, 0.6), lw=0.8, zorder=0)
            quantiles.set(xlabel="normal quantile", ylabel=self.name)
        return self

    def _draw_segments(self, ax, places, low, mid, high, style):
        """The segments of counts; one without an end goes to that of the axes."""
        if not (high > low).any():
            return
        bottom, top = ax.get_ylim()
        some = ~np.isnan(mid)
        ends = np.maximum(low[some], bottom), np.minimum(high[some], top)
        self.segments_ = ax.vlines(places[some], *ends, **{"lw": 1, "alpha": 0.35, "zorder": 1, **style})
        ax.set_ylim(bottom, top)


def _panels():
    """Two axes of a new figure, the series twice as wide."""
    return tuple(pyplot().subplots(1, 2, figsize=(10, 4), layout="constrained", width_ratios=[2, 1])[1])
