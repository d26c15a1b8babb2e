"""What parameters and statistics may be made of, and words for what else a model of one's own may give.

Statistics of batches are added up: what adds up to something else, as lists do, which join, is refused by name
before it is summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from emlearn.em.batches import Batch
from emlearn.em.model import EStep
from emlearn.em.trees import Tree

# Of floating point, where parameters are a guess of the engine's.
IGNORED: dict[str, Any] = {"all": "ignore"}
ALLOWED = "arrays of numbers, numbers, and tuples or NamedTuples of these"
# What becomes of others where the statistics of two batches are added.
INSTEAD = {
    list: "lists are joined where arrays are added; make it np.array(...), or a tuple of leaves",
    dict: "dicts do not add up; make it a NamedTuple",
    bool: "truth values do not count; sum them, or make them float",
}


def named_leaves(tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves from left to right with their names, as one would write them."""
    if not isinstance(tree, tuple):
        yield path, tree
        return
    names = getattr(tree, "_fields", None) or [f"[{i}]" for i in range(len(tree))]
    for name, branch in zip(names, tree, strict=True):
        yield from named_leaves(branch, path + name if name[0] == "[" or not path else f"{path}.{name}")


def check_leaves(what: str, tree: Tree) -> None:
    """Raise unless all leaves are numbers or arrays of numbers.

    Raises
    ------
    ValueError
        Naming the first leaf that is not.
    """
    for name, leaf in named_leaves(tree):
        reason = _fault(leaf)
        if reason is not None:
            where = f"{what}{name}" if name.startswith("[") else f"{what}.{name}" if name else what
            raise ValueError(f"{where} is {reason}. {what[0].upper()}{what[1:]} must be {ALLOWED}.")


def _fault(leaf: Any) -> str | None:
    """What is wrong with a leaf; None if nothing is."""
    if type(leaf) is np.ndarray and leaf.dtype.kind in "iuf":
        return None
    if isinstance(leaf, (bool, np.bool_)):
        return f"a truth value: {INSTEAD[bool]}"
    if isinstance(leaf, (Real, np.integer, np.floating)):
        return None
    kind = type(leaf).__name__
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not hasattr(leaf, "shape"):
        article = "an" if kind[0] in "aeiouAEIOU" else "a"
        return f"{article} {kind}" + (f": {INSTEAD[type(leaf)]}" if type(leaf) in INSTEAD else "")
    if hasattr(leaf, "index") and hasattr(
        leaf, "to_numpy"
    ):  # which is aligned by its labels before it is added
        return f"a {kind} with labels of its own: make it an array, by .to_numpy()"
    letter = getattr(dtype, "kind", "f")  # other libraries' arrays are of numbers
    if letter == "b":
        return f"an array of truth values: {INSTEAD[bool]}"
    return None if letter in "iuf" else f"an array of {dtype}, which are no real numbers"


def check_e_step(e_step: Any) -> None:
    """Raise unless a model's E-step of a batch is what can be summed.

    Raises
    ------
    ValueError
        Naming what is not.
    """
    if not isinstance(e_step, EStep):
        raise ValueError(
            f"The E-step of a batch is a {type(e_step).__name__}: it must be "
            "EStep(stats, log_likelihood, weight)."
        )
    check_leaves("statistics", e_step.stats)
    for name in ("log_likelihood", "weight"):
        value = getattr(e_step, name)
        if _fault(value) is not None or np.ndim(value) != 0:
            shape = f" of shape {np.shape(value)}" if np.ndim(value) else ""
            raise ValueError(
                f"{name} of the E-step is a {type(value).__name__}{shape}: it must be one number, the sum over "
                "the batch, as by batch.sum(values)."
            )


def checked(e_step: Callable[[Batch], Any]) -> Callable[[Batch], EStep]:
    """An E-step, with what it gives for each batch checked before it is summed."""
    return partial(_checked, e_step)


def _checked(e_step: Callable[[Batch], Any], batch: Batch) -> EStep:
    result: EStep = e_step(batch)
    check_e_step(result)
    return result


def quiet(e_step: Callable[[Batch], EStep]) -> Callable[[Batch], EStep]:
    """An E-step where nobody asked for parameters: what they make of floating point is no error of a user's."""
    return partial(_quiet, e_step)


def _quiet(e_step: Callable[[Batch], EStep], batch: Batch) -> EStep:
    with np.errstate(**IGNORED):  # set here, as threads do not take it over
        return e_step(batch)
