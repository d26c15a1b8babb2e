"""Trees of arrays: parameters, statistics, E-steps."""

import numpy as np

from emlearn.em.trees import leaves


def assert_same(a, b, rtol=1e-10):
    """Two trees are equal, leaf by leaf, relative to the largest number of each leaf (or to 1)."""
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * max(1.0, np.max(np.abs(y), initial=0.0)))
