"""Transformers of rows, applied to sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self

from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from emlearn._input.sequences import _gather, _join, _split_rows
from emlearn._sklearn_compat import BaseEstimator, available_if


def _transformer_has(method):
    def check(self):
        getattr(getattr(self, "transformer_", self.transformer), method)
        return True

    return check


class SequenceWise(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Use a transformer of rows on sequences.

    It is fitted on the rows of all sequences put together, and transforms each sequence row by row, so that
    a pipeline can hold a scaler before an estimator of sequences.

    Parameters
    ----------
    transformer : transformer
        Transformer of rows, such as ``StandardScaler()``. A clone of it is fitted.

    Attributes
    ----------
    transformer_ : transformer
        The fitted transformer.
    n_features_in_ : int
        Number of features, d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, where X has them.

    See Also
    --------
    sklearn.compose.ColumnTransformer : Applies transformers to some of the columns.

    Notes
    -----
    X is a list, tuple or 1-D object array of 2-D arrays or DataFrames, one for each sequence, or a 3-D array
    (n_sequences, T, d), where rows of NaN at the end of a sequence are padding and are cut off. The result is
    then an object array of one array (or DataFrame, see `set_output`) per sequence. Anything else is rows, and
    is left to the transformer as it is; a column that tells sequences apart would be transformed like the rest.

    `fit` passes on no metadata, such as sample weights.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from emlearn.sequences import SequenceWise
    >>> short, long = np.array([[1.0], [3.0]]), np.array([[0.0], [4.0], [2.0]])
    >>> scaler = SequenceWise(StandardScaler()).fit([short, long])
    >>> scaler.transformer_.mean_
    array([2.])
    >>> [len(sequence) for sequence in scaler.transform([short, long])]
    [2, 3]
    """

    transformer_: Any

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the transformer on the rows of all sequences.

        Parameters
        ----------
        X : list of array-likes, or array-like
            Sequences, or rows.
        y : array-like of shape (n,), default=None
            Passed to the transformer with rows; not used with sequences.

        Returns
        -------
        self : SequenceWise
        """
        rows, lengths = self._rows(X)
        transformer = self._clone()
        self.transformer_ = transformer.fit(rows, y if lengths is None else None)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit the transformer on the rows of all sequences, and transform them.

        Parameters
        ----------
        X : list of array-likes, or array-like
            Sequences, or rows.
        y : array-like of shape (n,), default=None
            Passed to the transformer with rows; not used with sequences.

        Returns
        -------
        X_new : ndarray of shape (n_sequences,), or array of shape (n, n_features_out)
            The transformed sequences, or rows.
        """
        rows, lengths = self._rows(X)
        transformer = self._clone()
        y = y if lengths is None else None
        if hasattr(transformer, "fit_transform"):
            values = transformer.fit_transform(rows, y)
        else:
            values = transformer.fit(rows, y).transform(rows)
        self.transformer_ = transformer
        return values if lengths is None else _split_rows(values, lengths)

    def transform(self, X: Any) -> Any:
        """Transform each sequence.

        Parameters
        ----------
        X : list of array-likes, or array-like
            Sequences, or rows.

        Returns
        -------
        X_new : ndarray of shape (n_sequences,), or array of shape (n, n_features_out)
            The transformed sequences, or rows.
        """
        check_is_fitted(self)
        rows, lengths = self._rows(X)
        values = self.transformer_.transform(rows)
        return values if lengths is None else _split_rows(values, lengths)

    @available_if(_transformer_has("inverse_transform"))
    def inverse_transform(self, X: Any) -> Any:
        """Undo `transform`.

        Parameters
        ----------
        X : list of array-likes, or array-like
            Transformed sequences, or rows.

        Returns
        -------
        X_original : ndarray of shape (n_sequences,), or array of shape (n, d)
            The sequences, or rows.
        """
        check_is_fitted(self)
        rows, lengths = self._rows(X)
        values = self.transformer_.inverse_transform(rows)
        return values if lengths is None else _split_rows(values, lengths)

    @available_if(_transformer_has("get_feature_names_out"))
    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[Any]:
        """Names of the features that `transform` returns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the features that go in, if `fit` saw none.

        Returns
        -------
        feature_names_out : ndarray of str
        """
        check_is_fitted(self)
        return self.transformer_.get_feature_names_out(input_features)

    @available_if(_transformer_has("set_output"))
    def set_output(self, *, transform: Literal["default", "pandas", "polars"] | None = None) -> Self:
        """Choose the container of the transformer's output.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            Sequences become a list of such containers. None changes nothing.

        Returns
        -------
        self : SequenceWise
        """
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}  # clone() copies it by this name
            if hasattr(self, "transformer_"):
                self.transformer_.set_output(transform=transform)
        return self

    @property
    def n_features_in_(self) -> int:
        """Number of features seen by `fit`."""
        return self.transformer_.n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """Names of the features seen by `fit`."""
        return self.transformer_.feature_names_in_

    def _rows(self, X):
        gathered = _gather(X)
        if gathered is None:
            return X, None
        parts, lengths = gathered
        return _join(parts), lengths

    def _clone(self):
        if not (hasattr(self.transformer, "fit") and hasattr(self.transformer, "transform")):
            raise TypeError(f"transformer={self.transformer!r} has no fit and transform.")
        transformer = clone(self.transformer)
        config = getattr(self, "_sklearn_output_config", None)
        return transformer.set_output(**config) if config else transformer

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if isinstance(self.transformer, type) or not hasattr(self.transformer, "__sklearn_tags__"):
            return tags  # not an estimator: fit says so
        inner = get_tags(self.transformer)
        tags.input_tags = replace(inner.input_tags, three_d_array=True)
        tags.target_tags = inner.target_tags
        tags.transformer_tags = inner.transformer_tags
        tags.non_deterministic = inner.non_deterministic
        tags.no_validation = inner.no_validation
        return tags
