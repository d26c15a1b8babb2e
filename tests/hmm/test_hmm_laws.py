"""Laws of HMMEM that a reader found broken: starts, weights, support and attributes, over all emissions."""

import warnings

import numpy as np
import pytest

from emlearn import HMMEM, GaussianMixtureEM
from emlearn.em import Batches, LatentModel, LatentPair
from emlearn.em.trees import leaves
from emlearn.families import (
    COVARIANCE_SHAPES,
    Bernoulli,
    BernoulliParams,
    Categorical,
    CategoricalParams,
    Gaussian,
    GaussianParams,
    MissingRows,
    MixtureOf,
    Poisson,
    PoissonParams,
    Product,
)
from emlearn.hmm._starts import ChainStarts, SequenceSample
from emlearn.latent import ChainParams, MarkovChain
from tests.helpers.pace import some_slow

DIAG = COVARIANCE_SHAPES["diag"]


def hmm(n_components=2, **kwargs):
    return HMMEM(n_components, **{"random_state": 0, "n_init": 4, **kwargs})


def data_for(emission, n=120, seed=0):
    """Rows of two columns in two states that last."""
    rng = np.random.RandomState(seed)
    state = np.repeat([0, 1, 0, 1], n // 4)
    return {
        "gaussian": lambda: rng.normal(size=(n, 2)) + 3.0 * state[:, None],
        "gmm": lambda: rng.normal(size=(n, 2)) + 3.0 * state[:, None],
        "poisson": lambda: rng.poisson(2.0 + 5.0 * state[:, None], size=(n, 2)).astype(float),
        "categorical": lambda: np.minimum(rng.randint(0, 3, size=(n, 2)) + state[:, None], 3).astype(float),
        "bernoulli": lambda: (rng.uniform(size=(n, 2)) < 0.2 + 0.6 * state[:, None]).astype(float),
    }[emission]()


EMISSIONS = ["gaussian", "gmm", "poisson", "categorical", "bernoulli"]


# -- the kernel's inputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["posterior", "filter", "viterbi", "draw_paths"])
def test_chain_and_densities_of_other_sizes_are_refused(method, kernel):
    (batch,) = Batches(np.zeros((6, 1)), lengths=[4, 2])
    params = ChainParams(np.full(400, 1 / 400), np.full((400, 400), 1 / 400))
    extra = (np.random.RandomState(0),) if method == "draw_paths" else ()
    with pytest.raises(ValueError, match="400 states, but there are densities of 2"):
        getattr(MarkovChain(), method)(params, np.zeros((2, 6)), batch, *extra)


def test_layout_and_precision_of_arrays_do_not_matter(kernel):
    rng = np.random.RandomState(0)
    (batch,) = Batches(np.zeros((9, 1)), lengths=[4, 3, 2])
    start, transition = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3), size=3)
    log_prob = rng.normal(size=(3, 9)).astype(np.float32)
    chain = MarkovChain()
    expected = chain.posterior(ChainParams(start, transition), log_prob.astype(np.float64), batch)
    resp, path = expected[0].copy(), chain.viterbi(ChainParams(start, transition), log_prob.copy(), batch)[0]
    transition.flags.writeable = False
    for A in (transition, np.asfortranarray(transition)):
        for densities in (log_prob, np.asfortranarray(log_prob)):
            params = ChainParams(start, A)
            found = chain.posterior(params, densities.copy(order="K"), batch)
            np.testing.assert_array_equal(found[0], resp)
            assert found[2] == expected[2]
            np.testing.assert_array_equal(chain.viterbi(params, densities.copy(order="K"), batch)[0], path)


def test_one_set_of_batches_serves_models_of_any_size():
    X = data_for("poisson")[:, :1]
    batches = Batches(X, lengths=[60, 60], labels=np.r_[0, 1, np.full(118, -1)])
    for K in (2, 3):
        rates = np.linspace(2.0, 7.0, K)[:, None]
        params = LatentPair(ChainParams(np.full(K, 1 / K), np.full((K, K), 1 / K)), PoissonParams(rates))
        e_step = batches.sum(LatentModel(MarkovChain(), Poisson()).expectation(params))
        assert e_step.stats.latent.first.shape == (K,)


# -- starts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [False, True])
def test_no_two_starts_are_the_same(ordered):
    X = data_for("gaussian")
    data = Batches(X, lengths=[70, 50])
    sample = SequenceSample.of(data, None, 1000, np.random.RandomState(0))
    model = LatentModel(MarkovChain(), MissingRows(Gaussian(DIAG)))
    make = ChainStarts(model, 3, sample, None, ordered=ordered, exchangeable=True, floats_per_row=20)
    kinds = 2 * make.kinds
    found = [np.concatenate([leaf.ravel() for leaf in leaves(make.start(kind, seed).make())])
             for seed, kind in enumerate(kinds) if kind not in ("kmeans", "windows", "lagged")]  # fmt: skip
    assert len({vector.round(9).tobytes() for vector in found}) == len(found)


