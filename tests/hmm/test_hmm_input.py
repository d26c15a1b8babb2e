"""What users of HMMEM get when things go wrong: a message that names the place and says what to do."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from emlearn import HMMEM
from emlearn.families import Bernoulli, Categorical, Poisson

NAN, INF = np.nan, np.inf


def hmm(n_components=2, **kwargs):
    return HMMEM(n_components, **{"random_state": 0, "n_init": 2, **kwargs})


@pytest.fixture
def X():
    """Three sequences, as rows."""
    rng = np.random.RandomState(0)
    return rng.normal(size=(60, 2)) + 5 * np.repeat([0, 1, 0], [20, 25, 15])[:, None]


@pytest.fixture
def lists(X):
    return np.split(X, [20, 45])


@pytest.fixture
def counts():
    return np.random.RandomState(0).poisson(3, size=(60, 2)).astype(float)


def frame(X, names=("speed", "load")):
    return pd.DataFrame(X, columns=list(names))


# -- sequences ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ({"lengths": [20, 20]}, "add up to 40, but X has 60 rows.* cross-validation has cut X.*give a list"),
        ({"lengths": [20, 40], "groups": np.zeros(60)}, "groups and lengths both say .*: drop lengths"),
        ({"lengths": [0, 60]}, r"lengths\[0\] is 0: .* integer, 1 or more"),
        ({"lengths": [61, -1]}, r"lengths\[1\] is -1: .* integer, 1 or more"),
        ({"lengths": [30.5, 29.5]}, r"lengths\[0\] is 30.5: .* integer, 1 or more"),
        ({"lengths": "all"}, "lengths='all': give a list of integers"),
        ({"lengths": [[60]]}, "give a list of integers"),
        ({"groups": np.zeros(59)}, r"groups has shape \(59,\), but X has 60 rows: give one group per row"),
        ({"groups": [None] + 59 * ["a"]}, "group of row 0 is missing: say where the row belongs"),
        ({"groups": np.r_[np.zeros(59), NAN]}, "group of row 59 is missing: say where the row belongs"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "predict", "score"])
def test_marks_of_sequences(X, marks, message, method):
    estimator = hmm() if method == "fit" else hmm().fit(X)
    with pytest.raises(ValueError, match=message):
        getattr(estimator, method)(X, **marks)


def test_lengths_that_cross_validation_left_whole(X):
    # As a splitter does: rows are cut, and an argument of another length is passed on as it is.
    with pytest.raises(ValueError, match="If cross-validation has cut X, lengths stayed whole: give a list"):
        hmm().fit(X[:40], lengths=[20, 25, 15])


@pytest.mark.parametrize("mark", ["lengths", "groups"])
def test_marks_beside_a_list(lists, mark):
    with pytest.raises(ValueError, match=f"holds one sequence per entry, .*: drop {mark}"):
        hmm().fit(lists, **{mark: [20, 25, 15]})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda X: [], "X is an empty list: give at least one sequence"),
        (lambda X: [X, X[:0]], "Sequence 1 is empty: leave it out"),
        (lambda X: X[:0], "0 sample"),
        (lambda X: np.zeros((2, 0, 3)), "Sequence 0 is empty"),
        (lambda X: np.stack([X, X * NAN]), "Sequence 1 has nothing but NaN: leave it out"),
        (lambda X: [X, X[:, :1]], "Sequence 1 has 1 features, but sequence 0 has 2"),
        (lambda X: [X[:, 0], X[:9, 0]], r"Sequence 0 is one-dimensional: .*reshape\(-1, 1\)"),
        (lambda X: [X, X[:9, 0]], r"Sequence 1 is one-dimensional: .*reshape\(-1, 1\)"),
        (lambda X: [X, X[None]], r"Sequence 1 has the shape \(1, 60, 2\) instead of \(n_steps, n_features\)"),
        (lambda X: X[:, 0], r"Reshape your data"),
        (lambda X: np.zeros((2, 2, 2, 2)), "dim 4"),
        (lambda X: [frame(X), X], "Sequence 1 is a ndarray, but sequence 0 is a DataFrame: give all as"),
        (lambda X: [frame(X), frame(X, "ab")], r"Sequence 1 has columns \['a', 'b'\], but sequence 0 has"),
        (lambda X: [["a"], ["b"]], r"X has entries that are no numbers in columns \[0\]"),
        (lambda X: None, "Expected 2D array"),
        (lambda X: X + 1j, "Complex data not supported"),
    ],
)
def test_sequences_that_are_none(X, make, message):
    with pytest.raises(ValueError, match=message):
        hmm().fit(make(X))


def test_sparse_sequences(X):
    for given in (sparse.csr_matrix(X), [sparse.csr_matrix(X)]):
        with pytest.raises(TypeError, match=r"toarray\(\)"):
            hmm().fit(given)


def test_sequence_id(X):
    data = frame(X)
    with pytest.raises(ValueError, match=r"'id' is not in X, which has the columns \['speed', 'load'\]"):
        hmm(sequence_id="id").fit(data)
    with pytest.raises(ValueError, match="X is a ndarray: give a DataFrame, or groups="):
        hmm(sequence_id="id").fit(X)
    with pytest.raises(ValueError, match=r"both say .*: drop groups, or set sequence_id=None"):
        hmm(sequence_id="id").fit(data.assign(id=0), groups=np.zeros(60))
    with pytest.raises(ValueError, match="there are no features"):
        hmm(sequence_id="id").fit(pd.DataFrame({"id": np.zeros(60)}))
    fitted = hmm(sequence_id="id").fit(data.assign(id=0))
    with pytest.raises(ValueError, match="sequence_id='id' is not in X"):
        fitted.predict(data)


# -- entries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [INF, -INF])
@pytest.mark.parametrize("method", ["fit", "predict", "score"])
def test_infinity_is_named(X, value, method):
    estimator = hmm() if method == "fit" else hmm().fit(np.split(X, [20, 45]))
    X[25, 1] = value
    act = getattr(estimator, method)
    for given, marks, place in [
        (X, {}, "column 1, row 25"),
        (np.split(X, [20, 45]), {}, "column 1, sequence 1, row 5"),
        (X, {"lengths": [20, 25, 15]}, r"column 1, sequence 1, row 5 \(row 25 of X\)"),
    ]:
        with pytest.raises(ValueError, match=f"contains infinity in {place}. Remove or replace it"):
            act(given, **marks)


@pytest.mark.parametrize("emission", ["gaussian", "poisson", "bernoulli", "categorical", "gmm"])
def test_a_column_of_nan(X, emission):
    X[:, 1] = NAN
    with pytest.raises(ValueError, match="nothing but NaN in column 1: leave it out"):
        hmm(emission=emission).fit(X)
    with pytest.raises(ValueError, match="nothing but NaN in column 'load': leave it out"):
        hmm(emission=emission).fit(frame(X))


def test_a_column_of_nan_but_for_what_has_no_weight(X):
    gone = X.copy()
    gone[:, 1] = NAN
    with pytest.raises(ValueError, match="nothing but NaN in column 1: leave it out"):
        hmm().fit([gone, X], sample_weight=[1, 0])


@pytest.mark.parametrize(
    ("emission", "change", "message"),
    [
        ("poisson", -1, "X is -1 in .*: not one of the counts 0, 1, 2"),
        ("poisson", 2.5, "X is 2.5 in .*: not one of the counts 0, 1, 2"),
        ("bernoulli", 2, "X is 2 in .*: not one of 0 and 1"),
        ("bernoulli", 0.5, "X is 0.5 in .*: not one of 0 and 1"),
        ("categorical", -1, "X is -1 in .*: not one of the codes 0 to 1"),
        ("categorical", 0.5, "X is 0.5 in .*: not one of the codes 0 to 1"),
        ({0: "bernoulli", 1: "poisson"}, -1, "X is -1 in .*: not one of the counts 0, 1, 2"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "predict", "score"])
def test_observations_without_a_density(counts, emission, change, message, method):
    bits = np.minimum(counts, 1)
    estimator = hmm(emission=emission)
    estimator = estimator if method == "fit" else estimator.fit(bits)
    bits[25, 1] = change
    sequences = [bits[:20], bits[20:]]
    with pytest.raises(ValueError, match=message.replace(".*", "column 1, sequence 1, step 5")):
        getattr(estimator, method)(sequences)
    frames = [frame(part) for part in sequences]
    with pytest.raises(ValueError, match=message.replace(".*", "column 'load', sequence 1, step 5")):
        hmm(emission=emission).fit(frames)


def test_codes_that_fit_has_not_seen():
    codes = np.array([0.0, 1.0, 3.0, 1.0, 0.0, 3.0] * 5)[:, None]
    fitted = hmm(emission="categorical").fit(codes)
    for code in (2.0, 4.0):  # between the others, and beyond
        message = f"X is {code:g} in column 0, sequence 1, step 1: never seen in fit"
        sequences = [[[0.0], [1.0]], [[0.0], [code]], [[3.0], [code]]]
        for method in (fitted.predict, fitted.score, fitted.predict_next, fitted.log_likelihood):
            with pytest.warns(UserWarning, match=message) as caught:
                method(sequences)
            assert len(caught) == 1
            assert "of the 2 sequences with the like" in str(caught[0].message)
        with pytest.warns(UserWarning, match=message):
            log_likelihood = fitted.log_likelihood(sequences)
        np.testing.assert_array_equal(log_likelihood[1:], -INF)
        assert log_likelihood[0] == fitted.log_likelihood(sequences[:1])[0]
    with pytest.raises(ValueError, match="X is -1 in column 0, sequence 0, step 0"):
        fitted.predict([[-1.0], [0.0]])
    assert np.isfinite(fitted.score([[0.0], [NAN], [3.0]]))


class AllOrNothing(Bernoulli):
    """A family that takes rows as a whole."""

    marginalises = False


@pytest.mark.parametrize("method", ["fit", "predict", "score"])
def test_rows_that_are_missing_in_part(counts, method):
    emission, bits = AllOrNothing(), np.minimum(counts, 1)
    estimator = hmm(emission=emission)
    estimator = estimator if method == "fit" else estimator.fit(bits)
    bits[25, 1] = NAN
    message = r"NaN in column 1, sequence 1, step 5, .*missing as a whole or not at all"
    with pytest.raises(ValueError, match=message):
        getattr(estimator, method)(np.split(bits, [20]))
    bits[25] = NAN
    getattr(estimator, method)(np.split(bits, [20]))


def test_parts_of_a_dict_are_missing_on_their_own(counts):
    counts[4, 0] = counts[7, 1] = NAN  # each part has one column
    fitted = hmm(emission={0: "poisson", 1: "gaussian"}).fit(counts)
    assert np.isfinite(fitted.score(counts))
    together = hmm(emission={0: "poisson", 1: "poisson"}).fit(counts)
    apart = hmm(emission={0: Poisson(), 1: Poisson()}).fit(counts)
    assert together.score(counts) == pytest.approx(apart.score(counts), abs=1e-6)


def test_too_few_steps(X):
    message = "n_components=3 needs at least as many observed steps, but X has n_samples=2. Reduce n_components"
    with pytest.raises(ValueError, match=message):
        hmm(3).fit(X[:2])
    with pytest.raises(ValueError, match=message):
        hmm(3).fit([X[:2], X], sample_weight=[1, 0])
    X[2:] = NAN
    with pytest.raises(ValueError, match=message):
        hmm(3).fit(X)


def test_nothing_to_score(X):
    fitted = hmm().fit(X)
    for criterion in (fitted.score, fitted.aic, fitted.bic):
        with pytest.raises(ValueError, match="no observed step with weight: there is nothing to score"):
            criterion(np.full((3, 2), NAN))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 2], r"shape \(2,\), but X has 3 sequences: give one weight per sequence"),
        ([1, 2, -1], "negative values, the first for sequence 2"),
        ([0, 0, 0], "zero for every sequence"),
        ([0, 0, NAN], "NaN"),
        ([0, 0, INF], "infinity"),
        (NAN, "must be a finite number"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "score", "bic"])
def test_bad_weights(lists, weight, message, method):
    estimator = hmm() if method == "fit" else hmm().fit(lists)
    with pytest.raises(ValueError, match=message):
        getattr(estimator, method)(lists, sample_weight=weight)


def test_weights_of_rows_differ_within_a_sequence(X):
    weight = np.ones(60)
    weight[30] = 2
    with pytest.raises(ValueError, match="1 at the start of sequence 1 and 2 in its row 10: a weight counts"):
        hmm().fit(X, sample_weight=weight, lengths=[20, 25, 15])


# -- states that are known ---------------------------------------------------------------------------------


def steps(*known):
    """Labels of 60 rows, some of them known."""
    labels = np.full(60, -1)
    for row, state in known:
        labels[row] = state
    return labels


@pytest.mark.parametrize(
    ("labels", "kwargs", "message"),
    [
        (steps((5, 2)), {}, "is 2 in sequence 0, row 5: a label is one of the states 0 to 1, or -1"),
        (steps((5, -2)), {}, "is -2 in sequence 0, row 5: a label is one of the states 0 to 1, or -1"),
        (np.full(60, 0.5), {}, "is 0.5 in sequence 0, row 0: a label is one of"),
        (np.zeros(59), {}, r"shape \(59,\), but X has 60 rows: give one label per row"),
        (np.zeros((60, 1)), {}, r"shape \(60, 1\), but X has 60 rows: give one label per row"),
        (["low"] * 59 + [1], {}, "must be an array of numbers, but holds 'low'"),
        (
            ["low", "mid", "high"] * 20,
            {},
            "has 3 names, .*'high', 'low', 'mid'.*, but there are n_components=2",
        ),
        ([{0, 2}] + [-1] * 59, {}, r"state_labels has {0, 2} in row 0: states are whole numbers from 0 to 1"),
        ([-1] * 59 + [{"a"}], {}, "has {'a'} in row 59"),
        ([-1] * 25 + [set()] + [None] * 34, {}, "is no state at all in sequence 1, row 5"),
        (
            np.eye(2, dtype=bool)[np.zeros(60, dtype=int)] & (np.arange(60) != 7)[:, None],
            {},
            "sequence 0, row 7",
        ),
        (np.full((60, 2), 0.5), {}, "of each whether it is possible: 0 or 1"),
        ([{0, 1}] * 20 + [{1}] + [{0, 1}] * 39, {"startprob": [1.0, 0.0]}, "begins sequence 1 in state 1"),
        (
            [{0, 1}] * 25 + [{1}, {0}] + [None] * 33,
            {"transition": "left-right"},
            "goes from state 1 to state 0 after step 5 of sequence 1",
        ),
        (
            steps((25, 1), (26, 0)),
            {"transition": "left-right"},
            "goes from state 1 to state 0 after step 5 of sequence 1, but transition forbids that",
        ),
        (steps((25, 1), (28, 0)), {"transition": "left-right"}, "sequence 1 are impossible: no allowed path"),
        (steps((20, 1)), {"startprob": [1.0, 0.0]}, "begins sequence 1 in state 1, but startprob gives .* 0"),
        (
            steps((21, 1)),
            {"startprob": [1.0, 0.0], "transition": np.eye(2, dtype=bool)},
            "of sequence 1 are impossible",
        ),
        (steps((45, 1)), {"startprob_init": [1.0, 0.0]}, "of sequence 2 are impossible"),
        (steps((25, 0), (26, 1)), {"transmat_init": np.eye(2)}, "of sequence 1 are impossible"),
    ],
)
def test_bad_labels(X, labels, kwargs, message):
    with pytest.raises(ValueError, match=f"state_labels.* {message}|{message}"):
        hmm(**kwargs).fit(X, state_labels=labels, lengths=[20, 25, 15])


def test_labels_of_a_list(lists):
    with pytest.raises(ValueError, match="state_labels has 1 entries, but X has 3 sequences"):
        hmm().fit(lists, state_labels=[np.zeros(60)])
    with pytest.raises(ValueError, match=r"state_labels\[1\] has shape \(24,\), but sequence 1 has 25 rows"):
        hmm().fit(lists, state_labels=[np.zeros(20), np.zeros(24), np.zeros(15)])


def test_ends_of_sequences_are_no_transitions(lists):
    labels = [np.full(len(rows), -1) for rows in lists]
    labels[0][-1], labels[1][0] = 1, 0  # state 1 ends one sequence, state 0 begins the next
    fitted = hmm(transition="left-right").fit(lists, state_labels=labels)
    assert fitted.transmat_[1, 0] == 0.0


# -- parameters --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"transition": [[0.5, 0.4], [0.5, 0.5]]}, "transition must sum to 1, but row 0 sums to 0.9"),
        ({"transition": [[0.5, 0.5]]}, r"shape \(1, 2\); expected \(2, 2\)\. There are n_components=2 states"),
        ({"transition": np.ones((3, 3), dtype=bool)}, r"transition has shape \(3, 3\); expected \(2, 2\)"),
        ({"transition": [[1.5, -0.5], [0.5, 0.5]]}, "transition must hold .* least entry is -0.5"),
        ({"transition": [[NAN, 1.0], [0.5, 0.5]]}, "transition must hold probabilities"),
        ({"transition": [[0.5, 0.5], [1.0]]}, "transition must be an array"),
        ({"transition": [["a", "b"], ["c", "d"]]}, "transition must be an array"),
        ({"transition": [[1, 1], [0, 1]]}, "transition holds 0 and 1, but .*: .* make it boolean"),
        ({"transition": np.array([[0, 0], [1, 1]], dtype=bool)}, "forbids every way out of state 0: allow it"),
        ({"transition": "right-left"}, "'transition' parameter .*'left-right'"),
        ({"startprob": [0.3, 0.3, 0.4]}, r"startprob has shape \(3,\); expected \(2,\)\. .* n_components=2"),
        ({"startprob": [0.3, 0.3]}, "startprob must sum to 1, but it sums to 0.6"),
        ({"startprob": [1.3, -0.3]}, "startprob must hold probabilities"),
        ({"startprob": "even"}, "'startprob' parameter .*'uniform'"),
        ({"startprob_init": [1.0]}, r"startprob_init has shape \(1,\)"),
        ({"startprob_init": [0.5, 0.6]}, "startprob_init must sum to 1"),
        ({"startprob_init": [0.5, 0.5], "startprob": "uniform"}, "startprob_init .*'uniform' .*: drop one"),
        ({"startprob_init": [0.5, 0.5], "startprob": "stationary"}, "leaves nothing to estimate: drop one"),
        ({"startprob_init": [0.5, 0.5], "startprob": [0.1, 0.9]}, "leaves nothing to estimate: drop one"),
        ({"transmat_init": [0.5, 0.5]}, r"transmat_init has shape \(2,\); expected \(2, 2\)"),
        ({"transmat_init": [[0.5, 0.5], [0.6, 0.5]]}, "transmat_init must sum to 1, but row 1 sums to 1.1"),
        ({"transmat_init": [[0.5, INF], [0.5, 0.5]]}, "transmat_init must hold probabilities"),
        (
            {"transmat_init": [[0.5, 0.5], [0.5, 0.5]], "transition": "left-right"},
            r"transmat_init\[1, 0\] is 0.5, but transition forbids to go from state 1 to state 0",
        ),
        ({"startprob": "stationary", "transition": "left-right"}, "'stationary' needs .* forbids too many"),
        ({"startprob": "stationary", "transition": np.eye(2)}, "'stationary' needs .* forbids too many"),
        ({"startprob_prior": 0.5}, "startprob_prior holds 0.5: concentrations must .* at least 1"),
        ({"startprob_prior": 0.0}, r"'startprob_prior' parameter .* \(0.0, inf\)"),
        ({"startprob_prior": [1.0, 0.5]}, "startprob_prior holds 0.5: concentrations must .* at least 1"),
        ({"startprob_prior": [1.0, NAN]}, "startprob_prior holds nan"),
        ({"startprob_prior": [1.0, INF]}, "startprob_prior holds inf: concentrations must be finite"),
        ({"startprob_prior": ["a", "b"]}, "startprob_prior must be an array"),
        (
            {"startprob_prior": [1.0, 1.0, 1.0]},
            r"startprob_prior has shape \(3,\); .* a number or \(2,\)",
        ),
        ({"transmat_prior": [[1.0, 1.0], [0.0, 1.0]]}, "transmat_prior holds 0: .* at least 1"),
        ({"transmat_prior": [[1.0, 1.0, 1.0]]}, r"transmat_prior has shape \(1, 3\); .* \(2,\) or \(2, 2\)"),
        ({"transmat_prior": []}, r"transmat_prior has shape \(0,\)"),
        ({"transmat_prior": INF}, "'transmat_prior' parameter"),
        ({"stickiness": -1.0}, "'stickiness' parameter"),
        ({"stickiness": INF}, "'stickiness' parameter"),
        ({"means_init": [[1.0, 2.0]]}, r"means_init has shape \(1, 2\); expected \(2, 2\)"),
        ({"means_init": [1.0, 2.0]}, r"means_init has shape \(2,\); expected \(2, 2\)"),
        ({"means_init": [[1.0, 2.0], [NAN, 3.0]]}, r"means_init contains NaN at \(1, 0\): every entry"),
        ({"means_init": [["a", "b"], ["c", "d"]]}, "means_init must be an array"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"covariance_type": "round"}, "'covariance_type' parameter"),
        ({"algorithm": "map"}, "'algorithm' parameter .*'viterbi'"),
        ({"acceleration": "fast"}, "'acceleration' parameter"),
        ({"assignment": "viterbi"}, "'assignment' parameter .*'hard'"),
        ({"annealing": "slow"}, "'annealing' parameter"),
        ({"annealing": [0.5, 0.9]}, r"annealing=\[0.5, 0.9\] must end at 1"),
        ({"n_mixtures": 0, "emission": "gmm"}, "'n_mixtures' parameter"),
        ({"n_init": 0}, "'n_init' parameter"),
        ({"tol": -1.0}, "'tol' parameter"),
    ],
)
def test_bad_parameters(X, kwargs, message):
    with pytest.raises(ValueError, match=message):
        hmm(**kwargs).fit(X)


@pytest.mark.parametrize(
    ("emission", "message"),
    [
        (
            "gauss",
            "emission='gauss' is none of gaussian, student_t, poisson, categorical, bernoulli, ",
        ),
        (3, "emission=3 is neither one of gaussian, .*, nor a dict .*, nor a family from emlearn.families"),
        (None, "emission=None is neither one of"),
        (Poisson, r"emission=Poisson is a class: give an instance, Poisson\(\)"),
        ({}, r"says nothing of the columns \[0, 1\]: give each column of X an emission"),
        ({0: "gaussian"}, r"says nothing of the columns \[1\]: give each column of X an emission"),
        ({0: "gaussian", 1: "gauss"}, "emission='gauss' is none of"),
        ({0: "gaussian", 1: "gaussian", 2: "poisson"}, "names 2, which is no feature; X has 2"),
        ({0: "gaussian", -3: "gaussian"}, "names -3, which is no feature; X has 2"),
        ({1: "gaussian", -1: "gaussian"}, "names a feature twice"),
        ({0: "gaussian", 1.5: "gaussian"}, "names 1.5, which is no feature; X has 2"),
        ({0: "gaussian", None: "gaussian"}, "names None, which is no feature"),
        ({(0, 2): "gaussian"}, "names 2, which is no feature"),
        ({(0, 1): "gaussian", 1: "poisson"}, "names a feature twice"),
        (
            {"speed": "gaussian", "load": "gaussian"},
            "names 'speed', .*; the features have no names",
        ),
    ],
)
def test_bad_emissions(X, emission, message):
    with pytest.raises(ValueError, match=message):
        hmm(emission=emission).fit(X)


@pytest.mark.parametrize(
    ("emission", "message"),
    [
        ({"speed": "gaussian"}, r"says nothing of the columns \['load'\]: give each"),
        ({"speed": "gaussian", 0: "gaussian", "load": "gaussian"}, "names a feature twice"),
        (
            {"speed": "gaussian", "mass": "gaussian"},
            r"'mass', .*; the features are \['speed', 'load'\]",
        ),
    ],
)
def test_bad_emissions_of_a_frame(X, emission, message):
    with pytest.raises(ValueError, match=message):
        hmm(emission=emission).fit(frame(X))


@pytest.mark.parametrize(
    ("emission", "means", "message"),
    [
        ("poisson", [[1.0, 1.0], [-1.0, 2.0]], "Rates to start from must be positive; the least is -1"),
        ("bernoulli", [[0.5, 0.5], [2.0, 0.5]], "Probabilities to start from must lie between 0 and 1"),
        ("categorical", [[0.5, 0.5], [2.0, 0.5]], "Categorical has no means to start from"),
    ],
)
def test_means_that_an_emission_cannot_have(counts, emission, means, message):
    with pytest.raises(ValueError, match=message):
        hmm(emission=emission, means_init=means).fit(np.minimum(counts, 1))


def test_codes_beyond_those_of_a_family(counts):
    with pytest.raises(ValueError, match="not one of the codes 0 to 1"):
        hmm(emission=Categorical((2, 2))).fit(counts)


def test_codes_that_are_no_codes(counts):
    counts[3, 1] = 20_241
    with pytest.raises(ValueError, match="column 1 has 20241 in 60 rows: recode it"):
        hmm(emission="categorical").fit(counts)


def test_warm_start_of_another_model(X, counts):
    for fitted, change, data in [
        (hmm(warm_start=True).fit(X), {"n_components": 3}, X),
        (hmm(warm_start=True).fit(X), {"covariance_type": "diag"}, X),
        (hmm(warm_start=True).fit(X), {}, X[:, :1]),
        (hmm(warm_start=True).fit(counts), {"emission": "poisson"}, counts),
        (hmm(warm_start=True, emission="gmm").fit(X), {"n_mixtures": 3}, X),
    ]:
        with pytest.raises(ValueError, match=r"continues the last fit, but that had .* Set warm_start=False"):
            fitted.set_params(**change).fit(data)


# -- after fit ---------------------------------------------------------------------------------------------

METHODS = [
    "predict",
    "decode",
    "predict_proba",
    "filter_proba",
    "predict_next",
    "score_samples",
    "log_likelihood",
    "score",
    "aic",
    "bic",
]


@pytest.mark.parametrize("method", METHODS)
def test_methods_of_what_is_not_fitted(X, method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(hmm(), method)(X)


def test_sample_of_what_is_not_fitted():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        hmm().sample()


@pytest.mark.parametrize("method", METHODS)
def test_other_columns_than_in_fit(X, lists, method):
    act = getattr(hmm().fit(lists), method)
    for given in (X[:, :1], [X[:, :1]], np.column_stack([X, X])):
        with pytest.raises(ValueError, match=r"X has \d features, but HMMEM is expecting 2 features"):
            act(given)
    act = getattr(hmm().fit([frame(rows) for rows in lists]), method)
    unseen = "Feature names unseen at fit time:\n- mass"
    for names, message in [(("speed", "mass"), unseen), (("load", "speed"), "same order")]:
        for given in (frame(X, names), [frame(X, names)]):
            with pytest.raises(ValueError, match=message):
                act(given)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        act([X])


@pytest.mark.parametrize("n_steps", [0, -1, 1.5, "3", None])
def test_steps_to_forecast(X, n_steps):
    with pytest.raises(ValueError, match=f"n_steps={n_steps}: forecast at least one step"):
        hmm().fit(X).predict_next(X, n_steps)


@pytest.mark.parametrize("sizes", [(0,), (-1,), (2.5,), ("a",), (None,), (5, 0), (5, 1.5)])
def test_sizes_of_samples(X, sizes):
    with pytest.raises(ValueError, match="ask for at least one step of one sequence"):
        hmm().fit(X).sample(*sizes)


def test_one_message_at_a_time(X):
    """What is refused is not warned of before."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data, kwargs in [(X[:2], {"n_components": 3}), (X * NAN, {}), (X, {"means_init": [[0.0]]})]:
            with pytest.raises(ValueError, match=r"n_samples=2|nothing but NaN|means_init"):
                hmm(**kwargs).fit(data)


@pytest.mark.parametrize("covariance_type", ["full", "spherical"])
def test_a_state_that_collapses_warns(X, covariance_type):
    X[:5] = X[0]  # one point, five times
    model = hmm(4, covariance_type=covariance_type, means_init=[X[0], X[10], X[30], X[50]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = model.fit(X)
    assert {warning.category for warning in caught} <= {ConvergenceWarning}
    assert {warning.filename for warning in caught} <= {__file__}
    for value in (fitted.means_, fitted.covariances_, fitted.transmat_, fitted.log_likelihood_):
        assert np.isfinite(value).all()
