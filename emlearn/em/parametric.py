"""What has parameters, and what is made of parts that have.

A hook is a question that the engine or the race may ask about parameters, beside the two steps of EM. Each has
its default here, and here is how a composite answers it from its parts: a new hook is two methods in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from emlearn.em.spaces import FloatArray, Simplex, n_coordinates
from emlearn.em.trees import Tree


class Parametric:
    """What the engine may ask about parameters; the answers here are the simplest.

    Attributes
    ----------
    spaces : NamedTuple of spaces
        For each parameter the space it lives in (`emlearn.em.spaces`), in a tuple of the parameters' form.
    is_density : bool
        Whether log-likelihoods are those of a density of what is seen; else they are a bound on them.
    """

    spaces: Any = None
    is_density: bool = True

    @property
    def rounding(self) -> float:
        """Relative error that floating point may leave in a sum of log-likelihoods."""
        return 1e-10

    def shortened(self, stats: Any, params: Any, attempt: int) -> Any:
        """What to take for an M-step that lowered the objective; None where there is nothing else.

        For partial M-steps (GEM), as one Newton step is. The engine asks with ``attempt`` 1, 2, ... until the
        objective does not fall: in the end the answers must come close to ``params``, or be safe.
        """
        return None

    def log_prior(self, params: Any) -> float:
        """Log prior density of the parameters, up to a constant; 0 for maximum likelihood."""
        return 0.0

    def resting(self, params: Any) -> NDArray[np.bool_] | None:
        """Which coordinates rest on a constraint, or lie beyond it; None for none.

        The EM map is not smooth there: extrapolation leaves them where EM puts them, and an extrapolated point
        that brings others there is refused. What the data force onto a constraint does not count.
        """
        return None

    def handicap(self, params: Any, stats: Any) -> float:
        """Nats by which a fit here must be better than others, for what its height may owe to luck.

        Parameters
        ----------
        params
        stats
            Expected sufficient statistics of an E-step at ``params``, in which an observation of weight 1
            counts as one.

        Returns
        -------
        nats : float
            Infinite where all of the height may be owed to luck.
        """
        return 0.0

    def recentred(self, stats: Any, old: Any, new: Any) -> Any:
        """Statistics of an E-step at the parameters ``old`` as what is expected there, but told about ``new``.

        Where statistics are sums about the parameters of their E-step, as moments about means are, those of
        different parameters cannot be added up as they are: `emlearn.em.fit_em_online` brings them together so.
        """
        return stats

    def expected_log_joint(self, stats: Any, new: Any, old: Any) -> float | None:
        """Expected log density at ``new`` of what is seen and hidden, by statistics of an E-step at ``old``.

        Up to a constant, and to second order about ``old``: its slope there is that of the log-likelihood
        (Fisher's identity), by which standard errors are found. None where that is not known of a model.
        """
        return None

    def without_flat(self, params: Any) -> Callable[[FloatArray], FloatArray] | None:
        """Takes out of a direction of the coordinates what changes no density; None where all changes some."""
        return None


class Leaf(Parametric):
    """One array of parameters, of which nothing is known but its space."""

    def __init__(self, space: Any):
        self.spaces = space

    def expected_log_joint(self, stats: Any, new: Any, old: Any) -> float | None:
        return float(xlogy(stats, new).sum()) if isinstance(self.spaces, Simplex) else None


class Composite(Parametric):
    """What is made of parts: parameters and statistics are tuples of theirs.

    A subclass states `_parts` and `maximize`; the rest follows.
    """

    @property
    def _parts(self) -> tuple[Any, ...]:
        """What the entries of the parameters belong to, in their order."""
        raise NotImplementedError

    def maximize(self, stats: Any, params: Any) -> Any:
        """M-step: new parameters from statistics."""
        raise NotImplementedError

    def _split(self, tree: Tree) -> tuple[Any, ...]:
        return tuple(tree)

    def _join(self, like: Tree, trees: list[Any]) -> Tree:
        return type(like)(*trees) if hasattr(like, "_fields") else tuple(trees)

    def _each(self, *trees: Tree) -> Iterator[tuple[Any, ...]]:
        """Each part with what of the trees is its own."""
        return zip(self._parts, *map(self._split, trees), strict=True)

    @property
    def is_density(self) -> bool:  # type: ignore[override]
        return all(part.is_density for part in self._parts)

    @property
    def rounding(self) -> float:
        return max(part.rounding for part in self._parts)

    def shortened(self, stats: Any, params: Any, attempt: int) -> Any:
        steps = [part.shortened(s, p, attempt) for part, s, p in self._each(stats, params)]
        if all(step is None for step in steps):
            return None
        if any(step is None for step in steps):  # what has nothing shorter stays as it was
            last = self.maximize(stats, params) if attempt == 1 else self.shortened(stats, params, attempt - 1)
            steps = [b if a is None else a for a, b in zip(steps, self._split(last), strict=True)]
        return self._join(params, steps)

    def log_prior(self, params: Any) -> float:
        return float(sum(part.log_prior(p) for part, p in self._each(params)))

    def resting(self, params: Any) -> NDArray[np.bool_] | None:
        answers = [part.resting(p) for part, p in self._each(params)]
        if all(answer is None for answer in answers):
            return None
        sizes = [n_coordinates(part.spaces, p) for part, p in self._each(params)]
        return np.concatenate(
            [np.zeros(n, dtype=bool) if a is None else a for a, n in zip(answers, sizes, strict=True)]
        )

    def handicap(self, params: Any, stats: Any) -> float:
        return float(sum(part.handicap(p, s) for part, p, s in self._each(params, stats)))

    def recentred(self, stats: Any, old: Any, new: Any) -> Any:
        return self._join(stats, [part.recentred(s, a, b) for part, s, a, b in self._each(stats, old, new)])

    def expected_log_joint(self, stats: Any, new: Any, old: Any) -> float | None:
        terms = [part.expected_log_joint(s, a, b) for part, s, a, b in self._each(stats, new, old)]
        return None if any(term is None for term in terms) else float(sum(terms))

    def without_flat(self, params: Any) -> Callable[[FloatArray], FloatArray] | None:
        answers = [part.without_flat(p) for part, p in self._each(params)]
        if all(answer is None for answer in answers):
            return None
        ends = np.cumsum([n_coordinates(part.spaces, p) for part, p in self._each(params)])

        def of_whole(direction: FloatArray) -> FloatArray:
            pieces = np.split(direction, ends[:-1])
            return np.concatenate(
                [piece if a is None else a(piece) for a, piece in zip(answers, pieces, strict=True)]
            )

        return of_whole


class Wrapper(Composite):
    """A composite of one part, whose parameters and statistics are that part's as they are."""

    @property
    def spaces(self) -> Any:
        return self._parts[0].spaces

    def maximize(self, stats: Any, params: Any) -> Any:
        return self._parts[0].maximize(stats, params)

    def _split(self, tree: Tree) -> tuple[Any, ...]:
        return (tree,)

    def _join(self, like: Tree, trees: list[Any]) -> Tree:
        return trees[0]
