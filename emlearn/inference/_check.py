"""Whether data look like what a fitted model draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted


class PredictiveCheck(NamedTuple):
    """A statistic of the data beside that of draws from the model.

    Attributes
    ----------
    observed : float
        Of the data.
    replicates : ndarray of shape (n,)
        Of the draws.
    pvalue : float
        Share of draws, the data among them, whose statistic is as far out as that of the data, on either side.
    """

    observed: float
    replicates: NDArray[np.float64]
    pvalue: float


def posterior_predictive_check(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    statistic: Callable[..., float],
    n: int = 199,
    random_state: Any = None,
    **given: Any,
) -> PredictiveCheck:
    """Compare a statistic of the data with that of data drawn from a fitted model.

    What a model does not reproduce, as the share of zeros or the longest run, it does not describe. Parameters
    are the estimates, which favours the model: p-values are too large rather than too small where the statistic
    is close to what was fitted.

    Parameters
    ----------
    estimator : estimator
        Fitted to X, and able to draw: mixtures, hidden Markov models, regressions without groups.
    X : array-like
    y : array-like, default=None
        Responses, for regressions.
    statistic : callable
        ``statistic(X)`` gives a number, for regressions ``statistic(X, y)``. Sequences that are drawn come as a
        list.
    n : int, default=199
        How often data are drawn.
    random_state : int, RandomState instance or None, default=None
    **given
        What else the fit was given: ``lengths``, ``groups``, ``offset``.

    Returns
    -------
    check : PredictiveCheck

    Raises
    ------
    ValueError
        If the estimator cannot draw data like these, or ``n`` is less than 1.

    References
    ----------
    Gelman, Meng & Stern (1996), Posterior predictive assessment of model fitness via realized discrepancies,
    Stat. Sin. 6.

    Examples
    --------
    One normal distribution does not make the waiting times of Old Faithful, two do:

    >>> import numpy as np
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.datasets import load_old_faithful
    >>> from emlearn.inference import posterior_predictive_check
    >>> waiting = load_old_faithful().data[:, [1]]
    >>> def share_between(X):
    ...     return np.mean((X > 62) & (X < 70))
    >>> for K in (1, 2):
    ...     model = GaussianMixtureEM(n_components=K, random_state=0).fit(waiting)
    ...     check = posterior_predictive_check(model, waiting, statistic=share_between, random_state=0)
    ...     print(K, check.pvalue < 0.05)
    1 True
    2 False
    """
    check_is_fitted(estimator)
    if not hasattr(estimator, "_drawn_anew"):
        raise ValueError(f"A {type(estimator).__name__} does not draw data like those of its fit.")
    if n < 1:
        raise ValueError(f"n={n} must be a whole number from 1 on.")
    given = {name: value for name, value in {"y": y, **given}.items() if value is not None}
    rng = check_random_state(random_state)

    def of(X, given):
        return float(statistic(X, given["y"]) if "y" in given else statistic(X))

    observed = of(X, given)
    found = np.array([of(*estimator._drawn_anew(X, given, rng)) for _ in range(n)])
    least = min(np.count_nonzero(found <= observed), np.count_nonzero(found >= observed))
    return PredictiveCheck(observed, found, float(min(2 * (1 + least) / (1 + n), 1.0)))
