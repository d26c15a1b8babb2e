"""Predictions that stay lazy: what a method makes of each block, or sequence, when it is asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emlearn._input.sequences import Part
from emlearn.dask._blocks import check_rows, check_same_number, cut_like
from emlearn.dask._collections import delayed_blocks, is_array, is_bag, is_frame_of_dask
from emlearn.dask._sequences import of_rows, sequence_blocks
from emlearn.dask._tasks import one_blas_thread_here


def lazily(
    estimator: Any,
    method: str,
    X: Any,
    by_row: dict[str, Any] | None = None,
    others: dict[str, Any] | None = None,
) -> Any:
    """What a method of an estimator makes of each block of X, computed when it is asked for.

    The estimator counts as it is now, whatever it is fitted to before the result is computed. It is one task of
    the graph, and travels once to each worker.

    Parameters
    ----------
    estimator : estimator instance
        Fitted.
    method : str
        Takes rows, and gives as many.
    X : dask array, dask DataFrame or list of delayed
    by_row : dict, default=None
        Arguments of the method that stand beside X, row by row.
    others : dict, default=None
        Its other arguments.

    Returns
    -------
    result : dask array, or list of delayed arrays
        In the chunks of X. A dask DataFrame where the method makes frames of frames; a tuple where it gives
        one.
    """
    from dask import delayed

    X = list(X) if isinstance(X, tuple) else X
    check_rows(X)
    now = _as_it_is(estimator)
    beside = {name: part for name, part in (by_row or {}).items() if part is not None}
    settings = {
        "estimator": delayed(now, traverse=False, pure=False),
        "method": method,
        "names": list(beside),
        "others": others or {},
    }
    cut = [cut_like(X, part) for part in beside.values()]
    if isinstance(X, list):
        apply = delayed(_apply, pure=False)
        return [apply(*parts, **settings) for parts in _block_by_block([X, *cut])]
    few = _few_rows(X)
    sample = _apply(few, *[np.ones(len(few)) for _ in cut], **{**settings, "estimator": now})
    if isinstance(sample, tuple):  # each is made for itself
        return tuple(_made_of_blocks(X, cut, part, {**settings, "item": i}) for i, part in enumerate(sample))
    return _made_of_blocks(X, cut, sample, settings)


def _as_it_is(estimator: Any) -> Any:
    now = copy.copy(estimator)
    vars(now).pop("_skl_callbacks", None)  # which may hold what cannot travel
    return now


def _made_of_blocks(X: Any, cut: list[Any], sample: Any, settings: dict[str, Any]) -> Any:
    """A collection of what `_apply` makes of blocks, of X and beside it; a sample says what that is."""
    settings = {**settings, "empty": sample[:0]}
    if is_frame_of_dask(X) and not any(isinstance(part, list) or is_array(part) for part in cut):
        return X.map_partitions(_apply, *cut, meta=sample[:0], **settings)
    if cut or sample.ndim > 2:
        return _side_by_side(X, cut, sample, settings)
    shape = {"drop_axis": 1} if sample.ndim == 1 else {"chunks": (X.chunks[0], sample.shape[1:])}
    return X.map_blocks(_apply, dtype=sample.dtype, meta=sample[:0], **shape, **settings)


def _side_by_side(X: Any, cut: list[Any], sample: NDArray[Any], settings: dict[str, Any]) -> Any:
    """The method of blocks of X with what stands beside them."""
    import dask.array as da
    from dask import delayed

    apply, blocks = delayed(_apply, pure=False), _block_by_block([X, *cut])
    lengths = X.chunks[0] if is_array(X) else [np.nan] * len(blocks)
    parts = [
        da.from_delayed(apply(*parts, **settings), (n_rows, *sample.shape[1:]), meta=np.asarray(sample)[:0])
        for n_rows, parts in zip(lengths, blocks, strict=True)
    ]
    return da.concatenate(parts, allow_unknown_chunksizes=True)


def _block_by_block(parts: list[Any]) -> list[tuple[Any, ...]]:
    """Blocks of collections or lists, side by side."""
    blocks = [delayed_blocks(part) for part in parts]
    check_same_number(blocks)
    return list(zip(*blocks, strict=True))


def _few_rows(X: Any) -> Any:
    """Rows that could be of X, without computing any."""
    if is_frame_of_dask(X):
        return X._meta_nonempty
    return np.zeros((2, X.shape[1]), dtype=X.dtype)


def _apply(
    block: Any,
    *beside: Any,
    estimator: Any,
    method: str,
    names: list[str],
    others: dict[str, Any],
    item: int | None = None,
    empty: Any = None,
) -> Any:
    """A method of one block; of an empty one, of which no estimator need know, ``empty``."""
    if empty is not None and not len(block):
        return empty
    with one_blas_thread_here():
        made = getattr(estimator, method)(block, **dict(zip(names, beside, strict=True)), **others)
    return made if item is None else made[item]


class Made(NamedTuple):
    """What a method makes of sequences."""

    dtype: Any
    shape: tuple[int, ...]  # of what it makes of a step, or of a sequence
    by_step: bool


def lazily_by_sequence(
    estimator: Any, method: str, X: Any, lengths: Any, made: Made, others: dict[str, Any] | None = None
) -> Any:
    """What a method of an estimator makes of each sequence of X, computed when it is asked for.

    The estimator counts as it is now, as of `lazily`.

    Parameters
    ----------
    estimator : HMMEM
        Fitted.
    method : str
        Takes sequences.
    X, lengths
        As of `sequence_blocks`.
    made : Made
    others : dict, default=None
        Further arguments of the method.

    Returns
    -------
    result : bag, list, or dask array
        A bag of a bag; of a list one of delayed objects, or of dask arrays where these were. Of a dask array
        one with its rows, or with an entry for each of its sequences.
    """
    import dask.array as da
    from dask import delayed

    settings = {
        "estimator": delayed(_as_it_is(estimator), traverse=False, pure=False),
        "ask": partial(_ask, method=method, others=others or {}),
    }
    if is_bag(X):
        return X.map_partitions(_of_each, **settings)

    def as_array(result: Any, n: float) -> Any:
        return da.from_delayed(result, (n, *made.shape), dtype=made.dtype)

    if isinstance(X, (list, tuple)):
        of_one = delayed(_of_the_one, pure=False)
        each = [of_one(one, number, **settings) for number, one in enumerate(X)]
        if not made.by_step:
            return each
        return [as_array(of, one.shape[0]) if is_array(one) else of for of, one in zip(each, X, strict=True)]
    rows, _, beside = sequence_blocks(X, [X.shape[0]] if lengths is None else lengths)
    of_these = delayed(_of_these, pure=False)
    first, parts = 0, []
    for block, mine in zip(delayed_blocks(rows), beside, strict=True):
        of_block = of_these(block, mine, first, by_step=made.by_step, **settings)
        parts.append(as_array(of_block, mine.sum() if made.by_step else len(mine)))
        first += len(mine)
    return da.concatenate(parts)


def _ask(estimator: Any, X: Any, method: str, others: dict[str, Any]) -> Any:
    return getattr(estimator, method)(X, **others)


def _of_each(sequences: Any, estimator: Any, ask: Callable[..., Any], first: int = 0) -> list[Any]:
    """What a method makes of each of some sequences."""
    sequences = list(sequences)
    if not sequences:
        return []
    with one_blas_thread_here():
        return list(ask(estimator, Part(sequences, first)))


def _of_the_one(sequence: Any, number: int, estimator: Any, ask: Callable[..., Any]) -> Any:
    return _of_each([sequence], estimator, ask, number)[0]


def _of_these(
    rows: NDArray[Any],
    lengths: NDArray[np.intp],
    first: int,
    by_step: bool,
    estimator: Any,
    ask: Callable[..., Any],
) -> NDArray[Any]:
    made = _of_each(of_rows(rows, lengths), estimator, ask, first)
    return np.concatenate(made) if by_step else np.asarray(made)


def each_block(function: Callable[..., Any], X: Any, *beside: Any) -> Iterator[Any]:
    """What a function makes of each block that has rows, and of what stands beside it, in their order."""
    import dask
    from dask import delayed

    X = list(X) if isinstance(X, tuple) else X
    check_rows(X)
    # Whatever the function knows, an estimator among others, travels once.
    of_block, known = delayed(_call, pure=False), delayed(function, traverse=False, pure=False)
    parts = [X, *(cut_like(X, part) for part in beside)]
    made = dask.compute(*[of_block(known, *mine) for mine in _block_by_block(parts)])
    return (result for (result,) in filter(None, made))


def _call(function: Callable[..., Any], block: Any, *beside: Any) -> tuple[Any, ...]:
    if not len(block):
        return ()
    with one_blas_thread_here():
        return (function(block, *beside),)