@pytest.mark.parametrize("seed", some_slow(range(4), [2]))
def test_one_state_of_many_gaussians_is_a_mixture(seed):
    rng = np.random.RandomState(seed)
    X = 3.0 * rng.normal(size=(4, 2))[rng.randint(4, size=200)] + rng.normal(size=(200, 2))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*different maxima")  # few starts agree on some of these
        fitted = HMMEM(1, emission="gmm", n_mixtures=4, random_state=0).fit(X)
    mixture = GaussianMixtureEM.from_parameters(
        fitted.weights_[0], fitted.means_[0], fitted.covariances_[0], warm_start=True
    ).fit(X)
    assert fitted.log_likelihood_ == pytest.approx(mixture.log_likelihood_, abs=1e-3)
    assert len(fitted.restarts_.starts) >= 7  # though one state alone has but one start


# -- weights -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("emission", EMISSIONS)
def test_a_sequence_of_weight_0_is_absent(emission):
    X = data_for(emission)
    other = data_for(emission, seed=1)[:30]
    if emission == "categorical":
        other = other + 4  # codes that nothing else has
    weighted = hmm(emission=emission).fit([X, other], sample_weight=[1, 0])
    alone = hmm(emission=emission).fit([X])
    assert weighted.n_parameters_ == alone.n_parameters_
    assert weighted.log_likelihood_ == pytest.approx(alone.log_likelihood_, abs=1e-8)
    np.testing.assert_allclose(weighted.transmat_, alone.transmat_, atol=1e-8)


def test_an_impossible_sequence_without_weight_is_nothing_to_the_score():
    X = data_for("gaussian")
    fitted = hmm().fit(X)
    impossible = np.full((3, 2), 1e300)
    with np.errstate(over="ignore"):
        assert fitted.score([X, impossible], sample_weight=[1, 0]) == pytest.approx(fitted.score(X))


# -- support -----------------------------------------------------------------------------------------------

