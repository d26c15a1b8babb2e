"""Components that are known of rows, as users give them."""

from __future__ import annotations

import numpy as np

from emlearn._input.arrays import read_array
from emlearn._input.tables import as_numpy

ADVICE = "Give the number of a component for each row, -1 where it is not known."


def read_labels(labels, n_rows, n_components):
    """Labels (n,), -1 where nothing is known, or which components are possible, (n, K); None where all are.

    Parameters
    ----------
    labels : array-like of shape (n,), or of bool of shape (n, K)
    n_rows, n_components : int
    """
    n, K = n_rows, n_components
    is_mask = np.asarray(as_numpy(labels, "labels")).dtype.kind == "b"
    given = read_array("labels", labels, shapes=[(n,), (n, K)], advice=ADVICE)
    if given.ndim == 2:
        if not is_mask:
            raise ValueError(
                f"labels has shape {given.shape}: to say which components are possible, make it boolean."
            )
        if not given.any(axis=1).all():
            row = int(np.argmin(given.any(axis=1)))
            raise ValueError(f"labels leaves no component possible in row {row}.")
        return None if given.all() else given.astype(bool)
    if is_mask and K > 1:
        raise ValueError(f"labels is a mask of shape {given.shape}. {ADVICE}")
    given = np.where(np.isnan(given), -1.0, given)
    bad = ~((given >= -1) & (given < K) & (given == np.floor(given)))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"labels is {given[row]:g} in row {row}, but n_components={K}: components are 0 to {K - 1}, and -1 "
            "stands for one that is not known."
        )
    return None if (given < 0).all() else given.astype(np.intp)
