"""Rows in pieces: the same fit as of the whole, whatever gives the pieces, and what is refused."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest

from emlearn import (
    BayesianGaussianMixtureEM,
    EMImputer,
    GaussianMixtureEM,
    MixtureOfExperts,
    MixtureOfExpertsClassifier,
    MixtureOfLinearRegressions,
)
from emlearn.em import Batches, Data
from emlearn.em.trees import leaves
from tests.helpers.pace import some_slow

N_PIECES = 7


@pytest.fixture(scope="module")
def X():
    rng = np.random.RandomState(0)
    centres = np.array([[0.0, 0.0, 0.0], [5.0, 1.0, -3.0], [-4.0, 6.0, 2.0]])
    return rng.normal(size=(700, 3)) + centres[rng.randint(3, size=700)]


@pytest.fixture(scope="module")
def y(X):
    rng = np.random.RandomState(1)
    slopes = np.array([[2.0, 0.0, 1.0], [-1.0, 3.0, 0.0]])[rng.randint(2, size=len(X))]
    return (slopes * X).sum(axis=1) + 0.3 * rng.normal(size=len(X))


class Reread:
    """Pieces whose `__iter__` starts afresh, and that count how often it did."""

    def __init__(self, pieces, **known):
        self.pieces, self.n_reads = pieces, 0
        vars(self).update(known)

    def __iter__(self):
        self.n_reads += 1
        return iter(self.pieces)


def with_gaps(X):
    X = X.copy()
    X[np.random.RandomState(2).uniform(size=X.shape) < 0.1] = np.nan
    return X


ESTIMATORS = {
    "mixture": GaussianMixtureEM(3, random_state=0, n_init=2),
    "variational": BayesianGaussianMixtureEM(4, random_state=0, n_init=1),
    "imputer": EMImputer(n_components=2, random_state=0, n_init=2),
    "imputer of one": EMImputer(random_state=0),
}


def parameters(estimator):
    return list(leaves(estimator._params))


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("gaps", [False, True])
def test_pieces_are_fitted_as_the_whole_is(X, name, gaps):
    data = with_gaps(X) if gaps else X
    whole, pieces = copy.deepcopy(ESTIMATORS[name]), copy.deepcopy(ESTIMATORS[name])
    whole.fit(data)
    pieces.fit(np.array_split(data, N_PIECES))
    for one, other in zip(parameters(whole), parameters(pieces), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    assert pieces.score(np.array_split(data, 3)) == pytest.approx(whole.score(data), abs=1e-8)


@pytest.mark.parametrize("name", some_slow(ESTIMATORS, 2))
def test_whatever_gives_the_pieces_they_are_the_same(X, name):
    X = with_gaps(X)
    weight = np.random.RandomState(3).uniform(0.5, 2.0, size=len(X))
    pieces, weights = np.array_split(X, N_PIECES), np.array_split(weight, N_PIECES)
    pairs = list(zip(pieces, weights, strict=True))
    ways = [
        (pairs, None),
        (lambda: iter(pairs), None),
        (pieces, weights),
        (Reread(pieces), weight),
        (Reread([pieces[0][:0], *pieces]), lambda: iter([weights[0][:0], *weights])),
        ([pd.DataFrame(piece, columns=["a", "b", "c"]) for piece in pieces], weights),
    ]
    fits = [copy.deepcopy(ESTIMATORS[name]).fit(data, sample_weight=w) for data, w in ways]
    for fit in fits[1:]:
        for one, other in zip(parameters(fits[0]), parameters(fit), strict=True):
            np.testing.assert_array_equal(one, other)
    assert list(fits[-1].feature_names_in_) == ["a", "b", "c"]
    scores = {fit.score(data, sample_weight=w) for fit, (data, w) in zip(fits, ways, strict=True)}
    assert len(scores) == 1


def test_predictions_of_pieces_are_made_when_asked_for(X):
    mixture = GaussianMixtureEM(3, random_state=0).fit(X)
    source = Reread(np.array_split(X, N_PIECES))
    for method in ("predict", "predict_proba", "score_samples"):
        source.n_reads = 0
        lazy = getattr(mixture, method)(source)
        assert not source.n_reads
        for _ in range(2):  # as often as is wanted
            np.testing.assert_array_equal(np.concatenate(list(lazy)), getattr(mixture, method)(X))
        assert source.n_reads == 2
    for criterion in ("bic", "icl", "aic"):
        of_pieces, of_all = (getattr(mixture, criterion)(data) for data in (list(source), X))
        assert of_pieces == pytest.approx(of_all, rel=1e-12)
    once = mixture.predict(piece for piece in source)  # what is read once may be read once
    assert len(np.concatenate(list(once))) == len(X)


def test_imputed_pieces_are_those_of_the_whole(X):
    X = with_gaps(X)
    imputer = EMImputer(random_state=0).fit(X)
    imputed = imputer.transform(np.array_split(X, N_PIECES))
    np.testing.assert_allclose(np.vstack(list(imputed)), imputer.transform(X), rtol=1e-12)


@pytest.mark.parametrize("make", [MixtureOfLinearRegressions, MixtureOfExperts])
def test_what_stands_beside_rows_comes_in_pieces_too(X, y, make):
    weight = np.random.RandomState(3).uniform(0.5, 2.0, size=len(X))
    settings = {"n_components": 2, "random_state": 0, "n_init": 2}
    pieces, of_y, of_weight = (np.array_split(part, N_PIECES) for part in (X, y, weight))
    whole = make(**settings).fit(X, y, sample_weight=weight)
    fits = [
        make(**settings).fit(pieces, of_y, sample_weight=of_weight),
        make(**settings).fit(pieces, y, sample_weight=weight),
        make(**settings).fit(lambda: iter(pieces), Reread([part[:, None] for part in of_y]), of_weight),
    ]
    for fit in fits:
        np.testing.assert_array_equal(fit.coef_, fits[0].coef_)
        np.testing.assert_allclose(fit.coef_, whole.coef_, atol=1e-4)
    fit = fits[0]
    np.testing.assert_allclose(np.concatenate(list(fit.predict(pieces))), fit.predict(X), rtol=1e-12)
    lazy = fit.component_proba(pieces, of_y)
    np.testing.assert_allclose(np.vstack(list(lazy)), fit.component_proba(X, y), atol=1e-12)
    lazy = fit.predict_interval(pieces, coverage=0.5)
    np.testing.assert_allclose(np.vstack(list(lazy)), fit.predict_interval(X, 0.5), rtol=1e-12)
    assert fit.score(pieces, of_y, of_weight) == pytest.approx(fit.score(X, y, weight), rel=1e-12)
    assert fit.bic(pieces, of_y, weight) == pytest.approx(fit.bic(X, y, weight), rel=1e-12)


@pytest.mark.parametrize("give", [list, lambda pieces: lambda: iter(pieces)])
def test_weights_in_pieces_are_told_to_count_no_rows(X, give):
    pieces, shares = np.array_split(X, N_PIECES), np.array_split(np.full(len(X), 0.5), N_PIECES)
    fitted = GaussianMixtureEM(2, n_init=1, max_iter=5, random_state=0, init_params="random")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(X)
    with pytest.warns(UserWarning, match="700 weights of which none reaches 1"):
        found = fitted.bic(give(pieces), give(shares))
    with pytest.warns(UserWarning, match="700 weights of which none reaches 1"):
        assert found == pytest.approx(fitted.bic(X, np.full(len(X), 0.5)), rel=1e-12)


def test_offsets_come_in_pieces(X):
    X, rng = X[:300], np.random.RandomState(4)
    offset = rng.uniform(size=len(X))
    counts = rng.poisson(np.exp(offset + 0.2 * X[:, 0]))
    settings = {"family": "poisson", "n_components": 2, "random_state": 0, "n_init": 3}
    whole = MixtureOfLinearRegressions(**settings).fit(X, counts, offset=offset)
    pieces = MixtureOfLinearRegressions(**settings).fit(np.array_split(X, 4), counts, offset=offset)
    assert pieces.log_likelihood_ == pytest.approx(whole.log_likelihood_, abs=1e-3)


def test_a_classifier_knows_the_classes_of_all_pieces(X):
    X = X[:300]
    y = np.where(X[:, 0] + X[:, 1] > 2, "yes", "no")
    order = np.argsort(y, kind="stable")  # the first pieces have one class
    X, y = X[order], y[order]
    settings = {"n_components": 2, "random_state": 0, "n_init": 2}
    fit = MixtureOfExpertsClassifier(**settings).fit(np.array_split(X, 5), np.array_split(y, 5))
    assert fit.classes_.tolist() == ["no", "yes"]
    assert fit.score(np.array_split(X, 3), y) == fit.score(X, y) > 0.9


# -- what is refused ---------------------------------------------------------------------------------------


def as_it_was(estimator, before):
    return vars(estimator).keys() == before.keys() and all(vars(estimator)[k] is before[k] for k in before)


REFUSED = {
    "can be read once": lambda pieces: iter(pieces),
    "no piece that has any": lambda pieces: lambda: iter([]),
    "Piece 2 of X: X has 2 features": lambda pieces: [*pieces[:2], pieces[2][:, :2]],
    "Piece 1 of X: Input X contains infinity in column 1, row 3": lambda pieces: [
        pieces[0],
        np.where(np.arange(len(pieces[1]) * 3).reshape(-1, 3) == 10, np.inf, pieces[1]),
    ],
    "Piece 1 of X: sample_weight has shape": lambda pieces: [pieces[0], (pieces[1], np.ones(3))],
    "Piece 1 of X: X has entries that are no numbers": lambda pieces: [pieces[0], pieces[1].astype(str)],
    "Piece 1 of X: sample_weight has negative": lambda pieces: [
        pieces[0],
        (pieces[1], -np.ones(len(pieces[1]))),
    ],
    "sample_weight is zero for every row": lambda pieces: [(p, np.zeros(len(p))) for p in pieces],
}


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_wrong_with_a_piece_is_said_and_nothing_is_changed(X, name, message):
    estimator = copy.deepcopy(ESTIMATORS[name]).fit(X[:200])
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match=message):
        estimator.fit(REFUSED[message](np.array_split(X, N_PIECES)))
    assert as_it_was(estimator, before)


def test_what_stands_beside_rows_must_be_as_long(X, y):
    estimator, pieces = MixtureOfLinearRegressions(n_init=1), np.array_split(X, N_PIECES)
    of_y = np.array_split(y, N_PIECES)
    for other, message in [
        (of_y[:-1], "fewer pieces"),
        ([*of_y, of_y[0]], "more pieces"),
        (np.append(y, 1.0), "more rows"),
        (iter(of_y), "read once"),
    ]:
        with pytest.raises(ValueError, match=message):
            estimator.fit(pieces, other)
    with pytest.raises(ValueError, match="groups may have rows in several pieces"):
        estimator.fit(pieces, of_y, groups=np.arange(len(X)))
    with pytest.raises(ValueError, match="pairs"):
        GaussianMixtureEM(2).fit(
            [(piece, np.ones(len(piece))) for piece in pieces], sample_weight=np.ones(len(X))
        )


def test_a_reader_that_fails_leaves_the_estimator_as_it_was(X):
    mixture = GaussianMixtureEM(2, random_state=0).fit(X)
    before, passes = dict(vars(mixture)), []

    def pieces():
        passes.append(None)
        yield X[:300]
        if len(passes) == 4:
            raise OSError("the disk is gone")
        yield X[300:]

    with pytest.raises(OSError, match="disk"):
        mixture.fit(pieces)
    assert as_it_was(mixture, before)


def test_data_that_change_between_passes_are_refused(X):
    passes = []

    def pieces():
        passes.append(None)
        yield X[:300]
        yield X[300 : 600 + len(passes)]

    data = Batches(pieces)
    assert data.n_rows == 601
    with pytest.raises(ValueError, match="had 601 rows, but 602 when read again"):
        data.sum(lambda batch: batch.x.sum())


# -- the interface -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
def test_batches_take_and_recut_what_they_hold(X, whole):
    weight = np.arange(len(X), dtype=float)
    parts = np.array_split(X, N_PIECES), np.array_split(weight, N_PIECES)
    data = Batches(X, weight) if whole else Batches(list(zip(*parts, strict=True)))
    assert isinstance(data, Data)
    assert (data.n_rows, data.n_features) == X.shape
    np.testing.assert_array_equal(data.weights(), weight)
    positions = np.array([0, 5, 99, 100, 699])
    np.testing.assert_array_equal(data.take(positions), X[positions])
    some = data.recut(columns=np.array([2, 0]), rows=100)
    assert (some.n_rows, some.n_features) == (len(X), 2)
    np.testing.assert_array_equal(some.take(positions), X[positions][:, [2, 0]])
    np.testing.assert_array_equal(np.hstack(list(some.map(lambda batch: batch.x))), X.T[[2, 0]])
    one = some.recut(columns=np.array([1]))
    np.testing.assert_array_equal(np.hstack(list(one.map(lambda batch: batch.x))), X.T[:1])


def test_sums_go_piece_by_piece(X):
    pieces = np.array_split(X * np.pi, N_PIECES)

    def total(batch):
        return batch.x.sum()

    of_each = [Batches(piece, rows=64).sum(total) for piece in pieces]
    expected = of_each[0]
    for part in of_each[1:]:
        expected = expected + part
    assert Batches(pieces, rows=64).sum(total) == expected
    assert Batches(pieces, rows=64, n_threads=3).sum(total) == expected