DISCRETE = [
    (Poisson(), PoissonParams(np.array([[0.0], [0.0]]))),
    (Poisson(), PoissonParams(np.array([[0.0], [2.0]]))),
    (Bernoulli(), BernoulliParams(np.array([[0.0], [0.0]]))),
    (Bernoulli(), BernoulliParams(np.array([[1.0], [1.0]]))),
    (Bernoulli(), BernoulliParams(np.array([[0.0], [0.4]]))),
    (Categorical((3,)), CategoricalParams((np.array([[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]),))),
]


@pytest.mark.parametrize(("family", "params"), DISCRETE)
def test_possible_means_that_some_component_has_a_density(family, params):
    for value in (0.0, 1.0) if isinstance(family, Bernoulli) else (0.0, 1.0, 2.0):
        (batch,) = Batches(np.array([[value]]))
        seen = family.density(params)(batch)
        likely = (seen.log_prob + seen.shared_log_prob() > -np.inf).any()
        assert likely == family.is_possible(batch.x, params)[0, 0]


def test_what_never_happened_in_fit_is_impossible_later():
    X = data_for("bernoulli")
    X[:, 1] = 0.0
    fitted = hmm(emission="bernoulli").fit(X)
    with pytest.warns(UserWarning, match=r"X is 1 in column 1, sequence 0, step 3: never seen in fit"):
        found = fitted.score_samples(np.where(np.arange(120)[:, None] == 3, 1.0, X))
    assert np.isneginf(found[3:]).all()
    np.testing.assert_allclose(found[:3], fitted.score_samples(X)[:3], rtol=1e-12)


# -- attributes and family objects -------------------------------------------------------------------------


@pytest.mark.parametrize("emission", EMISSIONS)
def test_attributes_are_copies(emission):
    X = data_for(emission)
    fitted = hmm(emission=emission).fit(X)
    expected = fitted.score(X)
    for name in ("means_", "covariances_", "rates_", "probabilities_", "weights_", "emission_params_"):
        for array in leaves(getattr(fitted, name, ())):
            array[...] = 7.0
    assert fitted.score(X) == expected
    if emission == "poisson":
        assert fitted.rates_ is not fitted.emission_params_.rates


OBJECTS = [
    ("poisson", Poisson(), {"rates_": (2, 2)}),
    ("bernoulli", Bernoulli(), {"probabilities_": (2, 2)}),
    ("gaussian", Gaussian(DIAG), {"means_": (2, 2), "covariances_": (2, 2)}),
    ("gaussian", MissingRows(Gaussian(DIAG)), {"means_": (2, 2)}),
    (
        "gmm",
        MixtureOf(Gaussian(COVARIANCE_SHAPES["tied"]), 2),
        {"weights_": (2, 2), "means_": (2, 2, 2), "covariances_": (2, 2)},
    ),
    ("poisson", MixtureOf(Poisson(), 3), {"weights_": (2, 3), "rates_": (2, 3, 2)}),
]


@pytest.mark.parametrize(("kind", "family", "shapes"), OBJECTS)
def test_family_objects(kind, family, shapes):
    X = data_for(kind)
    X[5] = np.nan
    fitted = hmm(emission=family).fit(X)
    for name, shape in shapes.items():
        assert getattr(fitted, name).shape == shape
    assert fitted.predict(X).shape == (120,)


def test_a_mixture_of_categories_has_all_its_axes():
    fitted = hmm(emission=MixtureOf(Categorical((4, 4)), 2)).fit(data_for("categorical"))
    assert [p.shape for p in fitted.probabilities_] == [(2, 2, 4), (2, 2, 4)]


def test_a_product_is_like_a_dict():
    X = np.column_stack([data_for("gaussian")[:, 0], data_for("poisson")[:, 0]])
    X[3, 0] = np.nan
    product = hmm(emission=Product((((0,), Gaussian(DIAG)), ((1,), Poisson())))).fit(X)
    mixed = hmm(emission={0: "gaussian", 1: "poisson"}, covariance_type="diag").fit(X)
    assert product.log_likelihood_ == pytest.approx(mixed.log_likelihood_, abs=1e-8)
    assert list(product.emission_params_) == [(0,), (1,)]


def test_tied_covariances_of_one_state_of_one_gaussian():
    fitted = hmm(1, emission="gmm", n_mixtures=1, covariance_type="tied").fit(data_for("gaussian"))
    assert fitted.covariances_.shape == (2, 2)
    assert isinstance(fitted.emission_params_.members, GaussianParams)


def test_warm_start_refuses_other_categories():
    fitted = hmm(emission="categorical", warm_start=True).fit(data_for("categorical"))
    with pytest.raises(ValueError, match="other categories"):
        fitted.fit(data_for("categorical") + 1)


def test_labels_that_know_nothing_are_none():
    X = data_for("gaussian")
    plain = hmm().fit(X)
    for labels in (np.full(len(X), -1), np.ones((len(X), 2), dtype=bool), [{0, 1}, None, -1] * (len(X) // 3)):
        np.testing.assert_array_equal(hmm().fit(X, state_labels=labels).means_, plain.means_)


def test_sets_of_one_state_are_labels():
    X = data_for("gaussian")
    labels = np.where(np.arange(len(X)) % 4 == 0, np.arange(len(X)) // 60, -1)
    expected = hmm().fit(X, state_labels=labels)
    sets = [{label} if label >= 0 else None for label in labels.tolist()]
    booleans = (labels < 0)[:, None] | (labels[:, None] == np.arange(2))
    lists = [sets[:50], labels[50:]]
    for given in (sets, np.array(sets, dtype=object), booleans, booleans.astype(int)):
        np.testing.assert_array_equal(hmm().fit(X, state_labels=given).means_, expected.means_)
    by_sequence = hmm().fit([X[:50], X[50:]], state_labels=lists)
    expected = hmm().fit([X[:50], X[50:]], state_labels=[labels[:50], labels[50:]])
    np.testing.assert_array_equal(by_sequence.means_, expected.means_)


def test_states_that_are_not_possible_take_no_part():
    """Each of three states is ruled out somewhere: the fit is that of a chain without them there."""
    rng = np.random.RandomState(0)
    states = np.repeat([0, 1, 2, 1, 0, 2], 30)
    X = np.array([0.0, 1.5, 3.0])[states, None] + rng.normal(size=(180, 1))
    possible = rng.uniform(size=(180, 3)) < 0.7
    possible[np.arange(180), states] = True
    model = HMMEM(3, random_state=0).fit(X, state_labels=possible)
    batch = next(iter(Batches(X, lengths=[180], labels=possible, units=model._units)))
    log_prob = model._model.family.density(model._params.family)(batch).log_prob
    resp = model._model.latent.posterior(model._params.latent, log_prob, batch)[0].T
    assert not resp[~possible].any()
    np.testing.assert_allclose(model.means_, resp.T @ X / resp.sum(axis=0)[:, None], atol=1e-3)
    assert (model.means_.ravel().argsort() == np.arange(3)).all()  # the labels say which state is which


def test_states_drawn_from_the_posterior():
    X = data_for("gaussian") * 0.4
    fitted = hmm(random_state=np.random.RandomState(0)).fit(X)
    draws = np.mean([fitted.sample_states(X) for _ in range(400)], axis=0)
    np.testing.assert_allclose(draws, fitted.predict_proba(X)[:, 1], atol=0.15)
    fixed = fitted.set_params(random_state=3)
    np.testing.assert_array_equal(fixed.sample_states(X), fixed.sample_states(X))
    listed = fixed.sample_states([X[:50], X[50:]])
    assert [len(path) for path in listed] == [50, 70]


@pytest.mark.parametrize("emission", ["poisson", "gaussian"])
def test_long_gaps_do_not_hide_what_was_seen(emission):
    X = data_for(emission)
    gap = np.full((40_000, 2), np.nan)
    fitted = hmm(emission=emission).fit(np.vstack([X[:60], gap, X[60:]]))
    shorter = hmm(emission=emission).fit(np.vstack([X[:60], gap[:500], X[60:]]))
    assert fitted.log_likelihood_ == pytest.approx(shorter.log_likelihood_, abs=0.05)
