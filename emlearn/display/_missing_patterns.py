"""Which entries are missing together."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from emlearn._input.tables import shorten
from emlearn.display._shared import PALETTE, ground, percent, pyplot
from emlearn.missing import MissingPatterns, missing_patterns

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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

    ax_: Axes
    figure_: Any
    image_: Any
    shown_: NDArray[np.intp]

    def __init__(self, patterns: MissingPatterns) -> None:
        self.patterns = patterns

    @classmethod
    def from_data(cls, X: Any, *, max_patterns: int = 20, ax: Axes | None = None, **kwargs: Any) -> Self:
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

    def plot(
        self, ax: Axes | None = None, *, max_patterns: int = 20, colors: Any = None, **kwargs: Any
    ) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; new axes by default.
        max_patterns : int, default=20
            Number of patterns to draw, at most: those of the most rows.
        colors : sequence of two matplotlib colours, default=None
            Colours of what is observed and of what is missing; a pale blue and orange by default.
        **kwargs
            For the grid (`Axes.pcolormesh`).

        Returns
        -------
        display : MissingPatternDisplay
        """
        if not (isinstance(max_patterns, Integral) and max_patterns > 0):
            raise ValueError(f"max_patterns={max_patterns!r}: draw one or more.")
        from matplotlib.colors import ListedColormap, to_rgb

        observed, counts, n_missing, names = self.patterns
        self.shown_ = self.patterns.largest(max_patterns)
        P, d = len(self.shown_), len(names)
        if ax is None:
            size = np.clip(2.2 + 0.6 * d, 4.5, 14), np.clip(1.8 + 0.3 * P, 2.6, 12)
            ax = pyplot().subplots(figsize=size, layout="constrained")[1]
        self.ax_, self.figure_ = ax, ax.figure
        if colors is None:
            colors = 0.75 * ground(ax) + 0.25 * np.array(to_rgb(PALETTE[1])), PALETTE[0]
        style = {"cmap": ListedColormap(list(colors)), "vmin": 0, "vmax": 1, "edgecolors": [ground(ax)]}
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
        shares = [percent(m / n) for m in n_missing]
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
