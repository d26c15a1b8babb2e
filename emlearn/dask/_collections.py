"""What is of Dask, and what its blocks are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def is_dask(X: Any) -> bool:
    """Whether X is a collection of Dask, a delayed object or a future, or a list of some."""
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and is_dask(X[0])
    kind = type(X)
    package, _, rest = kind.__module__.partition(".")
    if package == "distributed" or (package == "dask" and rest.startswith("delayed")):
        return True
    return hasattr(kind, "__dask_graph__") and hasattr(kind, "to_delayed")


def is_frame_of_dask(X: Any) -> bool:
    """Whether X is a data frame of Dask."""
    return is_dask(X) and hasattr(type(X), "map_partitions") and hasattr(type(X), "columns")


def is_bag(X: Any) -> bool:
    """Whether X is a bag of Dask."""
    return type(X).__module__.startswith("dask.bag") and hasattr(type(X), "map_partitions")


def is_array(X: Any) -> bool:
    return hasattr(type(X), "numblocks")


def is_delayed(X: Any) -> bool:
    return type(X).__module__.partition(".")[0] == "dask"


def current_client() -> Any:
    """The client of a cluster that Dask would compute on here; None where it computes in this process."""
    import dask

    scheduler = getattr(dask.base.get_scheduler(), "__self__", None)
    return scheduler if hasattr(scheduler, "scheduler_info") else None


def delayed_blocks(X: Any) -> list[Any]:
    return X if isinstance(X, list) else list(np.ravel(X.to_delayed()))


def futures_in_order(persisted: Any) -> list[Any]:
    """Futures of the blocks of a collection, in their order: keys are (name, number of the block, ...)."""
    from distributed import futures_of

    return sorted(futures_of(persisted), key=lambda future: future.key[1])


def computed(collection: Any) -> Iterator[Any]:
    """Blocks of a collection, in this process, in their order."""
    import dask

    blocks = list(collection) if isinstance(collection, (list, tuple)) else collection
    return iter(dask.compute(*delayed_blocks(blocks)))
