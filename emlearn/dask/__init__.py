"""Rows that lie on the workers of a Dask cluster: data for EM, and predictions that stay lazy.

Blocks are computed once and stay on their workers, cut into batches. Parameters go out and sums of statistics
come back, one for each block; they are added in the order of the blocks, so that a fit is to the last bit that
of the same blocks in memory. Dask itself is imported when there is a collection of it, and not before.
"""

from emlearn.dask._data import OnDask

__all__ = ["OnDask"]
