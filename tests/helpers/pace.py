"""What belongs to the default run, and what waits for the slow one."""

import pytest

from emlearn.testing import LAWS

# Of a model of which it is known elsewhere that its density is one: that law takes as long as all others.
ALL_BUT_DENSITY = [law for law in LAWS if law != "density"]
# One covariance type of each kind.
EACH_KIND = ("full", "tied", "diag", "tied_spherical", "VEI")


def some_slow(cases, keep):
    """Cases for `pytest.mark.parametrize`: those that are not kept carry the marker slow.

    ``keep`` names the cases of the default run, or is a number n that keeps every n-th. A tuple is a case of
    several arguments. Every n-th of ``product(...)`` goes through the values of all arguments in turn, if n
    has no divisor in common with the numbers of values; where fewer cases are left than an argument has
    values, some of these wait for the slow run.
    """
    cases = list(cases)
    kept = cases[::keep] if isinstance(keep, int) else list(keep)
    assert kept, "the default run needs a case"
    assert all(case in cases for case in kept), f"kept, but no case: {[c for c in kept if c not in cases]}"
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=[] if case in kept else [pytest.mark.slow],
        )
        for case in cases
    ]
