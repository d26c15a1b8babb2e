"""Sparse tables are read as rows of float64, or refused in words."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator

from emlearn._input.sparse import read_sparse
from emlearn.base import EMMixin
from emlearn.families import Bernoulli, Gaussian, MissingRows, Multinomial, Poisson, VonMisesFisher
from emlearn.families.covariance import Full


class Reader(EMMixin, BaseEstimator):
    """What knows its features."""


COUNTS = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 4.0]])


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_rows_of_counts(form):
    reader, given = Reader(), form(COUNTS.astype(np.int32))
    rows = read_sparse(reader, given, MissingRows(Poisson()), "emission='poisson'", reset=True)
    assert isinstance(rows, sparse.csr_array)
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows.toarray(), COUNTS)
    assert (reader.n_features_in_, given.dtype) == (3, np.int32)
    with pytest.raises(ValueError, match="X has 2 features, but Reader is expecting 3"):
        read_sparse(reader, given.tocsc()[:, :2], Poisson(), "emission='poisson'", reset=False)


@pytest.mark.parametrize(
    ("family", "value", "support"),
    [
        (Multinomial(), -1.0, "the counts 0, 1, 2"),
        (Poisson(), 0.5, "the counts 0, 1, 2"),
        (Bernoulli(), 2.0, "0 and 1"),
        (Multinomial(), np.nan, "the counts 0, 1, 2"),
    ],
)
def test_entries_that_are_not_observed_are_named(family, value, support):
    X = sparse.csr_array(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, value]]))
    with pytest.raises(ValueError, match=f"X is {value:g} in column 2, row 1: not one of {support}"):
        read_sparse(Reader(), X, family, "emission", reset=True)


def test_rows_that_are_no_directions_are_named():
    X = np.eye(4)
    X[2] = 0.0
    with pytest.raises(ValueError, match="X is 0 in column 0, row 2: not one of unit vectors"):
        read_sparse(Reader(), sparse.csr_array(X), MissingRows(VonMisesFisher()), "emission", reset=True)


@pytest.mark.parametrize("family", [Gaussian(Full()), Multinomial(3)])
def test_families_that_take_none(family):
    with pytest.raises(ValueError, match=r"emission='other' takes no sparse input: give X\.toarray"):
        read_sparse(Reader(), sparse.csr_array(COUNTS), family, "emission='other'", reset=True)
