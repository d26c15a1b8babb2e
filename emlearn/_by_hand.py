"""Fitted estimators whose components are put in another order, or that are made of known parameters."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.utils.validation import check_is_fitted

from emlearn._input.arrays import read_array
from emlearn.em import Affine, LatentPair
from emlearn.em.trees import leaves


class ByHand:
    """What estimators have in common that users may do to fitted parameters, and what they may not."""

    # Public attributes that predictions are made of; and names that other libraries have for them.
    _of_parameters: frozenset[str] = frozenset()
    _made_of = "..."  # arguments of from_parameters, for a message

    def __setattr__(self, name, value):
        if name in self._of_parameters:  # set through vars(self) where they follow from a fit
            kind = type(self).__name__
            how = (
                f"To give parameters in place of a fit, make the model of them: "
                f"{kind}.from_parameters({self._made_of})."
                if hasattr(type(self), "from_parameters")
                else "To say what is known of them, give priors."
            )
            raise AttributeError(
                f"{name} cannot be set: predictions would not follow. {how} To bring components into another "
                "order, see reorder."
            )
        super().__setattr__(name, value)

    def reorder(self, order: ArrayLike) -> Self:
        """Bring the components into another order.

        All fitted attributes follow, and with them every prediction that is about components; densities stay
        as they are.

        Parameters
        ----------
        order : array-like of int of shape (K,)
            For each place the component that is to come there, as it is numbered now.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If ``order`` does not name each component once.

        See Also
        --------
        emlearn.match_components : The order that brings components next to those of another model.
        """
        check_is_fitted(self)
        order = self._read_order(order)
        if self._model is not None:  # None where there is one component, of nothing that varies
            (latent, family), model = self._params, self._model
            params = LatentPair(model.latent.reorder(latent, order), model.family.reorder(family, order))
            self._take(model, params, self._units)
            following = vars(self).get("_following")
            if following is not None:  # a stream goes on in this order
                self._following = following.in_order(order)
            mean = getattr(self, "_mean", None)
            if mean is not None:
                self._take_mean(
                    LatentPair(
                        model.latent.reorder(mean.latent, order), model.family.reorder(mean.family, order)
                    )
                )
        return self

    def _read_order(self, order):
        K = self._n_fitted
        given = read_array("order", order, shapes=[(K,)], advice=f"Name each of the {K} components once.")
        if not np.array_equal(np.sort(given), np.arange(K)):
            shown = np.asarray(order).tolist()
            raise ValueError(f"order={shown} must name each of the components 0 ... {K - 1} once.")
        return given.astype(np.int_)

    @property
    def _n_fitted(self):
        """Number of components of the fit."""
        return len(leaves(self._params.latent)[0])

    def _divergence(self, other):
        """Distances of components from those of another estimator, (K, K)."""
        mine, theirs = (
            fitted._model.family.in_units(fitted._params.family, fitted._units) for fitted in (self, other)
        )
        return self._model.family.divergence(mine, other._model.family, theirs)

    @classmethod
    def _of_legal(cls, n_components, params):
        """An estimator with parameters of the class that are legal."""
        if params.setdefault("n_components", n_components) != n_components:
            raise ValueError(
                f"n_components={params['n_components']}, but there are parameters of {n_components} components."
            )
        estimator = cls(**params)
        estimator._validate_params()
        return estimator

    def _know_features(self, n_features, feature_names):
        self.n_features_in_ = n_features
        if feature_names is not None:
            self.feature_names_in_ = read_names(feature_names, n_features)


def as_they_are(n_features):
    """Units in which numbers are as the user gives them."""
    return Affine(np.zeros(n_features), np.ones(n_features))


def read_names(feature_names, n_features):
    """Names of features from what a user gave."""
    names = [feature_names] if isinstance(feature_names, str) else list(feature_names)
    if len(names) != n_features or not all(isinstance(name, str) for name in names):
        raise ValueError(f"feature_names={names}: give a text for each of the {n_features} features.")
    if len(set(names)) < len(names):
        raise ValueError(f"feature_names={names} holds a name twice.")
    return np.array(names, dtype=object)


def match_components(reference: Any, other: Any) -> NDArray[np.int_]:
    """The order in which the components of one fitted model come next to those of another.

    Components have no numbers of their own: two fits may find the same ones in another order. They are paired
    so that the sum of the distances of pairs is least (Hungarian method). A distance is Bhattacharyya's, minus
    the logarithm of how much two distributions overlap, :math:`-\\log \\int \\sqrt{p q}`: exact for Gaussian
    components (by their means and covariances, of whatever form), counts, categories and parts side by side.
    For regressions it is that of normal responses at features of the spread that they had in the fit.

    Parameters
    ----------
    reference : estimator
        Fitted, or made by ``from_parameters``. Its components stay where they are.
    other : estimator
        The same kind of estimator, with as many components of as many features.

    Returns
    -------
    order : ndarray of int of shape (K,)
        For each component of ``reference`` that of ``other`` that is its like: ``other.reorder(order)`` brings
        the likes next to each other.

    Raises
    ------
    ValueError
        If the models differ in kind, number of components, features or emissions, or one is not fitted.

    References
    ----------
    Kuhn (1955), The Hungarian method for the assignment problem, Nav. Res. Logist. Q. 2. Bhattacharyya (1943),
    On a measure of divergence between two statistical populations, Bull. Calcutta Math. Soc. 35.

    Examples
    --------
    >>> from emlearn import GaussianMixtureEM, match_components
    >>> from emlearn.datasets import load_old_faithful
    >>> X = load_old_faithful().data
    >>> early = GaussianMixtureEM(n_components=2, random_state=0).fit(X[:100])
    >>> late = GaussianMixtureEM(n_components=2, random_state=0).fit(X[100:]).reorder([1, 0])
    >>> match_components(early, late)
    array([1, 0])
    >>> late.reorder(match_components(early, late)).means_.round()
    array([[ 4., 80.],
           [ 2., 54.]])
    """
    for what, model in (("reference", reference), ("other", other)):
        if not isinstance(model, ByHand) or isinstance(model, type):
            raise ValueError(f"{what}={model!r} is no estimator with components.")
        if not hasattr(model, "_params"):
            raise ValueError(f"{what}={model!r} is not fitted: fit it first, or make it by from_parameters.")
    names = [type(model).__name__ for model in (reference, other)]
    if not (isinstance(other, type(reference)) or isinstance(reference, type(other))):
        raise ValueError(f"reference is a {names[0]}, but other is a {names[1]}: give two of one kind.")
    for what, count in (("components", "_n_fitted"), ("features", "n_features_in_")):
        here, there = (getattr(model, count) for model in (reference, other))
        if here != there:
            raise ValueError(f"reference has {here} {what}, but other has {there}.")
    features = [getattr(model, "feature_names_in_", None) for model in (reference, other)]
    if all(f is not None for f in features) and not np.array_equal(*features):
        raise ValueError(
            f"reference has the features {features[0].tolist()}, but other has {features[1].tolist()}."
        )
    try:
        distance = reference._divergence(other)
    except ValueError as error:
        raise ValueError(f"reference and other are not alike: {error}") from None
    return linear_sum_assignment(distance)[1].astype(np.int_)
