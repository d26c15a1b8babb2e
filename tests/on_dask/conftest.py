"""A small cluster in this process, one for the tests of a module."""

import pytest
from distributed import Client


@pytest.fixture(scope="module")
def client():
    """Two workers of one thread each."""
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with Client(processes=False, **settings) as client:
        yield client
