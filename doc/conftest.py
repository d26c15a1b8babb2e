"""Doctests of the pages: pictures of one are closed before the next."""

import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def closed_pictures():
    yield
    plt.close("all")
