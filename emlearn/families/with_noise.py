"""Components beside one that has no parameters: noise, of a density that is known.

What lies far from every component is then noise, in the place of moving them (Banfield & Raftery, 1993,
Model-based Gaussian and non-Gaussian clustering, Biometrics 49).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Observed
from emlearn.em.trees import leaves
from emlearn.families.base import Emission, FloatArray, WrappedFamily, unwrapped

# Share of every row that noise begins with.
CLAIM = 0.1


class Noise(Protocol):
    """A density without parameters."""

    def log_density(self, x: FloatArray) -> FloatArray:
        """Log-density of the columns of x (d, m), (m,); NaN is what is not observed."""
        ...

    def draw(self, n: int, rng: np.random.RandomState) -> FloatArray:
        """So many observations, (n, d)."""
        ...

    def of(self, columns: NDArray[np.int_]) -> Noise:
        """That of some of the features."""
        ...


@dataclass(frozen=True)
class UniformBox:
    """Noise that is as dense everywhere as if it were spread evenly over a box.

    Outside of it as well: what lies farther off than all that was seen is no less noise. Where entries are
    missing the box is that of the others.

    Parameters
    ----------
    low, high : ndarray of shape (d,)
        Its sides.
    """

    low: FloatArray = field(compare=False)
    high: FloatArray = field(compare=False)

    def log_density(self, x: FloatArray) -> FloatArray:
        density: FloatArray = -np.log(self.high - self.low) @ ~np.isnan(x)
        return density

    def draw(self, n: int, rng: np.random.RandomState) -> FloatArray:
        return rng.uniform(self.low, self.high, size=(n, len(self.low)))

    def of(self, columns: NDArray[np.int_]) -> UniformBox:
        return UniformBox(self.low[columns], self.high[columns])


@dataclass(frozen=True)
class GivenDensity:
    """Noise whose density a user gives.

    Parameters
    ----------
    function : callable
        Of rows (m, d), in the user's units, NaN where an entry is missing, to log-densities (m,) there.
    units : Affine
        The engine's units.
    """

    function: Callable[[FloatArray], Any]
    units: Affine = field(compare=False)

    def log_density(self, x: FloatArray) -> FloatArray:
        rows = x.T * self.units.scale + self.units.shift
        given = np.asarray(self.function(rows), dtype=np.float64)
        if given.shape != (len(rows),):
            raise ValueError(
                f"noise gives an array of shape {given.shape} for {len(rows)} rows: it must give a log-density "
                "for each of them."
            )
        if not (given < np.inf).all():
            raise ValueError(
                "noise gives NaN or infinity for some rows: log-densities must be numbers, or -inf."
            )
        return given + np.log(self.units.scale) @ ~np.isnan(x)

    def draw(self, n: int, rng: np.random.RandomState) -> FloatArray:
        raise ValueError("noise is a function, which tells densities and no draws.")

    def of(self, columns: NDArray[np.int_]) -> GivenDensity:
        raise ValueError("noise is a function of all columns, which does not tell its density in some of them.")


@dataclass(frozen=True)
class WithNoise(WrappedFamily):
    """Components of a family, and after them noise. Parameters are those of the family.

    Parameters
    ----------
    family : Emission
        Of the components with parameters, bound to the data.
    noise : Noise
        What the last component is, in the units of the family.
    n_fits : int, default=1
        Of how many fits components stand side by side.
    """

    family: Emission
    noise: Noise
    n_fits: int = field(default=1, compare=False)

    is_unimodal = False
    n_others = 1

    def side_by_side(self, n_fits: int) -> WithNoise | None:
        family = self.family.side_by_side(n_fits)
        # Where components share a matrix, log-densities leave out a term that is not the same in all fits.
        return replace(self, n_fits=n_fits) if family is self.family else None

    def density(self, params: Any) -> Callable[[Batch], Observed]:
        """Log-densities of the components and of the noise, and statistics, as a function of a batch."""
        inner, n = self.family.density(params), self.n_fits

        def observe(batch: Batch) -> Observed:
            seen = inner(batch)
            known = batch.once(("noise", self.noise), lambda: self.noise.log_density(batch.x))
            of_noise = np.broadcast_to(known - seen.shared_log_prob(), (n, batch.x.shape[1]))
            log_prob = np.concatenate([seen.log_prob, of_noise])
            return seen._replace(log_prob=log_prob, totals=lambda resp: seen.totals(resp[:-n]))

        return observe

    def start(self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None) -> Any:
        """Parameters from weighted responsibilities of all components (K + 1, m), or of a lone one."""
        return self.family.start(batch, resp[: max(len(resp) - 1, 1)], rng)

    def of_some(self, columns: NDArray[np.int_]) -> WithNoise:
        """The family of some of the features."""
        return replace(self, family=self.family.of_some(columns), noise=self.noise.of(columns))

    def reorder(self, params: Any, order: NDArray[np.int_]) -> Any:
        """Parameters with the components in another order; the noise stays last."""
        K = len(order) - 1
        if order[K] != K:
            raise ValueError(f"order={order.tolist()} moves the noise, which is component {K} and stays last.")
        return self.family.reorder(params, order[:K])

    def divergence(self, params: Any, other: Emission, others: Any) -> FloatArray:
        """Distances of the components; noise is next to noise."""
        if not isinstance(other, WithNoise):
            raise self.unlike(other)
        own = self.family.divergence(params, unwrapped(other), others)
        K, L = own.shape
        distance = np.full((K + 1, L + 1), 1.0 + (K + 1) * max(float(own.max(initial=0.0)), 1.0))
        distance[:K, :L] = own
        distance[K, L] = 0.0
        return distance

    def sample(self, params: Any, labels: NDArray[np.int_], rng: np.random.RandomState) -> FloatArray:
        """One observation from the component of each label, (n, d); the last is the noise."""
        K = len(leaves(params)[0])
        is_noise = labels == K
        drawn = self.family.sample(params, np.where(is_noise, 0, labels), rng)
        if is_noise.any():
            drawn[is_noise] = self.noise.draw(int(is_noise.sum()), rng)
        return drawn


def components_of(family: Any) -> Any:
    """The family of the components that have parameters."""
    return family.family if isinstance(family, WithNoise) else family


def with_claim(resp: FloatArray) -> FloatArray:
    """Responsibilities (K + 1, m) from those of the components (K, m), of which noise claims its share."""
    return np.concatenate([(1.0 - CLAIM) * resp, CLAIM * resp.sum(axis=0, keepdims=True)])
