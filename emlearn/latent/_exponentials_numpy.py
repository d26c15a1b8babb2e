"""Posterior probabilities in NumPy: oracle of the compiled ones, and what runs where these are not built."""

from __future__ import annotations

import numpy as np

from emlearn.em.batches import FloatArray

NAME = "NumPy"


def posterior(joint: FloatArray, offset: FloatArray, evidence: FloatArray) -> None:
    """Posterior probabilities from joint log-probabilities.

    Parameters
    ----------
    joint : ndarray of shape (K, m)
        Joint log-probabilities, less ``offset``; output: their exponentials, each column divided by its sum.
        0 where nothing is possible.
    offset : ndarray of shape (K,)
    evidence : ndarray of shape (m,)
        Output: logarithms of the sums, -inf where nothing is possible.
    """
    joint += offset[:, None]
    shift = joint.max(axis=0)
    shift[shift == -np.inf] = 0.0
    joint -= shift
    np.exp(joint, out=joint)
    joint.sum(axis=0, out=evidence)
    joint /= np.where(evidence == 0, 1.0, evidence)
    with np.errstate(divide="ignore"):  # nothing is possible
        np.log(evidence, out=evidence)
    evidence += shift


def densities(log_prob: FloatArray, shift: FloatArray, density: FloatArray) -> None:
    """Densities relative to the largest of each column.

    Parameters
    ----------
    log_prob : ndarray of shape (K, m)
    shift : ndarray of shape (m,)
        Output: the largest of each column.
    density : ndarray of shape (K, m)
        Output: ``exp(log_prob - shift)``. NaN where nothing is possible.
    """
    log_prob.max(axis=0, out=shift)
    with np.errstate(invalid="ignore"):
        np.subtract(log_prob, shift, out=density)
    np.exp(density, out=density)


def add_logs(scale: FloatArray, shift: FloatArray) -> None:
    """Logarithms of what was scaled.

    Parameters
    ----------
    scale : ndarray of shape (m,)
        Not negative, and where not 0 no less than the smallest normal number.
    shift : ndarray of shape (m,)
        Its logarithms are added here; -inf where it is 0.
    """
    with np.errstate(divide="ignore"):
        shift += np.log(scale)
