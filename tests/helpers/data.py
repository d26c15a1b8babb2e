"""Tables in tests/data."""

from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[1] / "data"


def read_table(name, columns=None):
    """A table of numbers, with NaN where an entry is missing."""
    columns = range(columns) if isinstance(columns, int) else columns
    return np.genfromtxt(DATA / f"{name}.csv", delimiter=",", skip_header=1, usecols=columns, ndmin=2)
