"""Profiles of latent classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from emlearn.mixture import LatentClassEM


class LatentClassDisplay:
    """Profiles of latent classes: a panel for each class, a bar for each column, parted by its categories.

    Bars are read like stacks: the darker a part, the higher the number of the category. Make it with
    `from_estimator`.

    Parameters
    ----------
    columns : sequence of str
        Names of the columns.
    probabilities : sequence of ndarray of shape (K, n_categories)
        Probabilities of the categories of each.
    categories : sequence of sequence
        What these are.
    weights : ndarray of shape (K,), or None
        Weights of the classes.

    Attributes
    ----------
    axes_ : ndarray of K matplotlib Axes
        A panel for each class.
    figure_ : matplotlib Figure
        The figure that they belong to.

    Examples
    --------
    >>> from emlearn import LatentClassEM
    >>> from emlearn.display import LatentClassDisplay
    >>> classes = LatentClassEM.from_parameters(
    ...     [0.6, 0.4], emission="categorical", probabilities=[[[0.9, 0.1], [0.2, 0.8]]]
    ... )
    >>> len(LatentClassDisplay.from_estimator(classes).axes_)
    2
    """

    axes_: NDArray[Any]
    figure_: Any

    def __init__(
        self,
        *,
        columns: Sequence[str],
        probabilities: Sequence[NDArray[Any]],
        categories: Sequence[Sequence[Any]],
        weights: NDArray[Any] | None,
    ) -> None:
        self.columns = columns
        self.probabilities = probabilities
        self.categories = categories
        self.weights = weights

    @classmethod
    def from_estimator(
        cls, estimator: LatentClassEM, *, columns: ArrayLike | None = None, **kwargs: Any
    ) -> Self:
        """Draw the profiles of fitted classes.

        Parameters
        ----------
        estimator : LatentClassEM
            Fitted.
        columns : list of str or int, default=None
            Categorical columns to draw, in this order; all of them by default.
        **kwargs
            Passed to `plot`.

        Returns
        -------
        display : LatentClassDisplay

        Raises
        ------
        ValueError
            If there are no such columns.
        """
        check_is_fitted(estimator)
        found = {name: own for name, *own in estimator._profiles()}
        chosen = list(found) if columns is None else np.atleast_1d(np.asarray(columns, dtype=object)).tolist()
        bad = [column for column in chosen if column not in found]
        if bad or not chosen:
            raise ValueError(f"columns names {bad}, but the categorical columns are {list(found)}.")
        display = cls(
            columns=[str(column) for column in chosen],
            probabilities=[found[column][1] for column in chosen],
            categories=[found[column][0] for column in chosen],
            weights=getattr(estimator, "weights_", None),
        )
        return display.plot(**kwargs)

    def plot(
        self,
        axes: Any = None,
        *,
        labels: Sequence[str] | None = None,
        cmap: Any = "cividis_r",
        legend: bool = True,
    ) -> Self:
        """Draw.

        Parameters
        ----------
        axes : sequence of K matplotlib Axes, default=None
            Where to draw; a new figure by default.
        labels : sequence of K str, default=None
            Names of the classes, above the panels.
        cmap : str or matplotlib Colormap, default="cividis_r"
            Colours of the categories, from the first to the last.
        legend : bool, default=True
            Whether to draw a legend, where all columns have the same categories.

        Returns
        -------
        display : LatentClassDisplay

        Raises
        ------
        ValueError
            If ``axes`` are not as many as there are classes.
        """
        import matplotlib.pyplot as plt

        K, q = len(self.probabilities[0]), len(self.columns)
        if axes is None:
            _, axes = plt.subplots(
                1,
                K,
                sharey=True,
                figsize=(1.5 + 2.6 * K, 1.2 + 0.32 * q),
                squeeze=False,
                layout="constrained",
            )
        axes = np.ravel(axes)
        if len(axes) != K:
            raise ValueError(f"There are {K} classes, but {len(axes)} axes.")
        self.axes_, self.figure_ = axes, axes[0].figure
        colors = plt.get_cmap(cmap)
        shares = [""] * K if self.weights is None else [f" ({weight:.0%})" for weight in self.weights]
        names = labels or [f"class {k}{share}" for k, share in enumerate(shares)]
        for k, (ax, name) in enumerate(zip(axes, names, strict=True)):
            for place, p in enumerate(self.probabilities):
                left, n = 0.0, p.shape[1]
                for code, share in enumerate(p[k]):
                    color = colors(code / max(n - 1, 1))
                    ax.barh(place, share, left=left, height=0.8, color=color, edgecolor="white", linewidth=0.6)
                    left += share
            ax.set(title=name, xlim=(0, 1), xlabel="probability", xticks=[0, 0.5, 1])
            ax.set_yticks(range(q), self.columns)
            ax.spines[["top", "right", "left"]].set_visible(False)
            ax.tick_params(axis="y", length=0)
        axes[0].set_ylim(q - 0.4, -0.6)
        every = {tuple(map(str, own)) for own in self.categories}
        if legend and len(every) == 1:
            (shown,) = every
            handles = [
                plt.Rectangle((0, 0), 1, 1, color=colors(code / max(len(shown) - 1, 1)))
                for code in range(len(shown))
            ]
            self.figure_.legend(handles, shown, loc="outside right center", frameon=False)
        return self
