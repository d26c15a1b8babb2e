"""Arguments beside X that are numbers: weights, responses, offsets, starting values, limits."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array

from emlearn._input.tables import NUMBERS, TIMES, as_numpy, is_frame, number, read_table
from emlearn._warn import warn


def read_array(name, value, *, shapes=None, finite=False, advice=""):
    """An array of float64 from what a user gave as ``name``.

    Parameters
    ----------
    name : str
        For errors.
    value : array-like
        Numbers; None and ``pandas.NA`` are NaN.
    shapes : list of tuple of int, default=None
        Shapes that the array may have.
    finite : bool, default=False
        Whether NaN and infinity are refused.
    advice : str, default=""
        What errors end with: what to do instead.

    Returns
    -------
    array : ndarray of float64
    """
    array = _numbers(name, value, advice and f" {advice}")
    if shapes is None and array.ndim == 0:
        raise ValueError(f"{name} must be an array, but is {value!r}." + (advice and f" {advice}"))
    if shapes is not None and array.shape not in shapes:
        expected = " or ".join(str(shape) if shape else "a number" for shape in shapes)
        raise ValueError(f"{name} has shape {array.shape}; expected {expected}." + (advice and f" {advice}"))
    if finite and not np.isfinite(array).all():
        place = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        what = "NaN" if np.isnan(array[place]) else "infinity"
        at = place[0] if len(place) == 1 else place
        raise ValueError(f"{name} contains {what} at {at}: every entry must be finite.")
    return array


def check_count(name, value):
    """Refuse what is no number of things to draw."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r}: ask for one at least, a whole number.")


def _numbers(name, value, advice):
    given = as_numpy(value, name)
    if is_frame(given):
        given = check_array(read_table(given, name), dtype=np.float64, ensure_all_finite=False, input_name=name)
    given = np.asarray(given)
    if given.dtype.kind in NUMBERS:
        return given.astype(np.float64, copy=False)
    array = np.empty(given.size)
    for i, entry in enumerate(given.flat):
        try:
            array[i] = number(entry)
        except (TypeError, ValueError):
            entry = entry.item() if isinstance(entry, np.str_) else entry
            what = "dates or times" if isinstance(entry, TIMES) else repr(entry)
            raise ValueError(f"{name} must be an array of numbers, but holds {what}.{advice}") from None
    return array.reshape(given.shape)


def as_one_column(name, array):
    """A column (n, 1) as (n,), with scikit-learn's warning at the user's line; others as they are."""
    given = as_numpy(array, name)
    if getattr(given, "ndim", 0) != 2 or given.shape[1] != 1:
        return array if isinstance(array, (list, tuple)) else given
    warn(
        f"A column-vector {name} was passed when a 1d array was expected. Give its ravel().",
        DataConversionWarning,
    )
    return np.asarray(given).ravel()


def read_weights(sample_weight, n):
    """Weights as float64; a number is the weight of each of n."""
    if not isinstance(sample_weight, Real):
        return read_array("sample_weight", sample_weight, finite=True)
    if not np.isfinite(sample_weight):
        raise ValueError(f"sample_weight={sample_weight}: a weight must be a finite number.")
    return np.full(n, float(sample_weight))


def check_weight(sample_weight, n, *, of_all=True):
    """Weights of n rows as float64, or None; those of a part of all may be 0 for all of its rows."""
    if sample_weight is None:
        return None
    weight = read_weights(sample_weight, n)
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}, but X has {n} rows: give one weight per row."
        )
    refuse_weights(weight, "row", of_all)
    return weight


def refuse_weights(weight, unit, of_all=True):
    """Refuse weights of rows or sequences (the ``unit``) that are negative, or, of all there are, all zero."""
    if weight.min() < 0:
        raise ValueError(
            f"sample_weight has negative values, the first for {unit} {int(np.argmax(weight < 0))}: a weight "
            f"says how often a {unit} counts."
        )
    if of_all and not weight.any():
        raise ValueError(f"sample_weight is zero for every {unit}: nothing is left to fit.")
