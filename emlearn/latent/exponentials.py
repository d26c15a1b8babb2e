"""Posterior probabilities from logarithms, by what is fastest."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn.em.compiled import compiled_or
from emlearn.latent import _exponentials_numpy

FloatArray = NDArray[np.float64]

kernel: Any = compiled_or(_exponentials_numpy)


def posterior(joint: FloatArray, offset: FloatArray) -> FloatArray:
    """Posterior probabilities, in place of ``joint`` (K, m), and log evidence (m,); see the kernel's twin."""
    evidence = np.empty(joint.shape[1])
    _fitting(joint).posterior(joint, offset, evidence)
    return evidence


def densities(log_prob: FloatArray, shift: FloatArray, density: FloatArray) -> None:
    """Densities (K, m) relative to the largest of each column, and that, (m,); see the kernel's twin."""
    _fitting(log_prob).densities(log_prob, shift, density)


def add_logs(scale: FloatArray, shift: FloatArray) -> None:
    """Add the logarithms of ``scale`` (m,) to ``shift`` (m,), in place; see the kernel's twin."""
    kernel.add_logs(scale, shift)


def _fitting(log_prob: FloatArray) -> Any:
    """The kernel for an array, which a family of a user's own may have made of any kind."""
    fits = log_prob.flags.c_contiguous and log_prob.dtype == np.float64
    return kernel if fits else _exponentials_numpy
