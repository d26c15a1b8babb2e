"""Sparse tables: rows of counts, of 0 and 1, or of length 1, of which only entries that are not 0 are held."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from emlearn._sklearn_compat import validate_data


def read_sparse(estimator, X, family, what, *, reset):
    """Sparse X of an estimator as rows that `emlearn.em.Batches` takes, its features as those of the fit.

    Parameters
    ----------
    estimator : EMMixin
    X : sparse array or matrix of shape (n, d)
    family : Emission or None
        The family that is to see the rows; None takes none.
    what : str
        What the user asked for, for errors, as in ``"emission='gaussian'"``.
    reset : bool
        Whether features are learnt, or have to be those of the fit.

    Returns
    -------
    rows : csr_array of float64 of shape (n, d)

    Raises
    ------
    ValueError
        If the family takes no sparse rows, or an entry is not one that it observes, named by its place.
    """
    if family is None or not family.takes_sparse:
        raise ValueError(
            f"X is sparse, but {what} takes no sparse input: give X.toarray(), if that fits into memory. "
            "Sparse are counts, 0 and 1, and rows of length 1: 'multinomial' without trials, 'poisson', "
            "'bernoulli', 'von_mises_fisher'."
        )
    rows = validate_data(
        estimator, X, reset=reset, accept_sparse="csr", dtype=np.float64, ensure_all_finite=False
    )
    rows = sparse.csr_array(rows)
    if not rows.has_canonical_format or not rows.data.all():  # entries given twice add up, and 0 is not held
        rows = rows.copy()
        rows.sum_duplicates()
        rows.eliminate_zeros()
    possible = family.possible_rows(rows.T)
    if not possible.all():
        row = int(np.argmin(possible))
        values = rows[[row]].toarray()[0]
        j = int(np.argmin(np.isfinite(values) & family.is_possible(values[:, None])[:, 0]))
        raise ValueError(
            f"X is {values[j]:g} in {estimator._column_name(j)}, row {row}: not one of {family.support}."
        )
    return rows
