"""What each ``covariance_type`` of an estimator is: the one table for all of them."""

from __future__ import annotations

from emlearn.families.covariance import Structure
from emlearn.families.factor import FactorGaussian
from emlearn.families.gaussian import COVARIANCE_SHAPES, LEAST_FLOOR, Gaussian

# The letters of mclust (volume, shape, orientation) for what has a name of scikit-learn's here.
LETTERS = {
    "VVV": "full",
    "EEE": "tied",
    "VVI": "diag",
    "VII": "spherical",
    "EEI": "tied_diag",
    "EII": "tied_spherical",
}

STRUCTURES: dict[str, Structure] = {
    **COVARIANCE_SHAPES,
    **{letters: COVARIANCE_SHAPES[name] for letters, name in LETTERS.items()},
}
COVARIANCE_TYPES = (*STRUCTURES, "factor")


def gaussian_family(
    covariance_type: str, *, floor: float = 0.0, ridge: float = 0.0, n_factors: int = 10
) -> Gaussian | FactorGaussian:
    """The Gaussian family of a ``covariance_type``.

    Parameters
    ----------
    covariance_type : str
        One of ``COVARIANCE_TYPES``: "full", "tied", "diag", "spherical", "tied_diag", "tied_spherical", the
        letters of mclust for these (VVV, EEE, VVI, VII, EEI, EII) and for what else can be shared (VEI, EVI,
        VEE, EVE, VVE, EEV, VEV, EVV), or "factor".
    floor : float, default=0.0
        Least eigenvalue of a covariance matrix, in units of the features' variance; 1e-9 at least.
    ridge : float, default=0.0
        Prior on each covariance matrix, in rows.
    n_factors : int, default=10
        Number of factors, for "factor".

    Returns
    -------
    family : Gaussian or FactorGaussian

    Examples
    --------
    >>> from emlearn.families import gaussian_family
    >>> gaussian_family("VVI") == gaussian_family("diag")
    True
    """
    floor = max(floor, LEAST_FLOOR)
    if covariance_type == "factor":
        return FactorGaussian(n_factors, floor, ridge)
    return Gaussian(STRUCTURES[covariance_type], floor, ridge=ridge)
