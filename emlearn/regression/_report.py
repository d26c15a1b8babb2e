"""What of a fitted mixture of regressions is not as it should be, in words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from emlearn.em.algebra import NO_DIRECTION, spectrum, whitener
from emlearn.families import Classes
from emlearn.families.regression_and import others_of

# Of the direction in which columns are collinear, entries that count.
TAKES_PART = 1e-6
# A gate that is wrong by less than this many rows in all separates the components.
SEPARATED = 0.5
# Curvature of the likelihood, in rows, below which coefficients of a component run away.
NO_CURVATURE = 0.1
# Rows that all weight should be worth beside a prior; and the share of it beyond which a gate's ridge counts.
FEW_ROWS = 10
STRONG = 1e-2
# Expected counts, in all, below which a component never has any.
HALF_A_COUNT = 0.5
# Names that a message lists.
MOST_NAMES = 10


class Summary(NamedTuple):
    """Sums over the rows at the end of a fit."""

    counts: np.ndarray  # (K + J,) Σ responsibilities, those of the J components that are no regressions last
    curvature: np.ndarray  # (K, p, p) Σ responsibility · curvature · z zᵀ
    expected: np.ndarray  # (K, p, p) the same for a curvature of 1 / (1 + η²)
    design: np.ndarray  # (p, p) Σ z zᵀ
    misfit: float  # Σ responsibility · (1 − prior weight)
    means: np.ndarray  # (K,) Σ responsibility · mean count
    gate: np.ndarray  # (q + 1, q + 1) Σ z zᵀ of what a gate sees; (0, 0) without one

    def n_undetermined(self, family):
        """How many coefficients the rows do not determine, as of columns that make up one another."""
        K, p = len(self.curvature), len(self.design)
        n_predictors = (family.n_own + len(family.shared)) // p  # of classes one less than there are
        own = np.setdiff1d(np.arange(p), family.shared)
        rank = of_own = _rank(self.design)
        if len(family.shared):
            of_own = _rank(self.design[np.ix_(own, own)])
        # Of those that are shared counts what the others, free in each component, leave of them.
        n_lost = n_predictors * (K * (len(own) - of_own) + p - len(own) - (rank - of_own))
        return n_lost + (len(self.counts) - 1) * (len(self.gate) - _rank(self.gate))


def summarise(model, params):
    """The summary of a batch, as a function of it."""
    density = model.family.density(params.family)

    def of_batch(batch):
        seen = density(batch)
        resp, stats, _ = model.latent.posterior(params.latent, seen.log_prob, batch)
        totals = seen.totals(resp)
        own = resp[: len(params.family.coef)]
        return Summary(
            resp.sum(axis=1),
            totals.gram,
            model.family.gentle_gram(params.family, batch, own),
            totals.design,
            _misfit(model.latent, params.latent, batch, resp),
            counts_of(model.family, params.family, batch, own),
            getattr(stats, "gram", np.zeros((0, 0))),
        )

    return of_batch


def _misfit(latent, params, batch, resp):
    """Σ responsibility · (1 − prior weight)."""
    prior = np.exp(latent.log_weights(params, batch))
    return float((resp * (1.0 - prior)).sum())


def counts_of(family, params, batch, resp):
    """Σ responsibility · mean count, (K,); infinite of what is none."""
    if not family.response.is_discrete or isinstance(family.response, Classes):
        return np.full(len(resp), np.inf)
    return (resp * family.response.mean(family.linear_predictor(params, batch))).sum(axis=1)


def complaints(estimator, summary, unit, size):
    """Messages for the user.

    Parameters
    ----------
    estimator : mixture of regressions or experts
        Fitted.
    summary : Summary
        Components in the order of the fitted attributes.
    unit : float
        Mean weight of a row.
    size : float
        Total weight.

    Yields
    ------
    message : str
    """
    family, params = estimator._model.family, estimator._params.family
    if size < FEW_ROWS and unit < 0.5:
        gate_alpha = getattr(estimator, "gate_alpha", 0.0)
        priors = [f"alpha={estimator.alpha:g}"] if estimator.alpha else []
        priors += [f"gate_alpha={gate_alpha:g}"] if gate_alpha > STRONG * size else []
        if priors:
            tell = " and ".join(priors)
            yield (
                f"sample_weight sums to {size:.3g}: a weight says how often a row counts, and all of these are "
                f"worth {size:.3g} rows, over which the prior of {tell} wins. Give larger weights, or reduce "
                f"{tell.partition('=')[0]}."
            )
    K, others = len(summary.means), others_of(family)
    absent = summary.counts < unit
    for k, other in enumerate(others, K):
        if absent[k]:
            yield (
                f"Less than one row supports component {k}, which is {other.kind}: set {other.parameter}=False."
            )
    counts, lost = summary.counts[:K], absent[:K]
    columns = undetermined(summary.design)[int(estimator.fit_intercept) :]
    if columns.any() and not estimator.alpha:
        names = getattr(estimator, "feature_names_in_", np.arange(estimator.n_features_in_))
        names = names[estimator._expert_columns()]
        listed = _some([repr(name) for name in names[columns].tolist()])
        which = "columns" if columns.sum() > 1 else "column"
        yield (
            f"The coefficients of {which} {listed} are not determined: these columns are constant or linear "
            "combinations of one another. One choice of many is taken; predictions do not depend on it where "
            "columns depend on one another as they did here. Leave columns out, or set alpha > 0."
        )
    if lost.any():
        yield (
            f"Less than one row supports {_components(lost)}: the fit has {int((~lost).sum())} components in "
            "effect. Reduce n_components."
        )
    n_own = family.n_own // family.response.n_responses
    few = ~lost & (counts < n_own * unit)
    if few.any() and not estimator.alpha:
        yield (
            f"Fewer rows than coefficients ({n_own}) support {_components(few)}: these are not "
            "determined. Reduce n_components, or set alpha > 0."
        )
    resting = family.at_bound(params)
    if resting.all():
        (noise,) = family.published(params, 0).keys() - {"coef", "intercept"}
        yield (
            f"The fit leaves no noise: {noise}_ is the least that floating point can bear. There are too many "
            "features or components for the rows, or responses are constant or exactly linear in the features."
        )
    elif resting.any():
        yield (
            f"The noise of {_components(resting)} is as small as "
            f"min_variance_ratio={estimator.min_variance_ratio} allows. If there is truly so little noise, "
            "lower it; else reduce n_components or set shared_variance=True."
        )
    away = ~lost & run_away(family, summary, unit)
    if family.response.is_discrete and "zero_inflated" in estimator.get_params(deep=False):
        never = ~lost & (summary.means < HALF_A_COUNT * unit)
        if never.any() and not (lost | never).all():
            away &= ~never
            instead = "reduce n_components" if others else "set zero_inflated=True and one component less"
            what = "has a success" if family.response.name == "binomial" else "has a count"
            yield (
                f"{_components(never).capitalize()} never {what}: zero inflation, for which an intercept runs "
                f"away that alpha does not bound. To have a component that is just that, {instead}."
            )
    if away.any() and not estimator.alpha:
        yield (
            f"Coefficients of {_components(away)} run away to infinity: there the features tell the responses "
            "without error, or all responses are alike. Set alpha > 0, which bounds slopes, or reduce "
            "n_components."
        )
    # With one component, or for want of others, any gate is right.
    if hasattr(estimator, "gate_coef_") and (~absent).sum() > 1 and summary.misfit < SEPARATED * unit:
        yield (
            "The gate tells the components apart without error (complete separation): its coefficients run "
            f"away, and only gate_alpha={estimator.gate_alpha} bounds them. Increase gate_alpha, or give it "
            "fewer gate_features."
        )


def undetermined(design):
    """Which columns of a design are constant 0, or linear combinations of others, from its cross-products."""
    values, vectors, _ = spectrum(design)
    absent = np.abs(vectors[:, values <= NO_DIRECTION]) > TAKES_PART
    return absent.any(axis=1) | (np.diag(design) <= NO_DIRECTION * design.max())


def _rank(gram):
    """Number of directions that a design has, from its cross-products."""
    size = np.sqrt(np.diag(gram))
    size = np.where(size > 0, size, 1.0)
    return int(np.count_nonzero(np.linalg.eigvalsh(gram / size[:, None] / size) > NO_DIRECTION))


def run_away(family, summary, unit):
    """Components whose own coefficients have hardly any curvature in some direction that their rows have.

    Where coefficients run away linear predictors do, and curvature vanishes as their exponential; it is
    compared with what vanishes as their square.
    """
    K, p = summary.curvature.shape[:2]
    if family.response.is_exact or not family.n_own:
        return np.zeros(K, dtype=bool)
    own = np.setdiff1d(np.arange(p), family.shared)
    least = np.full(K, np.inf)
    for k in range(K):
        units = whitener(summary.expected[k][np.ix_(own, own)])
        if units.size:
            least[k] = np.linalg.eigvalsh(units.T @ summary.curvature[k][np.ix_(own, own)] @ units)[0]
    return least * summary.counts[:K] < NO_CURVATURE * unit


def _some(names):
    """Names for a message, the first ones if there are many."""
    listed = ", ".join(str(name) for name in names[:MOST_NAMES])
    return listed + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def _components(which):
    """Components by number, for a message."""
    numbers = np.flatnonzero(which)
    return f"component{'s' if len(numbers) > 1 else ''} {_some(numbers)}"
