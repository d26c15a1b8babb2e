r"""A class given features: multinomial logistic regression, one for each component.

.. math:: p(y = c \mid x, k) \propto e^{\beta_{kc}^\top z}, \qquad \sum_c \beta_{kc} = 0

No class is the reference. Parameters are the C − 1 coordinates of :math:`\beta_k` in an orthonormal basis of
what sums to 0 over classes, one after the other in a row, so that all that does not look into a row is that of
one regression; a ridge on these is that on :math:`\beta_k`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert

from emlearn.em.algebra import weighted_gram
from emlearn.em.batches import Affine, Batch
from emlearn.em.model import Observed
from emlearn.families.base import FloatArray
from emlearn.families.regression import Regression, RegressionParams, RegressionTotals

# A class that explains a row has this share of it, roughly, where a regression starts.
ROUGH = 0.9


@dataclass(frozen=True)
class Classes:
    """One of C classes, by their codes 0 … C − 1.

    Parameters
    ----------
    n_classes : int
    """

    n_classes: int

    name = "multinomial"
    support = "classes"
    has_dispersion = scales = is_exact = has_unit = False
    is_discrete = True
    n_responses = 1

    def takes(self, n_columns: int) -> bool:
        """Whether y may have so many columns."""
        return n_columns == 1

    @property
    def basis(self) -> FloatArray:
        """Orthonormal basis of what sums to 0 over classes, (C, C − 1)."""
        return np.asarray(helmert(self.n_classes).T)

    def is_possible(self, y: FloatArray) -> NDArray[np.bool_]:
        """Which responses (n, 1) are codes."""
        return np.asarray(((y >= 0) & (y < self.n_classes) & (y == np.floor(y))).all(axis=1))

    def linear(self, y: FloatArray) -> FloatArray:
        """Roughly the linear predictors that would explain codes (1, m) best, (C − 1, m)."""
        height = np.log(ROUGH / (1 - ROUGH) * (self.n_classes - 1))
        return height * self.basis[y[0].astype(np.intp)].T

    def probabilities(self, eta: FloatArray) -> FloatArray:
        """Probabilities (K, C, m) of the classes at linear predictors (K, C − 1, m)."""
        return np.exp(self.log_probabilities(eta))

    def log_probabilities(self, eta: FloatArray) -> FloatArray:
        """Their logarithms."""
        heights = self.basis @ eta
        heights -= heights.max(axis=1, keepdims=True)
        heights -= np.log(np.exp(heights).sum(axis=1, keepdims=True))
        return heights


@dataclass(frozen=True)
class ClassRegression(Regression):
    """Multinomial logistic regressions on a design; ``response`` is `Classes`.

    ``penalty`` and ``shared`` are of the coordinates, (C − 1) · p of them.
    """

    @classmethod
    def of(cls, family: Regression, response: Classes) -> ClassRegression:
        """The regression of classes that is like one of a number, with C − 1 coefficients for each of its."""
        settings: dict[str, Any] = {field.name: getattr(family, field.name) for field in fields(family)}
        n, p = response.n_classes - 1, family.n_columns
        shared = tuple(c * p + j for c in range(n) for j in family.shared)
        return cls(**(settings | {"response": response, "penalty": n * family.penalty, "shared": shared}))

    @property
    def classes(self) -> Classes:
        """The response."""
        response = self.response
        assert isinstance(response, Classes)
        return response

    @property
    def n_own(self) -> int:
        """Number of coordinates that each component has to itself."""
        return self.n_columns * (self.classes.n_classes - 1) - len(self.shared)

    def side_by_side(self, n_fits: int) -> None:
        return None

    def floats_per_row(self, n_components: int, n_read: int) -> int:
        """How many numbers an E-step works on per observation, of which so many are read."""
        return 2 * n_read + n_components * (self.n_columns + 4 * self.classes.n_classes)

    def by_class(self, coef: FloatArray) -> FloatArray:
        """Coordinates (K, (C − 1) · p) as (K, C − 1, p)."""
        return coef.reshape(len(coef), -1, self.n_columns)

    def linear_predictor(self, params: RegressionParams, batch: Batch) -> FloatArray:
        """Coordinates of the linear predictors, (K, C − 1, m)."""
        return self.by_class(params.coef) @ self.split(batch)[0]

    def density(self, params: RegressionParams) -> Callable[[Batch], Observed]:
        basis = self.classes.basis

        def observe(batch: Batch) -> Observed:
            design, y, _ = self.split(batch)
            codes, m = y[0].astype(np.intp), batch.x.shape[1]
            log_proba = self.classes.log_probabilities(self.linear_predictor(params, batch))
            log_prob = log_proba[:, codes, np.arange(m)]

            def totals(resp: FloatArray) -> RegressionTotals:
                K, n, p = len(resp), basis.shape[1], len(design)
                proba = np.exp(log_proba)
                mean = basis.T @ proba
                score = (resp[:, None] * (basis[codes].T - mean)) @ design.T
                gram = np.empty((K, n, p, n, p))
                for a in range(n):
                    away = proba * (basis[:, a, None] - mean[:, a, None])
                    for b in range(a + 1):
                        bend = (away * (basis[:, b, None] - mean[:, b, None])).sum(axis=1)
                        block = weighted_gram(resp * bend, design)
                        gram[:, a, :, b], gram[:, b, :, a] = block, block
                return RegressionTotals(
                    resp.sum(axis=1),
                    self.cross_products(batch),
                    gram.reshape(K, n * p, n * p),
                    score.reshape(K, n * p),
                    np.zeros(K),
                )

            return Observed(log_prob, 0.0, totals, lambda: 0.0)

        return observe

    def gentle_gram(self, params: RegressionParams, batch: Batch, resp: FloatArray) -> FloatArray:
        eta = self.linear_predictor(params, batch)
        own = weighted_gram(resp / (1.0 + (eta**2).sum(axis=1)), self.split(batch)[0])
        return np.asarray(np.kron(np.eye(self.classes.n_classes - 1), own), dtype=np.float64)

    def start(
        self, batch: Batch, resp: FloatArray, rng: np.random.RandomState | None = None
    ) -> RegressionParams:
        """Parameters from weighted responsibilities (K, m): a step from where all classes are alike."""
        nothing = np.zeros((len(resp), (self.classes.n_classes - 1) * self.n_columns))
        params = RegressionParams(nothing, np.ones(1))
        return self.maximize(self.density(params)(batch).totals(resp), params)

    def _cut(self, step: FloatArray, totals: RegressionTotals) -> FloatArray:
        # By the longest of the coordinates: each is a linear predictor of its own.
        by_class = self.by_class(step)
        alone = [super(ClassRegression, self)._cut(by_class[:, c], totals) for c in range(by_class.shape[1])]
        return np.min(alone, axis=0)

    def in_units(self, params: RegressionParams, units: Affine) -> RegressionParams:
        by_class = self.by_class(params.coef)
        of_classes = [
            super(ClassRegression, self).in_units(RegressionParams(by_class[:, c], params.dispersion), units)
            for c in range(by_class.shape[1])
        ]
        return RegressionParams(np.hstack([own.coef for own in of_classes]), params.dispersion)

    def published(self, params: RegressionParams, first: int) -> dict[str, FloatArray]:
        coef = self.classes.basis @ self.by_class(params.coef)
        intercept = coef[:, :, 0].copy() if first else np.zeros(coef.shape[:2])
        return {"coef": coef[:, :, first:].copy(), "intercept": intercept}
