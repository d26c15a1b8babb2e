"""A small cluster in this process, one for the tests of a module; and warnings of Dask that are none of ours."""

import warnings

import pytest

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    """Two workers of one thread each."""
    with (
        warnings.catch_warnings(),
        distributed.Client(
            processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as client,
    ):
        yield client
